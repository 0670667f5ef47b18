"""A running Ollama as a provider.

Frequent requests go through aiohttp and keep Ollama's own bytes, so that answers need not be
written again: FastAPI with the official client added 4 ms to a request, this adds 1.6 ms. The rest
uses the official client. A prompt that does not fit is sent with `truncate: false` first, so that
the answer can say when it was cut. Redirects are not followed and no proxy is used: a local Ollama
stays local.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
from stock_llm.gateway.providers.provider import Billing, ProviderHealth
from stock_llm.gateway.providers.request_loop import loop_headers
from stock_llm.network import is_loopback_url
from stock_llm.ollama.address import url_of

HEALTH_TIMEOUT = 2.0
"""Seconds that a server has to say that it is there."""

CONNECT_TIMEOUT = 10.0
"""Seconds for a connection: it is refused at once where nobody listens, and late where all are
busy."""

_MAX_LINE = 4 * 2**20
"""Bytes: the longest line of a stream that is read."""


@dataclass(frozen=True)
class ForwardedResponse:
    """A response that is passed on as it comes."""

    status: int
    kind: str
    """Its Content-Type; empty where it has none."""
    body: AsyncIterator[bytes]


class OllamaProvider:
    """The Ollama at `host`.

    Args:
        host: a URL, or host and port as in OLLAMA_HOST.
        models: models to assume until `health` has asked.
        limit: shared by everything that generates on this machine.

    Raises:
        InputError: the host is no address.
    """

    name = "ollama"
    kind: Billing = "free"
    capabilities = frozenset(
        {"stream", "json-schema", "tools", "images", "thinking", "embed", GENERATE}
    )

    def __init__(self, host: str, models: tuple[str, ...], limit: ConcurrencyLimit):
        self.url = url_of(host)
        self.local = is_loopback_url(self.url)
        self.models = models
        self.digests: Mapping[str, str] = {}
        self._limit = limit
        self._is_up = False

    async def answer(self, request: ChatRequest) -> ChatAnswer:
        """The whole answer; see `provider.Provider`."""
        self._check(request)
        path, body = endpoint_of(request), encode_request(request, stream=False)
        async with self._limit.slot(self.name, request.model) as queued:
            status, raw, retry_after = await self._post(path, body)
            note = truncation_note(request, status, raw)
            if note:
                status, raw, retry_after = await self._post(path, body | {"truncate": True})
            if status != 200:
                raise decode_error(self.name, status, raw, retry_after)
            return AnswerDecoder(self.name, request, queued, note).whole(raw)

    async def stream(self, request: ChatRequest) -> AsyncIterator[AnswerChunk]:
        """The answer in pieces; see `provider.Provider`. Closing the connection stops Ollama."""
        self._check(request)
        path, body = endpoint_of(request), encode_request(request, stream=True)
        note = ""
        async with self._limit.slot(self.name, request.model) as queued:
            while True:
                async with self._posted(path, body) as response:
                    if response.status == 200:
                        decoder = AnswerDecoder(self.name, request, queued, note)
                        async for chunk in self._read(response, decoder):
                            yield chunk
                        return
                    raw = await response.read()
                    refused = truncation_note(request, response.status, raw)
                    if note or not refused:
                        retry_after = response.headers.get("Retry-After")
                        raise decode_error(self.name, response.status, raw, retry_after)
                note, body = refused, body | {"truncate": True}

    async def health(self) -> ProviderHealth:
        """Asks for the list of models, and remembers it."""
        import httpx
        import ollama

        client = self._client  # making it takes a while where all cores are busy
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT):
                listed = (await client.list()).models
        except ConnectionError:
            self.models, self.digests, self._is_up = (), {}, False
            return ProviderHealth(False, f"no Ollama answers at {self.url}")
        except (httpx.HTTPError, ollama.ResponseError, ValueError, TimeoutError):
            detail = f"what answers at {self.url} is no Ollama, or one in trouble"
            return ProviderHealth(False, detail, self.models)
        self._is_up = True
        self.digests = {
            model.model: model.digest or ""
            for model in listed
            if model.model and not is_cloud_model(model.model)
        }
        order = {name: place for place, name in enumerate(self.models)}
        self.models = tuple(
            sorted(self.digests, key=lambda name: (order.get(name, len(order)), name))
        )
        detail = f"Ollama at {self.url} has {len(self.models)} models"
        return ProviderHealth(True, detail, self.models)

    async def embed(self, request: ChatRequest) -> ChatAnswer:
        """The embeddings of the texts; see `provider.Embedder`. `raw` is what Ollama wrote."""
        self._check(request)
        path, body = body_for_ollama(request)
        notes: tuple[str, ...] = ()
        async with self._limit.slot(self.name, request.model) as queued:
            whole = LEGACY not in request.extra and "truncate" not in request.extra
            first = body | {"truncate": False} if whole else body
            status, raw, retry_after = await self._post(path, first)
            if whole and status == 400 and "exceeds" in error_text(raw):
                notes = (
                    "a text was longer than the model's context: Ollama left a part of it out",
                )
                status, raw, retry_after = await self._post(path, body | {"truncate": True})
        if status != 200:
            failure = decode_error(self.name, status, raw, retry_after)
            failure.status = status
            raise failure
        usage, timings = TokenUsage(embedding_tokens(self.name, raw)), ProviderTimings(queued)
        return ChatAnswer("", request.model, usage, timings=timings, notes=notes, raw=raw)

    async def forward(
        self, method: str, path: str, body: AsyncIterator[bytes] | bytes | None
    ) -> ForwardedResponse:
        """Passes a request on as it is; the response's iterator must be read to its end or closed.

        Raises:
            Unavailable: no Ollama answers.
        """
        try:
            response = await self._session.request(
                method, self.url + path, data=body, headers=_headers(), allow_redirects=False
            )
        except aiohttp.ClientError as error:
            raise self._lost(error) from None
        kind = response.headers.get("Content-Type", "")
        return ForwardedResponse(response.status, kind, _passed_on(response))

    async def close(self) -> None:
        """Closes every connection."""
        if "_session" in self.__dict__:
            await self._session.close()
        if "_client" in self.__dict__:
            await self._client.close()

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            read_bufsize=_MAX_LINE,
            auto_decompress=False,
        )

    @cached_property
    def _client(self) -> Any:
        import ollama

        return ollama.AsyncClient(
            self.url, follow_redirects=False, trust_env=False, headers=loop_headers()
        )

    def _check(self, request: ChatRequest) -> None:
        """Refuses requests without a model, and models of Ollama's cloud."""
        if is_cloud_model(request.model):
            place = "runs at ollama.com, not on this machine: ask it without the gateway"
            reason = f"'{request.model}' {place}"
            raise BadRequest(self.name, reason)
        if not request.model:
            state = (
                "has no model; run: ollama pull mistral:7b" if self._is_up else "does not answer"
            )
            raise Unavailable(self.name, f"the Ollama at {self.url} {state}")

    async def _post(self, path: str, body: dict[str, Any]) -> tuple[int, bytes, str | None]:
        async with self._posted(path, body) as response:
            return response.status, await response.read(), response.headers.get("Retry-After")

    @asynccontextmanager
    async def _posted(
        self, path: str, body: dict[str, Any]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.post(
                self.url + path, data=orjson.dumps(body), headers=_headers(), allow_redirects=False
            ) as response:
                yield response
        except aiohttp.ClientError as error:
            raise self._lost(error) from None

    async def _read(
        self, response: aiohttp.ClientResponse, decoder: AnswerDecoder
    ) -> AsyncIterator[AnswerChunk]:
        try:
            async for line in response.content:
                if line := line.strip():
                    chunk = decoder.read(line)
                    yield chunk
                    if chunk.answer:
                        return
        except (aiohttp.ClientError, ValueError) as error:
            raise decoder.broken(f"the connection broke: {error}") from None
        raise decoder.unfinished()

    def _lost(self, error: aiohttp.ClientError) -> GatewayError:
        unsent = isinstance(error, aiohttp.ClientConnectionError)
        if unsent and not isinstance(error, aiohttp.ServerDisconnectedError):
            return Unavailable(self.name, f"no Ollama answers at {self.url}")
        reason = f"the connection to {self.url} broke: {error or type(error).__name__}"
        return Unavailable(self.name, reason, charged=True)


def _headers() -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        **loop_headers(),
    }


async def _passed_on(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async with response:
            async for piece in response.content.iter_any():
                yield piece
    except aiohttp.ClientError as error:
        reason = f"the connection broke: {error or type(error).__name__}"
        raise Unavailable("ollama", reason) from None


def is_cloud_model(model: str) -> bool:
    """Whether a name is that of a model at ollama.com: its tag is `cloud`, or ends with
    `-cloud`."""
    tag = model.rpartition(":")[2]
    return ":" in model and (tag == "cloud" or tag.endswith("-cloud"))
