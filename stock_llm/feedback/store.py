"""The store of what people said about answers, and which of it a judged model has learnt from.

In: items, from the gateway or a JSON Lines file. Out: items in order of time, how many are unused, a digest that changes when
something new is in. SQLite (WAL) by default, PostgreSQL by URL; the schema is migrated on opening. An item is used once it was
in the dataset of a candidate that was judged promote or keep; a rejected or crashed one gives its items back. Free text is
kept as given. What was forgotten is gone, and stays out when it is brought again. Does not know what a model learns from an item.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from stock_llm.errors import InputError
from stock_llm.feedback.item import FeedbackItem, read_line
from stock_llm.feedback.tables import BATCH, BATCH_ITEM, FEEDBACK, FORGOTTEN, SCHEMA, writing
from stock_llm.storage.checksums import digest_of
from stock_llm.storage.database import open_database

if TYPE_CHECKING:
    from stock_llm.storage.quarantine import QuarantinedRow

SAMPLE_SOURCE = "sample"
"""The source of the committed, fictional items: they count only while the sample's trades are used."""

USING_VERDICTS = ("promote", "keep")
"""Verdicts that make the items of a batch used; every other gives them back."""

LEASE = timedelta(hours=6)
"""How long a batch keeps its items from being counted again when its training dies without a word."""

_BIND = 900
"""Values in one IN (…): SQLite may have been built for 999."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class AddCounts:
    """How many of the items were new to the store, how many it had already, and how many are to stay forgotten."""

    new: int
    known: int
    forgotten: int = 0


@dataclass(frozen=True)
class FeedbackImport:
    """What a file brought: lines read = new + known + forgotten + rejected."""

    new: int
    known: int
    rejected: "list[QuarantinedRow]"
    forgotten: int = 0


ForgettableKind = Literal["feedback", "trade", "account"]


@dataclass(frozen=True)
class ForgottenMarks:
    """What must be left out of everything that is made from now on.

    Attributes:
        feedback, trade: ids, as the store and the ledger have them.
        account: salted hashes, as the ledger has them.
    """

    feedback: frozenset[str] = frozenset()
    trade: frozenset[str] = frozenset()
    account: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.feedback or self.trade or self.account)

    @property
    def digest(self) -> str:
        """16 hex digits over trades and accounts; items are gone from the store and change its watermark."""
        return digest_of(trade=sorted(self.trade), account=sorted(self.account))


class FeedbackStore:
    """The store behind one SQLAlchemy URL; opening it makes or migrates its tables.

    Args:
        url: absolute, as `settings.url(settings.feedback_url)` gives it.
        clock: the time now, with a time zone.

    Raises:
        InputError: the URL or the database cannot be used.
    """

    def __init__(self, url: str, clock: Callable[[], datetime] = _now):
        self._clock = clock
        self._engine = open_database(url, SCHEMA)

    def add(self, items: Iterable[FeedbackItem]) -> AddCounts:
        """Puts items in, all or none; one that is there already is left as it is.

        Raises:
            InputError: an id is there with other content; it names the id.
        """
        given = list(items)
        with writing(self._engine) as connection:
            sorted_out = _sort_out(connection, given)
            for item, case in zip(given, sorted_out, strict=True):
                if case == "conflict":
                    raise InputError(
                        f"the feedback store has another item with the id '{item.id}'",
                        remedy="Give the new one its own id",
                    )
            _insert(connection, given, sorted_out)
        return AddCounts(
            sorted_out.count("new"), sorted_out.count("known"), sorted_out.count("forgotten")
        )

    def import_jsonl(self, path: Path, name: str = "") -> FeedbackImport:
        """Puts the lines of a JSON Lines file in, in one transaction; lines that cannot be are handed back with the reason.

        Args:
            name: what the file is called in the rejected rows; by default its path.

        Raises:
            InputError: the file is empty or not UTF-8, or more than half of its lines are bad: nothing was put in.
        """
        from stock_llm.storage.quarantine import QuarantinedRow, refuse_if_mostly_bad
        from stock_llm.tabular.text import read_text

        lines = [
            (row, line)
            for row, line in enumerate(read_text(path, strict=True).split("\n"), start=1)
            if line.strip()
        ]
        rejected: list[QuarantinedRow] = []
        places: list[tuple[int, str]] = []
        items: list[FeedbackItem] = []
        for row, line in lines:
            try:
                items.append(read_line(line))
                places.append((row, line))
            except ValueError as error:
                rejected.append(
                    QuarantinedRow("feedback", name or str(path), row, str(error), line)
                )
        with writing(self._engine) as connection:
            sorted_out = _sort_out(connection, items)
            for item, case, (row, line) in zip(items, sorted_out, places, strict=True):
                if case == "conflict":
                    reason = f"another item has the id '{item.id}'"
                    rejected.append(
                        QuarantinedRow("feedback", name or str(path), row, reason, line)
                    )
            refuse_if_mostly_bad(rejected, len(lines), path)
            _insert(connection, items, sorted_out)
        return FeedbackImport(
            sorted_out.count("new"),
            sorted_out.count("known"),
            rejected,
            sorted_out.count("forgotten"),
        )

    def all(self, sample: bool) -> list[FeedbackItem]:
        """Every item, oldest first; those of the sample only if `sample`."""
        columns = [FEEDBACK.c[item.name] for item in fields(FeedbackItem)]
        chosen = (
            sa.select(*columns)
            .where(_counts(sample))
            .order_by(FEEDBACK.c.created_at, FEEDBACK.c.id)
        )
        with self._engine.connect() as connection:
            return [
                FeedbackItem.from_json(dict(row)) for row in connection.execute(chosen).mappings()
            ]

    def watermark(self, sample: bool) -> str:
        """How many items there are, the newest time and a checksum: another text as soon as an item is new."""
        chosen = (
            sa.select(FEEDBACK.c.created_at, FEEDBACK.c.digest)
            .where(_counts(sample))
            .order_by(FEEDBACK.c.id)
        )
        checksum, count, newest = hashlib.sha256(), 0, ""
        with self._engine.connect() as connection:
            for created_at, digest in connection.execute(chosen):
                checksum.update(digest.encode())
                count, newest = count + 1, max(newest, created_at)
        return f"{count} {newest} {checksum.hexdigest()[:16]}"

    def unused(self, sample: bool) -> int:
        """How many items neither a judged candidate nor a training under way has in its dataset."""
        taken = (
            sa.select(BATCH_ITEM.c.feedback)
            .join(BATCH, BATCH.c.key == BATCH_ITEM.c.batch)
            .where(
                sa.or_(
                    BATCH.c.verdict.in_(USING_VERDICTS),
                    sa.and_(BATCH.c.verdict.is_(None), BATCH.c.lease_until > self._time()),
                )
            )
        )
        chosen = (
            sa.select(sa.func.count())
            .select_from(FEEDBACK)
            .where(_counts(sample), FEEDBACK.c.id.not_in(taken))
        )
        with self._engine.connect() as connection:
            return connection.execute(chosen).scalar_one()

    def claim(self, batch: str, ids: Iterable[str]) -> None:
        """Notes what is in the dataset of a candidate under way, for `LEASE`; once more, and the lease begins again.

        Args:
            batch: digest that stands for the candidate; a batch that was judged stays judged.

        Raises:
            InputError: the store does not have an id.
        """
        wanted = sorted(set(ids))
        lease = {"claimed_at": self._time(), "lease_until": _text(self._clock() + LEASE)}
        with writing(self._engine) as connection:
            here = _found(connection, FEEDBACK.c.id, wanted)
            if lost := [name for name in wanted if name not in here]:
                raise InputError(
                    f"the feedback store lost {len(lost)} items of the dataset, the first: '{lost[0]}'"
                )
            verdict = connection.execute(
                sa.select(BATCH.c.key, BATCH.c.verdict).where(BATCH.c.key == batch)
            ).one_or_none()
            if verdict is None:
                connection.execute(sa.insert(BATCH).values(key=batch, reason="", **lease))
            elif verdict.verdict not in USING_VERDICTS:
                renewed = lease | {"settled_at": None, "verdict": None, "reason": ""}
                connection.execute(sa.update(BATCH).where(BATCH.c.key == batch).values(renewed))
            noted = sa.select(BATCH_ITEM.c.feedback).where(BATCH_ITEM.c.batch == batch)
            known = set(connection.execute(noted).scalars())
            if fresh := [
                {"batch": batch, "feedback": name} for name in wanted if name not in known
            ]:
                connection.execute(sa.insert(BATCH_ITEM), fresh)

    def settle(self, batch: str, verdict: str, reason: str = "") -> None:
        """Ends a batch: "promote" and "keep" make its items used for good, any other word gives them back with the reason.

        Raises:
            InputError: nothing was claimed under this name.
        """
        values = {"verdict": verdict, "reason": reason, "settled_at": self._time()}
        open_yet = sa.or_(BATCH.c.verdict.is_(None), BATCH.c.verdict.not_in(USING_VERDICTS))
        with writing(self._engine) as connection:
            if not _found(connection, BATCH.c.key, [batch]):
                raise InputError(f"no feedback was claimed for '{batch}'")
            connection.execute(
                sa.update(BATCH).where(BATCH.c.key == batch, open_yet).values(values)
            )

    def forget(self, kind: ForgettableKind, mark: str) -> bool:
        """Notes what is to be left out, and removes an item with all that was noted of it; whether it was not noted before.

        Args:
            mark: what `Forgotten` has of this kind.
        """
        noted = sa.select(FORGOTTEN.c.mark).where(
            FORGOTTEN.c.kind == kind, FORGOTTEN.c.mark == mark
        )
        with writing(self._engine) as connection:
            fresh = connection.execute(noted).first() is None
            if fresh:
                connection.execute(
                    sa.insert(FORGOTTEN).values(kind=kind, mark=mark, forgotten_at=self._time())
                )
            if kind == "feedback":
                connection.execute(sa.delete(BATCH_ITEM).where(BATCH_ITEM.c.feedback == mark))
                connection.execute(sa.delete(FEEDBACK).where(FEEDBACK.c.id == mark))
        return fresh

    def forgotten(self) -> ForgottenMarks:
        """Everything that was noted to be left out."""
        with self._engine.connect() as connection:
            rows = list(connection.execute(sa.select(FORGOTTEN.c.kind, FORGOTTEN.c.mark)))
        return ForgottenMarks(
            **{
                kind: frozenset(mark for of, mark in rows if of == kind)
                for kind in ("feedback", "trade", "account")
            }
        )

    def has(self, id: str) -> bool:
        """Whether the store has this item."""
        with self._engine.connect() as connection:
            return bool(_found(connection, FEEDBACK.c.id, [id]))

    def _time(self) -> str:
        return _text(self._clock())


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _counts(sample: bool) -> sa.ColumnElement[bool]:
    return sa.true() if sample else FEEDBACK.c.source != SAMPLE_SOURCE


def _found(connection: sa.Connection, column: sa.Column, values: list[str]) -> set[str]:
    """Those of the values that the column has."""
    parts = (values[start : start + _BIND] for start in range(0, len(values), _BIND))
    return {
        value
        for part in parts
        for value in connection.execute(sa.select(column).where(column.in_(part))).scalars()
    }


def _sort_out(connection: sa.Connection, items: list[FeedbackItem]) -> list[str]:
    """For each item: "new", "known", "forgotten", or "conflict" where its id stands for other content, in the store or earlier in
    the list."""
    ids = [item.id for item in items]
    gone = set(
        connection.execute(
            sa.select(FORGOTTEN.c.mark).where(FORGOTTEN.c.kind == "feedback")
        ).scalars()
    )
    digests: dict[str, str] = {}
    for start in range(0, len(ids), _BIND):
        chosen = sa.select(FEEDBACK.c.id, FEEDBACK.c.digest).where(
            FEEDBACK.c.id.in_(ids[start : start + _BIND])
        )
        digests.update(tuple(row) for row in connection.execute(chosen))
    cases = []
    for item in items:
        if item.id in gone:
            cases.append("forgotten")
            continue
        cases.append(
            "new"
            if item.id not in digests
            else "known"
            if digests[item.id] == item.digest
            else "conflict"
        )
        digests.setdefault(item.id, item.digest)
    return cases


def _insert(connection: sa.Connection, items: list[FeedbackItem], cases: list[str]) -> None:
    rows = [
        item.to_json() | {"digest": item.digest}
        for item, case in zip(items, cases, strict=True)
        if case == "new"
    ]
    if rows:
        connection.execute(sa.insert(FEEDBACK), rows)
