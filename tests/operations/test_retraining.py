"""Whether it is time to retrain, and the words for it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from stock_llm.cli import main
from stock_llm.feedback.batches import FeedbackCounts, Refusal
from stock_llm.feedback.item import FeedbackItem
from stock_llm.feedback.store import FeedbackStore
from stock_llm.operations import retraining
from stock_llm.operations.retraining import decide, feedback_trigger
from stock_llm.settings import load_settings

COUNTS = FeedbackCounts(ready=101, training=0, passed_over=0, refusal=None)
REFUSAL = Refusal("reject", "worse, difference -0.1", "2026-03-02T12:00:00+00:00", fresh=19)


@pytest.mark.parametrize(
    ("counts", "due", "words"),
    [
        (COUNTS, True, "101 items of feedback are ready, of 101 needed."),
        (replace(COUNTS, ready=100), False, "1 more is missing."),
        (replace(COUNTS, ready=87), False, "14 more are missing."),
        (replace(COUNTS, refusal=REFUSAL), False, "rejected on 2026-03-02T12:00 UTC (worse, diff"),
        (replace(COUNTS, refusal=REFUSAL), False, "19 items are new since, of 20 needed."),
        (replace(COUNTS, refusal=replace(REFUSAL, fresh=20)), True, "101 items"),
        (replace(COUNTS, ready=0, training=101), False, "101 items are in a training under way."),
        (replace(COUNTS, ready=0, passed_over=1), False, "1 item does not count"),
    ],
)
def test_feedback(counts, due, words):
    trigger = feedback_trigger(counts, 100)
    assert trigger.due is due and words in trigger.text


@pytest.fixture
def settings(bare_home):
    made = load_settings(home=bare_home, profile="tiny", trades="trades.csv", retrain_after=2)
    FeedbackStore(made.url(made.feedback_url)).add(
        FeedbackItem(id=f"i{n}", instruction="q", response=f"a{n}", thumb="up") for n in range(2)
    )
    return made


def test_new_trades_are_a_trigger_of_their_own_where_they_are_switched_on(settings, monkeypatch):
    assert [trigger.name for trigger in decide(settings).triggers] == ["feedback"]
    settings = settings.model_copy(update={"retrain_after_trades": 10})
    assert "no version yet" in decide(settings).text
    monkeypatch.setattr(retraining, "_entries_of_newest_version", lambda _: 40)
    now = SimpleNamespace(entries={"buy": 30, "sell": 19})
    monkeypatch.setattr("stock_llm.pipeline.history.current", lambda _: now)
    assert not decide(settings).due and "9 entries" in decide(settings).text
    now.entries["sell"] = 20
    assert decide(settings).due and decide(settings).why == "10 new trades"


def test_the_command_says_why_and_trains_nothing(settings, monkeypatch, capsys):
    for name, value in {"HOME": settings.home, "RETRAIN_AFTER": 2, "TRADES": "trades.csv"}.items():
        monkeypatch.setenv(f"STOCK_LLM_{name}", str(value))
    for option in ("--why", "--no-option-at-all"):
        monkeypatch.setattr("sys.argv", ["stock-llm", "retrain", option])
        with pytest.raises(SystemExit):
            main.main()
    said = capsys.readouterr().out
    assert said.startswith("No retrain yet.\n2 items of feedback are ready, of 3 needed.")
    monkeypatch.setattr("sys.argv", ["stock-llm", "retrain"])
    with pytest.raises(SystemExit):
        main.main()
    assert "stock-llm retrain --now" in capsys.readouterr().out
