"""Repairs faults of daily candles that only their neighbours show.

These are prices in pounds among pence, and splits that were not worked into the prices. The rules,
in their order:

1. One of a row's four prices is 100 times the other three, or a hundredth of them, the others agree
   with each other, and the row is whole once it is corrected: it is corrected.
2. Rows that leap to a hundredth of their neighbours, or to a hundredfold, belong to two levels.
   - In a market that quotes in hundredths of a pound, rand or shekel the lower level is multiplied
     by 100.
   - Elsewhere rows that leap and come back are corrected, if they are at most one in five.
   - A fall to a hundredth that does not come back may be a crash: it is reported. Of other levels
     the earlier ones are quarantined, the last one stays; after a rise that does not come back the
     smaller side is quarantined.
3. A known split (the file's own split column, the ledger, the table of instruments) must leave no
   gap, since prices are kept as if it had always been in force. Where the gap of its size is still
   there, on its day or up to five sessions beside it, earlier prices are divided by the ratio and
   volumes multiplied, back to where the opposite gap shows that older ones were already. A ratio
   that is within what prices do in a day is not looked for.
4. A gap of a split's size with no split known is a crash, or a split that is missing. Only if the
   turnover stayed what it was while the volume changed by the ratio, and the day was calm, it is
   taken for a split: the rows before it are quarantined until somebody confirms it. Otherwise
   nothing is changed, and the gap is reported.

A crash is never repaired: no rule changes prices for the size of a fall alone.
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
        hundredths: whether the market quotes in hundredths of its currency, as London does in
            pence.
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
    """A repaired series.

    Attributes:
        prices, volume: as they should be.
        scale: n, what each row's prices were multiplied by; where only one of four prices was, 1.
        reason: n, why a row cannot be trusted; empty where it can.
    """

    prices: np.ndarray
    volume: np.ndarray
    scale: np.ndarray
    reason: np.ndarray
    findings: list[Finding] = field(default_factory=list)


def suspicious(prices: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return which of many series may need a repair: a price or a step is out of line.

    Args:
        prices: 4 × n, all series, laid end to end.
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
    """Apply the four rules, again and again on what is left until there is nothing more to do."""
    return _repair(series, _ROUNDS)


def _repair(series: PriceSeries, rounds: int) -> Repair:
    size = len(series.day)
    reason = np.full(size, "", object)
    result = Repair(series.prices.copy(), series.volume.copy(), np.ones(size), reason)
    if size:
        _single_prices(series, result)
    if size > 1:
        _levels(series, result)
        _known_splits(series, result)
        _unknown_splits(series, result)
    done = [finding for finding in result.findings if not finding.rule.startswith(_SUSPECT)]
    if not done or not rounds:
        return result
    rows = np.flatnonzero(reason == "")
    prices, volume = result.prices[:, rows], result.volume[rows]
    again = _repair(replace(series, day=series.day[rows], prices=prices, volume=volume), rounds - 1)
    result.prices[:, rows], result.volume[rows] = again.prices, again.volume
    reason[rows] = again.reason
    result.scale[rows] *= again.scale
    result.findings = done + again.findings
    return result


def one_price_off(prices: np.ndarray) -> np.ndarray:
    """Return a mask of the prices, 4 × n, that alone make their row wrong, by a factor of 100."""
    off = np.zeros(prices.shape, bool)
    for cell in range(4):
        others = np.delete(prices, cell, axis=0)
        ratio = np.log(prices[cell] / np.median(others, axis=0))
        agree = others.max(axis=0) < 1.5 * others.min(axis=0)
        wrong = np.abs(np.abs(ratio) - HUNDRED) < np.log(1.5)
        fixed = prices.copy()
        fixed[cell] *= np.where(ratio > 0, 0.01, 100.0)
        high_is_top = fixed[1] >= fixed.max(axis=0) * (1 - _NOISE)
        low_is_bottom = fixed[2] <= fixed.min(axis=0) * (1 + _NOISE)
        off[cell] = agree & wrong & high_is_top & low_is_bottom
    return off


def _single_prices(series: PriceSeries, result: Repair) -> None:
    """Rule 1."""
    for cell, index in zip(*np.nonzero(one_price_off(series.prices)), strict=True):
        times = 0.01 if series.prices[cell, index] > np.median(series.prices[:, index]) else 100.0
        result.prices[cell, index] *= times
        text = (
            f"the {PRICES[cell]} was {1 / times:g} times the other prices: multiplied by {times:g}"
        )
        result.findings.append(_finding(series, "repaired: one price 100x", [index], times, text))


def _levels(series: PriceSeries, result: Repair) -> None:
    """Rule 2."""
    step = _steps(result.prices)
    leap = np.where(np.abs(np.abs(step) - HUNDRED) < _tolerance(step), np.sign(step), 0).astype(int)
    ratios = (float(split.ratio) for split in series.splits)
    if not leap.any() or any(abs(abs(np.log(ratio)) - HUNDRED) < 0.1 for ratio in ratios):
        return  # rule 3 handles known splits of 100 for 1
    level = np.concatenate([[0], np.cumsum(leap)])
    leaps = np.flatnonzero(leap) + 1
    lower, last = level == level.min(), level == level[-1]
    if level.max() - level.min() > 1:
        text = (
            "prices leap by 100 more than once in the same direction; nothing was changed. Look at"
            " the file"
        )
        result.findings.append(_finding(series, f"{_SUSPECT}: 100x", leaps, 1.0, text))
    elif series.hundredths:
        text = "prices in the main currency among prices in its hundredths: multiplied by 100"
        _multiply(series, result, lower, 100.0, text)
    elif level[0] == level[-1] and 5 * (~last).sum() <= len(level):
        factor = 0.01 if level[0] == level.min() else 100.0
        text = f"prices leap by 100 and back: multiplied by {factor:g}"
        _multiply(series, result, ~last, factor, text)
    elif len(leaps) == 1 and leap[leaps[0] - 1] < 0:
        text = (
            f"prices fall to a hundredth on {series.day[leaps[0]]}; nothing was changed."
            f" {_remedy(series, leaps[0], 100)}"
        )
        result.findings.append(_finding(series, f"{_SUSPECT}: 100x", leaps, 1.0, text))
    else:
        wrong = last if len(leaps) == 1 and 2 * last.sum() < len(last) else ~last
        why = (
            f"prices leap by 100 on {series.day[leaps[0]]}, no split is known, and it is not clear"
            " which are right"
        )
        result.reason[wrong] = why
        ratio = 0.01 if leap[leaps[0] - 1] > 0 else 100
        text = f"{why}: {wrong.sum()} rows are quarantined. {_remedy(series, leaps[0], ratio)}"
        result.findings.append(
            _finding(series, "quarantined: 100x", np.flatnonzero(wrong), 1.0, text)
        )


def _multiply(
    series: PriceSeries, result: Repair, rows: np.ndarray, factor: float, text: str
) -> None:
    _scale(result, rows, factor)
    result.findings.append(_finding(series, "repaired: 100x", np.flatnonzero(rows), factor, text))


def _known_splits(series: PriceSeries, result: Repair) -> None:
    """Rule 3; the latest first, so that the earlier ones see prices that it no longer disturbs."""
    latest_first = sorted(series.splits, reverse=True)
    for _ in range(4 * len(latest_first)):  # to close one gap may uncover another
        if not any(_close_gap(series, result, split) for split in latest_first):
            break


def _close_gap(series: PriceSeries, result: Repair, split: StockSplit) -> bool:
    """Work a split into the prices if its gap is there; return whether it was."""
    step = _steps(result.prices)
    ratio = float(split.ratio)
    if abs(size := np.log(ratio)) < max(0.1, 6 * _usual(step)):
        return False
    index = int(np.searchsorted(series.day, np.datetime64(split.day)))
    near = np.arange(max(0, index - 1 - LOOK), min(len(step), index + LOOK))
    width = min(_tolerance(step), abs(size) / 2)
    gaps = near[np.abs(step[near] + size) < width] + 1
    if not len(gaps):
        return False
    gap = int(gaps[np.argmin(np.abs(gaps - index))])
    opposite = np.flatnonzero(np.abs(step[: gap - 1] - size) < width) + 1
    begins = len(opposite) and not _is_other_split(series, opposite[-1], -size)
    start = int(opposite[-1]) if begins else 0
    rows = np.arange(start, gap)
    _scale(result, rows, 1 / ratio)
    result.volume[rows] *= ratio
    text = (
        f"the split of {ratio:g} for 1 on {split.day} was not in the prices from"
        f" {series.day[start]} to {series.day[gap - 1]}: divided by it, volumes multiplied"
    )
    result.findings.append(_finding(series, "repaired: split", rows, 1 / ratio, text))
    return True


def _is_other_split(series: PriceSeries, index: int, size: float) -> bool:
    """Return whether a known split of that size lies near a row."""
    first, last = series.day[max(0, index - LOOK)], series.day[index : index + LOOK + 1][-1]
    near = (split for split in series.splits if first <= np.datetime64(split.day) <= last)
    return any(abs(np.log(float(split.ratio)) - size) < 0.1 for split in near)


def _unknown_splits(series: PriceSeries, result: Repair) -> None:
    """Rule 4."""
    step = _steps(result.prices)
    usual = _usual(step)
    for index in np.flatnonzero(np.abs(step) > max(np.log(1.4), 8 * usual)).tolist():
        ratio = _split_ratio(step[index], usual)
        gap = index + 1
        if ratio is None or result.reason[gap] != "":
            continue
        shown = f"{ratio:g} for 1" if ratio >= 1 else f"1 for {1 / ratio:g}"
        if _is_turnover_steady(result, gap, ratio):
            why = f"prices before {series.day[gap]} look as if a split of {shown} were missing"
            rows = np.flatnonzero(result.reason[:gap] == "")
            result.reason[rows] = why
            text = f"{why}: {len(rows)} rows are quarantined. {_remedy(series, gap, ratio)}"
            result.findings.append(_finding(series, "quarantined: split", rows, 1.0, text))
        else:
            text = (
                f"prices change as by a split of {shown} on {series.day[gap]}; nothing was changed."
                f" {_remedy(series, gap, ratio)}"
            )
            result.findings.append(_finding(series, f"{_SUSPECT}: split", [gap], 1.0, text))


def _split_ratio(step: float, usual: float) -> float | None:
    ratios = np.concatenate([_SPLITS, 1 / _SPLITS])
    off = np.abs(step + np.log(ratios))
    best = int(np.argmin(off))
    return float(ratios[best]) if off[best] < min(0.03 + 2 * usual, 0.08) else None


def _is_turnover_steady(result: Repair, gap: int, ratio: float) -> bool:
    """Return whether volumes changed by the ratio, turnover hardly, on a day as calm as others."""
    before, after = result.volume[max(0, gap - _CALM) : gap], result.volume[gap : gap + _CALM]
    if len(before) < _CALM or len(after) < _CALM or (before <= 0).any() or (after <= 0).any():
        return False
    grown = np.log(np.median(after) / np.median(before))
    width = np.log(result.prices[1] / result.prices[2])
    calm = width[gap] <= 2 * np.median(width[max(0, gap - _CALM) : gap]) + 1e-12
    spike = result.volume[gap] <= 2.5 * np.median(after)
    return bool(abs(grown - np.log(ratio)) < 0.4 * abs(np.log(ratio)) and calm and spike)


def _steps(prices: np.ndarray) -> np.ndarray:
    """Return the logarithm of the change from one row to the next.

    From close to open, or from median to median, whichever is smaller: a day that opens where it
    should and then moves is no fault of the file.
    """
    gap = np.log(prices[0, 1:]) - np.log(prices[3, :-1])
    whole = np.diff(np.log(np.median(prices, axis=0)))
    step: np.ndarray = np.where(np.abs(gap) < np.abs(whole), gap, whole)
    return step


def _usual(step: np.ndarray) -> float:
    return float(np.median(np.abs(step)))


def _tolerance(step: np.ndarray) -> float:
    """Return how far a gap may be from a size: what prices usually do in a few days."""
    return min(max(0.1, 6 * _usual(step)), 0.4)


def _scale(result: Repair, rows: np.ndarray, factor: float) -> None:
    result.prices[:, rows] *= factor
    result.scale[rows] *= factor


def _finding(
    series: PriceSeries, rule: str, rows: Iterable[int], factor: float, text: str
) -> Finding:
    indices = np.asarray(list(rows), int)
    first, last = (str(series.day[index]) for index in (indices.min(), indices.max()))
    return Finding(rule, series.symbol, first, last, len(indices), factor, text)


def _remedy(series: PriceSeries, gap: int, ratio: float) -> str:
    return (
        "If it is a split, write it into data/instruments.csv: kind split, symbol"
        f" {series.symbol}, from {series.day[gap]}, ratio {ratio:g}"
    )
