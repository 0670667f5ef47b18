"""A provider whose models may call the gateway's own read-only tools.

It runs the calls itself, within bounds, and passes on what the model says after them.

Offered only to models that the settings name, and not where a request brings tools of its own or
wants JSON. Text that comes before a call is passed on in a stream; the call itself is not.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from stock_llm.gateway.chat import AnswerChunk, ChatAnswer, ChatMessage, ChatRequest, TokenUsage
from stock_llm.gateway.config import ToolBox
from stock_llm.gateway.errors import TimedOut, Unavailable
from stock_llm.gateway.providers.ollama_codec import GENERATE
from stock_llm.gateway.providers.provider import Billing, Provider, ProviderHealth
from stock_llm.truth.blocks import LedgerSharing

MAX_CALLS = 8
"""Calls of one round; further ones are told that they were not made."""

_SHOWN_NAME = 40
"""Characters of a tool's name that people are shown."""
_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """Bounds of the calls for one answer.

    Attributes:
        rounds: how often a model may call before it must answer.
        seconds: from the question to the answer.
        bytes: of all results together.
    """

    rounds: int
    seconds: float
    bytes: int


class ToolCallingProvider:
    """A provider with tools.

    Args:
        models: patterns of the models that may call.
        sharing: what of the ledger results may hold.
        prepare: makes a result ready to go to the provider.
    """

    def __init__(
        self,
        provider: Provider,
        models: Sequence[str],
        tools: ToolBox,
        limits: ToolLimits,
        sharing: LedgerSharing,
        prepare: Callable[[str], Awaitable[str]],
    ):
        self._provider, self._patterns, self._tools = provider, tuple(models), tools
        self._limits, self._sharing, self._prepare = limits, sharing, prepare

    @property
    def name(self) -> str:
        """The provider's own."""
        return self._provider.name

    @property
    def kind(self) -> Billing:
        """The provider's own."""
        return self._provider.kind

    @property
    def local(self) -> bool:
        """The provider's own."""
        return self._provider.local

    @property
    def capabilities(self) -> frozenset[str]:
        """The provider's own."""
        return self._provider.capabilities

    @property
    def models(self) -> tuple[str, ...]:
        """The provider's own."""
        return self._provider.models

    async def health(self) -> ProviderHealth:
        """The provider's own."""
        return await self._provider.health()

    async def embed(self, request: ChatRequest) -> ChatAnswer:
        """The provider's own; see `provider.Embedder`."""
        answer: ChatAnswer = await self._provider.embed(request)  # type: ignore[attr-defined]
        return answer

    def most(self, request: ChatRequest) -> tuple[int, int]:
        """How many calls of the provider an answer can take, and how many bytes its prompt can
        grow by."""
        if not self._offers(request):
            return 1, 0
        definitions = len(repr(self._tools.definitions(self._sharing)))
        return self._limits.rounds + 1, definitions + self._limits.bytes + 4096

    async def answer(self, request: ChatRequest) -> ChatAnswer:
        """The whole answer; see `provider.Provider`."""
        if not self._offers(request):
            return await self._provider.answer(request)
        turn = self._begin(request)
        while True:
            async with self._in_time(turn):
                answer = turn.add(await self._provider.answer(turn.request()))
                if not (calls := turn.calls(answer)):
                    return turn.finish(answer, self.name)
                await self._run(turn, answer, calls)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[AnswerChunk, None]:
        """The answer in pieces; see `provider.Provider`."""
        if not self._offers(request):
            async for chunk in (pieces := self._provider.stream(request)):
                yield chunk
            await _close(pieces)
            return
        turn = self._begin(request)
        while True:
            last: AnswerChunk | None = None
            pieces = self._provider.stream(turn.request())
            try:
                async for chunk in pieces:
                    self._check_time(turn)
                    if chunk.answer:
                        last = chunk
                    elif "tool_calls" not in chunk.message:
                        yield chunk
                    elif chunk.text:
                        yield AnswerChunk(chunk.text)
            finally:
                await _close(pieces)
            if last is None or last.answer is None:
                raise Unavailable(self.name, "the stream has no end", charged=True)
            answer = turn.add(last.answer)
            if not (calls := turn.calls(answer)):
                yield replace(last, answer=turn.finish(answer, self.name))
                return
            async with self._in_time(turn):
                await self._run(turn, answer, calls)

    async def close(self) -> None:
        """Closes the provider."""
        await self._provider.close()  # type: ignore[attr-defined]

    def _offers(self, request: ChatRequest) -> bool:
        """Whether the model of a request may call tools in it."""
        return (
            any(fnmatchcase(request.model, pattern) for pattern in self._patterns)
            and request.format is None
            and not request.extra.get("tools")
            and GENERATE not in request.extra
        )

    def _begin(self, request: ChatRequest) -> "_Turn":
        sharing: LedgerSharing = self._sharing if request.owner else "nothing"
        definitions = [
            {
                "type": "function",
                "function": {
                    "name": each.name,
                    "description": each.description,
                    "parameters": each.parameters,
                },
            }
            for each in self._tools.definitions(sharing)
        ]
        return _Turn(request, definitions, self._limits, sharing)

    async def _run(self, turn: "_Turn", answer: ChatAnswer, calls: Sequence[Any]) -> None:
        """Makes the calls of a round and puts their results below the conversation."""
        turn.messages.append(
            ChatMessage("assistant", answer.text, {"tool_calls": [_plain(call) for call in calls]})
        )
        for number, call in enumerate(calls):
            name = str(call["function"]["name"])
            if number >= MAX_CALLS:
                result = f'{{"error": "not called: {MAX_CALLS} calls at once are made at most"}}'
            else:
                arguments = call["function"].get("arguments") or {}
                result = await self._tools.call(name, arguments, turn.sharing)
                turn.called.append(_shown(name))
            result = turn.fitted(await self._prepare(result))
            extra = {"tool_name": name} | ({"tool_call_id": call["id"]} if call.get("id") else {})
            turn.messages.append(ChatMessage("tool", result, extra))

    def _in_time(self, turn: "_Turn") -> "_InTime":
        return _InTime(self.name, turn.until, self._limits.seconds)

    def _check_time(self, turn: "_Turn") -> None:
        if time.monotonic() > turn.until:
            raise _too_late(self.name, self._limits.seconds)


def _shown(name: str) -> str:
    """A tool's name for people; a model may have made up any text."""
    return _NO_NAME.sub("?", name[:_SHOWN_NAME]) + "…" * (len(name) > _SHOWN_NAME)


@dataclass
class _Turn:
    """One answer with its rounds."""

    question: ChatRequest
    definitions: list[dict[str, Any]]
    limits: ToolLimits
    sharing: LedgerSharing
    messages: list[ChatMessage] = field(default_factory=list)
    called: list[str] = field(default_factory=list)
    usage: TokenUsage = field(default_factory=TokenUsage)
    dollars: Decimal | None = None
    rounds: int = 0
    bytes: int = 0

    def __post_init__(self) -> None:
        self.until = time.monotonic() + self.limits.seconds

    def request(self) -> ChatRequest:
        """The next request; in the last round the model has to answer."""
        extra: Mapping[str, Any] = {**self.question.extra, "tools": self.definitions}
        if self.rounds >= self.limits.rounds:
            extra = {**extra, "tool_choice": "none"}
        messages = (*self.question.messages, *self.messages)
        return replace(self.question, messages=messages, extra=extra)

    def add(self, answer: ChatAnswer) -> ChatAnswer:
        """Counts what a round took."""
        self.usage = TokenUsage(
            **{
                each.name: getattr(self.usage, each.name) + getattr(answer.usage, each.name)
                for each in fields(TokenUsage)
            }
        )
        if answer.dollars is not None:
            self.dollars = (self.dollars or Decimal(0)) + answer.dollars
        self.rounds += 1
        return answer

    def calls(self, answer: ChatAnswer) -> list[Any]:
        """The calls that an answer makes and that may still be made."""
        if self.rounds > self.limits.rounds:
            return []
        return list(answer.message.get("tool_calls") or ())

    def finish(self, answer: ChatAnswer, provider: str) -> ChatAnswer:
        """The answer with what all rounds took.

        Raises:
            Unavailable: the model only calls and says nothing.
        """
        if self.rounds == 1:
            return answer
        if not answer.text.strip():
            reason = f"the model called tools {self.limits.rounds} times and gave no answer"
            raise Unavailable(provider, reason, charged=True)
        message = {name: value for name, value in answer.message.items() if name != "tool_calls"}
        return replace(
            answer,
            usage=self.usage,
            dollars=self.dollars,
            message=message,
            finish="stop" if answer.finish == "tool_calls" else answer.finish,
            notes=(*answer.notes, f"tools called: {', '.join(self.called)}"),
            raw=b"",
        )

    def fitted(self, result: str) -> str:
        """A result, unless there is no room for it any more."""
        size = len(result.encode(errors="replace"))
        if self.bytes + size > self.limits.bytes:
            return '{"error": "not told: the results of this answer are too long together"}'
        self.bytes += size
        return result


class _InTime:
    """A block that ends with `TimedOut` when the time for the answer is over."""

    def __init__(self, provider: str, until: float, seconds: float):
        self._provider, self._seconds = provider, seconds
        self._timeout = asyncio.timeout(max(0.0, until - time.monotonic()))

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        try:
            await self._timeout.__aexit__(*error)
        except TimeoutError:
            raise _too_late(self._provider, self._seconds) from None


def _too_late(provider: str, seconds: float) -> TimedOut:
    return TimedOut(provider, f"no answer after {seconds:g} s of tool calls", charged=True)


def _plain(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call as a conversation holds it."""
    return {name: call[name] for name in ("id", "function") if name in call}


async def _close(pieces: AsyncIterator[AnswerChunk]) -> None:
    if isinstance(pieces, AsyncGenerator):
        await pieces.aclose()
