import random
from collections import Counter
from datetime import date, timedelta

from dataset.test_decisions import DAYS, market, market_of
from hypothesis import given, settings
from hypothesis import strategies as st

from stock_llm.dataset.leakage.overlap import OverlapIndex, window
from stock_llm.dataset.sampling import (
    SHARES,
    THAI_SHARE,
    Sampler,
    holdout_texts,
    split_sides,
    strategies,
)
from stock_llm.dataset.splits import TimeSplit
from stock_llm.skills import sentiment

SPLIT = TimeSplit(date(2023, 9, 1), date(2023, 11, 15))


def plans(data=None, size=60, split=SPLIT):
    data = data or market()
    train, holdout = split_sides(data, split)
    base_rates = data.base_rates(train.decisions)
    judge, learn = (
        Sampler(data, holdout, base_rates, "7 holdout", size),
        Sampler(data, train, base_rates, "7 train", size),
    )
    asked = judge.plan()
    return judge, asked, learn, learn.plan(strategies(asked))


@settings(max_examples=15, deadline=None)
@given(start=st.sampled_from(DAYS[120:200].tolist()), length=st.integers(25, 120))
def test_no_window_of_training_touches_the_holdout(start, length):
    split = TimeSplit(start, start + timedelta(days=length))
    judge, asked, learn, plan = plans(size=40, split=split)
    holdout = [judge.row(planned) for planned in asked]
    judging = OverlapIndex(holdout)
    for row in map(learn.row, plan):
        assert max(window(row)) < split.train_before.isoformat()
        assert not judging.shares_event(row) and not judging.asks(row)
    for row in holdout:
        assert (
            split.start.isoformat()
            <= min(window(row))
            <= max(window(row))
            < split.until.isoformat()
        )


def test_a_plan_is_the_same_again_and_later_days_do_not_change_it():
    _, _, learn, plan = plans()
    assert plans()[3] == plan
    changed = market_of(cut=len(DAYS) - 20, factor=1.5)
    assert list(map(plans(changed)[2].row, plans(changed)[3])) == list(map(learn.row, plan))


def test_where_trades_are_few_more_decisions_are_made():
    _, _, learn, plan = plans(size=200)
    counts = Counter(planned.skill for planned in plan)
    assert len(plan) == 200
    assert counts["review"] < SHARES["review"] * 200 and counts["signal"] > SHARES["signal"] * 200
    rows = list(map(learn.row, plan))
    assert len({row.id for row in rows}) == len(rows)


def test_languages_and_readings_are_spread():
    plan = plans(size=300)[3]
    thai = sum(planned.language == "th" for planned in plan) / len(plan)
    assert abs(thai - THAI_SHARE) < 0.08
    _, _, learn, _ = plans(size=300)
    readings = Counter(learn.row(planned).label for planned in plan if planned.skill == "explain")
    assert readings["OVERBOUGHT"] and readings["OVERSOLD"], "rare readings are looked for"


def test_some_texts_judge_and_never_more_than_their_share():
    chance = random.Random(1)
    made = [
        sentiment.row(
            sentiment.LabeledText(f"Text {chance.random()}", "NEUTRAL", "source", str(number)),
            "en",
            0,
        )
        for number in range(300)
    ]
    judging, learnt = holdout_texts(made, 160)
    assert (
        len(judging) == 16
        and len(learnt) == 284
        and not {row.id for row in judging} & {row.id for row in learnt}
    )
    assert holdout_texts(made[:3], 160)[0] == [row for row in made[:3] if row in judging]
