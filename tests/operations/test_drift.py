"""Which recommendations of the champion came true: real candles, the gateway's own log of answers."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from stock_llm.dataset.decisions import Market
from stock_llm.gateway.accounting.answer_log import AnswerLog, AnswerRecord
from stock_llm.operations import drift, retraining
from stock_llm.settings import load_settings

MADE = datetime(2026, 1, 1, tzinfo=UTC)
CHAMPION = SimpleNamespace(number=3, created_at=MADE)


@pytest.fixture
def settings(bare_home):
    """Candles of a stock that rises by one percent a day on an uneven path."""
    (bare_home / "candles").mkdir()
    lines, price = ["Date,Open,High,Low,Close,Volume"], 100.0
    days = [datetime(2024, 3, 4, tzinfo=UTC) + timedelta(days=n) for n in range(120)]
    for number, day in enumerate(day for day in days if day.weekday() < 5):
        last, price = price, price * (1.015 if number % 2 else 1.005)
        lines.append(f"{day:%Y-%m-%d},{last:.4f},{price * 1.001:.4f},{last:.4f},{price:.4f},500")
    (bare_home / "candles" / "ABC.csv").write_text("\n".join(lines) + "\n")
    (bare_home / "trades.csv").write_text(
        "date,symbol,side,quantity,price\n2024-03-04,ABC,BUY,3,100.2\n"
    )
    return load_settings(
        home=bare_home, profile="tiny", trades="trades.csv", candles="candles",
        retrain_below_accuracy=0.5,
    )  # fmt: skip


def answered(settings, *answers, at=None):
    """Puts answers into the gateway's log: day, text, and the model where it is not the champion."""

    async def write():
        log = AnswerLog(settings.url(settings.gateway.costs_url), b"key", 36_500)
        for number, (day, text, *model) in enumerate(answers):
            log.add(
                AnswerRecord(
                    id=f"{day}-{number}",
                    at=at or MADE + timedelta(days=1),
                    feature="analyze",
                    skill="signal",
                    language="en",
                    symbol="ABC",
                    as_of=day,
                    instruction="q",
                    input="",
                    response=text,
                    provider="ollama",
                    model=(model or ["stock-llm:v3"])[0],
                )
            )
        await log.close()

    asyncio.run(write())


BUY, SELL = (
    f"Recommendation: {word}\nConfidence: 60%\nNot investment advice." for word in ("BUY", "SELL")
)


def test_recommendations_are_held_against_what_came(settings):
    answered(
        settings,
        ("2024-05-01", BUY),
        ("2024-05-02", SELL),
        ("2024-05-03", "no answer"),
        ("2024-05-06", SELL, "other:v1"),
        ("2030-01-01", BUY),
        ("yesterday", BUY),
    )
    found = drift.resolved_answers(settings, CHAMPION)
    assert (found.known, found.right) == (3, 1), "another model, and days without candles, are out"


def test_answers_from_before_the_champion_do_not_count(settings):
    answered(settings, ("2024-05-01", BUY), at=MADE - timedelta(days=1))
    assert drift.resolved_answers(settings, CHAMPION).known == 0


def test_a_share_below_the_bound_sets_off_a_retrain(settings, monkeypatch):
    monkeypatch.setattr(retraining.registry, "champion", lambda _: CHAMPION)
    days = list(Market.of(drift.current(settings)).series_of("ABC").candles.day)[25:60]
    answered(settings, *((str(day), SELL) for day in days[:20]))
    decision = retraining.decide(settings)
    assert not decision.due and "fewer than 30 say nothing" in decision.text
    answered(settings, *((str(day), SELL) for day in days[20:]))
    decision = retraining.decide(settings)
    assert decision.due and decision.why == "0% of recommendations came true"
    assert "with a bound of 50%" in decision.text
