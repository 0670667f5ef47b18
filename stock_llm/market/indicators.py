"""Technical indicators of one symbol, each series computed at once with numpy.

They take float64 arrays of candles, ascending in time, without gaps, and return arrays of the same
length, NaN in the warm-up. A value never depends on a later candle, nor on how many follow, so
training and serving see the same numbers to the last bit.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from stock_llm.errors import InputError

FloatArray = NDArray[np.float64]


class Macd(NamedTuple):
    """The three series of MACD, in price units."""

    line: FloatArray
    signal: FloatArray
    histogram: FloatArray


class Bands(NamedTuple):
    """Bollinger's three bands, in price units."""

    upper: FloatArray
    middle: FloatArray
    lower: FloatArray


def sma(values: ArrayLike, n: int) -> FloatArray:
    """Simple moving average: the mean of the last `n` values, in their unit. First value at index
    n-1.

    Murphy, Technical Analysis of the Financial Markets, 1999, chapter 9.
    """
    values = _checked(n, values=values)["values"]
    return _late(len(values), n - 1, _windows(values, n).mean(axis=1))


def ema(values: ArrayLike, n: int) -> FloatArray:
    """Exponential moving average, α = 2/(n+1), seeded with the mean of the first `n` values. First
    value at index n-1.

    The weight is Murphy's (1999, chapter 9); the seed is what makes early values comparable between
    programs.
    """
    values = _checked(n, values=values)["values"]
    return _seeded_average(values, n, keep=1 - 2 / (n + 1))


def rsi(close: ArrayLike, n: int = 14) -> FloatArray:
    """Relative strength index in [0, 100]: 100 · average gain / (average gain + average loss).
    First value at index n.

    The averages are Wilder's (New Concepts in Technical Trading Systems, 1978): the mean of the
    first `n` changes, then (previous · (n-1) + change) / n. Where the price has never moved, 50.
    """
    close = _checked(n, close=close)["close"]
    change = np.diff(close)
    gain = _wilder(np.maximum(change, 0.0), n)
    loss = _wilder(np.maximum(-change, 0.0), n)
    moved = gain + loss
    share = np.divide(gain, moved, out=np.where(np.isnan(moved), np.nan, 0.5), where=moved > 0)
    return _late(len(close), 1, 100 * share)


def macd(close: ArrayLike, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """Moving average convergence/divergence: line = EMA(fast) - EMA(slow), signal = EMA(signal) of
    the line.

    The histogram is line - signal. Every EMA is seeded with the mean of its own first values: the
    line begins at index slow-1, the signal and the histogram `signal`-1 later. Appel, The Moving
    Average Convergence-Divergence Trading Method, 1985.

    Raises:
        ValueError: `fast` is not shorter than `slow`.
    """
    if fast >= slow:
        raise ValueError(f"fast must be shorter than slow, not {fast} and {slow}")
    line = ema(close, fast) - ema(close, slow)
    smoothed = _late(len(line), slow - 1, ema(line[slow - 1 :], signal))
    return Macd(line, smoothed, line - smoothed)


def atr(high: ArrayLike, low: ArrayLike, close: ArrayLike, n: int = 14) -> FloatArray:
    """Average true range in price units (Wilder, 1978): his average of max(high, previous close) -
    min(low, previous close).

    The first candle has no previous close and no range; the first value is at index n.
    """
    prices = _checked(n, high=high, low=low, close=close)
    before = prices["close"][:-1]
    true_range = np.maximum(prices["high"][1:], before) - np.minimum(prices["low"][1:], before)
    return _late(len(prices["close"]), 1, _wilder(true_range, n))


def bollinger(close: ArrayLike, n: int = 20, width: float = 2.0) -> Bands:
    """Bollinger bands: SMA(n) ± `width` population standard deviations of the same `n` closes.
    First value at index n-1.

    Bollinger, Bollinger on Bollinger Bands, 2001.
    """
    close = _checked(n, close=close)["close"]
    middle = sma(close, n)
    spread = width * _late(len(close), n - 1, _windows(close, n).std(axis=1))
    return Bands(middle + spread, middle, middle - spread)


def relative_volume(volume: ArrayLike, n: int = 20) -> FloatArray:
    """Volume as a multiple of the mean volume of the `n` candles before it; NaN where those had
    none. First value at index n.
    """
    volume = _checked(n, volume=volume)["volume"]
    mean = _late(len(volume), 1, sma(volume, n)[:-1])
    ratio: FloatArray = np.divide(volume, mean, out=np.full(len(volume), np.nan), where=mean > 0)
    return ratio


def swing_support(
    high: ArrayLike, low: ArrayLike, close: ArrayLike, n: int = 60, k: int = 5
) -> FloatArray:
    """The price below which the stock has turned: never above the close, in price units. First
    value at index n-1.

    A swing low is a low that none of the `k` candles on either side undercuts, so it is known `k`
    candles later. Support at a candle is the highest swing low, of those in the last `n` candles
    that are known by then, that is not above the close; where there is none, the lowest low of the
    last `n` candles.

    Raises:
        ValueError: `n` is too short to hold a swing, 2k+1 candles.
    """
    prices = _checked(n, high=high, low=low, close=close)
    return _nearest_swing(prices["low"], prices["close"], n, k)


def swing_resistance(
    high: ArrayLike, low: ArrayLike, close: ArrayLike, n: int = 60, k: int = 5
) -> FloatArray:
    """The price above which the stock has turned, never below the close; see `swing_support`."""
    prices = _checked(n, high=high, low=low, close=close)
    return -_nearest_swing(-prices["high"], -prices["close"], n, k)


def _nearest_swing(low: FloatArray, close: FloatArray, n: int, k: int) -> FloatArray:
    if n < 2 * k + 1:
        raise ValueError(
            f"a swing of {k} candles on either side needs {2 * k + 1} candles, not {n}"
        )
    swing = np.full(len(low), -np.inf)
    turns = _windows(low, 2 * k + 1).min(axis=1)
    swing[k : k + len(turns)] = np.where(
        low[k : k + len(turns)] == turns, low[k : k + len(turns)], -np.inf
    )
    lowest = _windows(low, n).min(axis=1)
    known = _windows(swing, n - k)[: len(lowest)]
    nearest = np.where(known <= close[n - 1 :, None], known, -np.inf).max(axis=1, initial=-np.inf)
    return _late(len(low), n - 1, np.where(np.isfinite(nearest), nearest, lowest))


def _wilder(values: FloatArray, n: int) -> FloatArray:
    return _seeded_average(values, n, keep=(n - 1) / n)


def _seeded_average(values: FloatArray, n: int, keep: float) -> FloatArray:
    """y[t] = keep · y[t-1] + (1-keep) · values[t], begun at index n-1 with the mean of the first
    `n` values.

    Doubling instead of a loop: when y[t] holds the weighted sum of m values, adding keep^m · y[t-m]
    makes it hold 2m.
    """
    if len(values) < n:
        return np.full(len(values), np.nan)
    average = (1 - keep) * values[n - 1 :]
    average[0] = values[:n].mean()
    held, weight = 1, keep
    while held < len(average):
        average[held:] += weight * average[:-held]
        held, weight = 2 * held, weight * weight
    return _late(len(values), n - 1, average)


def _windows(values: FloatArray, n: int) -> NDArray[np.float64]:
    """Shape (len-n+1, n): the `n` values up to each index from n-1 on; no rows where there are
    fewer than `n`.
    """
    return sliding_window_view(values, n) if len(values) >= n else np.empty((0, n))


def _late(size: int, start: int, values: FloatArray) -> FloatArray:
    """`values` moved to `start` in an array of `size`, NaN before."""
    series = np.full(size, np.nan)
    series[start:] = values[: max(0, size - start)]
    return series


def _checked(n: int, **arrays: ArrayLike) -> dict[str, FloatArray]:
    """The arrays as float64, of one length and without gaps.

    Raises:
        InputError: a value is missing or infinite.
        ValueError: lengths or shapes differ, or `n` is not positive.
    """
    if n < 1:
        raise ValueError(f"n must be positive, not {n}")
    series = {name: np.asarray(values, dtype=np.float64) for name, values in arrays.items()}
    if len({values.shape for values in series.values()}) > 1 or any(
        values.ndim != 1 for values in series.values()
    ):
        raise ValueError(
            "one array per series, all of one length, not"
            f" {[values.shape for values in series.values()]}"
        )
    for name, values in series.items():
        if not np.isfinite(values).all():
            gap = int(np.flatnonzero(~np.isfinite(values))[0])
            raise InputError(
                f"{name} has no number at candle {gap + 1} of {len(values)} (it is {values[gap]})",
                remedy="Indicators need every candle: drop that day or repair it",
            )
    return series
