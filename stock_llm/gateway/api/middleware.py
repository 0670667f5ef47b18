"""Who may come in, and with how much: token, host, origin, size. Plain ASGI, before anything is read.

In: an ASGI app and the dials. Out: the same app behind a door. A web page in the user's browser can send requests to a loopback
address: one that comes from another origin without a token, or was told another name for this machine, is refused. Does not
know any API.
"""

import ipaddress
import secrets
from urllib.parse import urlsplit

import orjson
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stock_llm.errors import InputError
from stock_llm.gateway.api.ollama import responses as ollama_responses
from stock_llm.gateway.api.openai import responses as openai_responses
from stock_llm.gateway.config import GatewaySettings

_OPEN = ("/healthz", "/readyz")
"""Paths that need no token: whoever starts and stops the gateway asks them."""

BLOBS_PATH = "/api/blobs/"
"""Where models are uploaded, of any size; they are passed on and not kept."""


def check_bind(dials: GatewaySettings) -> None:
    """
    Raises:
        InputError: others could reach the gateway, and there is no token.
    """
    if not is_loopback(dials.host) and not dials.token.get_secret_value():
        raise InputError(
            f"{dials.host} can be reached from other machines, and there is no token",
            remedy="Set STOCK_LLM_GATEWAY__TOKEN, or listen on 127.0.0.1",
        )


def is_loopback(host: str) -> bool:
    """Whether an address to listen on, or a name in a URL, is this machine and nothing else."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class AccessMiddleware:
    """The app behind the checks."""

    def __init__(self, app: ASGIApp, dials: GatewaySettings):
        self._app = app
        self._token = dials.token.get_secret_value().encode()
        self._loopback = is_loopback(dials.host)
        self._longest = int(dials.request_megabytes * 2**20)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if refused := self._refused(scope["path"], headers):
            await _refuse(scope, send, *refused)
            return
        if scope["path"].startswith(BLOBS_PATH):
            await self._app(scope, receive, send)
            return
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._longest:
            await _refuse(scope, send, 413, self._too_large)
            return
        read = 0

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._longest:
                raise HTTPException(413, self._too_large)
            return message

        await self._app(scope, limited, send)

    @property
    def _too_large(self) -> str:
        return f"the request is larger than {self._longest / 2**20:g} MB"

    def _refused(self, path: str, headers: Headers) -> tuple[int, str] | None:
        if self._loopback and not is_loopback(_host(f"//{headers.get('host', 'localhost')}")):
            return (
                403,
                "this gateway listens on this machine only, and knows itself by no other name",
            )
        origin = headers.get("origin", "")
        if origin and not self._token and not is_loopback(_host(origin)):
            return 403, f"pages of {origin[:80]} may not ask this gateway"
        if not self._token or path in _OPEN:
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), self._token):
            return None
        return 401, "the token is missing or wrong; send Authorization: Bearer …"


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


async def _refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    openai = scope["path"].startswith("/v1/")
    body = (
        orjson.dumps(openai_responses.error_body(status, text))
        if openai
        else ollama_responses.error(text)
    )
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"www-authenticate", b"Bearer")] if status == 401 else []
    headers += [(b"connection", b"close")] if status == 413 else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
