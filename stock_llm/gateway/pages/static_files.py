"""The scripts, styles and vendored libraries of the pages, compressed once and kept in memory.

A page names each file with a digest of its content (`url`), so that browsers may keep it for a year
and get a new one at once when it changed.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from stock_llm.gateway.api.session import STATIC

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_FOLDER = files("stock_llm.gateway.pages") / "static"
_LEVEL = 9


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent."""

    media_type: str
    content: bytes
    compressed: bytes
    digest: str


@lru_cache(maxsize=64)
def find(name: str) -> StaticFile | None:
    """The file of this name below `static/`; None where there is none."""
    path, folder = _FOLDER, _FOLDER
    for part in name.split("/"):
        if part in ("", ".", "..") or "\\" in part or "\0" in part:
            return None
        folder, path = path, path / part
    suffix = name[name.rfind(".") :]
    if suffix not in _TYPES or not folder.is_dir() or not path.is_file():
        return None
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    return StaticFile(_TYPES[suffix], content, gzip.compress(content, _LEVEL, mtime=0), digest)


def url(name: str) -> str:
    """Where a page finds a file.

    Raises:
        FileNotFoundError: there is none.
    """
    if (file := find(name)) is None:
        raise FileNotFoundError(name)
    return f"{STATIC}{name}?{file.digest}"


def respond(request: Request, name: str) -> Response:
    """The response to a request for a file."""
    file = find(name)
    if file is None:
        return PlainTextResponse("404 page not found", 404)
    tag = f'"{file.digest}"'
    is_named = request.url.query == file.digest
    headers = {
        "etag": tag,
        "vary": "Accept-Encoding",
        "cache-control": "public, max-age=31536000, immutable" if is_named else "no-cache",
        "x-content-type-options": "nosniff",
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    content = file.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = file.compressed
        headers["content-encoding"] = "gzip"
    return Response(content, media_type=file.media_type, headers=headers)
