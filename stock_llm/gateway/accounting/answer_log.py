"""Keeps questions with their answers for a while on this machine, and signs response ids.

A piece of feedback names a response id; the signature shows that this gateway issued it, and the
log holds the question and answer that it is about, so that it can be trained on. It lies in the
gateway's database, beside the costs. Writing is done in batches, off the event loop. Signatures are
itsdangerous' (HMAC with a key outside the project).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from itsdangerous import BadSignature, Signer

from stock_llm.errors import StoreError
from stock_llm.gateway.accounting.tables import META, SCHEMA, storable
from stock_llm.storage.database import exclusive_transaction, open_database, read_transaction

_TEXTS = (
    "feature",
    "skill",
    "language",
    "symbol",
    "as_of",
    "instruction",
    "input",
    "response",
    "provider",
    "model",
)
ANSWER = sa.Table("answer", META, *(sa.Column(name, sa.Text) for name in ("id", "at", *_TEXTS)))

_SALT = "stock-llm.gateway.response"
_WRITE_SECONDS = 0.5
"""Seconds for which answers gather before they are written."""

_MAX_WAITING = 10_000
"""Answers that wait for the database; beyond that the oldest are dropped."""

_MAX_CHARACTERS = 100_000
"""Characters of a question with its answer; longer ones are not kept."""

_FOR_EVER = 36_500
"""Most days that answers are kept: so many that a date can still be computed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """A question with its answer.

    Attributes:
        id: of the response, without its signature.
        skill, symbol, as_of, instruction, input: as in a training row (`skills/row.py`); skill
            is empty for a free question.
        response: the answer's text.
        provider, model: of the answer.
    """

    id: str
    at: datetime
    feature: str
    skill: str
    language: str
    symbol: str
    as_of: str
    instruction: str
    input: str
    response: str
    provider: str
    model: str


class AnswerLog:
    """The store behind one SQLAlchemy URL.

    Args:
        url: absolute; the gateway's database.
        key: with which ids are signed.
        days: how long an answer is kept; 0: nothing is kept, and ids are signed all the same.

    Raises:
        InputError: the URL cannot be used.
        StoreError: the database cannot be used.
    """

    def __init__(self, url: str, key: bytes, days: float):
        self._signer = Signer(key, salt=_SALT)
        self._age = timedelta(days=min(days, _FOR_EVER))
        self._engine = open_database(url, SCHEMA)
        self._new: deque[AnswerRecord] = deque(maxlen=_MAX_WAITING)
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._forget_at = datetime.min.replace(tzinfo=UTC)

    def sign(self, id: str) -> str:
        """The signed id that callers get."""
        return self._signer.sign(id).decode()

    def unsign(self, response_id: str) -> str | None:
        """The id in a signed one; None where this gateway did not sign it."""
        try:
            return self._signer.unsign(response_id).decode()
        except (BadSignature, UnicodeError):
            return None

    def add(self, record: AnswerRecord) -> None:
        """Adds an answer, unless it is too long to be trained on; it is written half a second
        later."""
        size = len(record.instruction) + len(record.input) + len(record.response)
        if self._age and size <= _MAX_CHARACTERS:
            self._new.append(record)
            if self._task is None or self._task.done():
                self._task = asyncio.get_running_loop().create_task(self._write_later())

    async def find(self, id: str) -> AnswerRecord | None:
        """The question and answer of an id; None where the log does not hold them.

        Raises:
            StoreError: the database refuses.
        """
        await self._write()
        return await asyncio.to_thread(self._read, id)

    async def flush(self) -> None:
        """Writes what waits now.

        Raises:
            StoreError: the database refuses.
        """
        await self._write()

    async def close(self) -> None:
        """Writes what waits.

        Raises:
            StoreError: the database refuses.
        """
        if self._task:
            self._task.cancel()
        await self._write()
        self._engine.dispose()

    async def _write_later(self) -> None:
        while self._new:
            await asyncio.sleep(_WRITE_SECONDS)
            try:
                await self._write()
            except StoreError as error:
                _log.error("answers are not written: %s", error)

    async def _write(self) -> None:
        async with self._writing:
            new = [self._new.popleft() for _ in range(len(self._new))]
            if not new:
                return
            try:
                await asyncio.to_thread(self._insert, new)
            except StoreError:
                self._new.extendleft(reversed(new))
                raise

    def _insert(self, new: list[AnswerRecord]) -> None:
        now = datetime.now(UTC)
        with exclusive_transaction(self._engine, SCHEMA) as connection:
            connection.execute(sa.insert(ANSWER), [_row(record) for record in new])
            if now >= self._forget_at:
                connection.execute(sa.delete(ANSWER).where(ANSWER.c.at < _text(now - self._age)))
                self._forget_at = now + timedelta(hours=1)

    def _read(self, id: str) -> AnswerRecord | None:
        # an old answer is deleted up to an hour late
        young = ANSWER.c.at >= _text(datetime.now(UTC) - self._age)
        chosen = sa.select(*(ANSWER.c[each.name] for each in fields(AnswerRecord))).where(
            ANSWER.c.id == id, young
        )
        with read_transaction(self._engine, SCHEMA) as connection:
            row: Mapping[str, str] | None = connection.execute(chosen).mappings().one_or_none()  # type: ignore[assignment]
        return AnswerRecord(**{**row, "at": datetime.fromisoformat(row["at"])}) if row else None  # type: ignore[arg-type]


def _row(record: AnswerRecord) -> dict[str, str]:
    values = asdict(record) | {"at": _text(record.at)}
    return {name: storable(value) for name, value in values.items()}


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")
