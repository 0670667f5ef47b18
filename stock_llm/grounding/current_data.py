"""Keeps the user's own numbers current in a server: loads them off the event loop, and again when a
file has changed.

Until the files were read for the first time, only questions that may need them wait for it.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from stock_llm.errors import InputError, StockLLMError
from stock_llm.grounding.questions import may_name_ledger, read_question
from stock_llm.truth.blocks import ComputedBlock

if TYPE_CHECKING:  # brings NumPy and Arrow
    from stock_llm.grounding.own_data import OwnData

CHECK_SECONDS = 2.0
"""How long the files are taken to be unchanged."""

FIRST_WAIT, RELOAD_WAIT = 30.0, 5.0
"""Seconds that a question waits for the first reading of the files, and for a later one; the
numbers from before are used then."""

_CAPITALS = re.compile(r"\$[A-Za-z]|\b[A-Z][A-Z0-9]+\b")

_log = logging.getLogger(__name__)


class CurrentData:
    """The numbers of the files as they are now.

    Args:
        load: reads the files; called in a thread.
        state: a value that changes when a file does; None where there is nothing to read. Called in
            a thread.
    """

    def __init__(self, load: Callable[[], "OwnData"], state: Callable[[], Hashable | None]):
        self._load, self._state = load, state
        self._data: OwnData | None = None
        self._traded: frozenset[str] = frozenset()
        """Symbols that were traded by the files at any time since the start."""
        self._known: Hashable | None = None
        self._problem = ""
        self._has_files = True  # until a look says otherwise
        self._checked_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def block_for(self, question: str) -> ComputedBlock | None:
        """The numbers that a question needs; None where it names nothing of the user's.

        Raises:
            InputError: it names something that cannot be computed; the message says why.
        """
        if self._data is not None and read_question(question, self._data.symbols) is None:
            self.refresh()
            return None
        if self._data is not None or self._may_need(question):
            await self.wait(FIRST_WAIT if self._data is None else RELOAD_WAIT)
        if self._data is None:
            if self._problem and may_name_ledger(question):
                raise InputError(self._problem)
            return None
        return self._data.block_for(question)

    def holds_ledger(self, question: str) -> bool:
        """Whether the numbers that a question gets, or once got, may be in part from the ledger:
        those of any question until the files are read, and of what was traded by any files since
        the start. Waits for nothing."""
        if may_name_ledger(question):
            return True
        if self._data is None and self._has_files:
            return True
        symbols = self._traded | (self._data.symbols if self._data else frozenset())
        named = read_question(question, symbols) if self._traded else None
        return named is not None and (named.about != "stock" or named.symbol in self._traded)

    @property
    def data(self) -> "OwnData | None":
        """The numbers as they were last read."""
        return self._data

    @property
    def problem(self) -> str:
        """Why the files could not be read; empty where they could, or were not yet."""
        return self._problem

    async def wait(self, seconds: float = FIRST_WAIT) -> "OwnData | None":
        """The numbers, once the files that changed are read or the time is over; None where there
        are none."""
        if task := self.refresh():
            await asyncio.wait({task}, timeout=seconds)
        return self._data

    def refresh(self) -> "asyncio.Task[None] | None":
        """Begins to look for changes if the last look is too long ago; returns what is under
        way."""
        if self._task is None and time.monotonic() - self._checked_at >= CHECK_SECONDS:
            self._task = asyncio.get_running_loop().create_task(self._refresh())
        return self._task

    async def close(self) -> None:
        """Ends what is under way; a thread that reads ends by itself."""
        if self._task:
            self._task.cancel()

    def _may_need(self, question: str) -> bool:
        """Whether a question may name something, while nobody knows yet what there is."""
        return bool(_CAPITALS.search(question)) or may_name_ledger(question)

    async def _refresh(self) -> None:
        try:
            state = await asyncio.to_thread(self._state)
            self._has_files = bool(state)
            if state == self._known:
                return
            data, problem = await asyncio.to_thread(self._read) if state else (None, "")
            if data is not None:  # first: other threads ask what was traded of the newest numbers
                self._traded |= data.traded
            self._data, self._problem = data, problem
            self._known = state
        except Exception:  # a chat is answered without numbers
            _log.exception("the numbers of questions cannot be computed")
        finally:
            self._checked_at, self._task = time.monotonic(), None

    def _read(self) -> "tuple[OwnData | None, str]":
        try:
            data = self._load()
            data.prepare()
        except StockLLMError as error:
            _log.warning("questions get no computed numbers: %s", error)
            return None, str(error)
        return data, ""
