"""One request from the middleware to its answer: cache, router, metrics, and the answer log for
feedback.

In: a `ChatRequest`, a `Query` for the router, and what feedback would be about. Out: an answer, or
a stream of pieces, with its metadata. All APIs that the gateway speaks share it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from starlette.requests import Request

from stock_llm.gateway.accounting.answer_log import AnswerLog, AnswerRecord
from stock_llm.gateway.accounting.ledger_answers import LedgerAnswers
from stock_llm.gateway.accounting.metrics import GatewayMetrics
from stock_llm.gateway.api import chat_tasks
from stock_llm.gateway.api.grounding import Grounder
from stock_llm.gateway.api.response_cache import ResponseCache
from stock_llm.gateway.api.response_metadata import ResponseMetadata
from stock_llm.gateway.chat import (
    AnswerChunk,
    ChatAnswer,
    ChatRequest,
    StreamRepair,
    TokenUsage,
)
from stock_llm.gateway.errors import GatewayError
from stock_llm.gateway.query import ProviderChoice, Query, RequestTrace, RoutingDecision
from stock_llm.gateway.routing.fallback import FallbackRouter
from stock_llm.gateway.routing.stream import AnswerStream


@dataclass(frozen=True, slots=True)
class FeedbackSubject:
    """What feedback on the answer would be about; names as in `feedback.item.FeedbackItem`.

    Attributes:
        as_taught: turns an answer into the format that models are trained on, where it was asked
            for in another one.
    """

    instruction: str
    input: str = ""
    skill: str = ""
    symbol: str = ""
    as_of: str = ""
    as_taught: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class ChatResult:
    """A whole answer with its metadata."""

    answer: ChatAnswer
    metadata: ResponseMetadata


class RequestHandler:
    """Answers the requests of every API.

    Args:
        cache: of answers to requests that ask for determinism.
        grounder: adds the user's own numbers to questions; None: they stay as they are.
        owner_names: users who are the owner of this machine.
        ledger_answers: remembers what was answered from the ledger; None: nothing does.
    """

    def __init__(
        self,
        router: FallbackRouter,
        answers: AnswerLog,
        metrics: GatewayMetrics,
        cache: ResponseCache,
        grounder: Grounder | None = None,
        owner_names: Collection[str] = (),
        ledger_answers: LedgerAnswers | None = None,
    ):
        self.grounder = grounder or Grounder(None, "off", repairs=False)
        self._owner_names = frozenset(owner_names)
        self.router, self.answers, self.metrics = router, answers, metrics
        self.shutting_down = False
        self._running: set[Callable[[], object]] = set()
        self._cache, self._ledger_answers = cache, ledger_answers

    async def answer(
        self, request: ChatRequest, query: Query, subject: FeedbackSubject
    ) -> ChatResult:
        """The whole answer.

        Raises:
            GatewayError: nobody answered; it says why.
        """
        if done := self._answer_task(request, query):
            return done
        key = self._cache.key(request, query)
        if key and (answer := self._cached(key)):
            metadata = self._repeat(request, query, answer, subject)
            assert metadata.trace
            return ChatResult(metadata.trace.answer, metadata)
        trace = await self._count(self.router.answer(request, query))
        self.recall(request, trace.answer.text)
        self._remember(key, trace)
        return ChatResult(trace.answer, self._finish(trace, subject))

    async def open(
        self, request: ChatRequest, query: Query, subject: FeedbackSubject
    ) -> "StreamResult":
        """The answer in pieces, as soon as the first one is there.

        Raises:
            GatewayError: nobody answered; it says why.
        """
        if done := self._answer_task(request, query):
            return StreamResult(self, None, subject, None, done.metadata, done.answer)
        key = self._cache.key(request, query)
        if key and (answer := self._cached(key)):
            metadata = self._repeat(request, query, answer, subject)
            assert metadata.trace
            return StreamResult(self, None, subject, key, metadata, metadata.trace.answer)
        self.metrics.in_flight.inc()
        try:
            stream = await self.router.open(request, query)
        except BaseException as failure:
            self.metrics.in_flight.dec()
            if isinstance(failure, GatewayError):
                self.metrics.failed(type(failure).__name__)
            raise
        context = stream.context
        assert context.decision is not None
        metadata = ResponseMetadata(
            self.answers.sign(context.id),
            context.decision,
            stream.choice,
            context.attempts,
            context.passed_over,
            grounding=context.request.grounding,
        )
        repair = request.reviewer.repair() if request.reviewer else None
        return StreamResult(self, stream, subject, key, metadata, repair=repair, request=request)

    def recall(self, request: ChatRequest, text: str) -> None:
        """Lets an answer, whole or broken off, be recognised if it tells something of the
        ledger."""
        if self._ledger_answers is not None:
            self._ledger_answers.add(request, text)

    def is_owner(self, caller: Request) -> bool:
        """Whether a request is the owner's: it comes with no token of another user."""
        if not (user := caller.state.user):
            return True
        from stock_llm.feedback.item import user_name

        return user_name(user) in self._owner_names

    async def embed(self, request: ChatRequest, query: Query) -> ChatResult:
        """Embeddings of texts; nothing is kept for feedback.

        Raises:
            GatewayError: nobody answered; it says why.
        """
        trace = await self._count(self.router.embed(request, query))
        return ChatResult(trace.answer, self._measure(trace))

    def clear_cache(self) -> None:
        """Empties the cache, because a model's name means another model now."""
        self._cache.clear()

    def end_streams(self) -> None:
        """Ends every stream under way with an error line, because the server shuts down."""
        self.shutting_down = True
        for cancel in tuple(self._running):
            cancel()

    @contextmanager
    def track(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Registers the way to end a stream while it runs."""
        self._running.add(cancel)
        try:
            yield
        finally:
            self._running.discard(cancel)

    def _answer_task(self, request: ChatRequest, query: Query) -> ChatResult | None:
        """The answer by rule to a chat program's own task; it is neither recorded nor counted."""
        if query.feature != chat_tasks.FEATURE:
            return None
        text = chat_tasks.answer_by_rule(request)
        if text is None:
            return None
        choice = ProviderChoice("gateway", request.model)
        decision = RoutingDecision(
            choice, "a chat program's own task is answered by rule", self.router.policy.name
        )
        response_id = self.answers.sign("chat-task")
        metadata = ResponseMetadata(response_id, decision, choice, ())
        return ChatResult(ChatAnswer(text, request.model, TokenUsage()), metadata)

    def _cached(self, key: bytes) -> ChatAnswer | None:
        answer = self._cache.get(key)
        self.metrics.cache(answer is not None)
        return answer

    def _remember(self, key: bytes | None, trace: RequestTrace) -> None:
        if key and not trace.fell_back:
            self._cache.add(key, trace.generated or trace.answer)

    async def _count(self, work: Awaitable[RequestTrace]) -> RequestTrace:
        with self.metrics.in_flight.track_inprogress():
            try:
                return await work
            except GatewayError as failure:
                self.metrics.failed(type(failure).__name__)
                raise

    def _finish(
        self, trace: RequestTrace, subject: FeedbackSubject, first: float | None = None
    ) -> ResponseMetadata:
        """Measures a finished request and logs its answer; `first`: seconds to the first piece."""
        metadata = self._measure(trace, first)
        self._log(trace, subject)
        return metadata

    def _measure(self, trace: RequestTrace, first: float | None = None) -> ResponseMetadata:
        self.metrics.answered(trace, first)
        return ResponseMetadata(
            self.answers.sign(trace.id),
            trace.decision,
            trace.choice,
            trace.attempts,
            trace.skipped,
            trace,
            grounding=trace.grounding,
        )

    def _repeat(
        self, request: ChatRequest, query: Query, answer: ChatAnswer, subject: FeedbackSubject
    ) -> ResponseMetadata:
        trace = self.router.record_cached(request, query, answer)
        self._log(trace, subject)
        return ResponseMetadata(
            self.answers.sign(trace.id),
            trace.decision,
            trace.choice,
            (),
            (),
            trace,
            cached=True,
            grounding=trace.grounding,
        )

    def _log(self, trace: RequestTrace, subject: FeedbackSubject) -> None:
        answer, query = trace.answer, trace.query
        if query.feature == chat_tasks.FEATURE:
            return
        self.answers.add(
            AnswerRecord(
                id=trace.id,
                at=datetime.now(UTC),
                feature=query.feature,
                skill=subject.skill,
                language=query.language,
                symbol=subject.symbol,
                as_of=subject.as_of,
                instruction=subject.instruction,
                input=subject.input,
                response=subject.as_taught(answer.text),
                provider=trace.choice.provider,
                model=answer.model,
            )
        )


class StreamResult:
    """A stream with its metadata, which is complete after the last piece. Must be closed.

    Args:
        stream: the provider's; None where the whole `answer` is there already.
        repair: replaces false sentences; None where the text stays as generated.
        request: what a stream answers; None where the whole answer is there already.
    """

    def __init__(
        self,
        handler: RequestHandler,
        stream: AnswerStream | None,
        subject: FeedbackSubject,
        key: bytes | None,
        metadata: ResponseMetadata,
        answer: ChatAnswer | None = None,
        repair: StreamRepair | None = None,
        request: ChatRequest | None = None,
    ):
        self._repair, self._request = repair, request
        self._sent: list[str] = []
        self.handler, self._stream, self._subject, self._key = handler, stream, subject, key
        self.metadata, self._answer = metadata, answer

    async def __aiter__(self) -> AsyncIterator[AnswerChunk]:
        """
        Raises:
            GatewayError: the answer broke off.
        """
        if self._answer is not None:
            yield AnswerChunk(self._answer.text, message=self._answer.message)
            yield AnswerChunk("", self._answer, raw=self._answer.raw)
            return
        assert self._stream is not None
        try:
            async for chunk in self._stream:
                if chunk.answer and (trace := self._stream.served):
                    self.handler._remember(self._key, trace)
                    self.metadata = self.handler._finish(
                        trace, self._subject, self._stream.first_piece_seconds
                    )
                    chunk = replace(chunk, answer=trace.answer)
                for piece in self._repaired(chunk):
                    self._sent.append(piece.text)
                    yield piece
        except GatewayError as failure:
            self.handler.metrics.failed(type(failure).__name__)
            raise

    def _repaired(self, chunk: AnswerChunk) -> Iterator[AnswerChunk]:
        """The chunk, its sentences held back until they are complete and replaced where they are
        false."""
        if self._repair is None:
            yield chunk
            return
        text = self._repair.feed(chunk.text) + (self._repair.finish() if chunk.answer else "")
        if text == chunk.text:
            yield chunk
        elif chunk.answer:
            yield AnswerChunk(text, message=chunk.message)
            yield replace(chunk, text="", message={}, raw=b"" if chunk.text else chunk.raw)
        elif text or chunk.message:
            yield AnswerChunk(text, message=chunk.message)

    async def close(self) -> None:
        """Ends it; an answer that is still coming is stopped."""
        if self._stream:
            self.handler.metrics.in_flight.dec()
            stream, self._stream = self._stream, None
            if self._request:
                self.handler.recall(self._request, "".join(self._sent))
            await stream.aclose()
