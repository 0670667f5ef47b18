from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skills.test_skills import item

from stock_llm.dataset.splits import EMBARGO_DAYS, TimeSplit, chains, is_frozen, split_of

DAY = st.dates(date(2000, 1, 1), date(2035, 1, 1))


@pytest.mark.parametrize(
    ("last", "start", "until"),
    [
        ("2025-12-31", "2025-07-01", "2026-01-01"),
        ("2026-01-20", "2025-07-01", "2026-01-01"),  # new candles change nothing
        ("2026-03-30", "2025-07-01", "2026-01-01"),
        ("2026-03-31", "2025-07-01", "2026-04-01"),  # a quarter is over
        ("2026-06-30", "2025-10-01", "2026-07-01"),
    ],
)
def test_the_holdout_moves_when_a_quarter_ends(last, start, until):
    split = split_of(date(2022, 1, 3), date.fromisoformat(last))
    assert (split.start.isoformat(), split.until.isoformat()) == (start, until)


def test_a_short_history_is_judged_by_whole_months_or_what_there_is():
    assert split_of(date(2024, 1, 2), date(2024, 12, 16)) == TimeSplit(
        date(2024, 10, 1), date(2024, 12, 1)
    )
    assert split_of(date(2025, 1, 1), date(2025, 3, 2), date(2025, 3, 1)) == TimeSplit(
        date(2025, 3, 1), None
    )


def test_a_quarter_that_ends_on_a_weekend_is_over_on_its_friday():
    assert split_of(date(2020, 1, 1), date(2024, 6, 28)).until == date(2024, 7, 1)


@given(first=DAY, days=st.integers(30, 9000))
def test_the_policy_cuts_inside_the_history(first, days):
    last = first + timedelta(days=days)
    split = split_of(first, last)
    assert split.start <= last
    assert split.until is None or split.start < split.until <= last + timedelta(days=3)
    assert split.train_before == split.start - timedelta(days=EMBARGO_DAYS)


@given(start=DAY, length=st.integers(1, 400), at=DAY, window=st.integers(0, 60))
def test_no_decision_lies_on_both_sides_or_reaches_across(start, length, at, window):
    split = TimeSplit(start, start + timedelta(days=length))
    as_of, until = (
        np.array([at], "datetime64[D]"),
        np.array([at + timedelta(days=window)], "datetime64[D]"),
    )
    learnt, judged = split.learnt(until)[0], split.judged(as_of, until)[0]
    assert not (learnt and judged)
    assert not learnt or until[0].item() + timedelta(days=EMBARGO_DAYS) < start
    assert judged == split.has(at, at + timedelta(days=window))


def test_corrections_that_belong_together_are_one_chain():
    first = item(id="a", correction="Wait for a stop.")
    about = {"instruction": "Another?", "input": "Symbol: WREN"}
    others = [
        replace(first, id="question", response="Sure.", correction="No."),
        replace(
            first, id="answer", **about, response="Wait  for a STOP.", correction="Not at all."
        ),
        replace(
            first, id="wish", instruction="A third?", response="x", correction="wait for a stop."
        ),
        replace(
            first,
            id="response",
            instruction="A fourth?",
            response="y",
            correction="z",
            response_id="r1",
        ),
        replace(
            first,
            id="response again",
            instruction="A fifth?",
            response="y2",
            correction="z2",
            response_id="r1",
        ),
        replace(first, id="alone", instruction="A sixth?", response="u", correction="v"),
    ]
    chain_of = chains([first, *others])
    assert chain_of == chains(list(reversed([first, *others])))
    assert chain_of["question"] == chain_of["answer"] == chain_of["wish"] == chain_of["a"]
    assert chain_of["response"] == chain_of["response again"] != chain_of["a"]
    assert chain_of["alone"] == "alone"


def test_one_chain_in_four_is_frozen_and_stays_so():
    names = [f"item-{number}" for number in range(4000)]
    assert sum(map(is_frozen, names)) == pytest.approx(1000, abs=120)
    assert is_frozen("item-1") == is_frozen("item-1")
