"""A streamed answer whose first piece has come. However it ends, it is recorded once.

No other provider is asked from here on: what has been sent cannot be taken back.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

from stock_llm.gateway.accounting.request_context import RequestAccounting, RequestContext
from stock_llm.gateway.chat import AnswerChunk
from stock_llm.gateway.errors import Cut, GatewayError
from stock_llm.gateway.query import ProviderChoice, RequestStatus, RequestTrace
from stock_llm.gateway.routing.circuit_breaker import CircuitBreaker

STALLED_SECONDS = 30.0
"""A caller who takes no piece for so long loses the answer: it holds a slot that others wait
for."""

_log = logging.getLogger(__name__)


class AnswerStream:
    """To be iterated once, and closed when the caller has gone.

    Iterating raises `Cut` when the stream breaks. `served` is there after the last piece.

    Args:
        pieces: the provider's, of which `first` was taken.
        timeout: seconds that the next piece may take.
        stalled: seconds that the caller may take for a piece.
    """

    def __init__(
        self,
        accounting: RequestAccounting,
        context: RequestContext,
        breaker: CircuitBreaker,
        pieces: AsyncIterator[AnswerChunk],
        first: AnswerChunk,
        timeout: float,
        stalled: float = STALLED_SECONDS,
    ):
        self._accounting, self.context = accounting, context
        self._breaker, self._permit = breaker, breaker.permit
        self._pieces, self._timeout, self._stalled_seconds = pieces, timeout, stalled
        self._next_chunk: AnswerChunk | None = first
        self._streamed = 0
        self._has_ended = self._has_stalled = False
        self._stall_timer: asyncio.TimerHandle | None = None
        self._stall_task: asyncio.Task[None] | None = None
        self._began = accounting.seconds() - context.provider_seconds
        self.first_piece_seconds = accounting.seconds() - context.began
        """From the request to the first piece, failed tries included."""
        context.first_seconds = self.first_piece_seconds
        self.served: RequestTrace | None = None

    @property
    def choice(self) -> ProviderChoice:
        """The provider that answers."""
        return self.context.attempts[-1].choice

    def __aiter__(self) -> "AnswerStream":
        return self

    async def __anext__(self) -> AnswerChunk:
        self._stop_timer()
        if self._has_stalled:
            reason = f"the caller took no piece for {self._stalled_seconds:g} s"
            raise Cut(self.choice.provider, reason, charged=True)
        if self._has_ended:
            raise StopAsyncIteration
        try:
            chunk, self._next_chunk = self._next_chunk or await self._next(), None
        except BaseException as error:
            await self._end("cut" if isinstance(error, Cut) else "cancelled")
            raise
        self._streamed += len(chunk.text.encode(errors="replace"))
        if chunk.answer:
            self._has_ended = True
            self._measure()
            self.served = self._accounting.finish(self.context, chunk.answer)
            await close(self._pieces)
        else:
            loop = asyncio.get_running_loop()
            self._stall_timer = loop.call_later(self._stalled_seconds, self._stall)
        return chunk

    async def aclose(self) -> None:
        """Stops the generation if it is not over; the record then says "cancelled"."""
        self._stop_timer()
        if self._stall_task:
            await self._stall_task
        if not self._has_ended:
            await self._end("cancelled")

    def _stall(self) -> None:
        """Ends the answer of a caller who does not read."""
        if not self._has_ended:
            self._has_stalled = True
            self._stall_task = asyncio.get_running_loop().create_task(self._end("cancelled"))

    def _stop_timer(self) -> None:
        if self._stall_timer:
            self._stall_timer.cancel()
            self._stall_timer = None

    async def _next(self) -> AnswerChunk:
        name = self.choice.provider
        try:
            async with asyncio.timeout(self._timeout):
                return await anext(self._pieces)
        except TimeoutError:
            reason = f"no further piece within {self._timeout:g} s"
            raise Cut(name, reason, charged=True) from None
        except StopAsyncIteration:
            raise Cut(name, "the stream stopped before its end", charged=True) from None
        except Cut:
            raise
        except GatewayError as failure:
            raise Cut(name, failure.reason, charged=True) from None
        except Exception as error:
            _log.exception("internal error in the provider %s", name)
            reason = f"internal gateway error: {error!r}"[:300]
            raise Cut(name, reason, charged=True) from None

    async def _end(self, status: RequestStatus) -> None:
        self._has_ended = True
        self._measure()
        self.context.path[-1] = f"{self.choice.provider}: {status}"
        if status == "cut":
            failure = Cut(self.choice.provider, "")
            self._breaker.fail(self._permit, failure, self._accounting.seconds())
        self._accounting.give_up(self.context, status, self._streamed)
        await close(self._pieces)

    def _measure(self) -> None:
        context = self.context
        context.provider_seconds = self._accounting.seconds() - self._began
        last = context.attempts[-1]
        context.attempts[-1] = replace(last, seconds=context.provider_seconds)


async def close(pieces: AsyncIterator[AnswerChunk]) -> None:
    """Stops a provider's generation, where it can be stopped."""
    if isinstance(pieces, AsyncGenerator):
        await pieces.aclose()
