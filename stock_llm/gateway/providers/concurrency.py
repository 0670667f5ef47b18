"""Limits how much work reaches a backend at once, and how much may wait for it.

Several models of one machine share one limit and never work side by side: two small ones generating
at once on two cores were over sixty times slower than one after the other, because each spins on
all cores.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar

from stock_llm.gateway.errors import Busy

_SMOOTHING = 0.2
"""Weight of the newest slot in the average time that a slot is held."""

_ON_QUEUED: ContextVar[Callable[[bool], object]] = ContextVar("on_queued", default=bool)
"""Callback that pauses the timeout while a call is queued: True when it starts to wait, False when
it has its slot."""


class ConcurrencyLimit:
    """The slots of a backend. For one event loop.

    Args:
        parallel: slots held at once; all for one model of one provider.
        queue: how many calls may wait for a slot.
    """

    def __init__(self, parallel: int, queue: int):
        self._parallel, self._queue = parallel, queue
        self._running, self._model = 0, ("", "")
        self._waiting: deque[tuple[tuple[str, str], asyncio.Future[None]]] = deque()
        self._seconds = 1.0

    @property
    def running(self) -> int:
        """Slots held now."""
        return self._running

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return len(self._waiting)

    @asynccontextmanager
    async def slot(self, provider: str, model: str = "") -> AsyncIterator[float]:
        """Holds a slot; gives the seconds that it was waited for. First come, first served.

        Raises:
            Busy: too many calls wait already; `retry_after` is an estimate from how long slots were
                held.
        """
        start, wanted = time.perf_counter(), (provider, model)
        if self._waiting or not self._fits(wanted):
            _ON_QUEUED.get()(True)
            await self._wait(wanted)
            _ON_QUEUED.get()(False)
        else:
            self._running, self._model = self._running + 1, wanted
        began = time.perf_counter()
        try:
            yield began - start
        finally:
            self._seconds += _SMOOTHING * (time.perf_counter() - began - self._seconds)
            self._release()

    def _fits(self, wanted: tuple[str, str]) -> bool:
        return self._running == 0 or (self._running < self._parallel and self._model == wanted)

    async def _wait(self, wanted: tuple[str, str]) -> None:
        if len(self._waiting) >= self._queue:
            seconds = max(1.0, self._seconds * (len(self._waiting) + 1) / self._parallel)
            reason = f"{len(self._waiting)} requests are waiting already"
            raise Busy(wanted[0], reason, retry_after=round(seconds))
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, slot))
        try:
            await slot
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled():  # given in the same instant: pass it on
                self._release()
            else:
                with suppress(ValueError):  # passed over already, by others who left just now
                    self._waiting.remove((wanted, slot))
                self._admit()
            raise

    def _release(self) -> None:
        self._running -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            wanted, slot = self._waiting.popleft()
            if slot.done():  # the call was cancelled, and has not run since
                continue
            self._running, self._model = self._running + 1, wanted
            slot.set_result(None)


class SlotTimeout:
    """The timeout of one try at one provider; it starts again when a call that was queued has its
    slot."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._deadline: asyncio.Timeout | None = None
        self.is_queued = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The time of the try.

        Raises:
            TimeoutError: it is over; `is_queued` says whether there was no slot until then.
        """
        token = _ON_QUEUED.set(self._set_queued)
        try:
            async with asyncio.timeout(self._seconds) as self._deadline:
                yield
        finally:
            _ON_QUEUED.reset(token)

    def _set_queued(self, is_queued: bool) -> None:
        self.is_queued = is_queued
        if not is_queued and self._deadline:
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._seconds)
