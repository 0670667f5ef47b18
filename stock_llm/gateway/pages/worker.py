"""Runs the project's functions in a process of their own, one after the other.

Reading a ledger or a model registry imports hundreds of megabytes and keeps a core busy for
seconds. In the gateway's process that would stop every stream, so it happens in another one, with a
lower priority, which the first page that needs it starts and an idle time ends.
"""

import asyncio
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any, TypeVar

from stock_llm.gateway.errors import Unavailable

T = TypeVar("T")

IDLE_SECONDS = 300.0
"""After so long without a question the process ends."""

_NICENESS = 5


class ProjectWorker:
    """The process; it is there while it is used."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS):
        self._idle_seconds = idle_seconds
        self._pool: ProcessPoolExecutor | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._running = 0

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """The result of a function of the project.

        Raises:
            StockLLMError: what the function raises.
            Unavailable: the process ended before the function did.
        """
        if self._timer:
            self._timer.cancel()
        self._running += 1
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                1, mp_context=context, initializer=_prepare, initargs=(os.getpid(),)
            )
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = None
            text = "the process that reads the project ended; try again"
            raise Unavailable("gateway", text) from None
        finally:
            self._running -= 1
            if not self._running:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._idle_seconds, self._end)

    async def close(self) -> None:
        """Ends the process; what it does now is finished first."""
        if self._timer:
            self._timer.cancel()
        if pool := self._pool:
            self._pool = None
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)

    def _end(self) -> None:
        if self._pool:
            self._pool.shutdown(wait=False)
            self._pool = None


def _prepare(parent: int) -> None:
    """Runs first in the process."""
    threading.Thread(target=_end_with, args=[parent], daemon=True).start()
    with suppress(OSError):
        os.nice(_NICENESS)


def _end_with(parent: int) -> None:
    """Ends this process when its parent was killed, which could not end it."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)
