"""A running Ollama as a provider: a lean pass-through over aiohttp for what is asked often, the official client for the rest.

In: requests in our nouns. Out: answers checked by content, with Ollama's own bytes beside them so that nothing needs to be
written again. FastAPI with the official client added 4 ms to a request, this adds 1.6 ms. A prompt that does not fit is told:
it is sent with `truncate: false` first, and only after Ollama's refusal to be cut. Does not know routing.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from stock_llm.gateway.chat import AnswerChunk, ChatAnswer, ChatRequest, ProviderTimings, TokenUsage
from stock_llm.gateway.errors import BadRequest, GatewayError, Unavailable
from stock_llm.gateway.providers.concurrency import ConcurrencyLimit
from stock_llm.gateway.providers.embeddings import LEGACY, body_for_ollama
from stock_llm.gateway.providers.ollama_codec import (
    GENERATE,
    AnswerDecoder,
    decode_error,
    embedding_tokens,
    encode_request,
    endpoint_of,
    error_text,
    truncation_note,
)
from stock_llm.gateway.providers.provider import Billing, LatencyClass, ProviderHealth

HEALTH_TIMEOUT = 2.0
"""Seconds that a server has to say that it is there."""

CONNECT_TIMEOUT = 10.0
"""Seconds for a connection. Where nobody listens it is refused at once; where all are busy it must not look like nobody."""

_PORT = 11434
_LINE = 4 * 2**20
"""Bytes: the longest line of a stream that is read."""


@dataclass(frozen=True)
class ForwardedResponse:
    """An answer that is passed on as it comes."""

    status: int
    kind: str
    """Its Content-Type; empty where it has none."""
    body: AsyncIterator[bytes]


class OllamaProvider:
    """The Ollama at `host`.

    Args:
        host: a URL, or host and port as in OLLAMA_HOST.
        models: the models to count with until `health` has asked.
        limit: shared by everything that generates on this machine.
    """

    name = "ollama"
    kind: Billing = "free"
    latency: LatencyClass = "fast"
    capabilities = frozenset(
        {"stream", "json-schema", "tools", "images", "thinking", "embed", GENERATE}
    )

    def __init__(self, host: str, models: tuple[str, ...], limit: ConcurrencyLimit):
        self.url = url_of(host)
        self.models = models
        self.digests: Mapping[str, str] = {}
        self._limit = limit
        self._there = False

    @property
    def local(self) -> bool:
        """Whether the server is on this machine."""
        return is_loopback(self.url)

    async def answer(self, request: ChatRequest) -> ChatAnswer:
        """The whole answer; see `provider.Provider`."""
        self._check(request)
        async with self._limit.turn(self.name, request.model) as queued:
            body = encode_request(request, stream=False)
            notes: tuple[str, ...] = ()
            status, raw, retry_after = await self._post(endpoint_of(request), body)
            if (
                status != 200
                and request.extra.get("truncate") is not False
                and (note := truncation_note(status, raw))
            ):
                notes = (note,)
                status, raw, retry_after = await self._post(
                    endpoint_of(request), body | {"truncate": True}
                )
            if status != 200:
                raise decode_error(self.name, status, raw, retry_after)
            return AnswerDecoder(self.name, request, queued, notes).whole(raw)

    async def stream(self, request: ChatRequest) -> AsyncIterator[AnswerChunk]:
        """The answer in pieces; see `provider.Provider`. Closing the iterator closes the connection: Ollama stops then."""
        self._check(request)
        async with self._limit.turn(self.name, request.model) as queued:
            body = encode_request(request, stream=True)
            async with self._posted(endpoint_of(request), body) as response:
                raw = b"" if response.status == 200 else await response.read()
                note = (
                    truncation_note(response.status, raw)
                    if raw and request.extra.get("truncate") is not False
                    else None
                )
                if note is None:
                    if response.status != 200:
                        raise decode_error(
                            self.name, response.status, raw, response.headers.get("Retry-After")
                        )
                    async for chunk in self._read(
                        response, AnswerDecoder(self.name, request, queued)
                    ):
                        yield chunk
                    return
            async with self._posted(endpoint_of(request), body | {"truncate": True}) as response:
                if response.status != 200:
                    raise decode_error(
                        self.name,
                        response.status,
                        await response.read(),
                        response.headers.get("Retry-After"),
                    )
                async for chunk in self._read(
                    response, AnswerDecoder(self.name, request, queued, (note,))
                ):
                    yield chunk

    async def health(self) -> ProviderHealth:
        """Asks for the list of models, and remembers it."""
        import httpx
        import ollama

        try:
            async with asyncio.timeout(HEALTH_TIMEOUT):
                listed = (await self._client.list()).models
        except ConnectionError:
            self.models, self.digests, self._there = (
                (),
                {},
                False,
            )  # it is not there: its models are not either
            return ProviderHealth(False, f"no Ollama answers at {self.url}")
        except (httpx.HTTPError, ollama.ResponseError, ValueError, TimeoutError):
            return ProviderHealth(
                False, f"what answers at {self.url} is no Ollama, or one in trouble", self.models
            )
        self._there = True
        self.digests = {
            one.model: one.digest or ""
            for one in listed
            if one.model and not is_cloud_model(one.model)
        }
        self.models = tuple(
            sorted(
                self.digests, key=lambda name: (name not in self.models, *_place(self.models, name))
            )
        )
        return ProviderHealth(
            True, f"Ollama at {self.url} has {len(self.models)} models", self.models
        )

    async def embed(self, request: ChatRequest) -> ChatAnswer:
        """The vectors of the texts; see `provider.Embedder`. `Answer.raw` is what Ollama wrote."""
        self._check(request)
        path, body = body_for_ollama(request)
        notes: tuple[str, ...] = ()
        async with self._limit.turn(self.name, request.model) as queued:
            uncut = (
                {"truncate": False}
                if LEGACY not in request.extra and "truncate" not in request.extra
                else {}
            )
            status, raw, retry_after = await self._post(path, body | uncut)
            if uncut and status == 400 and "exceeds" in error_text(raw):
                notes = (
                    "a text was longer than the model's context: Ollama left a part of it out",
                )
                status, raw, retry_after = await self._post(path, body | {"truncate": True})
        if status != 200:
            failure = decode_error(self.name, status, raw, retry_after)
            failure.status = status
            raise failure
        tokens, model = embedding_tokens(self.name, raw), request.model
        return ChatAnswer(
            "", model, TokenUsage(tokens), timings=ProviderTimings(queued), notes=notes, raw=raw
        )

    async def forward(
        self, method: str, path: str, body: AsyncIterator[bytes] | bytes | None
    ) -> ForwardedResponse:
        """Passes a request on, body and answer as they are; the answer's iterator must be read to its end or closed.

        Raises:
            Unavailable: no Ollama answers.
        """
        try:
            response = await self._session.request(
                method, self.url + path, data=body, headers=_JSON
            )
        except aiohttp.ClientError as error:
            raise self._gone(error) from None
        kind = response.headers.get("Content-Type", "")
        return ForwardedResponse(response.status, kind, _passed(response))

    async def close(self) -> None:
        """Closes every connection."""
        if "_session" in self.__dict__:
            await self._session.close()
        if "_client" in self.__dict__:
            await self._client.close()

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
        return aiohttp.ClientSession(
            connector=connector, timeout=timeout, read_bufsize=_LINE, auto_decompress=False
        )

    @cached_property
    def _client(self) -> Any:
        import ollama

        return ollama.AsyncClient(self.url)

    def _check(self, request: ChatRequest) -> None:
        """Where there is no model, the router has none to choose; and a model of Ollama's cloud is not on this machine."""
        if is_cloud_model(request.model):
            raise BadRequest(
                self.name,
                f"'{request.model}' runs at ollama.com, not on this machine: ask it without the gateway",
            )
        if not request.model:
            lacking = (
                "has no model; run: ollama pull mistral:7b" if self._there else "does not answer"
            )
            raise Unavailable(self.name, f"the Ollama at {self.url} {lacking}")

    async def _post(self, path: str, body: dict[str, Any]) -> tuple[int, bytes, str | None]:
        async with self._posted(path, body) as response:
            return response.status, await response.read(), response.headers.get("Retry-After")

    @asynccontextmanager
    async def _posted(
        self, path: str, body: dict[str, Any]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.post(
                self.url + path, data=orjson.dumps(body), headers=_JSON
            ) as response:
                yield response
        except aiohttp.ClientError as error:
            raise self._gone(error) from None

    async def _read(
        self, response: aiohttp.ClientResponse, reading: AnswerDecoder
    ) -> AsyncIterator[AnswerChunk]:
        try:
            async for line in response.content:
                if line := line.strip():
                    chunk = reading.read(line)
                    yield chunk
                    if chunk.answer:
                        return
        except (aiohttp.ClientError, ValueError) as error:
            raise reading.broken(f"the connection broke: {error}") from None
        raise reading.unfinished()

    def _gone(self, error: aiohttp.ClientError) -> GatewayError:
        if isinstance(error, aiohttp.ClientConnectionError) and not isinstance(
            error, aiohttp.ServerDisconnectedError
        ):
            return Unavailable(self.name, f"no Ollama answers at {self.url}")
        return Unavailable(
            self.name,
            f"the connection to {self.url} broke: {error or type(error).__name__}",
            charged=True,
        )


_JSON = {"Content-Type": "application/json", "Accept-Encoding": "identity"}


async def _passed(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async with response:
            async for piece in response.content.iter_any():
                yield piece
    except aiohttp.ClientError as error:
        raise Unavailable(
            "ollama", f"the connection broke: {error or type(error).__name__}"
        ) from None


def _place(preferred: tuple[str, ...], name: str) -> tuple[int, str]:
    return (preferred.index(name) if name in preferred else 0, name)


def url_of(host: str) -> str:
    """The base URL of a host as OLLAMA_HOST has it: `127.0.0.1`, `gpu:11434`, `https://ollama.example`."""
    parts = urlsplit(host if "://" in host else f"http://{host}")
    name = parts.hostname or "127.0.0.1"
    name = f"[{name}]" if ":" in name else "127.0.0.1" if name == "0.0.0.0" else name
    port = parts.port or (443 if parts.scheme == "https" else 80 if "://" in host else _PORT)
    return f"{parts.scheme}://{name}:{port}{parts.path.rstrip('/')}"


def is_cloud_model(model: str) -> bool:
    """Whether a name is that of a cloud model, which Ollama passes on to ollama.com: its tag is `cloud`, or ends so."""
    tag = model.rpartition(":")[2]
    return ":" in model and (tag == "cloud" or tag.endswith("-cloud"))


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine, by its loopback address."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")
