"""Indicators written down from their definitions, one value at a time: what the fast ones are compared with.

Sources: J. Welles Wilder, New Concepts in Technical Trading Systems (1978) for RSI and ATR; John Bollinger, Bollinger on Bollinger
Bands (2001); Gerald Appel's MACD. None stands where a value is not defined yet.
"""

import itertools
from fractions import Fraction
from math import sqrt

Series = list[Fraction | None]


def sma(values: Series, size: int) -> Series:
    """Mean of the last `size` values."""
    means: Series = []
    for end in range(1, len(values) + 1):
        window = values[end - size : end] if end >= size else []
        known = window and None not in window
        means.append(sum(window) / size if known else None)
    return means


def ema(values: Series, size: int) -> Series:
    """Exponential mean with weight 2 / (size + 1), begun with the mean of the first `size` values."""
    means, mean = [], None
    for place, value in enumerate(values):
        window = values[max(0, place - size + 1) : place + 1]
        if mean is not None:
            mean = _rounded(mean + Fraction(2, size + 1) * (value - mean))
        elif len(window) == size and None not in window:
            mean = Fraction(sum(window), size)
        means.append(mean)
    return means


def rsi(values: Series, size: int = 14) -> Series:
    """100 × mean gain / (mean gain + mean loss), with Wilder's smoothing."""
    moves = [None] + [after - before for before, after in itertools.pairwise(values)]
    gains = _wilder([None if move is None else max(move, Fraction(0)) for move in moves], size)
    losses = _wilder([None if move is None else max(-move, Fraction(0)) for move in moves], size)
    return [
        None if gain is None else Fraction(100) if not loss else 100 * gain / (gain + loss)
        for gain, loss in zip(gains, losses, strict=True)
    ]


def true_range(high: Series, low: Series, close: Series) -> Series:
    """The day's range, widened to the close of the day before; not defined on the first day."""
    ranges: Series = [None]
    for day in range(1, len(close)):
        ranges.append(max(high[day], close[day - 1]) - min(low[day], close[day - 1]))
    return ranges


def atr(high: Series, low: Series, close: Series, size: int = 14) -> Series:
    """The true range with Wilder's smoothing."""
    return _wilder(true_range(high, low, close), size)


def macd(close: Series) -> dict[str, Series]:
    """The difference of the means of 12 and 26 days, its mean of 9 days, and the difference of the two."""
    fast, slow = ema(close, 12), ema(close, 26)
    line = [None if a is None or b is None else a - b for a, b in zip(fast, slow, strict=True)]
    signal = ema(line, 9)
    histogram = [None if s is None else m - s for m, s in zip(line, signal, strict=True)]
    return {
        "macd": line,
        "signal": signal,
        "histogram": histogram,
        "fastEma": fast,
        "slowEma": slow,
    }


def bollinger(close: Series, size: int = 20) -> dict[str, list[float | None]]:
    """The mean of 20 days, and two standard deviations (of the population) to either side."""
    middle = sma(close, size)
    upper, lower = [], []
    for end, mean in enumerate(middle, start=1):
        if mean is None:
            upper.append(None)
            lower.append(None)
            continue
        spread = 2 * sqrt(sum((value - mean) ** 2 for value in close[end - size : end]) / size)
        upper.append(float(mean) + spread)
        lower.append(float(mean) - spread)
    return {"sma": middle, "upperBand": upper, "lowerBand": lower}


def _wilder(values: Series, size: int) -> Series:
    """Mean with weight 1 / size, begun with the mean of the first `size` values that are defined."""
    means, mean, first = [], None, []
    for value in values:
        if value is not None and mean is None:
            first.append(value)
            if len(first) == size:
                mean = sum(first) / size
        elif value is not None:
            mean = _rounded(mean + (value - mean) / size)
        means.append(mean)
    return means


def _rounded(value: Fraction) -> Fraction:
    """`value` to 30 decimals: exact fractions would grow with every step."""
    return Fraction(round(value * 10**30), 10**30)
