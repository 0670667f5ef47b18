"""The store of feedback, and which of it a judged model has learnt from.

In: items, from the gateway or a file. Out: the items that count, in order of time; how many are
unused; a digest that changes when something new counts. SQLite (WAL) by default, PostgreSQL by URL;
the schema is migrated on opening.

An item counts if it is accepted and is the newest opinion of its user on its answer. Items beyond
the daily limit of a user on a ticker wait until a person accepts or drops them. What candidates
learnt from stands in batches.py. Free text is kept as given. What was forgotten is deleted, and
stays out when it is brought again.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import sqlalchemy as sa

from stock_llm.errors import InputError, StoreError
from stock_llm.feedback import batches
from stock_llm.feedback.batches import BIND, USING_VERDICTS, FeedbackCounts, existing
from stock_llm.feedback.config import DAILY_LIMIT
from stock_llm.feedback.item import OWNER, FeedbackItem
from stock_llm.feedback.reading import DATED_SOURCES, read_records
from stock_llm.feedback.tables import BATCH, BATCH_ITEM, FEEDBACK, FORGOTTEN, SCHEMA, writing
from stock_llm.storage.checksums import digest_of
from stock_llm.storage.database import check_sqlite, open_database, read_transaction, store_error

if TYPE_CHECKING:
    from stock_llm.storage.quarantine import QuarantinedRow

SAMPLE_SOURCE = "sample"
"""The source of the committed, fictional items: they count only while the sample's trades are
used."""

LEASE = timedelta(minutes=15)
"""How long a batch keeps its items from being counted again when its run died; a run renews it."""

State = Literal["accepted", "waiting", "dropped"]
STATES: tuple[str, ...] = get_args(State)
_Case = Literal["new", "known", "forgotten", "newer", "owned", "conflict"]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class AddCounts:
    """What became of the items that were added.

    Attributes:
        new: items that the store did not have; `waiting` of them wait for review.
        known: items that it had already.
        forgotten: items that are to stay forgotten.
        replaced: items that took the place of an older rating with the same id.
        owned: items that were another user's and are the owner's now.
    """

    new: int
    known: int
    forgotten: int = 0
    waiting: int = 0
    replaced: int = 0
    owned: int = 0


@dataclass(frozen=True)
class FeedbackImport(AddCounts):
    """What a file brought: records = new + known + forgotten + replaced + owned + rejected."""

    rejected: "list[QuarantinedRow]" = field(default_factory=list)

    def summary(self) -> str:
        """The counts as a sentence, and below it each rejected record with its reason."""
        counts = {
            "new": self.new,
            "known already": self.known,
            "replaced an older rating": self.replaced,
            "taken over as the owner's": self.owned,
            "forgotten before and left out": self.forgotten,
            "quarantined": len(self.rejected),
        }
        total = sum(counts.values())
        parts = [f"{count} {what}" for what, count in counts.items() if count]
        lines = [f"{total} item{'s' * (total != 1)}: {', '.join(parts) or 'nothing in the file'}"]
        if self.waiting:
            lines.append(f"{self.waiting} of the new ones wait: stock-llm feedback review")
        lines += [f"  {row.file}, row {row.row}: {row.reason}" for row in self.rejected]
        return "\n".join(lines)


@dataclass(frozen=True)
class WaitingGroup:
    """Items of one user on one ticker and day that wait for a person, oldest first."""

    user: str
    ticker: str
    day: str
    items: list[FeedbackItem]


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
        """16 hex digits over trades and accounts; forgotten items change the store's watermark."""
        return digest_of(trade=sorted(self.trade), account=sorted(self.account))


class FeedbackStore:
    """The store behind one SQLAlchemy URL; opening it makes or migrates its tables.

    Args:
        url: absolute, as `settings.url(settings.feedback_url)` gives it.
        clock: the time now, with a time zone.
        daily_limit: items of one user on one ticker in a day; further ones wait for review. The
            day is that of `created_at`, for items of the gateway the day on which they arrive.
        after_add: called with the store after `add` has written something new.

    Raises:
        InputError: the URL cannot be used.
        StoreError: the database cannot be used; every method raises it.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], datetime] = _now,
        daily_limit: int = DAILY_LIMIT,
        after_add: Callable[["FeedbackStore"], object] | None = None,
    ):
        self._clock, self._daily_limit, self._after_add = clock, daily_limit, after_add
        self._engine = open_database(url, SCHEMA)
        check_sqlite(self._engine, SCHEMA)

    def add(self, items: Iterable[FeedbackItem]) -> AddCounts:
        """Puts items in, all or none; an item that is in already becomes its user's newest opinion.

        Raises:
            InputError: the store has another item with the same id; it names the id.
        """
        with writing(self._engine) as connection:
            cases = self._cases(connection, [(item, True) for item in items], user_is_sure=True)
            for item, case in cases:
                if case == "conflict":
                    raise InputError(
                        f"the feedback store has another item with the id '{item.id}'",
                        remedy="Give the new one its own id",
                    )
            number = _next_number(connection)
            for item, case in cases:
                if case == "known":
                    same = sa.update(FEEDBACK).where(FEEDBACK.c.id == item.id)
                    connection.execute(same.values(number=number))
            waiting = self._put(connection, cases)
        counts = _counts(cases, waiting)
        if self._after_add and counts.new:
            self._after_add(self)
        return counts

    def import_file(
        self, path: Path, name: str = "", user: str = "", owner_names: tuple[str, ...] = ()
    ) -> FeedbackImport:
        """Puts the records of a file in, in one transaction, and returns the bad ones with reasons.

        Args:
            name: the file in the rejected rows; by default its path.
            user, owner_names: as `reading.read_records` takes them.

        Raises:
            InputError: the file is empty or not UTF-8, or more than half of its records are bad:
                nothing was put in.
        """
        from stock_llm.storage.quarantine import QuarantinedRow, refuse_if_mostly_bad

        records = read_records(path, user, owner_names)
        bad = [(record, record.reason) for record in records if record.item is None]
        good = [(record, record.item) for record in records if record.item is not None]
        with writing(self._engine) as connection:
            dated = [(item, record.dated) for record, item in good]
            cases = self._cases(connection, dated, user_is_sure=bool(user))
            for (record, _), (item, case) in zip(good, cases, strict=True):
                if case == "conflict":
                    bad.append((record, f"another item has the id '{item.id}'"))
            rejected = [
                QuarantinedRow("feedback", name or str(path), record.row, reason, record.raw)
                for record, reason in bad
            ]
            refuse_if_mostly_bad(rejected, len(records), path)
            waiting = self._put(connection, cases)
        return FeedbackImport(**asdict(_counts(cases, waiting)), rejected=rejected)

    def all(self, sample: bool) -> list[FeedbackItem]:
        """Every item that counts, oldest first; those of the sample only if `sample`."""
        with read_transaction(self._engine, SCHEMA) as connection:
            self._check_states(connection)
            return self._read(FEEDBACK.c.id.in_(_live(sample)), connection)

    def watermark(self, sample: bool) -> str:
        """How many items count, the newest time and a checksum: changes with the items that
        count."""
        chosen = (
            sa.select(FEEDBACK.c.created_at, FEEDBACK.c.digest)
            .where(FEEDBACK.c.id.in_(_live(sample)))
            .order_by(FEEDBACK.c.id)
        )
        checksum, count, newest = hashlib.sha256(), 0, ""
        with read_transaction(self._engine, SCHEMA) as connection:
            self._check_states(connection)
            for created_at, digest in connection.execute(chosen):
                checksum.update(digest.encode())
                count, newest = count + 1, max(newest, created_at)
        return f"{count} {newest} {checksum.hexdigest()[:16]}"

    def unused(self, sample: bool) -> int:
        """How many items would teach something and were seen by no judged candidate and no
        training.
        """
        with read_transaction(self._engine, SCHEMA) as connection:
            self._check_states(connection)
            return batches.number(connection, batches.ready(_live(sample), self._time()))

    def counts(self, sample: bool) -> FeedbackCounts:
        """How many items are ready for the next candidate, and what became of the last ones."""
        with read_transaction(self._engine, SCHEMA) as connection:
            self._check_states(connection)
            return batches.count(connection, _live(sample), self._time())

    def waiting(self) -> list[WaitingGroup]:
        """The items that wait for a person, by user, ticker and day."""
        by_group: dict[tuple[str, str, str], list[FeedbackItem]] = {}
        with read_transaction(self._engine, SCHEMA) as connection:
            self._check_states(connection)
            rows = connection.execute(_items(FEEDBACK.c.state == "waiting")).mappings()
            for row in rows:
                group = row["user"], row["ticker"], row["day"]
                by_group.setdefault(group, []).append(self._item(row))
        return [WaitingGroup(*group, items) for group, items in sorted(by_group.items())]

    def accept(self, ids: Iterable[str]) -> int:
        """Lets waiting items count; returns how many waited."""
        return self._decide(ids, "accepted")

    def drop(self, ids: Iterable[str]) -> int:
        """Keeps waiting items out for good, and what their users say of the same answers later;
        returns how many.
        """
        return self._decide(ids, "dropped")

    def claim(self, batch: str, ids: Iterable[str], left_out: Iterable[str] = ()) -> None:
        """Notes the items of a candidate for `LEASE`; a repeated claim renews it.

        Args:
            batch: digest that stands for the candidate; a batch that was judged stays judged.
            ids: the items in its dataset.
            left_out: the items that were seen and are not in it.

        Raises:
            InputError: the store does not have an item of the dataset.
        """
        learnt = set(ids)
        lease = {"claimed_at": self._time(), "lease_until": self._lease_end()}
        with writing(self._engine) as connection:
            batches.claim(connection, batch, learnt, set(left_out) - learnt, lease)

    def renew(self, batch: str) -> None:
        """Lets the lease of a batch that is not settled end `LEASE` from now."""
        open_batch = sa.update(BATCH).where(BATCH.c.key == batch, BATCH.c.verdict.is_(None))
        with writing(self._engine) as connection:
            connection.execute(open_batch.values(lease_until=self._lease_end()))

    def settle(self, batch: str, verdict: str, reason: str = "") -> None:
        """Ends a batch: "promote" and "keep" make its items used, any other word gives them back.

        Raises:
            InputError: nothing was claimed under this name.
        """
        values = {"verdict": verdict, "reason": reason, "settled_at": self._time()}
        unsettled = sa.or_(BATCH.c.verdict.is_(None), BATCH.c.verdict.not_in(USING_VERDICTS))
        with writing(self._engine) as connection:
            if not existing(connection, BATCH.c.key, [batch]):
                raise InputError(f"no feedback was claimed for '{batch}'")
            chosen = sa.update(BATCH).where(BATCH.c.key == batch, unsettled)
            connection.execute(chosen.values(values))

    def forget(self, kind: ForgettableKind, mark: str) -> bool:
        """Notes what is to be left out, and deletes an item; returns whether it is noted now first.

        Args:
            mark: an id or a hash, as `ForgottenMarks` has it.
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
        """Everything that is to be left out."""
        with read_transaction(self._engine, SCHEMA) as connection:
            rows = connection.execute(sa.select(FORGOTTEN.c.kind, FORGOTTEN.c.mark))
            marks: dict[str, set[str]] = {}
            for kind, mark in rows:
                marks.setdefault(kind, set()).add(mark)
        return ForgottenMarks(**{kind: frozenset(ids) for kind, ids in marks.items()})

    def has(self, id: str) -> bool:
        """Whether the store has this item."""
        with read_transaction(self._engine, SCHEMA) as connection:
            return bool(existing(connection, FEEDBACK.c.id, [id]))

    def response_id(self, id: str) -> str:
        """The gateway's id of the answer that an item is about; empty where it has none."""
        chosen = sa.select(FEEDBACK.c.response_id).where(FEEDBACK.c.id == id)
        with read_transaction(self._engine, SCHEMA) as connection:
            return str(connection.execute(chosen).scalar_one_or_none() or "")

    def _check_states(self, connection: sa.Connection) -> None:
        """An item in no known state would be passed over by every question about states."""
        unknown = sa.or_(FEEDBACK.c.state.is_(None), FEEDBACK.c.state.not_in(STATES))
        chosen = sa.select(FEEDBACK.c.id, FEEDBACK.c.state).where(unknown)
        if row := connection.execute(chosen.order_by(FEEDBACK.c.id)).first():
            raise self._damaged(row.id, _unknown(row.state))

    def _damaged(self, id: str, problem: object) -> StoreError:
        return store_error(
            SCHEMA,
            self._engine.url,
            f"the item '{id}' is damaged: {problem}",
            f"To leave it out for good: stock-llm forget --feedback '{id}'",
        )

    def _time(self) -> str:
        return _text(self._clock())

    def _lease_end(self) -> str:
        return _text(self._clock() + LEASE)

    def _read(
        self, condition: sa.ColumnElement[bool], connection: sa.Connection
    ) -> list[FeedbackItem]:
        return [self._item(row) for row in connection.execute(_items(condition)).mappings()]

    def _item(self, row: sa.RowMapping) -> FeedbackItem:
        try:
            item = FeedbackItem.from_json(
                {each.name: row[each.name] for each in fields(FeedbackItem)}
            )
            if item.digest != row["digest"]:
                raise ValueError("it is not what was put in")
            if row["state"] not in STATES:
                raise ValueError(_unknown(row["state"]))
        except ValueError as error:
            raise self._damaged(row["id"], error) from None
        return item

    def _cases(
        self,
        connection: sa.Connection,
        items: list[tuple[FeedbackItem, bool]],
        user_is_sure: bool,
    ) -> list[tuple[FeedbackItem, _Case]]:
        """What each item is to the store, or to the items before it in the list.

        Args:
            items: with whether the item's time was given; otherwise it gets that of the stored one.
            user_is_sure: False: the users are names of a file, of which the owner may have been
                one.
        """
        ids = [item.id for item, _ in items]
        gone = sa.select(FORGOTTEN.c.mark).where(FORGOTTEN.c.kind == "feedback")
        forgotten = set(connection.execute(gone).scalars())
        known: dict[str, FeedbackItem] = {}
        for start in range(0, len(ids), BIND):
            chosen = FEEDBACK.c.id.in_(ids[start : start + BIND])
            known |= {item.id: item for item in self._read(chosen, connection)}
        cases: list[tuple[FeedbackItem, _Case]] = []
        for item, is_dated in items:
            stored = known.get(item.id)
            if stored and not is_dated:
                item = replace(item, created_at=stored.created_at)
            case = "forgotten" if item.id in forgotten else _case(item, stored, user_is_sure)
            if case in ("new", "newer", "owned"):
                known[item.id] = item
            cases.append((item, case))
        return cases

    def _decide(self, ids: Iterable[str], state: State) -> int:
        wanted = list(ids)
        changed = 0
        with writing(self._engine) as connection:
            for start in range(0, len(wanted), BIND):
                chosen = FEEDBACK.c.id.in_(wanted[start : start + BIND])
                waits = FEEDBACK.c.state == "waiting"
                decided = sa.update(FEEDBACK).where(chosen, waits).values(state=state)
                changed += connection.execute(decided).rowcount
        return changed

    def _put(self, connection: sa.Connection, cases: list[tuple[FeedbackItem, _Case]]) -> int:
        """Writes the new and newer items; returns how many of them wait for review."""
        number, waiting = _next_number(connection), 0
        days: dict[tuple[str, str], dict[str, tuple[str, State]]] = {}
        dropped: dict[str, set[str]] = {}
        for item, case in cases:
            if case == "owned":
                taken = sa.update(FEEDBACK).where(FEEDBACK.c.id == item.id)
                connection.execute(taken.values(user=OWNER, digest=item.digest))
            if case not in ("new", "newer"):
                continue
            day = self._clock() if item.source == "gateway" else item.created_at
            key = item.user, f"{day.astimezone(UTC):%Y-%m-%d}"
            if key not in days:
                days[key] = _answers_of(connection, *key)
            if item.user not in dropped:
                dropped[item.user] = _dropped_answers(connection, item.user)
            out = item.answer_key in dropped[item.user]
            state: State = "dropped" if out else self._state(item, days[key])
            days[key][item.answer_key] = item.ticker, state
            waiting += state == "waiting"
            row = item.to_json() | {
                "digest": item.digest,
                "answer": item.answer_key,
                "ticker": item.ticker,
                "day": key[1],
                "state": state,
                "number": number,
            }
            if case == "newer":
                learnt = sa.delete(BATCH_ITEM).where(BATCH_ITEM.c.feedback == item.id)
                connection.execute(learnt)
                older = sa.delete(FEEDBACK).where(FEEDBACK.c.id == item.id)
                connection.execute(older)
            connection.execute(sa.insert(FEEDBACK), row)
            number += 1
        return waiting

    def _state(self, item: FeedbackItem, answers: dict[str, tuple[str, State]]) -> State:
        """A revised opinion keeps the state of the one before; others wait beyond the limit."""
        if item.answer_key in answers:
            return answers[item.answer_key][1]
        accepted = Counter(ticker for ticker, state in answers.values() if state == "accepted")
        return "accepted" if accepted[item.ticker] < self._daily_limit else "waiting"


def _unknown(state: object) -> str:
    return f"its state is {state!r}, not one of {', '.join(STATES)}"


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _counts(cases: list[tuple[FeedbackItem, _Case]], waiting: int) -> AddCounts:
    count = Counter(case for _, case in cases)
    return AddCounts(
        count["new"], count["known"], count["forgotten"], waiting, count["newer"], count["owned"]
    )


def _items(condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The rows that fit, oldest first."""
    return sa.select(FEEDBACK).where(condition).order_by(FEEDBACK.c.created_at, FEEDBACK.c.id)


def _live(sample: bool) -> sa.Select[tuple[str]]:
    """The ids of the items that count: accepted, and the newest opinion of the user."""
    newest_first = (FEEDBACK.c.created_at.desc(), FEEDBACK.c.number.desc(), FEEDBACK.c.id.desc())
    response = sa.func.coalesce(sa.func.nullif(FEEDBACK.c.response_id, ""), FEEDBACK.c.id)
    ranks = [
        sa.func.row_number().over(partition_by=(FEEDBACK.c.user, same), order_by=newest_first)
        for same in (FEEDBACK.c.answer, response)
    ]
    own = sa.true() if sample else FEEDBACK.c.source != SAMPLE_SOURCE
    ranked = (
        sa.select(FEEDBACK.c.id, ranks[0].label("by_answer"), ranks[1].label("by_response"))
        .where(own, FEEDBACK.c.state == "accepted")
        .subquery()
    )
    return sa.select(ranked.c.id).where(ranked.c.by_answer == 1, ranked.c.by_response == 1)


def _next_number(connection: sa.Connection) -> int:
    highest = connection.execute(sa.select(sa.func.max(FEEDBACK.c.number))).scalar()
    return (highest or 0) + 1


def _answers_of(connection: sa.Connection, user: str, day: str) -> dict[str, tuple[str, State]]:
    """Answer → ticker and state of the user's opinion of that day."""
    columns = (FEEDBACK.c.answer, FEEDBACK.c.ticker, FEEDBACK.c.state)
    chosen = sa.select(*columns).where(FEEDBACK.c.user == user, FEEDBACK.c.day == day)
    rows = connection.execute(chosen.order_by(FEEDBACK.c.number))
    return {answer: (ticker, state) for answer, ticker, state in rows}


def _dropped_answers(connection: sa.Connection, user: str) -> set[str]:
    """The answers of which a person dropped an opinion of this user."""
    dropped = FEEDBACK.c.user == user, FEEDBACK.c.state == "dropped"
    return set(connection.execute(sa.select(FEEDBACK.c.answer).where(*dropped)).scalars())


def _case(item: FeedbackItem, stored: FeedbackItem | None, user_is_sure: bool) -> _Case:
    """What an item is to the one with its id."""
    if stored is None:
        return "new"
    if item == stored:
        return "known"
    if OWNER in (item.user, stored.user) and replace(item, user=stored.user) == stored:
        if item.user == OWNER:
            return "owned"
        if not user_is_sure:
            return "known"
    if item.source == stored.source and item.source in DATED_SOURCES:
        return "newer" if item.created_at > stored.created_at else "known"
    return "conflict"
