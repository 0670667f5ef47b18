"""How much work reaches a backend at once, and how much may wait for it.

In: the name of a model. Out: a turn, after a wait in order of arrival, or a refusal that says when to come back. Several models
of one machine share one limit and never work side by side: two small ones generating at once on two cores were over sixty
times slower than one after the other, because each spins on all cores. Does not know what is done during a turn.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stock_llm.gateway.failures import Busy

_SMOOTHING = 0.2
"""Weight of the newest turn in the average length of a turn."""


class Limit:
    """Turns at a backend. For one event loop.

    Args:
        parallel: turns at once; all of one model.
        queue: how many may wait for a turn.
    """

    def __init__(self, parallel: int, queue: int):
        self._parallel, self._queue = parallel, queue
        self._running, self._model = 0, ""
        self._waiting: deque[tuple[str, asyncio.Future[None]]] = deque()
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
        asked = time.perf_counter()
        if self._waiting or not self._fits(model):
            await self._wait(provider, model)
        else:
            self._running, self._model = self._running + 1, model
        began = time.perf_counter()
        try:
            yield began - asked
        finally:
            self._seconds += _SMOOTHING * (time.perf_counter() - began - self._seconds)
            self._release()

    def _fits(self, model: str) -> bool:
        return self._running == 0 or (self._running < self._parallel and self._model == model)

    async def _wait(self, provider: str, model: str) -> None:
        if len(self._waiting) >= self._queue:
            seconds = max(1.0, self._seconds * (len(self._waiting) + 1) / self._parallel)
            raise Busy(provider, f"{len(self._waiting)} requests are waiting already", retry_after=round(seconds))
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((model, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given in the same instant: pass it on
                self._release()
            else:
                self._waiting.remove((model, turn))
                self._admit()
            raise

    def _release(self) -> None:
        self._running -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            model, turn = self._waiting.popleft()
            self._running, self._model = self._running + 1, model
            turn.set_result(None)
