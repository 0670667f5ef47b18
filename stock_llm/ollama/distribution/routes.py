"""The pull side of a registry, as routes for Starlette: what `ollama pull` asks for.

    GET /v2/                                  200: this is a registry
    GET /v2/NAMESPACE/stock-llm/manifests/TAG the manifest's bytes
    GET /v2/NAMESPACE/stock-llm/blobs/DIGEST  a blob, whole or in ranges

Protocol: OCI distribution-spec, and what Ollama wants besides (ollama/ollama server/download.go): a
blob's GET has a `Location`, which is then asked for in parts, without Authorization. Ollama drops
the first answer in mid-body, which is no error. Who may pull is told by an `Access`.
"""

import re
from collections.abc import Sequence
from typing import Protocol

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from stock_llm.ollama.distribution.published_models import PublishedModels
from stock_llm.ollama.manifest import MANIFEST_TYPE, digest_of_bytes

_RANGES = re.compile(r"bytes=\s*(\d+-\d*|-\d+)(\s*,\s*(\d+-\d*|-\d+))*\s*", re.ASCII)
LIBRARY = "library"
"""The namespace that Ollama takes where a name has none."""


class Access(Protocol):
    """Who may pull."""

    def refusal(self, request: Request, repository: str) -> Response | None:
        """The answer to a request that is not allowed; None for one that is.

        Args:
            repository: NAMESPACE/MODEL.
        """

    def signed_location(self, request: Request) -> str:
        """Where the parts of a blob may be asked for without Authorization; empty: where the
        request itself went.
        """

    def pulled(self, request: Request, tag: str, digest: str) -> None:
        """Note that a manifest was given out."""


class BlobResponse(FileResponse):
    """A file in pieces that are read off the event loop: memory does not grow with the file."""

    chunk_size = 256 * 1024


def distribution_routes(
    models: PublishedModels, access: Access | None = None, namespaces: Sequence[str] = (LIBRARY,)
) -> list[Route]:
    """The routes.

    Args:
        access: None: everybody may pull.
        namespaces: under which the models are found.
    """

    async def root(request: Request) -> Response:
        refused = access.refusal(request, "") if access else None
        return refused or JSONResponse({})

    async def manifest(request: Request) -> Response:
        model, tag = request.path_params["model"], request.path_params["reference"]
        if refused := _refused(request, model):
            return refused
        content = await to_thread.run_sync(models.manifest, model, tag)
        if content is None:
            return _error(404, "MANIFEST_UNKNOWN", f"there is no {model}:{tag} here")
        digest = digest_of_bytes(content)
        if access and request.method == "GET":
            await to_thread.run_sync(access.pulled, request, tag, digest)
        headers = {"Docker-Content-Digest": f"sha256:{digest}"}
        return Response(content, media_type=MANIFEST_TYPE, headers=headers)

    async def blob(request: Request) -> Response:
        model, digest = request.path_params["model"], request.path_params["digest"]
        if refused := _refused(request, model):
            return refused
        found = await to_thread.run_sync(models.blob, model, digest)
        if found is None:
            return _error(404, "BLOB_UNKNOWN", f"no version of {model} has the blob {digest}")
        location = access.signed_location(request) if access else ""
        if location and request.method == "GET":
            return Response(status_code=307, headers={"Location": location})
        query = f"?{request.url.query}" if request.url.query else ""
        headers = {
            "Docker-Content-Digest": digest,
            "ETag": f'"{digest}"',
            "Location": request.url.path + query,
        }
        _drop_unknown_range(request)
        media = "application/octet-stream"
        state = await to_thread.run_sync(found.path.stat)
        return BlobResponse(found.path, headers=headers, media_type=media, stat_result=state)

    def _refused(request: Request, model: str) -> Response | None:
        namespace = request.path_params["namespace"]
        if namespace not in namespaces:
            return _error(404, "NAME_UNKNOWN", f"there is no {namespace}/{model} here")
        return access.refusal(request, f"{namespace}/{model}") if access else None

    folder = "/v2/{namespace}/{model}"
    return [
        Route("/v2/", root, methods=["GET"]),
        Route(f"{folder}/manifests/{{reference}}", manifest, methods=["GET"]),
        Route(f"{folder}/blobs/{{digest}}", blob, methods=["GET"]),
    ]


def _drop_unknown_range(request: Request) -> None:
    """RFC 9110, 14.2: a range of another unit, or one that is none, is as if it were not there."""
    if not _RANGES.fullmatch(request.headers.get("range", "")):
        headers = request.scope["headers"]
        request.scope["headers"] = [field for field in headers if field[0] != b"range"]


def _error(status: int, code: str, message: str) -> Response:
    """An error in OCI's form."""
    return JSONResponse({"errors": [{"code": code, "message": message}]}, status)
