"""One request from the door to its answer: the cache, the gateway, the metrics, and what is kept for feedback.

In: a request in our nouns, a query for the router, and what feedback would be about. Out: an answer, or pieces of one, with their
story. The same for every API that the gateway speaks. Does not know which one that is.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from cachetools import TTLCache
from starlette.types import Receive

from stock_llm.gateway.accounting.answer_log import AnswerLog, AnswerRecord
from stock_llm.gateway.accounting.metrics import GatewayMetrics
from stock_llm.gateway.api.response_metadata import ResponseMetadata
from stock_llm.gateway.chat import AnswerChunk, ChatAnswer, ChatRequest
from stock_llm.gateway.errors import GatewayError
from stock_llm.gateway.query import Query, RequestTrace
from stock_llm.gateway.routing.fallback import AnswerStream, FallbackRouter

T = TypeVar("T")

_ENTRY = 1024
"""Bytes of a cached answer beside its text."""


class ClientDisconnect(Exception):
    """The caller hung up; what was under way for them has been stopped."""


@dataclass(frozen=True, slots=True)
class FeedbackSubject:
    """What a piece of feedback on the answer would be about; names as in `feedback_item.FeedbackItem`.

    Attributes:
        as_taught: an answer's text as a model is taught to write it, where that is not how it was asked for.
    """

    instruction: str
    input: str = ""
    skill: str = ""
    symbol: str = ""
    as_of: str = ""
    as_taught: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class ChatResult:
    """A whole answer with its story."""

    answer: ChatAnswer
    story: ResponseMetadata


class RequestHandler:
    """Where every API brings its requests.

    Args:
        cache_bytes: room for answers to requests that ask for determinism; 0: none.
        cache_seconds: how long such an answer is given again.
    """

    def __init__(
        self,
        gateway: FallbackRouter,
        kept: AnswerLog,
        metrics: GatewayMetrics,
        cache_bytes: int,
        cache_seconds: float,
    ):
        self.gateway, self.kept, self.metrics = gateway, kept, metrics
        self._cache: TTLCache[bytes, ChatAnswer] | None = (
            TTLCache(cache_bytes, cache_seconds, getsizeof=_size) if cache_bytes else None
        )

    async def answer(
        self, request: ChatRequest, query: Query, about: FeedbackSubject
    ) -> ChatResult:
        """The whole answer.

        Raises:
            GatewayFailure: nobody answered; it says why.
        """
        key = self._key(request, query)
        if key and (answer := self._look(key)):
            story = self._again(request, query, answer, about)
            return ChatResult(answer, story)
        served = await self._counted(self.gateway.answer(request, query))
        self._remember(key, served)
        return ChatResult(served.answer, self._told(served, about))

    async def open(
        self, request: ChatRequest, query: Query, about: FeedbackSubject
    ) -> "StreamResult":
        """The answer in pieces, as soon as the first one is there.

        Raises:
            GatewayFailure: nobody answered; it says why.
        """
        key = self._key(request, query)
        if key and (answer := self._look(key)):
            return StreamResult(self, None, about, key, self._again(request, query, answer, about))
        self.metrics.in_flight.inc()
        try:
            stream = await self.gateway.open(request, query)
        except BaseException as failure:
            self.metrics.in_flight.dec()
            if isinstance(failure, GatewayError):
                self.metrics.failed(type(failure).__name__)
            raise
        story = ResponseMetadata(
            self.kept.sign(stream.id),
            stream.decision,
            stream.choice,
            stream.attempts,
            stream.skipped,
        )
        return StreamResult(self, stream, about, key, story)

    async def embed(self, request: ChatRequest, query: Query) -> ChatResult:
        """Vectors of texts. There is nothing to say about them, so nothing is kept for feedback.

        Raises:
            GatewayFailure: nobody answered; it says why.
        """
        served = await self._counted(self.gateway.embed(request, query))
        return ChatResult(served.answer, self._story(served))

    def forget(self) -> None:
        """Empties the cache: a model's name means another model now."""
        if self._cache is not None:
            self._cache.clear()

    def _key(self, request: ChatRequest, query: Query) -> bytes | None:
        """What makes two requests the same; None where they do not ask for the same answer."""
        seed = request.options.seed
        if self._cache is None or (
            request.options.temperature != 0 and (seed is None or seed < 0)
        ):  # below 0: another each time
            return None
        extra = {name: value for name, value in request.extra.items() if name != "keep_alive"}
        asked = (
            request.messages,
            request.model,
            request.options,
            request.format,
            request.stream,
            extra,
        )
        scores = (
            query.type,
            query.complexity,
            query.urgency,
            query.privacy,
            query.model,
            sorted(query.needs),
        )
        return hashlib.sha256(
            orjson.dumps((asked, scores), option=orjson.OPT_SORT_KEYS, default=dict)
        ).digest()

    def _look(self, key: bytes) -> ChatAnswer | None:
        found = self._cache.get(key) if self._cache is not None else None
        self.metrics.cache(found is not None)
        return found

    def _remember(self, key: bytes | None, served: RequestTrace) -> None:
        if (
            key
            and self._cache is not None
            and not served.fell_back
            and _size(served.answer) <= self._cache.maxsize
        ):
            self._cache[key] = served.answer

    async def _counted(self, work: Awaitable[RequestTrace]) -> RequestTrace:
        with self.metrics.in_flight.track_inprogress():
            try:
                return await work
            except GatewayError as failure:
                self.metrics.failed(type(failure).__name__)
                raise

    def _told(
        self, served: RequestTrace, about: FeedbackSubject, first: float | None = None
    ) -> ResponseMetadata:
        story = self._story(served, first)
        self._keep(served.id, served, about)
        return story

    def _story(self, served: RequestTrace, first: float | None = None) -> ResponseMetadata:
        self.metrics.answered(served, first)
        return ResponseMetadata(
            self.kept.sign(served.id),
            served.decision,
            served.choice,
            served.attempts,
            served.skipped,
            served,
        )

    def _again(
        self, request: ChatRequest, query: Query, answer: ChatAnswer, about: FeedbackSubject
    ) -> ResponseMetadata:
        served = self.gateway.record_cached(request, query, answer)
        self._keep(served.id, served, about)
        return ResponseMetadata(
            self.kept.sign(served.id), served.decision, served.choice, (), (), served, cached=True
        )

    def _keep(self, id: str, served: RequestTrace, about: FeedbackSubject) -> None:
        answer, query = served.answer, served.query
        self.kept.add(
            AnswerRecord(
                id, datetime.now(UTC), query.feature, about.skill, query.language, about.symbol, about.as_of, about.instruction,
                about.input, about.as_taught(answer.text), served.choice.provider, answer.model,
            )
        )  # fmt: skip


class StreamResult:
    """A stream with its story, which is whole after the last piece. Must be closed."""

    def __init__(
        self,
        desk: RequestHandler,
        stream: AnswerStream | None,
        about: FeedbackSubject,
        key: bytes | None,
        story: ResponseMetadata,
    ):
        self._desk, self._stream, self._about, self._key = desk, stream, about, key
        self.story = story

    async def __aiter__(self) -> AsyncIterator[AnswerChunk]:
        """
        Raises:
            GatewayFailure: the answer broke off.
        """
        if self._stream is None:
            assert self.story.served
            answer = self.story.served.answer
            yield AnswerChunk(answer.text, message=answer.message)
            yield AnswerChunk("", answer, raw=answer.raw)
            return
        try:
            async for chunk in self._stream:
                if chunk.answer and (served := self._stream.served):
                    self._desk._remember(self._key, served)
                    self.story = self._desk._told(
                        served, self._about, self._stream.first_piece_seconds
                    )
                yield chunk
        except GatewayError as failure:
            self._desk.metrics.failed(type(failure).__name__)
            raise

    async def close(self) -> None:
        """Ends it; an answer that is still coming is stopped."""
        if self._stream:
            self._desk.metrics.in_flight.dec()
            stream, self._stream = self._stream, None
            await stream.aclose()


async def cancel_on_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives; it is stopped as soon as the caller has hung up.

    Args:
        receive: of the request, whose body must have been read.

    Raises:
        Gone: the caller hung up.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(wait_for_disconnect(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))


async def wait_for_disconnect(receive: Receive) -> None:
    """Waits until the caller has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _size(answer: ChatAnswer) -> int:
    return _ENTRY + 4 * len(answer.text) + len(answer.raw)
