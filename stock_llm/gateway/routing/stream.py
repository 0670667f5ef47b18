"""A streamed answer whose first piece has come: pieces out, one record at the end, however it ends.

Does not know who was asked before this provider, and never asks another one: what has gone out cannot be taken back.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

from stock_llm.gateway.accounting.request_context import RequestAccounting, RequestContext
from stock_llm.gateway.chat import AnswerChunk
from stock_llm.gateway.errors import Cut, FailureReason, GatewayError
from stock_llm.gateway.query import (
    ProviderAttempt,
    ProviderChoice,
    RequestStatus,
    RequestTrace,
    RoutingDecision,
)
from stock_llm.gateway.routing.circuit_breaker import CircuitBreaker

_log = logging.getLogger(__name__)


class AnswerStream:
    """To be iterated once, and closed when the caller has gone.

    Iterating raises `Cut` when the stream breaks. `served` is there after the last piece.

    Args:
        pieces: the provider's, of which `first` was taken.
        timeout: seconds that the next piece may take.
    """

    def __init__(
        self,
        books: RequestAccounting,
        run: RequestContext,
        breaker: CircuitBreaker,
        pieces: AsyncIterator[AnswerChunk],
        first: AnswerChunk,
        timeout: float,
    ):
        self._books, self._run, self._breaker, self._ticket = books, run, breaker, breaker.ticket
        self._pieces, self._timeout = pieces, timeout
        self._waiting: AnswerChunk | None = first
        self._streamed = 0
        self._ended = False
        self._began = books.seconds() - run.provider_seconds
        self.first_piece_seconds = books.seconds() - run.began
        """From the request to the first piece, failed tries included."""
        self.served: RequestTrace | None = None

    @property
    def id(self) -> str:
        """Of the record and of the response."""
        return self._run.id

    @property
    def decision(self) -> RoutingDecision:
        """Who was to be asked, and why."""
        assert self._run.decision is not None
        return self._run.decision

    @property
    def attempts(self) -> tuple[ProviderAttempt, ...]:
        """The last one answers."""
        return tuple(self._run.attempts)

    @property
    def skipped(self) -> tuple[FailureReason, ...]:
        """Providers that were not asked when it was their turn."""
        return tuple(self._run.passed_over)

    @property
    def choice(self) -> ProviderChoice:
        """Who answers."""
        return self._run.attempts[-1].choice

    def __aiter__(self) -> "AnswerStream":
        return self

    async def __anext__(self) -> AnswerChunk:
        if self._ended:
            raise StopAsyncIteration
        try:
            chunk, self._waiting = self._waiting or await self._next(), None
        except BaseException as error:
            await self._end(_status(error))
            raise
        self._streamed += len(chunk.text.encode())
        if chunk.answer:
            self._ended = True
            self._time()
            self.served = self._books.serve(self._run, chunk.answer)
            await close(self._pieces)
        return chunk

    async def aclose(self) -> None:
        """Stops the generation if it is not over; the record then says "cancelled"."""
        if not self._ended:
            await self._end("cancelled")

    async def _next(self) -> AnswerChunk:
        name = self.choice.provider
        try:
            async with asyncio.timeout(self._timeout):
                return await anext(self._pieces)
        except TimeoutError:
            raise Cut(name, f"no further piece within {self._timeout:g} s", charged=True) from None
        except StopAsyncIteration:
            raise Cut(name, "the stream stopped before its end", charged=True) from None
        except Cut:
            raise
        except GatewayError as failure:
            raise Cut(name, failure.reason, charged=True) from None
        except Exception as error:
            _log.exception("%s failed in a way that it should not", name)
            raise Cut(name, f"a fault in the gateway: {error!r}"[:300], charged=True) from None

    async def _end(self, status: RequestStatus) -> None:
        self._ended = True
        self._time()
        self._run.path[-1] = f"{self.choice.provider}: {status}"
        if status == "cut":
            self._breaker.failed(self._ticket, Cut(self.choice.provider, ""), self._books.seconds())
        self._books.give_up(self._run, status, self._streamed)
        await close(self._pieces)

    def _time(self) -> None:
        self._run.provider_seconds = self._books.seconds() - self._began
        self._run.attempts[-1] = replace(self._run.attempts[-1], seconds=self._run.provider_seconds)


def _status(error: BaseException) -> RequestStatus:
    return "cut" if isinstance(error, Cut) else "cancelled"


async def close(pieces: AsyncIterator[AnswerChunk]) -> None:
    """Stops a provider's generation, where it can be stopped."""
    if isinstance(pieces, AsyncGenerator):
        await pieces.aclose()
