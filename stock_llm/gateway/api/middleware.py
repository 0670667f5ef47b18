"""Who may call, and with how much: token, host, origin, size of the body. Plain ASGI, before
anything is read.

A web page in the user's browser can send requests to a loopback address. So pages of other origins,
and requests that address this machine by a name that somebody else may own, are refused; pages of
allowed origins get the headers of CORS, and their preflight is answered before the token is asked
for. A session of the pages counts in place of the token for the pages, and for nothing else.
"""

import ipaddress
import socket
import uuid
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stock_llm.errors import InputError
from stock_llm.gateway.api.errors import error_body
from stock_llm.gateway.api.ollama.requests import BLOBS_PATH
from stock_llm.gateway.api.session import (
    LOGIN,
    PAGES_PREFIX,
    STATIC,
    Sessions,
    is_page,
    wants_html,
)
from stock_llm.gateway.config import GatewaySettings
from stock_llm.gateway.providers.request_loop import HEADER as LOOP_HEADER
from stock_llm.gateway.providers.request_loop import is_loop
from stock_llm.network import is_loopback

_OPEN_PATHS = ("/healthz", "/readyz", LOGIN)
"""Paths that need no token: whoever starts and stops the gateway asks the first two, and a browser
gives the token at the last one."""

BODIES_AT_ONCE = 32
"""All bodies under way may together be as large as this many of the largest."""

_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
"""Endings of names that no stranger can own, as Ollama has them."""

_APP_SCHEMES = ("app", "file", "tauri", "vscode-webview", "vscode-file")
"""Origins of programs on this machine, as Ollama has them."""

_METHODS = "GET, HEAD, POST, DELETE, OPTIONS"
_PREFLIGHT_SECONDS = "7200"


def check_bind(settings: GatewaySettings) -> None:
    """
    Raises:
        InputError: others could reach the gateway, and there is no token.
    """
    if not is_loopback(settings.host) and not _tokens(settings):
        raise InputError(
            f"{settings.host} can be reached from other machines, and there is no token",
            remedy="Set STOCK_LLM_GATEWAY__TOKEN, or listen on 127.0.0.1",
        )


class AccessMiddleware:
    """The app behind the checks.

    `scope["state"]` gets `user`, the name whose token came, `trusted`, whether a token came, and
    `session`, the session of a page.

    Args:
        key: signs the sessions of the pages.
        without_token: beginnings of paths that have checks of their own.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: GatewaySettings,
        key: bytes,
        without_token: tuple[str, ...] = (),
    ):
        self.app = app
        self._without_token = without_token
        self._tokens = _tokens(settings)
        self.sessions = Sessions(key, self._tokens)
        self._loopback = is_loopback(settings.host)
        self._hosts = {name.lower() for name in (*settings.hosts, socket.gethostname())}
        self._origins = {origin.rstrip("/").lower() for origin in settings.origins}
        self._max_bytes = int(settings.request_megabytes * 2**20)
        self._bytes_under_way = 0
        self._id = uuid.uuid4().hex

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        allowed = bool(origin) and self._allows(origin, headers.get("host", ""))
        if allowed:
            send = _with_cors(send, origin)
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                await _answer_preflight(send, headers)
                return
        path = scope["path"]
        session = self.sessions.read(headers.get("cookie", "")) if is_page(path) else None
        user = self._user(headers)
        if user is None and session and self.sessions.asks:
            user = session.user
        if is_loop(headers.get(LOOP_HEADER, ""), self._id):
            text = (
                "the request came from this gateway itself: one of its providers is its own address"
            )
            await _refuse(scope, send, 508, text)
            return
        foreign = origin and not (allowed and _is_page_of(path, origin, headers.get("host", "")))
        if refusal := self._refusal(path, headers, foreign, user):
            if refusal[0] == 401 and is_page(path) and wants_html(headers.get("accept", "")):
                await _send_answer(send, 303, [("location", LOGIN), ("vary", "Accept")], b"")
            else:
                await _refuse(scope, send, *refusal)
            return
        state = {"user": user or "", "trusted": user is not None, "session": session}
        scope.setdefault("state", {}).update(state)
        if path.startswith(BLOBS_PATH):
            await self.app(scope, receive, send)
            return
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._max_bytes:
            await _refuse(scope, send, 413, self._too_large)
            return
        await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts the body while it is read."""
        size = 0

        async def limited_receive() -> Message:
            nonlocal size
            message = await receive()
            length = len(message.get("body", b""))
            size += length
            self._bytes_under_way += length
            if size > self._max_bytes:
                raise HTTPException(413, self._too_large, {"connection": "close"})
            if self._bytes_under_way > BODIES_AT_ONCE * self._max_bytes:
                text = "too many large requests at once"
                raise HTTPException(503, text, {"connection": "close", "retry-after": "1"})
            return message

        try:
            await self.app(scope, limited_receive, send)
        finally:
            self._bytes_under_way -= size

    @property
    def _too_large(self) -> str:
        return f"the request is larger than {self._max_bytes / 2**20:g} MB"

    def _refusal(
        self, path: str, headers: Headers, foreign_origin: object, user: str | None
    ) -> tuple[int, str] | None:
        if self._loopback and not self._knows(_host(f"//{headers.get('host', 'localhost')}")):
            return 403, (
                "this gateway listens on this machine only and does not know that host name; "
                "gateway.hosts adds names"
            )
        if foreign_origin and (not self._tokens or path.startswith(PAGES_PREFIX)):
            return 403, (
                f"pages of {headers['origin'][:80]} may not ask this gateway; "
                "gateway.origins allows more"
            )
        is_open = path in _OPEN_PATHS or path.startswith(STATIC)
        if not self._tokens or is_open or user is not None:
            return None
        if path.startswith(self._without_token):
            return None
        return 401, "the token is missing or wrong; send Authorization: Bearer …"

    def _user(self, headers: Headers) -> str | None:
        """Whose token came: a name, empty for the common token, None for none."""
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer if kind.lower() == "bearer" else headers.get("x-api-key", "")
        return self.sessions.user_of(given)

    def _knows(self, host: str) -> bool:
        """Whether a name in the header Host cannot be a stranger's name that leads here."""
        name = host.lower().rstrip(".")
        if (address := _address(host)) is not None:
            return address.is_loopback or address.is_private or address.is_unspecified
        return name == "localhost" or name.endswith(_LOCAL_SUFFIXES) or name in self._hosts

    def _allows(self, origin: str, host: str) -> bool:
        """Whether pages of an origin may read answers.

        Those of the settings, of this machine, of its programs, and the gateway's own where it asks
        for tokens.
        """
        if origin.rstrip("/").lower() in self._origins or "*" in self._origins:
            return True
        parts = _split(origin)
        if parts is None:
            return False
        name = (parts.hostname or "").lower()
        address = _address(name)
        if parts.scheme in _APP_SCHEMES or name == "localhost" or name.endswith(".localhost"):
            return True
        if address is not None and (address.is_loopback or address.is_unspecified):
            return True
        return bool(self._tokens) and parts.netloc.lower() == host.lower()


def _is_page_of(path: str, origin: str, host: str) -> bool:
    """Whether a page of this origin may ask for a path: the gateway's own pages are for
    themselves."""
    parts = _split(origin)
    own = parts is not None and parts.netloc.lower() == host.lower()
    return own or not path.startswith(PAGES_PREFIX)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _tokens(settings: GatewaySettings) -> dict[str, bytes]:
    """Name → token, an empty name for the common one."""
    tokens = [("", settings.token), *settings.users.items()]
    values = [(name, token.get_secret_value().encode()) for name, token in tokens]
    return {name: token for name, token in values if token}


def _host(url: str) -> str:
    parts = _split(url)
    return (parts.hostname or "") if parts else ""


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.hostname
    except ValueError:
        return None
    return parts


def _with_cors(send: Send, origin: str) -> Send:
    """Adds the headers that let a page of the origin read the answer."""

    async def send_with_cors(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            headers["access-control-allow-origin"] = origin
            headers["access-control-expose-headers"] = "*"
            headers.add_vary_header("Origin")
            message = {**message, "headers": headers.raw}
        await send(message)

    return send_with_cors


async def _answer_preflight(send: Send, headers: Headers) -> None:
    answer = {
        "access-control-allow-methods": _METHODS,
        "access-control-allow-headers": headers.get("access-control-request-headers", "*"),
        "access-control-max-age": _PREFLIGHT_SECONDS,
    }
    if headers.get("access-control-request-private-network") == "true":
        answer["access-control-allow-private-network"] = "true"
    await _send_answer(send, 204, answer.items(), b"")


async def _refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    body = error_body(scope["path"], status, text)
    headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
    headers += [("www-authenticate", "Bearer")] if status == 401 else []
    headers += [("connection", "close")] if status == 413 else []
    await _send_answer(send, status, headers, body)


async def _send_answer(
    send: Send, status: int, headers: Iterable[tuple[str, str]], body: bytes
) -> None:
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
