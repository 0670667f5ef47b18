"""Lets Ollama servers of other machines pull with their own key: the handshake of its registry.

    401 with WWW-Authenticate: Bearer realm="…/v2/token",service="HOST",scope="repository:…:pull"
    GET realm?nonce=…&scope=…&service=…&ts=…   signed with the server's ed25519 key
    {"token": "…"}, sent with the manifest, each HEAD and each first GET of a blob
    307 to a URL with a signature of its own, for parts come without the token

The signed text is `GET,<the whole URL>,<base64 of the hex SHA-256 of nothing>`, the header
`Authorization: <base64 of the public key>:<base64 of the signature>` (ollama/ollama auth/auth.go,
server/auth.go). A nonce counts once, clocks may be off by two minutes. The URL is rebuilt from the
request, so a signature that was given to another host does not fit, provided that this gateway
takes requests for its own names alone. Tokens and URLs name the key: removing it ends them at once.

On this machine everybody may pull. Who came through a proxy is not on this machine.
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import re
import time
from binascii import Error as Base64Error
from collections import OrderedDict
from collections.abc import Callable, Collection
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stock_llm.errors import InputError, StoreError
from stock_llm.network import is_loopback, own_addresses
from stock_llm.ollama.distribution.consumer_keys import Consumer, ConsumerKeys
from stock_llm.ollama.distribution.listener import HANDOVER
from stock_llm.ollama.distribution.pull_log import PullLog

TOKEN_PATH = "/v2/token"
TOKEN_SECONDS = 600
URL_SECONDS = 6 * 3600
"""How long the parts of a blob may be asked for: Ollama takes all of a large one from one URL."""

CLOCK_SECONDS = 120
_MAX_NONCES = 100_000
_EMPTY = base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode()
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")

_UNKNOWN_KEY = (
    "this Ollama's key may not pull here. Its owner prints it with: cat ~/.ollama/id_ed25519.pub "
    "(of the user that runs it); the owner of this gateway adds it: stock-llm consumers add NAME "
    '"ssh-ed25519 …"'
)

_UNKNOWN_HOST = "this gateway does not go by that host name; gateway.hosts adds it"


class KeyAccess:
    """Lets in whose key is known; see `routes.Access`.

    Args:
        signing_key: signs tokens and URLs.
        hosts: names of this gateway besides those of this machine.
        proxies: addresses whose X-Forwarded-Proto and X-Forwarded-Host count.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        keys: ConsumerKeys,
        signing_key: bytes,
        log: PullLog,
        hosts: Collection[str] = (),
        proxies: Collection[str] = (),
        clock: Callable[[], float] = time.time,
    ):
        self._keys, self._log, self._clock = keys, log, clock
        self._secret = hmac.digest(signing_key, b"pulling published versions", "sha256")
        self._hosts = {name.lower() for name in hosts if name}
        self._proxies = frozenset(proxies)
        self._nonces: OrderedDict[str, float] = OrderedDict()

    def routes(self) -> list[Route]:
        """Where tokens are given out."""
        return [Route(TOKEN_PATH, self._token, methods=["GET"])]

    def refusal(self, request: Request, repository: str) -> Response | None:
        """The challenge to a request without a token or signature that fits; None for one that may
        pull.
        """
        if self._is_this_machine(request) or self._consumer(request, repository):
            return None
        if "signature" in request.query_params:  # Ollama would take a body for a part of the blob
            return Response(status_code=403, headers={"Connection": "close"})
        origin = self._origin(request)
        if origin is None:
            return _refused(421, _UNKNOWN_HOST)
        challenge = (
            f'Bearer realm="{origin}{TOKEN_PATH}",service="{origin.partition("://")[2]}",'
            f'scope="repository:{repository}:pull"'
        )
        return _refused(401, _UNKNOWN_KEY, {"WWW-Authenticate": challenge})

    def signed_location(self, request: Request) -> str:
        """The URL of a blob with a signature, for a request that came with a token."""
        if "signature" in request.query_params or self._is_this_machine(request):
            return ""
        consumer = self._of_token(request, self._repository(request))
        expires = str(int(self._clock()) + URL_SECONDS)
        key = consumer.fingerprint if consumer else ""
        signature = self._sign("url", request.url.path, key, expires)
        return f"{request.url.path}?" + urlencode(
            {"expires": expires, "key": key, "signature": signature}
        )

    def pulled(self, request: Request, tag: str, digest: str) -> None:
        """Note which version a consumer took.

        Not what this project hands over to a server of its own: it knows that server and removes
        old versions there.
        """
        if request.path_params["namespace"] == HANDOVER:
            return
        if consumer := self._of_token(request, self._repository(request)):
            self._log.note(consumer.name, tag, digest)

    def _token(self, request: Request) -> Response:
        """The token for a signed request."""
        origin, query = self._origin(request), request.query_params
        if origin is None:
            return _refused(421, _UNKNOWN_HOST)
        blob, _, signature = request.headers.get("authorization", "").partition(":")
        consumer = next((item for item in self._consumers() if item.blob == blob), None)
        if consumer is None:
            return _refused(401, _UNKNOWN_KEY)
        signed = f"GET,{origin}{request.url.path}?{request.url.query},{_EMPTY}"
        if not consumer.verifies(_decoded(signature), signed.encode()):
            return _refused(401, "the signature does not fit this URL")
        if query.get("service") != origin.partition("://")[2]:
            return _refused(401, "the signature is for another service")
        if not (sent := query.get("ts", "")).isdecimal() or not sent.isascii():
            return _refused(401, "ts is missing")
        if abs(self._clock() - int(sent[:15])) > CLOCK_SECONDS:
            return _refused(401, "the clocks of the two machines are more than two minutes apart")
        kind, _, rest = query.get("scope", "").partition(":")
        repository, _, action = rest.partition(":")
        if kind != "repository" or action != "pull":
            return _refused(403, "all that may be done here is to pull")
        if not self._is_new(f"{consumer.fingerprint} {query.get('nonce', '')}"):
            return _refused(401, "this signature was used before")
        expires = str(int(self._clock()) + TOKEN_SECONDS)
        proof = self._sign("token", repository, consumer.fingerprint, expires)
        token = f"{consumer.fingerprint}.{expires}.{proof}"
        return JSONResponse({"token": token, "expires_in": TOKEN_SECONDS})

    def _consumer(self, request: Request, repository: str) -> Consumer | None:
        """Who sent a token or a signed URL that fits."""
        query = request.query_params
        if "signature" in query:
            parts = request.url.path, query.get("key", ""), query.get("expires", "")
            return self._checked("url", *parts, query["signature"])
        return self._of_token(request, repository)

    def _of_token(self, request: Request, repository: str) -> Consumer | None:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        fingerprint, _, rest = token.strip().partition(".")
        expires, _, proof = rest.partition(".")
        if kind.lower() != "bearer":
            return None
        return self._checked("token", repository, fingerprint, expires, proof)

    def _checked(
        self, purpose: str, what: str, fingerprint: str, expires: str, proof: str
    ) -> Consumer | None:
        expected = self._sign(purpose, what, fingerprint, expires)
        if not hmac.compare_digest(expected.encode(), proof.encode()):
            return None
        if self._clock() > int(expires):
            return None
        return next((item for item in self._consumers() if item.fingerprint == fingerprint), None)

    def _consumers(self) -> list[Consumer]:
        """Who may pull.

        Raises:
            StoreError: the file of keys is damaged; callers are told neither its path nor its text.
        """
        try:
            return self._keys.all()
        except InputError as error:
            raise StoreError(str(error)) from None

    def _sign(self, *parts: str) -> str:
        text = json.dumps(parts).encode()
        return base64.urlsafe_b64encode(hmac.digest(self._secret, text, "sha256")).decode()

    def _is_new(self, nonce: str) -> bool:
        """Whether a nonce came for the first time while its time is right."""
        now = self._clock()
        while self._nonces and (
            len(self._nonces) >= _MAX_NONCES
            or next(iter(self._nonces.values())) < now - 2 * CLOCK_SECONDS
        ):
            self._nonces.popitem(last=False)
        if nonce in self._nonces:
            return False
        self._nonces[nonce] = now
        return True

    def _origin(self, request: Request) -> str | None:
        """Scheme and host as the caller wrote them; None where the host is not this gateway's."""
        headers, scheme = request.headers, "http"  # TLS ends at a proxy
        host = headers.get("host", "")
        if _peer(request) in self._proxies:
            scheme = headers.get("x-forwarded-proto", scheme).partition(",")[0].strip()
            host = headers.get("x-forwarded-host", host).partition(",")[0].strip()
        name = _host_name(host)
        if scheme not in ("http", "https") or not name:
            return None
        own = name in self._hosts or host.lower() in self._hosts or name in own_addresses()
        return f"{scheme}://{host}" if own else None

    def _is_this_machine(self, request: Request) -> bool:
        peer = _peer(request)
        return (
            peer not in self._proxies
            and is_loopback(peer)
            and is_loopback(_host_name(request.headers.get("host", "")))
            and not any(name in request.headers for name in _FORWARDED)
        )

    @staticmethod
    def _repository(request: Request) -> str:
        return f"{request.path_params['namespace']}/{request.path_params['model']}"


def _peer(request: Request) -> str:
    """The address at the other end of the connection, an IPv4 one as such; whatever headers say."""
    peer = request.scope.get("peer") or request.scope.get("client")
    host = peer[0] if peer else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _host_name(host: str) -> str:
    """The name or address in a header Host, without port and brackets; empty for what is none."""
    if host.startswith("["):
        found = re.fullmatch(r"\[([0-9a-f:.]+)\](:\d+)?", host.lower(), re.ASCII)
        return found[1] if found else ""
    name, _, port = host.partition(":")
    return name.lower() if all(sign.isalnum() or sign in ".-_" for sign in name + port) else ""


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (Base64Error, ValueError):
        return b""


def _refused(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    """A refusal in OCI's form; Ollama shows its body to the person."""
    body = {"errors": [{"code": "UNAUTHORIZED", "message": text}]}
    return JSONResponse(body, status, headers=headers)
