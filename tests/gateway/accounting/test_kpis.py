"""Figures against their targets: what was planted is what they say."""

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from stock_llm.cli.main import app
from stock_llm.errors import InputError
from stock_llm.feedback.item import FeedbackItem
from stock_llm.feedback.store import FeedbackStore
from stock_llm.gateway.accounting import kpi_tables, kpis
from stock_llm.gateway.accounting.kpi_sources import KpiSources
from stock_llm.gateway.accounting.tables import CALL, SCHEMA, text
from stock_llm.storage.database import exclusive_transaction, open_database

NOON = datetime(2026, 3, 15, 12, tzinfo=UTC)
DAY = NOON.date()

CALL_DEFAULTS = {
    "feature": "chat", "type": "chat", "language": "en", "provider": "ollama", "model": "m",
    "rule": "r", "path": "ollama: ok", "status": "ok", "complexity": 1, "urgency": 1,
    "tokens_in": 600, "tokens_out": 400, "cached_read": 0, "cached_write": 0, "charged": 0,
    "notional": 0, "fell_back": False, "seconds": 2.0, "provider_seconds": 1.0,
    "route_seconds": 0.001, "first_seconds": 0.3, "true_sentences": None, "false_sentences": None,
    "invented_numbers": None, "parses": None,
}  # fmt: skip


@pytest.fixture
def sources(tmp_path):
    urls = (f"sqlite:///{tmp_path / name}.db" for name in ("costs", "feedback"))
    return KpiSources(*urls, Decimal(15), Decimal(30))


def put_calls(sources, *calls):
    rows = [
        CALL_DEFAULTS | {"id": f"c{number}", "at": text(NOON - timedelta(hours=1)), **call}
        for number, call in enumerate(calls)
    ]
    put(sources, CALL, rows)


def put(sources, table, rows):
    engine = open_database(sources.costs_url, SCHEMA)
    with exclusive_transaction(engine, SCHEMA) as connection:
        connection.execute(sa.insert(table), rows)
    engine.dispose()


def read(sources, **options):
    report = kpis.read_report(sources, DAY, DAY, now=NOON, **options)
    return {kpi.name: kpi for kpi in report.kpis} | {"report": report}


def test_two_hundred_calls_with_planted_failures(sources):
    start = NOON - timedelta(hours=2)
    calls = [
        {
            "at": text(start + timedelta(seconds=number)),
            "status": "failed" if number % 40 == 0 else "ok",
            "fell_back": number % 8 == 1,
            "charged": 2_000 if number % 10 == 1 else 0,
            "first_seconds": None if number % 2 else 0.4 + (number >= 100) * 0.3,
            "seconds": 1.0,
        }
        for number in range(200)
    ]
    put_calls(sources, *calls)
    found = read(sources)
    assert found["availability"].value == pytest.approx(97.5)
    assert found["availability"].reached is False
    assert found["fallback"].value == pytest.approx(25 / 195 * 100)
    assert found["fallback"].reached is False
    assert found["cost of the month"].value == pytest.approx(20 * 0.002)
    assert found["cost of a request"].value == pytest.approx(0.04 / 195)
    assert found["cost of a request"].reached is True
    assert found["time to first token"].value == pytest.approx(700)  # 47 of 400 ms, 48 of 700
    assert found["time to first token"].counted == 95
    assert found["requests per minute"].value == pytest.approx(60, abs=1)
    (day,) = found["report"].days
    assert (day.calls, day.failed, day.charged) == (200, 5, Decimal("0.04"))


def test_calls_that_the_caller_broke_off_are_no_failures(sources):
    put_calls(sources, {}, {"status": "cancelled"}, {"status": "cut"}, {"status": "lost"})
    assert read(sources)["availability"].value == pytest.approx(100 / 3)


def test_the_time_in_which_nothing_runs_says_nothing_about_capacity(sources):
    hour = [NOON - timedelta(hours=each) for each in range(1, 5)]
    put_calls(sources, *({"at": text(at), "seconds": 0.5} for at in reversed(hour)))
    assert read(sources)["requests per minute"].value == pytest.approx(120)


def test_satisfaction_and_success_count_what_people_said(sources):
    put_calls(
        sources,
        {"parses": True, "invented_numbers": 0, "true_sentences": 3, "false_sentences": 0},
        {"invented_numbers": 1, "true_sentences": 1, "false_sentences": 2},
        {},  # disliked
        {},  # corrected
        {"parses": False},
        {"feature": "embed"},
    )
    opinions = [{"rating": 5}, {"thumb": "up"}, {"thumb": "down"}, {"correction": "better"}]
    FeedbackStore(sources.feedback_url).add(
        FeedbackItem(
            instruction="q",
            response=f"r{number}",
            response_id=f"c{number}",
            created_at=NOON - timedelta(hours=1),
            **opinion,
        )
        for number, opinion in enumerate(opinions)
    )
    found = read(sources)
    assert found["satisfaction"].value == pytest.approx(11 / 3)
    assert (found["satisfaction"].counted, found["satisfaction"].reached) == (3, False)
    assert (found["task success"].value, found["task success"].counted) == (20.0, 5)
    false = found["answers with a false sentence"]
    assert (false.value, false.counted, false.reached) == (50.0, 2, None)


def test_savings_and_return_are_computed_from_what_was_recorded(sources):
    put_calls(sources, *[{"tokens_in": 600_000, "tokens_out": 400_000, "charged": 100_000}] * 10)
    found = read(sources, per_million=Decimal(15), fixed_month=Decimal(100))
    # 10 calls of a million tokens in one day: $150 a day at the API, $1 charged
    assert found["savings against all-API"].value == pytest.approx(149 * 30)
    assert found["return on investment"].value == pytest.approx((149 * 30 - 100) / 100 * 100)
    assert found["return on investment"].reached is True
    assert found["savings against all-API"].reached is None


def test_only_the_period_counts(sources):
    other = [NOON - timedelta(days=1), NOON + timedelta(days=1)]
    put_calls(sources, {}, *({"at": text(at), "status": "failed"} for at in other))
    assert read(sources)["availability"].value == 100


def test_nothing_recorded_is_neither_reached_nor_missed(sources):
    found = read(sources)
    for name in ("time to first token", "requests per minute", "availability", "satisfaction"):
        assert (found[name].value, found[name].reached, found[name].shown) == (None, None, "–")


def test_tables_as_csv_run_nothing_in_a_table_program(sources):
    put_calls(sources, {"provider": "=cmd|' /C calc'!A0"}, {"provider": ""})
    report = read(sources)["report"]
    rows = list(csv.DictReader(io.StringIO(kpi_tables.csv_of(report, "providers"))))
    assert {row["provider"] for row in rows} == {"'=cmd|' /C calc'!A0", "nobody"}
    rows = list(csv.DictReader(io.StringIO(kpi_tables.csv_of(report, "kpis"))))
    assert [row["kpi"] for row in rows] == [kpi.name for kpi in report.kpis]
    assert all(row["how"] for row in rows)
    assert kpi_tables.csv_of(report, "days").count("\n") == 2


@pytest.mark.parametrize(
    ("since", "until"), [("yesterday", ""), ("", "2026-02-30"), ("2026-02-02", "2026-02-01")]
)
def test_a_period_that_is_none_is_refused(since, until):
    with pytest.raises(InputError):
        kpis.parse_period(since, until)


def test_a_period_is_thirty_days_where_nobody_says_another():
    assert kpis.parse_period("", "", DAY) == (date(2026, 2, 14), DAY)


def test_the_command_prints_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCK_LLM_HOME", str(tmp_path))
    own = KpiSources(f"sqlite:///{tmp_path}/data/costs.db", "", Decimal(15), Decimal(30))
    put_calls(own, {"at": text(datetime.now(UTC) - timedelta(hours=1)), "status": "failed"})
    printed = CliRunner().invoke(app, ["kpis"], env={"COLUMNS": "120"})
    assert printed.exit_code == 0 and "availability" in printed.stdout
    assert "0.0 %" in printed.stdout and "MISSED" in printed.stdout
    table = CliRunner().invoke(app, ["kpis", "--csv", "days"]).stdout
    assert table.splitlines()[1].split(",")[1:3] == ["1", "1"]
    assert isinstance(CliRunner().invoke(app, ["kpis", "--csv", "x"]).exception, InputError)
