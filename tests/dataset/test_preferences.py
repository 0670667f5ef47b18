"""Corrections become DPO rows, thumbs and ratings KTO rows, outcomes stand beside them; TRL renders them as training does."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from stock_llm.dataset import preferences
from stock_llm.dataset.decisions import Market
from stock_llm.dataset.preferences import DpoRow, KtoRow, OutcomeLookup, RealizedOutcome
from stock_llm.evaluation.answers import SkillAnswer
from stock_llm.feedback.item import FeedbackItem
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.llm.prompts import messages
from stock_llm.market.situation import Candles, compute_indicators
from stock_llm.skills import follow
from stock_llm.skills.decision_point import HORIZON

NOON = datetime(2025, 3, 3, 12, tzinfo=UTC)
DAYS = np.arange("2024-01-01", "2025-01-01", dtype="datetime64[D]")


def recommending(word):
    return SkillAnswer(
        recommendation=word, confidence=55, insights=("Close 1.00 is above SMA50 0.90.",)
    ).text()


def item(number, **changes):
    values = {
        "id": f"i{number}",
        "instruction": "Signal for ACME?",
        "input": "Close: 1.00",
        "response": recommending("BUY"),
        "created_at": NOON + timedelta(minutes=number),
    }
    return FeedbackItem(**values | changes)


@pytest.fixture
def market():
    """One stock that wavers for 200 days and then rises."""
    close = 100 + np.sin(np.arange(len(DAYS))) + np.maximum(0, np.arange(len(DAYS)) - 200.0)
    candles = Candles(
        "ACME", DAYS, close - 0.1, close + 1, close - 1, close, np.full(len(DAYS), 1000.0)
    )
    return Market([compute_indicators(candles)], [])


def rows(market, *items, before=date(2030, 1, 1)):
    return preferences.preferences(items, OutcomeLookup(market, before))


def test_a_correction_is_a_pair_with_the_correction_chosen(market):
    (row,) = rows(market, item(1, correction=" Hold it. \n"))
    assert row == DpoRow(
        feedback="i1",
        prompt=messages("Signal for ACME?", "Close: 1.00"),
        chosen=[{"role": "assistant", "content": "Hold it."}],
        rejected=[{"role": "assistant", "content": recommending("BUY")}],
        outcome=None,
    )


@pytest.mark.parametrize("edit", ["{}", " {}\n", "{}\n\n  "])
def test_an_edit_equal_to_the_original_is_dropped(market, edit):
    same = edit.format(recommending("BUY").replace(" ", "  "))
    assert rows(market, item(1, correction=same)) == []
    (row,) = rows(market, item(1, correction=same, thumb="up"))
    assert isinstance(row, KtoRow) and row.label


def test_spaces_count_in_code():
    code = "```python\nif a:\n    b()\nc()\n```"
    assert item(1, response=code, correction=code.replace("c()", "    c()")).edit is not None
    assert item(1, response=code, correction=code + "\n").edit is None


@pytest.mark.parametrize(
    ("given", "label", "evidence"),
    [
        ({"thumb": "up"}, True, "thumb"),
        ({"thumb": "down"}, False, "thumb"),
        ({"thumb": "down", "rating": 1}, False, "thumb"),
        ({"thumb": "down", "rating": 3}, False, "thumb"),
        ({"rating": 5}, True, "rating"),
        ({"rating": 4}, True, "rating"),
        ({"rating": 2}, False, "rating"),
        ({"rating": 1}, False, "rating"),
    ],
)
def test_thumbs_and_ratings_are_votes(market, given, label, evidence):
    (row,) = rows(market, item(1, **given))
    assert (row.label, row.said) == (label, evidence)
    assert row.completion == [{"role": "assistant", "content": recommending("BUY")}]


def test_a_rating_in_the_middle_is_no_vote(market):
    assert rows(market, item(1, rating=3)) == rows(market, item(1, comment="hm")) == []


@pytest.mark.parametrize("given", [{"thumb": "down", "rating": 5}, {"thumb": "up", "rating": 1}])
def test_contradictions_are_no_votes(market, given):
    assert rows(market, item(1, **given)) == []
    assert follow.wanted(item(1, **given)) is None


@pytest.mark.parametrize("given", [{"thumb": "up"}, {"rating": 5}])
def test_an_answer_that_was_liked_and_rewritten_is_a_pair_and_no_vote(market, given):
    (pair,) = rows(market, item(1, correction="Hold it.", **given))
    assert isinstance(pair, DpoRow)


def test_an_invisible_edit_is_none(market):
    liked = item(1, response="Hold it.", correction="Hold\u200b it.", thumb="up")
    assert liked.edit is None
    (vote,) = rows(market, liked)
    assert vote.label is True


def test_a_correction_with_a_thumb_is_both(market):
    pair, vote = rows(market, item(1, correction="Hold it.", thumb="down"))
    assert isinstance(pair, DpoRow) and isinstance(vote, KtoRow) and not vote.label


def test_the_newer_judgement_of_an_answer_counts(market):
    (row,) = rows(market, item(2, thumb="down"), item(1, thumb="up"))
    assert (row.feedback, row.label) == ("i2", False)
    there, back = item(1, response="A", correction="B"), item(2, response="B", correction="A")
    (row,) = rows(market, back, there)
    assert (row.chosen[0]["content"], row.rejected[0]["content"]) == ("A", "B")


def test_outcomes_are_recorded_with_answers_at_the_horizon(market):
    rising = DAYS[230].item()
    (row,) = rows(market, item(1, thumb="down", symbol="ACME", as_of=rising.isoformat()))
    assert row.outcome == RealizedOutcome(
        "BUY", DAYS[230 + HORIZON].item().isoformat(), agrees=True
    )
    assert not row.label, "the user has the last word"
    (row,) = rows(
        market,
        item(1, response=recommending("SELL"), thumb="up", symbol="ACME", as_of=rising.isoformat()),
    )
    assert row.outcome.agrees is False
    (row,) = rows(
        market, item(1, response="Well.", thumb="up", symbol="ACME", as_of=rising.isoformat())
    )
    assert row.outcome.agrees is None


def test_the_outcome_judges_answers_without_a_rating(market):
    about = {"symbol": "ACME", "as_of": DAYS[230].item().isoformat(), "comment": "let us see"}
    (right,) = rows(market, item(1, **about))
    (wrong,) = rows(market, item(1, response=recommending("SELL"), **about))
    assert (right.label, right.said, wrong.label, wrong.said) == (True, "outcome", False, "outcome")


@pytest.mark.parametrize(
    "changes",
    [
        {"symbol": "OTHER"},
        {"symbol": ""},
        {"as_of": ""},
        {"as_of": "2031-01-01"},
        {"as_of": DAYS[-HORIZON].item().isoformat()},
        {"as_of": "2023-12-31"},
    ],
)
def test_no_outcome_is_made_up(market, changes):
    given = {"symbol": "ACME", "as_of": DAYS[230].item().isoformat()} | changes
    (row,) = rows(market, item(1, thumb="up", **given))
    assert row.outcome is None


def test_an_outcome_after_the_split_is_not_used(market):
    about = {"symbol": "ACME", "as_of": DAYS[230].item().isoformat(), "thumb": "up"}
    until = DAYS[230 + HORIZON].item()
    (row,) = rows(market, item(1, **about), before=until)
    assert row.outcome is None
    (row,) = rows(market, item(1, **about), before=until + timedelta(days=1))
    assert row.outcome is not None


def test_the_file_is_the_same_bytes_in_any_order(market, tmp_path):
    items = [
        item(1, thumb="up"),
        item(2, response="Z", correction="ขาย"),
        item(3, response="Y", rating=1),
    ]
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    assert preferences.write(rows(market, *items), first) == 3
    preferences.write(rows(market, *reversed(items)), second)
    assert first.read_bytes() == second.read_bytes()
    lines = [json.loads(line) for line in first.read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["kto", "dpo", "kto"]
    assert set(lines[1]) == {"kind", "feedback", "prompt", "chosen", "rejected", "outcome"}
    assert set(lines[0]) == {"kind", "feedback", "prompt", "completion", "label", "said", "outcome"}


def test_trl_renders_the_rows_as_training_does(market):
    from transformers import AutoTokenizer
    from trl.data_utils import is_conversational, maybe_apply_chat_template

    tokenizer = AutoTokenizer.from_pretrained(Path(__file__).parents[2] / "models" / "stock-tiny")
    pair, vote = rows(market, item(1, correction="Hold it.", thumb="down"))
    dpo = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
    kto = {"prompt": vote.prompt, "completion": vote.completion, "label": vote.label}
    assert is_conversational(dpo) and is_conversational(kto)
    dpo, kto = maybe_apply_chat_template(dpo, tokenizer), maybe_apply_chat_template(kto, tokenizer)
    asked = ("Signal for ACME?", "Close: 1.00")
    assert dpo["prompt"] + dpo["chosen"] == MISTRAL_V3.render(messages(*asked, "Hold it."))
    assert dpo["prompt"] + dpo["rejected"] == MISTRAL_V3.render(
        messages(*asked, recommending("BUY"))
    )
    assert kto["prompt"] + kto["completion"] == MISTRAL_V3.render(
        messages(*asked, recommending("BUY"))
    )
