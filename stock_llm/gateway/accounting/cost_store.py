"""Stores what calls cost, and keeps them below the budgets: reserve before a call, settle after it.

All writing happens in one thread, in batches; a record is never lost by a graceful end, and none is
written twice. A reservation counts as spent until its record is written. One that a crash left
behind is recorded as a lost call, at its full amount, because the provider may have charged it. A
record that the database refuses while it takes others is quarantined: logged, and replaced by one
of a lost call.
"""

import asyncio
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa

from stock_llm.errors import StockLLMError, StoreError
from stock_llm.gateway.accounting.tables import (
    CALL,
    RESERVATION,
    SCHEMA,
    SPENT,
    CallRecord,
    Reservation,
    dollars,
    micros,
    text,
    write_transaction,
)
from stock_llm.gateway.chat import TokenUsage
from stock_llm.gateway.query import Query, RemainingBudget
from stock_llm.storage.database import open_database

LEASE = timedelta(minutes=30)
"""How long a reservation belongs to a call under way; no provider has so much time."""

LINGER = 0.25
"""Seconds for which records gather before they are written together; a reservation is written at
once."""

BATCH = 1000
"""Most jobs in one transaction."""

_log = logging.getLogger(__name__)


class BudgetExceeded(StockLLMError):
    """A budget has less left than the call could cost."""


@dataclass(eq=False)
class _Reserve:
    reservation: Reservation
    done: asyncio.Future[None]


@dataclass(eq=False)
class _Settle:
    call: CallRecord | None
    reservations: Sequence[Reservation]


@dataclass(eq=False)
class _Flush:
    done: threading.Event = field(default_factory=threading.Event)
    last: bool = False


@dataclass
class Balance:
    """Millionths of a dollar: spent by day of this month, and reserved."""

    spent: dict[str, int]
    reserved: int

    def left(self, day: str, daily: Decimal, monthly: Decimal) -> RemainingBudget:
        """What these budgets have left on a day."""
        month = sum(amount for other, amount in self.spent.items() if other[:7] == day[:7])
        return RemainingBudget(
            daily - dollars(self.spent.get(day, 0) + self.reserved),
            monthly - dollars(month + self.reserved),
        )


def _now() -> datetime:
    return datetime.now(UTC)


class CostStore:
    """The cost store behind one SQLAlchemy URL; opening it makes or migrates its tables and starts
    its writer.

    Args:
        url: with an absolute path.
        daily, monthly: dollars that usage-priced providers may cost in a UTC day and a calendar
            month.
        clock: the time now, UTC.

    Raises:
        InputError: the URL cannot be used.
        StoreError: the database cannot be used.
    """

    def __init__(
        self, url: str, daily: Decimal, monthly: Decimal, clock: Callable[[], datetime] = _now
    ):
        self.daily, self.monthly = daily, monthly
        self._clock = clock
        self._engine = open_database(url, SCHEMA)
        self._jobs: queue.SimpleQueue[_Reserve | _Settle | _Flush] = queue.SimpleQueue()
        self._failing = ""
        self._expire_next = clock()
        self._balance = Balance({}, 0)
        self._write([])
        self._thread = threading.Thread(target=self._write_all, name="costs", daemon=True)
        self._thread.start()

    def left(self) -> RemainingBudget:
        """The budgets left as of the last write; reservations of calls under way are taken off."""
        today = self._clock().date().isoformat()
        return self._balance.left(today, self.daily, self.monthly)

    async def reserve(
        self, provider: str, model: str, feature: str, amount: Decimal
    ) -> Reservation:
        """Reserves dollars, in the database, before a provider is asked.

        Raises:
            BudgetExceeded: a budget has less left.
            StoreError: the store cannot be written; nothing may be spent then.
        """
        now = self._clock()
        day, until = now.date().isoformat(), text(now + LEASE)
        reservation = Reservation(uuid.uuid4().hex, day, provider, model, feature, amount, until)
        job = _Reserve(reservation, asyncio.get_running_loop().create_future())
        self._jobs.put(job)
        try:
            await job.done
        except asyncio.CancelledError:
            self.release(reservation)
            raise
        return reservation

    def release(self, reservation: Reservation) -> None:
        """Frees what was reserved for an attempt that cost nothing; returns at once."""
        self._jobs.put(_Settle(None, (reservation,)))

    def record(self, call: CallRecord, reservations: Sequence[Reservation] = ()) -> None:
        """Records a finished request and frees what was reserved for its attempts; returns at
        once."""
        self._jobs.put(_Settle(call, reservations))

    async def flush(self) -> None:
        """Waits until everything that was recorded so far is in the database.

        Raises:
            StoreError: the database refuses; the records are kept and tried again.
        """
        job = _Flush()
        self._jobs.put(job)
        await asyncio.to_thread(job.done.wait)
        if self._failing:
            raise StoreError(self._failing)

    def close(self) -> None:
        """Writes what is waiting and ends the writer.

        Raises:
            StoreError: the database refused to the end; it says how many records were not written.
        """
        if self._thread.is_alive():
            self._jobs.put(_Flush(last=True))
            self._thread.join()
        self._engine.dispose()
        if self._failing:
            raise StoreError(self._failing)

    def _write_all(self) -> None:
        """The writer: gathers jobs, writes them in one transaction, and tries failed records
        again."""
        failed: list[_Settle] = []
        while True:
            jobs = self._gather(patience=1.0 if failed else None)
            is_last = any(isinstance(job, _Flush) and job.last for job in jobs)
            try:
                self._write([*failed, *jobs], frozenset(job.call.id for job in failed if job.call))
                failed, self._failing = [], ""
            except Exception as error:  # any: without this thread nothing is recorded any more
                _log.exception("the cost store cannot be written")
                for job in jobs:
                    if isinstance(job, _Reserve):
                        is_ours = isinstance(error, StockLLMError)
                        reason = error if is_ours else StoreError(f"the cost store: {error}")
                        _resolve(job.done, reason)
                failed += [job for job in jobs if isinstance(job, _Settle)]
                failed = self._write_each(failed)
                records = f"{len(failed)} records of calls are not written"
                self._failing = f"{error}. {records}" if failed else ""
            for job in jobs:
                if isinstance(job, _Flush):
                    job.done.set()
            if is_last:
                return

    def _write_each(self, jobs: Sequence[_Settle]) -> list[_Settle]:
        """Writes records one by one if the database takes any; returns those that are still to be
        written."""
        for place, job in enumerate(jobs):
            if not self._takes([]):
                return list(jobs[place:])
            if not self._takes([job]):
                if not self._takes([]):
                    return list(jobs[place:])
                self._quarantine(job)
        return []

    def _takes(self, jobs: Sequence[_Settle]) -> bool:
        """Whether the database takes these records now."""
        try:
            self._write(jobs, frozenset(job.call.id for job in jobs if job.call))
        except Exception:
            _log.debug("records refused", exc_info=True)
            return False
        return True

    def _quarantine(self, job: _Settle) -> None:
        """Logs a record that the database refuses, and stores a lost call at all that was reserved
        for it."""
        _log.error("a record cannot be written and is quarantined: %r", job.call)
        if job.call:
            amount = sum((each.amount for each in job.reservations), Decimal(0))
            lost = _lost_call(
                job.call.id, self._clock(), "", "", "", "its record was refused", amount
            )
            self._takes([_Settle(lost, job.reservations)])

    def _gather(self, patience: float | None) -> list[_Reserve | _Settle | _Flush]:
        """What has come in: at once when somebody waits for it, else after `LINGER`."""
        jobs: list[_Reserve | _Settle | _Flush] = []
        until = None if patience is None else time.monotonic() + patience
        while len(jobs) < BATCH:
            try:
                job = self._jobs.get(
                    timeout=None if until is None else max(until - time.monotonic(), 0)
                )
            except queue.Empty:
                break
            jobs.append(job)
            if not isinstance(job, _Settle):
                until = 0.0
            elif until is None:
                until = time.monotonic() + LINGER
        return jobs

    def _write(
        self, jobs: Sequence[_Reserve | _Settle | _Flush], retried: frozenset[str] = frozenset()
    ) -> None:
        """One transaction: settles, then reserves what the budgets allow; then tells who waits."""
        now = self._clock()
        today = now.date().isoformat()
        granted: list[_Reserve] = []
        refused: list[tuple[_Reserve, BudgetExceeded]] = []
        with write_transaction(self._engine) as connection:
            if now >= self._expire_next:
                _expire(connection, now)
                self._expire_next = now + LEASE / 10
            _settle(connection, [job for job in jobs if isinstance(job, _Settle)], retried)
            balance = read_balance(connection, today)
            for job in jobs:
                if not isinstance(job, _Reserve) or job.done.cancelled():
                    continue
                left, wanted = balance.left(today, self.daily, self.monthly), job.reservation.amount
                if wanted > min(left.today, left.month):
                    amounts = f"${left.today} left today, ${left.month} this month"
                    reason = f"the call may cost ${wanted}, {amounts}"
                    refused.append((job, BudgetExceeded(reason)))
                    continue
                balance.reserved += micros(wanted)
                granted.append(job)
            if granted:
                connection.execute(
                    sa.insert(RESERVATION), [job.reservation.row() for job in granted]
                )
        self._balance = balance
        for job in granted:
            _resolve(job.done)
        for job, error in refused:
            _resolve(job.done, error)


def _resolve(done: asyncio.Future[None], error: Exception | None = None) -> None:
    """Hands a result to the event loop that waits for it, if it still runs."""

    def resolve() -> None:
        if not done.done():
            if error:
                done.set_exception(error)
            else:
                done.set_result(None)

    if not done.get_loop().is_closed():
        done.get_loop().call_soon_threadsafe(resolve)


def _settle(connection: sa.Connection, jobs: Sequence[_Settle], retried: frozenset[str]) -> None:
    """Inserts records, adds what they cost to their days, frees their reservations.

    Args:
        retried: ids of records of a transaction that failed; if it went through after all, they are
            stored.
    """
    ids = sorted(retried)
    stored: set[str] = set()
    for start in range(0, len(ids), BATCH):
        chosen = sa.select(CALL.c.id).where(CALL.c.id.in_(ids[start : start + BATCH]))
        stored.update(connection.execute(chosen).scalars())
    fresh = [job for job in jobs if job.call and job.call.id not in stored]
    if fresh:
        connection.execute(sa.insert(CALL), [job.call.row() for job in fresh if job.call])
    charged: dict[str, int] = {}
    for job in fresh:
        if job.call and job.call.charged:
            day = job.reservations[0].day if job.reservations else job.call.at.date().isoformat()
            charged[day] = charged.get(day, 0) + micros(job.call.charged)
    _charge(connection, charged)
    if freed := [{"key": each.id} for job in jobs for each in job.reservations]:
        is_freed = RESERVATION.c.id == sa.bindparam("key")
        connection.execute(sa.delete(RESERVATION).where(is_freed), freed)


def _charge(connection: sa.Connection, by_day: dict[str, int]) -> None:
    for day, amount in by_day.items():
        added = sa.update(SPENT).where(SPENT.c.day == day).values(charged=SPENT.c.charged + amount)
        if connection.execute(added).rowcount == 0:
            connection.execute(sa.insert(SPENT).values(day=day, charged=amount))


def _expire(connection: sa.Connection, now: datetime) -> None:
    """Records what a crash left behind as lost calls, at all that was reserved for them."""
    expired = sa.select(RESERVATION).where(RESERVATION.c.expires_at <= text(now))
    for row in connection.execute(expired).mappings().all():
        call = _lost_call(
            row["id"], now, row["feature"], row["provider"], row["model"],
            f"{row['provider']}: no result was recorded", dollars(row["amount"]),
        )  # fmt: skip
        connection.execute(sa.insert(CALL).values(call.row()))
        connection.execute(sa.delete(RESERVATION).where(RESERVATION.c.id == row["id"]))
        _charge(connection, {row["day"]: row["amount"]})


def _lost_call(
    id: str, at: datetime, feature: str, provider: str, model: str, path: str, charged: Decimal
) -> CallRecord:
    """The record of a call whose result is not known."""
    return CallRecord(
        id, at, Query(feature=feature), provider, model, "", path, False, "lost", TokenUsage(),
        charged, Decimal(0), 0, 0, 0,
    )  # fmt: skip


def read_balance(connection: sa.Connection, today: str) -> Balance:
    """What was spent this month and is reserved now."""
    days = sa.select(SPENT.c.day, SPENT.c.charged).where(SPENT.c.day >= today[:7])
    spent = {row.day: row.charged for row in connection.execute(days)}
    reserved = connection.execute(
        sa.select(sa.func.coalesce(sa.func.sum(RESERVATION.c.amount), 0))
    ).scalar_one()
    return Balance(spent, int(reserved))
