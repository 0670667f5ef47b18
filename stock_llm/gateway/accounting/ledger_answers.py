"""Remembers what was answered from the ledger, so that it is recognised when a chat program sends
it back.

Chat programs cut their histories: an answer comes back without the question that it was about. So
the digests of each answer that may tell something of the ledger are kept, of the whole and of its
lines, and with them those of every later answer in such a conversation, which may repeat it. They
are made with a key outside the project, tell nothing without the text itself, and are kept without
end, since a conversation may go on after years. They lie in the gateway's database.
"""

import asyncio
import hashlib
import logging
import re
import threading
import unicodedata
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from stock_llm.gateway.accounting.tables import META, SCHEMA
from stock_llm.gateway.chat import ChatMessage, ChatRequest
from stock_llm.storage.database import exclusive_transaction, open_database, read_transaction
from stock_llm.truth.blocks import has_ledger

LEDGER_ANSWER = sa.Table("ledger_answer", META, sa.Column("digest", sa.BigInteger))

_WRITE_SECONDS = 0.25
"""Seconds for which answers gather before they are written."""

_LONGEST_PAUSE = 60
"""Seconds between two attempts while the database refuses."""

_MAX_WAITING = 10_000
"""Answers that wait for the database; beyond that the oldest are dropped."""

_MOST_CHARACTERS = 50_000_000
"""Characters of answers, and of what they answer, that wait on after the database refused."""

_SHORTEST = 16
"""Letters and digits of a line that says enough to be recognised by itself, if one is a digit."""

_DIGITS = 3
"""Digits of a line that says enough, however short it is."""

_AT_ONCE = 500
"""Digests that one query looks for."""

_NO_WORD = re.compile(r"[\W_]+")
_DIGIT = re.compile(r"\d")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Answered:
    """An answer, and what it was an answer to."""

    messages: tuple[ChatMessage, ...]
    text: str

    @property
    def size(self) -> int:
        """Characters."""
        return len(self.text) + sum(len(each.content) for each in self.messages)


class LedgerAnswers:
    """The digests behind one SQLAlchemy URL.

    Args:
        url: absolute; the gateway's database.
        key: of the digests.
        tells_ledger: whether the answer to a question may hold something of the ledger.

    Raises:
        InputError: the URL cannot be used.
        StoreError: the database cannot be used.
    """

    def __init__(self, url: str, key: bytes, tells_ledger: Callable[[str], bool]):
        self._engine = open_database(url, SCHEMA)
        self._key, self._tells_ledger = key[:64], tells_ledger
        self._new: deque[_Answered] = deque(maxlen=_MAX_WAITING)
        self._lock = threading.Lock()
        self._task: asyncio.Task[None] | None = None

    def add(self, request: ChatRequest, answer: str) -> None:
        """Remembers an answer if it may tell something of the ledger; that is found out, and
        written, a quarter of a second later, or when somebody asks before."""
        if not answer.strip():
            return
        bare = tuple(ChatMessage(each.role, each.content) for each in request.messages)
        self._new.append(_Answered(bare, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write_later())

    def known(self, texts: Iterable[str]) -> frozenset[int]:
        """The digests, of these texts and of their lines, that are those of answers from the
        ledger. Reads the database; knows no event loop.

        Raises:
            StoreError: the database refuses.
        """
        wanted = {digest for text in texts for digest in self._digests(text)}
        with self._lock:  # also without anything to look for: a write may be under way
            if not wanted and not self._new:
                return frozenset()
            self._write()
            return frozenset(self._find(wanted))

    def is_among(self, text: str, known: Collection[int]) -> bool:
        """Whether a text, or a line of it, is one of those."""
        return any(digest in known for digest in self._digests(text))

    def without(self, text: str, known: Collection[int]) -> str:
        """The text without the lines that are among those; empty where it is one of those as a
        whole."""
        if not self.is_among(text, known):
            return text
        if self._of_whole(text) in known:
            return ""
        return "\n".join(line for line in text.split("\n") if self._of_line(line) not in known)

    async def close(self) -> None:
        """Writes what waits.

        Raises:
            StoreError: the database refuses.
        """
        if self._task:
            self._task.cancel()
        await asyncio.to_thread(self.known, ())
        self._engine.dispose()

    async def _write_later(self) -> None:
        pause = _WRITE_SECONDS
        while self._new:
            await asyncio.sleep(pause)
            try:
                await asyncio.to_thread(self.known, ())
            except Exception as error:
                if pause == _WRITE_SECONDS:
                    _log.error("what was answered from the ledger is not written yet: %s", error)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause = _WRITE_SECONDS

    def _write(self) -> None:
        """Writes what waits; the lock is held."""
        new = [self._new.popleft() for _ in range(len(self._new))]
        found: set[int] = set()
        try:
            for each in new:
                if self._uses_ledger(each, found):
                    found |= self._of_answer(each)
            if missing := found - self._find(found):
                with exclusive_transaction(self._engine, SCHEMA, "ledger_answer") as connection:
                    missing -= _select(connection, missing)  # another gateway's
                    if missing:
                        rows = [{"digest": digest} for digest in missing]
                        connection.execute(sa.insert(LEDGER_ANSWER), rows)
        except BaseException:
            self._wait_again(new)
            raise

    def _wait_again(self, answers: list[_Answered]) -> None:
        """Puts answers back before those that came since; the oldest are dropped where there is no
        room."""
        left = _MOST_CHARACTERS - sum(each.size for each in self._new)
        for each in reversed(answers):
            left -= each.size
            if left < 0 or len(self._new) >= _MAX_WAITING:
                break
            self._new.appendleft(each)

    def _uses_ledger(self, answered: _Answered, found: Collection[int]) -> bool:
        """Whether an answer may tell something of the ledger: by a question of its conversation, by
        a line of a block that stands in any of its messages, or by an earlier answer there."""
        asked = (each.content for each in answered.messages if each.role == "user")
        if any(map(self._tells_ledger, asked)):
            return True
        if any(has_ledger(each.content) for each in answered.messages):
            return True
        if len(answered.messages) == 1 and "\n" not in answered.messages[0].content:
            return False
        earlier = {digest for each in answered.messages for digest in self._digests(each.content)}
        return not earlier.isdisjoint(found) or bool(self._find(earlier))

    def _of_answer(self, answered: _Answered) -> set[int]:
        """What an answer is recognised by: not by lines that it copies from its question, of which
        those from the ledger are recognised anyway."""
        asked = {
            self._of_line(line)
            for each in answered.messages
            if each.role == "user"
            for line in each.content.split("\n")
        }
        return self._digests(answered.text) - asked

    def _digests(self, text: str) -> set[int]:
        lines = {self._of_line(line) for line in text.split("\n")}
        return (lines | {self._of_whole(text)}) - {0}

    def _of_whole(self, text: str) -> int:
        """The digest of a whole text; 0 for one that says too little."""
        whole = _NO_WORD.sub("", _folded(text))
        says = len(whole) >= _SHORTEST or _DIGIT.search(whole)
        return self._digest(f"whole {whole}") if says else 0

    def _of_line(self, line: str) -> int:
        """The digest of a line; 0 for one that says too little."""
        plain = _NO_WORD.sub("", _folded(line))
        needed = 1 if len(plain) >= _SHORTEST else _DIGITS
        return self._digest(plain) if len(_DIGIT.findall(plain)) >= needed else 0

    def _digest(self, text: str) -> int:
        digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=8, key=self._key)
        return int.from_bytes(digest.digest(), signed=True)

    def _find(self, digests: Collection[int]) -> set[int]:
        """Those of the digests that are kept."""
        if not digests:
            return set()
        with read_transaction(self._engine, SCHEMA) as connection:
            return _select(connection, digests)


def _select(connection: sa.Connection, digests: Collection[int]) -> set[int]:
    found: set[int] = set()
    wanted = list(digests)
    for start in range(0, len(wanted), _AT_ONCE):
        some = LEDGER_ANSWER.c.digest.in_(wanted[start : start + _AT_ONCE])
        chosen = sa.select(LEDGER_ANSWER.c.digest).where(some)
        found.update(connection.execute(chosen).scalars())
    return found


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
