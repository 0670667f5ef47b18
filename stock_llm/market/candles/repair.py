"""Faults of daily candles that only their neighbours show: prices in pounds among pence, and splits that were not worked in.

In: one symbol's candles, the splits that are known, whether its market quotes in hundredths. Out: what prices must be
multiplied by, the rows that cannot be trusted, and findings. The rules, in their order:

1. One of a row's four prices is 100 times its three fellows, or a hundredth of them, its fellows agree with each other, and the
   row is whole once it is put right: it is put right.
2. Rows that leap to a hundredth of their neighbours, or to a hundredfold, belong to two levels.
   - In a market that quotes in hundredths of a pound, rand or shekel the lower level is multiplied by 100.
   - Elsewhere rows that leap and come back are put right, if they are at most one in five.
   - A fall to a hundredth that does not come back may be a crash: it is reported. Of other levels those that are left are set
     aside, the last one stays; after a rise that does not come back the smaller side is set aside.
3. A split that is known (the file's own split column, the ledger, the table of instruments) must leave no gap, since prices are
   kept as if it had always been in force. Where the gap of its size is still there, on its day or up to five sessions beside
   it, earlier prices are divided by the ratio and volumes multiplied, back to where the opposite gap shows that older ones were
   already. A ratio that is within what prices do in a day is not looked for.
4. A gap of a split's size with no split known is a crash, or a split that is missing. Only if the turnover stayed what it was
   while the volume changed by the ratio, and the day was calm, it is taken for a split: the rows before it are set aside until
   somebody confirms it. Otherwise nothing is touched, and the gap is reported.

A crash is never repaired: no rule changes prices for the size of a fall alone. Rows that are zero, negative or contradict
themselves were set aside before. Does not know files, calendars, or where splits are written down.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from stock_llm.market.candles.closes import StockSplit
from stock_llm.market.candles.columns import PRICES
from stock_llm.storage.findings import Finding

HUNDRED = np.log(100.0)
LOOK = 5
"""Sessions beside a split's day in which its gap is looked for."""

_SPLITS = np.array([2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 40, 50, 3 / 2])
"""New units per old one, as companies choose them; the reverse as well."""

_CALM = 10
"""Sessions on each side that turnover is compared over."""

_NOISE = 1e-9
_ROUNDS = 10
_SUSPECT = "suspect"


@dataclass(frozen=True)
class PriceSeries:
    """One symbol's candles by day, ascending.

    Attributes:
        day: datetime64[D], n.
        prices: float64, 4 × n: open, high, low, close; all above zero.
        volume: float64, n.
        hundredths: whether the market quotes in hundredths of its currency, as London does in pence.
        splits: those that are known; their ratios are above zero.
    """

    symbol: str
    day: np.ndarray
    prices: np.ndarray
    volume: np.ndarray
    hundredths: bool = False
    splits: tuple[StockSplit, ...] = ()


@dataclass
class Repair:
    """What to do with a series.

    Attributes:
        prices, volume: as they should be.
        scale: n, what each row's prices were multiplied by; where only one of four prices was, 1.
        reason: n, why a row cannot be trusted; empty where it can.
        findings: all that was found.
    """

    prices: np.ndarray
    volume: np.ndarray
    scale: np.ndarray
    reason: np.ndarray
    findings: list[Finding] = field(default_factory=list)

    @property
    def aside(self) -> np.ndarray:
        """Indices of the rows that cannot be trusted."""
        return np.flatnonzero(self.reason != "")


def suspicious(prices: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Which of many series, laid end to end, deserve a look: one price or one step is out of line. The others need no repair.

    Args:
        prices: 4 × n, all series.
        edges: index at which each begins, and n.

    Returns:
        A mask with one element per series.
    """
    if not prices.shape[1]:
        return np.zeros(len(edges) - 1, bool)
    odd = np.maximum.reduce(prices) > 20 * np.minimum.reduce(prices)
    middle = np.sqrt(prices[0] * prices[3])
    step = middle[1:] / middle[:-1]
    leaps = (step > 1.4) | (step < 1 / 1.4)
    leaps[edges[1:-1] - 1] = False  # from one series to the next
    odd[1:] |= leaps
    return np.logical_or.reduceat(odd, edges[:-1])


def repair(series: PriceSeries) -> Repair:
    """The four rules, one after the other, and again on what is left until there is nothing more to do."""
    return _repair(series, _ROUNDS)


def _repair(series: PriceSeries, rounds: int) -> Repair:
    size = len(series.day)
    made = Repair(
        series.prices.copy(), series.volume.copy(), np.ones(size), np.full(size, "", object)
    )
    if size:
        _single_prices(series, made)
    if size > 1:
        _levels(series, made)
        _known_splits(series, made)
        _unknown_splits(series, made)
    done = [one for one in made.findings if not one.rule.startswith(_SUSPECT)]
    if not done or not rounds:
        return made
    left = np.flatnonzero(made.reason == "")
    rest = replace(
        series, day=series.day[left], prices=made.prices[:, left], volume=made.volume[left]
    )
    again = _repair(rest, rounds - 1)
    made.prices[:, left], made.volume[left], made.reason[left] = (
        again.prices,
        again.volume,
        again.reason,
    )
    made.scale[left] *= again.scale
    made.findings = done + again.findings
    return made


def one_price_off(prices: np.ndarray) -> np.ndarray:
    """Where one price of a row, and no other, is off by 100, and the row is whole without it: a mask like `prices`, 4 × n."""
    off = np.zeros(prices.shape, bool)
    for cell in range(4):
        fellows = np.delete(prices, cell, axis=0)
        ratio = np.log(prices[cell] / np.median(fellows, axis=0))
        wrong = (fellows.max(axis=0) < 1.5 * fellows.min(axis=0)) & (
            np.abs(np.abs(ratio) - HUNDRED) < np.log(1.5)
        )
        fixed = prices.copy()
        fixed[cell] *= np.where(ratio > 0, 0.01, 100.0)
        whole = (fixed[1] >= fixed.max(axis=0) * (1 - _NOISE)) & (
            fixed[2] <= fixed.min(axis=0) * (1 + _NOISE)
        )
        off[cell] = wrong & whole
    return off


def _single_prices(series: PriceSeries, made: Repair) -> None:
    """Rule 1."""
    for cell, index in zip(*np.nonzero(one_price_off(series.prices)), strict=True):
        times = 0.01 if series.prices[cell, index] > np.median(series.prices[:, index]) else 100.0
        made.prices[cell, index] *= times
        text = (
            f"the {PRICES[cell]} was {1 / times:g} times the other prices: multiplied by {times:g}"
        )
        made.findings.append(_finding(series, "repaired: one price 100x", [index], times, text))


def _levels(series: PriceSeries, made: Repair) -> None:
    """Rule 2."""
    step = _steps(made.prices)
    leap = np.where(np.abs(np.abs(step) - HUNDRED) < _tolerance(step), np.sign(step), 0).astype(int)
    if not leap.any() or any(
        abs(abs(np.log(float(one.ratio))) - HUNDRED) < 0.1 for one in series.splits
    ):
        return  # a split of 100 for 1 that is known is rule 3's
    level = np.concatenate([[0], np.cumsum(leap)])
    leaps = np.flatnonzero(leap) + 1
    lower, last = level == level.min(), level == level[-1]
    if level.max() - level.min() > 1:
        text = "prices leap by 100 more than once in the same direction; nothing was changed. Look at the file"
        made.findings.append(_finding(series, f"{_SUSPECT}: 100x", leaps, 1.0, text))
    elif series.hundredths:
        text = "prices in the main currency among prices in its hundredths: multiplied by 100"
        _multiply(series, made, lower, 100.0, text)
    elif level[0] == level[-1] and 5 * (~last).sum() <= len(level):
        factor = 0.01 if level[0] == level.min() else 100.0
        _multiply(
            series, made, ~last, factor, f"prices leap by 100 and back: multiplied by {factor:g}"
        )
    elif len(leaps) == 1 and leap[leaps[0] - 1] < 0:
        text = f"prices fall to a hundredth on {series.day[leaps[0]]}; nothing was changed. {_remedy(series, leaps[0], 100)}"
        made.findings.append(_finding(series, f"{_SUSPECT}: 100x", leaps, 1.0, text))
    else:
        wrong = last if len(leaps) == 1 and 2 * last.sum() < len(last) else ~last
        why = f"prices leap by 100 on {series.day[leaps[0]]}, no split is known, and it is not clear which are right"
        made.reason[wrong] = why
        ratio = 0.01 if leap[leaps[0] - 1] > 0 else 100
        text = f"{why}: {wrong.sum()} rows are set aside. {_remedy(series, leaps[0], ratio)}"
        made.findings.append(_finding(series, "set aside: 100x", np.flatnonzero(wrong), 1.0, text))


def _multiply(
    series: PriceSeries, made: Repair, rows: np.ndarray, factor: float, text: str
) -> None:
    _scale(made, rows, factor)
    made.findings.append(_finding(series, "repaired: 100x", np.flatnonzero(rows), factor, text))


def _known_splits(series: PriceSeries, made: Repair) -> None:
    """Rule 3; the latest first, so that the earlier ones see prices that it no longer disturbs."""
    latest_first = sorted(series.splits, key=lambda one: one.day, reverse=True)
    for _ in range(4 * len(latest_first)):  # one that was worked in may uncover the gap of another
        if not any(_worked_in(series, made, split) for split in latest_first):
            break


def _worked_in(series: PriceSeries, made: Repair, split: StockSplit) -> bool:
    """Whether the gap of a split was there; then it is there no more."""
    step = _steps(made.prices)
    ratio = float(split.ratio)
    if abs(size := np.log(ratio)) < max(0.1, 6 * _usual(step)):
        return False
    at = int(np.searchsorted(series.day, np.datetime64(split.day)))
    near = np.arange(max(0, at - 1 - LOOK), min(len(step), at + LOOK))
    width = min(_tolerance(step), abs(size) / 2)
    found = near[np.abs(step[near] + size) < width]
    if not len(found):
        return False
    gap = int(found[np.argmin(np.abs(found + 1 - at))]) + 1
    opposite = np.flatnonzero(np.abs(step[: gap - 1] - size) < width)
    start = (
        int(opposite[-1]) + 1
        if len(opposite) and not _explained(series, opposite[-1] + 1, -size)
        else 0
    )
    rows = np.arange(start, gap)
    _scale(made, rows, 1 / ratio)
    made.volume[rows] *= ratio
    text = (
        f"the split of {ratio:g} for 1 on {split.day} was not in the prices from {series.day[start]} to "
        f"{series.day[gap - 1]}: divided by it, volumes multiplied"
    )
    made.findings.append(_finding(series, "repaired: split", rows, 1 / ratio, text))
    return True


def _explained(series: PriceSeries, index: int, size: float) -> bool:
    """Whether another known split of that size lies about there."""
    nearby = series.day[max(0, index - LOOK)], series.day[min(len(series.day) - 1, index + LOOK)]
    others = [one for one in series.splits if nearby[0] <= np.datetime64(one.day) <= nearby[1]]
    return any(abs(np.log(float(one.ratio)) - size) < 0.1 for one in others)


def _unknown_splits(series: PriceSeries, made: Repair) -> None:
    """Rule 4."""
    step = _steps(made.prices)
    usual = _usual(step)
    for index in np.flatnonzero(np.abs(step) > max(np.log(1.4), 8 * usual)).tolist():
        ratio = _split_ratio(step[index], usual)
        gap = index + 1
        if ratio is None or made.reason[gap] != "":
            continue
        shown = f"{ratio:g} for 1" if ratio >= 1 else f"1 for {1 / ratio:g}"
        if _turnover_went_on(made, gap, ratio):
            why = f"prices before {series.day[gap]} look as if a split of {shown} were missing"
            rows = np.flatnonzero(made.reason[:gap] == "")
            made.reason[rows] = why
            text = f"{why}: {len(rows)} rows are set aside. {_remedy(series, gap, ratio)}"
            made.findings.append(_finding(series, "set aside: split", rows, 1.0, text))
        else:
            text = f"prices change as by a split of {shown} on {series.day[gap]}; nothing was changed. {_remedy(series, gap, ratio)}"
            made.findings.append(_finding(series, f"{_SUSPECT}: split", [gap], 1.0, text))


def _split_ratio(step: float, usual: float) -> float | None:
    ratios = np.concatenate([_SPLITS, 1 / _SPLITS])
    off = np.abs(step + np.log(ratios))
    best = int(np.argmin(off))
    return float(ratios[best]) if off[best] < min(0.03 + 2 * usual, 0.08) else None


def _turnover_went_on(made: Repair, gap: int, ratio: float) -> bool:
    """Whether as much money changed hands after the gap as before it, in units that fit the ratio, on a day as calm as others."""
    before, after = made.volume[max(0, gap - _CALM) : gap], made.volume[gap : gap + _CALM]
    if len(before) < _CALM or len(after) < _CALM or (before <= 0).any() or (after <= 0).any():
        return False
    grown = np.log(np.median(after) / np.median(before))
    width = np.log(made.prices[1] / made.prices[2])
    calm = width[gap] <= 2 * np.median(width[max(0, gap - _CALM) : gap]) + 1e-12
    spike = made.volume[gap] <= 2.5 * np.median(after)
    return bool(abs(grown - np.log(ratio)) < 0.4 * abs(np.log(ratio)) and calm and spike)


def _steps(prices: np.ndarray) -> np.ndarray:
    """Change from one row to the next, as a logarithm: from close to open, or from middle to middle, whichever is smaller.

    A day that opens where it should and then moves is no fault of the file.
    """
    middle = np.log(np.median(prices, axis=0))
    gap = np.log(prices[0, 1:]) - np.log(prices[3, :-1])
    whole = middle[1:] - middle[:-1]
    return np.where(np.abs(gap) < np.abs(whole), gap, whole)


def _usual(step: np.ndarray) -> float:
    return float(np.median(np.abs(step)))


def _tolerance(step: np.ndarray) -> float:
    """How far a gap may be from the size that is looked for: what prices usually do in a few days."""
    return min(max(0.1, 6 * _usual(step)), 0.4)


def _scale(made: Repair, rows: np.ndarray, factor: float) -> None:
    made.prices[:, rows] *= factor
    made.scale[rows] *= factor


def _finding(
    series: PriceSeries, rule: str, rows: Iterable[int], factor: float, text: str
) -> Finding:
    indices = np.asarray(list(rows), int)
    first, last = (str(series.day[index]) for index in (indices.min(), indices.max()))
    return Finding(rule, series.symbol, first, last, len(indices), factor, text)


def _remedy(series: PriceSeries, gap: int, ratio: float) -> str:
    return (
        f"If it is a split, write it into data/instruments.csv: kind split, symbol {series.symbol}, from {series.day[gap]}, "
        f"ratio {ratio:g}"
    )
