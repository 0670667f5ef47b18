"""Small providers whose every call comes to what a test says: answers, failures, hangs, cuts."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from decimal import Decimal

from stock_llm.gateway.chat import AnswerChunk, ChatAnswer, ChatMessage, ChatRequest, TokenUsage
from stock_llm.gateway.errors import Cut, GatewayError
from stock_llm.gateway.providers.provider import Billing, ProviderHealth

HANG = "hang"
CUT = "cut"


def asked(text: str = "hello", **given) -> ChatRequest:
    return ChatRequest((ChatMessage("user", text),), "auto", **given)


class Scripted:
    """Each call takes the next of `outcomes`: a text to answer, a failure to raise, `HANG`, or `CUT` after the first piece."""

    def __init__(
        self,
        name: str,
        outcomes: Iterable[str | GatewayError],
        kind: Billing = "free",
        models: tuple[str, ...] = ("m:latest",),
        usage: TokenUsage | None = None,
        dollars: Decimal | None = None,
    ):
        self.name, self.kind, self.local, self.models = name, kind, kind == "free", models
        self.capabilities = frozenset({"stream"})
        self._outcomes: Iterator[str | GatewayError] = iter(outcomes)
        self._usage, self._dollars = usage or TokenUsage(100, 50), dollars
        self.asked: list[ChatRequest] = []
        self.stopped = 0

    async def answer(self, request: ChatRequest) -> ChatAnswer:
        return self._answer(await self._outcome(request))

    async def stream(self, request: ChatRequest) -> AsyncIterator[AnswerChunk]:
        text = await self._outcome(request)
        try:
            for piece in text.split(" ") if text != CUT else ["half"]:
                yield AnswerChunk(piece)
            if text == CUT:
                raise Cut(self.name, "the connection broke", charged=True)
            yield AnswerChunk("", self._answer(text))
        except GeneratorExit:
            self.stopped += 1
            raise

    async def health(self) -> ProviderHealth:
        return ProviderHealth(True)

    async def _outcome(self, request: ChatRequest) -> str:
        self.asked.append(request)
        outcome = next(self._outcomes)
        if isinstance(outcome, GatewayError):
            raise outcome
        if outcome == HANG:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.stopped += 1
                raise
        return outcome

    def _answer(self, text: str) -> ChatAnswer:
        return ChatAnswer(text, self.models[0], self._usage, dollars=self._dollars)
