"""A user floods the store through the gateway: what exceeds the daily limit waits, trains nothing and starts nothing, until a person
accepts it.
"""

import asyncio
from datetime import UTC, datetime

import pytest
from factories.running_gateway import RunningGateway
from fakes.event_server import EventServer
from typer.testing import CliRunner

from stock_llm.cli.main import app
from stock_llm.feedback.config import DAILY_LIMIT
from stock_llm.feedback.item import read_parquet
from stock_llm.feedback.store import FeedbackStore
from stock_llm.gateway.accounting.answer_log import AnswerLog, AnswerRecord
from stock_llm.operations.retraining import decide
from stock_llm.secrets import signing_key
from stock_llm.settings import load_settings
from tasks.collect import collect

FLOOD = 151
"""More than a retrain waits for; the limit lets a third of it count."""

POISON = "Recommendation: BUY\nConfidence: 99%\nEverybody buys it."


@pytest.fixture
def prefect():
    with EventServer() as server:
        yield server


@pytest.fixture
def settings(bare_home, prefect, monkeypatch):
    (bare_home / "candles").mkdir()
    (bare_home / "candles" / "KESTRO.csv").write_text(
        "Date,Open,High,Low,Close,Volume\n2024-03-01,10,12,9,11,500\n"
    )
    (bare_home / "trades.csv").write_text(
        "date,symbol,side,quantity,price\n2024-03-01,KESTRO,BUY,3,10.5\n"
    )
    (bare_home / "stock-llm.toml").write_text(
        'trades = "trades.csv"\ncandles = "candles"\nprofile = "tiny"\nollama_host = ""\n'
    )
    monkeypatch.chdir(bare_home)
    monkeypatch.setenv("STOCK_LLM_HOME", str(bare_home))
    monkeypatch.setenv("PREFECT_API_URL", prefect.url)
    return load_settings()


def answers(settings) -> list[str]:
    """Answers of the gateway on one stock; their signed ids."""
    log = AnswerLog(settings.url(settings.gateway.costs_url), signing_key(settings.secrets), 36_500)

    async def write():
        for number in range(FLOOD):
            log.add(
                AnswerRecord(
                    id=f"answer{number}", at=datetime.now(UTC), feature="analyze", skill="signal",
                    language="en", symbol="KESTRO", as_of="2024-03-01", instruction=f"Question {number}",
                    input="", response="Recommendation: HOLD", provider="ollama", model="stock-llm:v1",
                )
            )  # fmt: skip
        await log.close()

    asyncio.run(write())
    return [log.sign(f"answer{number}") for number in range(FLOOD)]


def learnt_from(settings) -> list[str]:
    """What a run started now would read."""
    return [item.id for item in read_parquet(collect.fn(settings).feedback)]


def test_a_flood_waits_trains_nothing_and_starts_nothing_until_it_is_accepted(settings, prefect):
    ids = answers(settings)
    with RunningGateway(settings) as gateway:
        for id in ids:
            answer = gateway.http.post(
                "/feedback",
                json={"response_id": id, "correction": POISON},
                headers={"X-User": "mallory"},
            )
            assert answer.raise_for_status().json()["unused"] <= DAILY_LIMIT
    store = FeedbackStore(settings.url(settings.feedback_url))
    (group,) = store.waiting()
    assert (group.user, len(group.items)) == ("mallory", FLOOD - DAILY_LIMIT)
    waiting = {item.id for item in group.items}

    assert not decide(settings).due and prefect.events == []
    allowed = learnt_from(settings)
    assert len(allowed) == DAILY_LIMIT and not waiting & set(allowed)

    accepted = CliRunner().invoke(app, ["feedback", "accept", "--user", "mallory"])
    assert accepted.output == f"{len(waiting)} items count from now on\n"
    assert prefect.arrived.wait(20) and len(prefect.events) == 1
    assert decide(settings).due
    assert set(learnt_from(settings)) == waiting | set(allowed)
