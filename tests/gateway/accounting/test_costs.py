"""The cost store: budgets that hold whatever happens at once, records that are written once, crashes, and the report."""

import asyncio
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from typer.testing import CliRunner

from stock_llm.errors import InputError, StoreError
from stock_llm.gateway.accounting import cost_report
from stock_llm.gateway.accounting.cost_store import LEASE, BudgetExceeded, CostStore
from stock_llm.gateway.accounting.tables import SCHEMA, CallRecord, micros, write_transaction
from stock_llm.gateway.chat import TokenUsage
from stock_llm.gateway.query import Query, RemainingBudget
from stock_llm.storage.database import connect

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Clock:
    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def url(store_url) -> str:
    return store_url


@pytest.fixture
def open_costs(url):
    opened = []

    def open_one(daily=15, monthly=30, clock=None, url=url) -> CostStore:
        opened.append(CostStore(url, Decimal(daily), Decimal(monthly), clock or Clock()))
        return opened[-1]

    yield open_one
    for costs in opened:
        costs.close()


def call(name="c1", charged="0", at=NOON, **given) -> CallRecord:
    values = {
        "query": Query(feature="analyze"), "provider": "claude-api", "model": "m", "rule": "r", "path": "claude-api: ok",
        "fell_back": False, "status": "ok", "usage": TokenUsage(10, 20, 30, 40), "notional": Decimal(0), "seconds": 1.0,
        "provider_seconds": 0.9, "route_seconds": 0.001,
    } | given  # fmt: skip
    return CallRecord(id=name, at=at, charged=Decimal(charged), **values)


def rows(url, select="SELECT * FROM call"):
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.text(select)).mappings()]


def run(url, statement):
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(statement))


def test_a_record_keeps_everything(open_costs, url):
    costs = open_costs()
    costs.record(call(charged="0.123456", rule="complexity > 6 → claude-cli", fell_back=True))
    costs.close()
    (row,) = rows(url)
    assert row == {
        "id": "c1", "at": "2026-11-24T12:00:00.000000+00:00", "feature": "analyze", "type": "chat", "language": "en",
        "complexity": 1, "urgency": 1, "provider": "claude-api", "model": "m", "rule": "complexity > 6 → claude-cli",
        "path": "claude-api: ok", "fell_back": 1, "status": "ok", "tokens_in": 10, "tokens_out": 20, "cached_read": 30,
        "cached_write": 40, "charged": 123456, "notional": 0, "seconds": 1.0, "provider_seconds": 0.9, "route_seconds": 0.001,
        "first_seconds": None, "grounding": "", "true_sentences": None, "false_sentences": None, "unchecked_sentences": None,
        "repaired_sentences": None, "invented_numbers": None, "parses": None,
    }  # fmt: skip


async def test_reserved_then_settled(open_costs):
    costs = open_costs()
    reservation = await costs.reserve("claude-api", "m", "chat", Decimal("4"))
    assert costs.left() == RemainingBudget(Decimal(11), Decimal(26))
    costs.record(call(charged="1.5"), [reservation])
    await costs.flush()
    assert costs.left() == RemainingBudget(Decimal("13.5"), Decimal("28.5"))


async def test_what_cost_nothing_is_given_back(open_costs):
    costs = open_costs()
    costs.release(await costs.reserve("claude-api", "m", "chat", Decimal(15)))
    await costs.reserve("claude-api", "m", "chat", Decimal(15))
    with pytest.raises(
        BudgetExceeded, match=r"the call may cost \$0.000001, \$0 left today, \$15 this month"
    ):
        await costs.reserve("claude-api", "m", "chat", Decimal("0.000001"))


async def test_the_month_is_a_budget_of_its_own_and_both_begin_anew(open_costs):
    clock = Clock(datetime(2026, 11, 28, 23, 59, tzinfo=UTC))
    costs = open_costs(clock=clock)
    for day in range(2):
        costs.record(
            call(f"c{day}", "15"), [await costs.reserve("claude-api", "m", "chat", Decimal(15))]
        )
        await costs.flush()
        clock.now += timedelta(days=1)
    assert clock.now.day == 30
    assert costs.left() == RemainingBudget(Decimal(15), Decimal(0))
    with pytest.raises(BudgetExceeded):
        await costs.reserve("claude-api", "m", "chat", Decimal("0.01"))
    clock.now += timedelta(days=1)  # the first of December
    assert costs.left() == RemainingBudget(Decimal(15), Decimal(30))
    await costs.reserve("claude-api", "m", "chat", Decimal(15))


async def test_a_call_is_counted_on_the_day_it_was_reserved(open_costs, url):
    clock = Clock(datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC))
    costs = open_costs(clock=clock)
    reservation = await costs.reserve("claude-api", "m", "chat", Decimal(3))
    clock.now += timedelta(seconds=2)
    assert costs.left() == RemainingBudget(
        Decimal(12), Decimal(27)
    )  # under way: it counts for both days
    costs.record(call(charged="2", at=clock.now), [reservation])
    await costs.flush()
    assert costs.left() == RemainingBudget(Decimal(15), Decimal(28))
    assert rows(url, "SELECT * FROM spent") == [{"day": "2026-11-24", "charged": 2_000_000}]


async def test_hundreds_at_once_stay_below_the_budget(open_costs, url):
    costs = open_costs()
    spent = []

    async def one(number: int) -> None:
        try:
            reservation = await costs.reserve("claude-api", "m", "chat", Decimal("0.11"))
        except BudgetExceeded:
            costs.record(call(f"c{number}", status="failed", provider=""))
            return
        await asyncio.sleep(0)
        spent.append(number)
        costs.record(call(f"c{number}", "0.1"), [reservation])

    await asyncio.gather(*(one(number) for number in range(600)))
    await costs.flush()
    assert 136 <= len(spent) <= 150  # $15 at $0.11 reserved and $0.10 charged
    assert costs.left().today == Decimal(15) - Decimal("0.1") * len(spent) >= 0
    assert [
        row["id"] for row in rows(url, "SELECT id FROM call ORDER BY CAST(substr(id, 2) AS int)")
    ] == [f"c{n}" for n in range(600)]
    assert rows(url, "SELECT * FROM reservation") == []


def _spend(url: str, granted) -> None:
    async def greedy() -> None:
        costs = CostStore(url, Decimal(2), Decimal(30), Clock())
        for number in range(30):
            try:
                reservation = await costs.reserve("claude-api", "m", "chat", Decimal("0.1"))
            except BudgetExceeded:
                continue
            costs.record(call(f"{os.getpid()}-{number}", "0.1"), [reservation])
            granted.put(number)
        costs.close()

    asyncio.run(greedy())


def test_two_processes_share_one_budget(url):
    context = multiprocessing.get_context("spawn")
    granted = context.Queue()
    processes = [context.Process(target=_spend, args=(url, granted)) for _ in range(2)]
    for process in processes:
        process.start()
    got = [granted.get(timeout=60) for _ in range(20)]
    for process in processes:
        process.join(60)
    assert len(got) == 20 and granted.empty()
    assert rows(url, "SELECT sum(charged) AS total FROM call") == [{"total": 2_000_000}]
    assert rows(url, "SELECT charged FROM spent") == [{"charged": 2_000_000}]


CRASH = """
import asyncio, os, sys
from decimal import Decimal
from datetime import UTC, datetime
from stock_llm.gateway.accounting.cost_store import CostStore

async def main():
    costs = CostStore(sys.argv[1], Decimal(15), Decimal(30), lambda: datetime(2026, 11, 24, 12, tzinfo=UTC))
    await costs.reserve("claude-api", "m", "chat", Decimal("14"))
    os._exit(9)

asyncio.run(main())
"""


async def test_a_crash_leaves_a_reservation_that_expires_into_a_lost_call(open_costs, url):
    assert subprocess.run([sys.executable, "-c", CRASH, url], check=False).returncode == 9
    clock = Clock()
    costs = open_costs(clock=clock)
    with pytest.raises(BudgetExceeded):
        await costs.reserve("claude-api", "m", "chat", Decimal(2))
    clock.now += LEASE
    await costs.reserve("claude-api", "m", "chat", Decimal(1))
    (row,) = rows(url)
    assert (row["status"], row["charged"], row["provider"]) == ("lost", 14_000_000, "claude-api")
    assert costs.left().today == 0


async def test_a_lost_reservation_expires_while_others_are_written_all_the_time(open_costs, url):
    clock = Clock()
    costs = open_costs(clock=clock)
    await costs.reserve("claude-api", "m", "chat", Decimal(5))  # and nobody ever settles it
    for minute in range(40):
        clock.now += timedelta(minutes=1)
        costs.record(call(f"c{minute}"))
        await costs.flush()
    assert [row["charged"] for row in rows(url) if row["status"] == "lost"] == [5_000_000]
    assert costs.left().today == Decimal(10)


async def test_a_caller_who_goes_while_money_is_being_reserved_leaves_none_behind(open_costs, url):
    costs = open_costs()
    task = asyncio.create_task(costs.reserve("claude-api", "m", "chat", Decimal(15)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await costs.flush()
    assert rows(url, "SELECT * FROM reservation") == []


def test_closing_writes_what_is_waiting(open_costs, url):
    costs = open_costs()
    for number in range(5000):
        costs.record(call(f"c{number}"))
    costs.close()
    assert rows(url, "SELECT count(*) AS n, count(DISTINCT id) AS d FROM call") == [
        {"n": 5000, "d": 5000}
    ]


async def test_while_the_database_refuses_nothing_is_spent_and_nothing_is_lost(open_costs, url):
    costs = open_costs()
    run(url, "ALTER TABLE reservation RENAME TO elsewhere")
    costs.record(call("kept", "0.5"))
    with pytest.raises(
        StoreError, match=r"no such table: reservation|relation \"reservation\" does not exist"
    ):
        await costs.reserve("claude-api", "m", "chat", Decimal(1))
    with pytest.raises(StoreError, match="1 records of calls are not written"):
        await costs.flush()
    run(url, "ALTER TABLE elsewhere RENAME TO reservation")
    await costs.flush()
    assert [row["id"] for row in rows(url)] == ["kept"]
    assert costs.left().today == Decimal("14.5")


def test_a_record_is_written_whatever_backends_say(open_costs, url):
    costs = open_costs()
    costs.record(call(model="nul\0", usage=TokenUsage(10**30, 1)))
    costs.close()
    assert (rows(url)[0]["model"], rows(url)[0]["tokens_in"]) == ("nul", 2**53)


async def test_a_record_that_cannot_be_written_is_put_aside_and_the_others_are_not(
    open_costs, url, caplog
):
    costs = open_costs()
    reservation = await costs.reserve("claude-api", "m", "chat", Decimal(3))
    costs.record(call("before"))
    costs.record(call("broken", charged="NaN"), [reservation])
    costs.record(call("after", charged="0.5"))
    await costs.flush()
    costs.record(call("later"))
    await costs.flush()
    written = {row["id"]: row["status"] for row in rows(url)}
    assert written == {"before": "ok", "after": "ok", "broken": "lost", "later": "ok"}
    assert costs.left().today == Decimal("11.5")  # all that was reserved counts as spent
    assert "a record cannot be written and is quarantined: CallRecord(id='broken'" in caplog.text


@pytest.mark.parametrize("text", ["\ud800", "nul\0", "x" * 100_000])
def test_texts_that_a_database_refuses_are_made_fit(open_costs, url, text):
    costs = open_costs()
    costs.record(call(model=text, path=text, rule=text))
    costs.close()
    (row,) = rows(url)
    assert row["model"].rstrip("?") == text.rstrip("\ud800\0")


def test_the_writer_does_not_hold_the_caller_up(open_costs, url):
    costs = open_costs()
    blocker = write_transaction(connect(url, SCHEMA))
    blocker.__enter__()
    free = threading.Timer(0.5, blocker.__exit__, (None, None, None))
    free.start()
    before = datetime.now(UTC)
    for number in range(100):
        costs.record(call(f"c{number}"))
    assert datetime.now(UTC) - before < timedelta(seconds=0.2)
    costs.close()
    free.join()
    assert len(rows(url)) == 100


def test_a_database_that_cannot_be_used_names_the_setting():
    with pytest.raises(
        InputError, match=r"the cost store's URL cannot be used.*Set STOCK_LLM_GATEWAY__COSTS_URL"
    ):
        CostStore("nonsense", Decimal(1), Decimal(1))


def test_the_cost_store_may_share_a_database_with_the_feedback_store(url, open_costs):
    from stock_llm.feedback.store import FeedbackStore

    FeedbackStore(url)
    open_costs().close()
    FeedbackStore(url)
    assert set(sa.inspect(sa.create_engine(url)).get_table_names()) >= {"feedback", "call"}


async def test_the_oldest_schema_is_upgraded_with_its_records_and_its_reservations(
    tmp_path, open_costs
):
    """A store as the first version of the schema made it, rows written by hand."""
    path = tmp_path / "old.db"
    config = Config()
    config.set_main_option("script_location", str(SCHEMA.migrations))
    engine = connect(f"sqlite:///{path}", SCHEMA)
    with engine.connect().execution_options(immediate=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, ScriptDirectory.from_config(config).get_base())
    with sqlite3.connect(path) as raw:
        columns = {column[1] for column in raw.execute("PRAGMA table_info(call)")}
        row = {name: value for name, value in call("old", "1.5").row().items() if name in columns}
        raw.execute(
            f"INSERT INTO call ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
            list(row.values()),
        )
        raw.execute("INSERT INTO spent VALUES ('2026-11-24', 1500000)")
        later = "2026-11-24T12:20:00.000000+00:00"
        raw.execute(
            "INSERT INTO reservation VALUES ('r', '2026-11-24', 'claude-api', 'm', 'chat', 500000, ?)",
            [later],
        )

    costs = open_costs(url=f"sqlite:///{path}")
    assert costs.left().today == Decimal(13)
    costs.record(call("new", "1"))
    await costs.flush()
    assert cost_report.read_period(f"sqlite:///{path}", 30, NOON).calls == 2


def test_a_newer_schema_is_left_alone(open_costs, url):
    open_costs().close()
    run(url, "UPDATE costs_version SET version_num = '9999'")
    with pytest.raises(InputError, match=r"the cost store .* was made by a newer version"):
        open_costs()


@pytest.mark.parametrize(
    ("amount", "whole"), [("0", 0), ("0.0000001", 1), ("1.5", 1_500_000), ("0.000001", 1)]
)
def test_millionths_are_rounded_up(amount, whole):
    assert micros(Decimal(amount)) == whole


def test_the_plan_reckons_fifteen_dollars_a_day():
    plan = cost_report.plan(per_million=Decimal(15), fixed_month=Decimal(200))
    assert (plan.api_month, plan.here_month, plan.saved_month) == (
        Decimal(450),
        Decimal(200),
        Decimal(250),
    )
    assert round(plan.break_even) == 444  # 200 / (0.015 · 30)


def test_the_return_is_reckoned_from_records(open_costs, url):
    costs = open_costs()
    for number in range(40):
        at = NOON - timedelta(days=4) + timedelta(hours=number)
        costs.record(
            call(
                f"c{number}",
                "0.01",
                at,
                usage=TokenUsage(300, 600, 100),
                status="ok" if number else "failed",
            )
        )
    costs.close()
    period = cost_report.read_period(url, 30, NOON)
    assert (period.calls, period.tokens, period.days, period.statuses) == (
        40,
        40_000,
        Decimal(4),
        {"ok": 39, "failed": 1},
    )
    comparison = cost_report.measured(period, per_million=Decimal(15), fixed_month=Decimal(2))
    assert comparison.queries_a_day == 10 and comparison.tokens_a_query == 1000
    assert comparison.api_month == Decimal("4.5")  # 300 queries of $0.015
    assert comparison.here_month == Decimal(5)  # $2 fixed and 300 of $0.01
    assert round(comparison.break_even, 2) == Decimal("13.33")


def test_the_command_prints_both(open_costs, url, tmp_path, monkeypatch):
    costs = open_costs()
    costs.record(call(charged="0.5", at=datetime.now(UTC)))
    costs.close()
    from stock_llm.cli.main import app

    monkeypatch.setenv("STOCK_LLM_HOME", str(tmp_path))
    monkeypatch.setenv("STOCK_LLM_GATEWAY__COSTS_URL", url)
    monkeypatch.setenv("COLUMNS", "160")
    result = CliRunner().invoke(app, ["costs", "--fixed", "200"])
    assert result.exit_code == 0, result.output
    assert "claude-api │     1 │" in result.output
    assert "$450.00" in result.output and "444 queries a day" in result.output
    assert "left of the budgets: $14.50 today, $29.50 this month" in result.output


def test_an_empty_store_says_so(url):
    from rich.console import Console

    period = cost_report.read_period(url, 30)
    prices = {"per_million": Decimal(15), "fixed_month": Decimal(20)}
    console = Console(record=True, width=160)
    console.print(
        cost_report.render(
            period,
            RemainingBudget(Decimal(15), Decimal(30)),
            {"recorded": cost_report.measured(period, **prices)},
            **prices,
        )
    )
    assert "nothing recorded" in console.export_text()
