import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stock_llm.market import situation
from stock_llm.market.situation import Candles, compute_indicators
from stock_llm.skills import decision_point
from stock_llm.skills.decision_point import HORIZON, BaseRates, DecisionPoint

DAYS = np.arange("2023-01-02", "2023-12-31", dtype="datetime64[D]")
DAYS = DAYS[np.is_busday(DAYS)]


def candles(seed=0, drift=0.0):
    size = len(DAYS)
    chance = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(chance.normal(drift, 0.015, size)))
    opening = close * np.exp(chance.normal(0, 0.004, size))
    spread = np.abs(chance.normal(0, 0.006, size)) * close
    return Candles(
        symbol="ORCA",
        day=DAYS,
        open=opening,
        high=np.maximum(opening, close) + spread,
        low=np.minimum(opening, close) - spread,
        close=close,
        volume=chance.uniform(1e5, 2e5, size),
    )


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(situation.WARM_UP, len(DAYS) - 2), factor=st.floats(0.5, 2.0))
def test_no_situation_knows_the_future(cut, factor):
    before = candles()
    after = Candles(
        before.symbol, before.day, *(np.where(np.arange(len(before)) > cut, values * factor, values)
        for values in (before.open, before.high, before.low, before.close, before.volume))
    )  # fmt: skip
    one, other = compute_indicators(before), compute_indicators(after)
    for index in range(situation.WARM_UP, cut + 1):
        assert one.at(index) == other.at(index)


def test_the_label_begins_at_the_next_open_and_ends_after_the_horizon():
    series = compute_indicators(candles())
    scores = decision_point.outcomes(series)
    index = 150
    window = series.candles.close[index - 20 : index + 1]
    volatility = np.diff(np.log(window)).std(ddof=1) * np.sqrt(HORIZON)
    expected = (
        np.log(series.candles.close[index + HORIZON] / series.candles.open[index + 1]) / volatility
    )
    assert scores[index] == pytest.approx(expected)
    seen = series.at(index)
    record = decision_point.decision_point_at(series, scores, index, seen, {})
    assert (record.outcome_from, record.outcome_until) == (
        str(DAYS[index + 1]),
        str(DAYS[index + HORIZON]),
    )
    assert record.outcome == ("BUY" if expected > 0.5 else "SELL" if expected < -0.5 else "HOLD")


def test_an_open_outcome_is_no_label():
    series = compute_indicators(candles())
    scores = decision_point.outcomes(series)
    assert np.isnan(scores[-HORIZON:]).all()
    assert (
        decision_point.decision_point_at(
            series, scores, len(DAYS) - 1, series.at(len(DAYS) - 1), {}
        )
        is None
    )


def test_a_stock_that_never_moves_has_no_label():
    flat = Candles(
        "FLAT", DAYS, *(np.full(len(DAYS), 10.0) for _ in range(4)), volume=np.full(len(DAYS), 1.0)
    )
    assert np.isnan(decision_point.outcomes(compute_indicators(flat))).all()


def test_the_trend_is_what_its_lines_say():
    rising = compute_indicators(candles(drift=0.01))
    assert rising.at(200).trend == "UP"
    assert compute_indicators(candles(drift=-0.01)).at(200).trend == "DOWN"
    assert rising.at(situation.WARM_UP - 1) is None


def test_confidence_is_a_frequency_of_the_training_time():
    seen = compute_indicators(candles()).at(150)
    past = [
        DecisionPoint(seen, outcome, "", "", {})
        for outcome in ["BUY"] * 60 + ["HOLD"] * 30 + ["SELL"] * 10
    ]
    base_rates = BaseRates(past)
    assert [base_rates.confidence(seen, word) for word in ("BUY", "HOLD", "SELL")] == [60, 30, 10]
