"""How much work reaches a backend at once, and how much may wait for it.

In: a provider and the name of a model. Out: a turn, after a wait in order of arrival, or a refusal that says when to come back.
Several models of one machine share one limit and never work side by side: two small ones generating at once on two cores were
over sixty times slower than one after the other, because each spins on all cores. Does not know what is done during a turn.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar

from stock_llm.gateway.errors import Busy

_SMOOTHING = 0.2
"""Weight of the newest turn in the average length of a turn."""

_WAITS: ContextVar[Callable[[bool], object]] = ContextVar("waits", default=bool)
"""What a call tells when it begins to wait for its turn (True), and when it has it (False): whoever counts its time listens."""


class ConcurrencyLimit:
    """Turns at a backend. For one event loop.

    Args:
        parallel: turns at once; all of one model of one provider.
        queue: how many may wait for a turn.
    """

    def __init__(self, parallel: int, queue: int):
        self._parallel, self._queue = parallel, queue
        self._running, self._model = 0, ("", "")
        self._waiting: deque[tuple[tuple[str, str], asyncio.Future[None]]] = deque()
        self._seconds = 1.0

    @property
    def running(self) -> int:
        """Turns taken now."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many wait for a turn."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self, provider: str, model: str = "") -> AsyncIterator[float]:
        """One turn; gives the seconds that it was waited for.

        Raises:
            Busy: too many wait already; `retry_after` is an estimate from how long turns took.
        """
        asked, wanted = time.perf_counter(), (provider, model)
        if self._waiting or not self._fits(wanted):
            _WAITS.get()(True)
            await self._wait(wanted)
            _WAITS.get()(False)
        else:
            self._running, self._model = self._running + 1, wanted
        began = time.perf_counter()
        try:
            yield began - asked
        finally:
            self._seconds += _SMOOTHING * (time.perf_counter() - began - self._seconds)
            self._release()

    def _fits(self, wanted: tuple[str, str]) -> bool:
        return self._running == 0 or (self._running < self._parallel and self._model == wanted)

    async def _wait(self, wanted: tuple[str, str]) -> None:
        if len(self._waiting) >= self._queue:
            seconds = max(1.0, self._seconds * (len(self._waiting) + 1) / self._parallel)
            raise Busy(
                wanted[0],
                f"{len(self._waiting)} requests are waiting already",
                retry_after=round(seconds),
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given in the same instant: pass it on
                self._release()
            else:
                with suppress(
                    ValueError
                ):  # others who left in the same instant have passed it over already
                    self._waiting.remove((wanted, turn))
                self._admit()
            raise

    def _release(self) -> None:
        self._running -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            wanted, turn = self._waiting.popleft()
            if turn.done():  # whoever waited has gone, and only has not been told yet
                continue
            self._running, self._model = self._running + 1, wanted
            turn.set_result(None)


class SlotTimeout:
    """The time that one provider has for one try. It begins anew when a call that waited for its turn has it."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._deadline: asyncio.Timeout | None = None
        self.waits = False

    @asynccontextmanager
    async def time(self) -> AsyncIterator[None]:
        """The time of the try.

        Raises:
            TimeoutError: it is over; `waits` says whether it went by before there was a turn.
        """
        told = _WAITS.set(self._told)
        try:
            async with asyncio.timeout(self._seconds) as self._deadline:
                yield
        finally:
            _WAITS.reset(told)

    def _told(self, waits: bool) -> None:
        self.waits = waits
        if not waits and self._deadline:
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._seconds)
