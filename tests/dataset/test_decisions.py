"""All decisions as numbers say what each of them says alone, and none of them knows what comes later."""

from dataclasses import replace
from datetime import date, timedelta
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skills.test_decision_point import DAYS, candles

from stock_llm.dataset.decisions import OUTCOMES, Market
from stock_llm.market.situation import WARM_UP, Candles, compute_indicators
from stock_llm.portfolio.holdings import Fill
from stock_llm.skills.decision_point import HORIZON, BaseRates

SYMBOLS = ("ORCA", "WREN", "LYNX")


def fills(chance=1):
    drawn = np.random.default_rng(chance)
    return [
        Fill(f"t{number}", SYMBOLS[number % 3], DAYS[place].item(), float(quantity), 100.0 + number)
        for number, (place, quantity) in enumerate(
            zip(sorted(drawn.integers(110, 240, 30)), drawn.choice((-3, 2, 5), 30), strict=True)
        )
    ]


def market_of(cut=None, factor=1.0):
    """Three stocks; every candle after session `cut` is multiplied."""
    series = []
    for seed, symbol in enumerate(SYMBOLS):
        original = candles(seed)
        after = np.arange(len(original)) > (len(original) if cut is None else cut)
        changed = (
            np.where(after, column * factor, column)
            for column in (
                original.open,
                original.high,
                original.low,
                original.close,
                original.volume,
            )
        )
        series.append(compute_indicators(Candles(symbol, original.day, *changed)))
    return Market(series, fills())


@cache
def market():
    return market_of()


def situation_of(data, number):
    """The situation that the input of a decision shows."""
    return data.decision_point(number).situation


def test_decision_points_agree_with_the_arrays():
    data = market()
    decisions = data.decisions
    assert len(decisions) > 300 and (decisions.fill >= 0).sum() > 15
    learnt = np.arange(len(decisions))
    for number in learnt:
        decision = data.decision_point(number)
        assert (decision.situation.as_of, decision.outcome_until) == (
            str(decisions.as_of[number]),
            str(decisions.until[number]),
        )
        assert decision.outcome == OUTCOMES[decisions.outcome[number]]
    one_by_one = BaseRates(data.decision_point(number) for number in learnt)
    for number in learnt[::10]:
        situation = data.decision_point(number).situation
        assert [data.base_rates(learnt).confidence(situation, word) for word in OUTCOMES] == [
            one_by_one.confidence(situation, word) for word in OUTCOMES
        ]


def test_no_session_is_decided_twice():
    decisions = market().decisions
    assert len({*zip(decisions.series.tolist(), decisions.index.tolist(), strict=True)}) == len(
        decisions
    )
    assert decisions.index.min() >= WARM_UP


def test_a_fill_knows_the_last_close_strictly_before_it():
    data = market()
    decisions = data.decisions
    for number in np.flatnonzero(decisions.fill >= 0):
        fill = data.fills[decisions.fill[number]]
        decision = data.decision_point(number)
        assert (
            date.fromisoformat(decision.situation.as_of)
            < fill.day
            <= date.fromisoformat(decision.outcome_from)
        )
        assert decision.situation.position == data.held[fill.symbol].before(fill.day)


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(WARM_UP + 20, len(DAYS) - 2), factor=st.floats(0.3, 3.0))
def test_later_candles_change_no_decision_trade_or_portfolio(cut, factor):
    before, after = market(), market_of(cut, factor)
    last = DAYS[cut]
    for first, second in ((before, after), (after, before)):
        decisions = first.decisions
        settled = {
            (int(decisions.series[number]), int(decisions.index[number])): number
            for number in np.flatnonzero(decisions.until <= last)
        }
        first_decision, second_decision = situation_of(first, next(iter(settled.values()))), None
        places = zip(second.decisions.series.tolist(), second.decisions.index.tolist(), strict=True)
        for number, place in enumerate(places):
            if place in settled:
                first_decision, second_decision = (
                    first.decision_point(settled[place]),
                    second.decision_point(number),
                )
                assert first_decision == second_decision
        assert second_decision is not None
    trades = [
        [trade for trade in first.closed_trades if trade.closed <= str(last)]
        for first in (before, after)
    ]
    assert trades[0] == trades[1]
    for day in (last - np.timedelta64(30, "D"), last):
        assert before.portfolio(day.item()) == after.portfolio(day.item())


def test_an_order_filled_in_parts_at_one_price_is_reviewed_once():
    days = [DAYS[place].item() for place in (150, 170)]
    parts = [
        Fill("buy", "ORCA", days[0], 9.0, 100.0),
        *(Fill(f"part {n}", "ORCA", days[1], -3.0, 120.0) for n in range(3)),
    ]
    (trade,) = Market(market().series, parts).closed_trades
    assert (trade.ref, trade.days) == ("part 0", (days[1] - days[0]).days)


def test_a_portfolio_is_worth_the_last_closes():
    data = market()
    day = DAYS[235].item()
    review = data.portfolio(day)
    assert review is not None and len(review.held) >= 2
    for holding in review.held:
        assert holding.close == round(data.series_of(holding.symbol).candles.close[235], 2)
        assert holding.quantity == data.held[holding.symbol].after(day).quantity
    assert data.portfolio(day + timedelta(days=60)) is None, (
        "closes of two months ago are worth nothing"
    )
    assert data.portfolio(DAYS[100].item()) is None, "nothing was held yet"


def test_two_currencies_are_not_added_up():
    reference = market()
    mixed = Market(
        reference.series,
        reference.fills,
        {symbol: {"THB" if symbol == "WREN" else "USD"} for symbol in SYMBOLS},
    )
    single_currency = Market(
        reference.series, reference.fills, {symbol: {"THB"} for symbol in SYMBOLS}
    )
    days = [
        day
        for day in reference.days
        if (review := reference.portfolio(day))
        and {"WREN"} < {holding.symbol for holding in review.held}
    ]
    assert days and all(
        mixed.portfolio(day) is None and single_currency.portfolio(day) for day in days
    )


def test_a_market_without_trades_or_candles():
    assert len(Market([], []).decisions) == 0 and Market([], fills()).days == []
    assert len(Market(market().series, []).decisions) == 3 * (len(DAYS) - WARM_UP - HORIZON)
    assert Market([], fills()).portfolio(DAYS[235].item()) is None


@pytest.mark.parametrize("scale", [0.5, 10.0])
def test_other_amounts_show_the_same_shares(scale):
    reference = market()
    scaled = Market(
        reference.series,
        [replace(fill, quantity=fill.quantity * scale) for fill in reference.fills],
    )
    for day in reference.days[::7]:
        portfolio, scaled_portfolio = reference.portfolio(day), scaled.portfolio(day)
        assert (portfolio and portfolio.view.block()) == (
            scaled_portfolio and scaled_portfolio.view.block()
        )
