"""Closes by day for comparison with trades, and the splits that are worked into them.

Trades are recorded as they were made; closes as if every split up to the snapshot had always been
in force. `CloseSeries.factor` converts between them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import pairwise
from math import prod

import numpy as np
import pyarrow as pa

SPLIT_WINDOW_DAYS = 7
"""Days by which two sources may differ about a split's day."""


@dataclass(frozen=True, order=True)
class StockSplit:
    """`ratio` new units for each old one, from `day` on."""

    day: date
    ratio: Decimal


@dataclass(frozen=True)
class CloseSeries:
    """One symbol's closes.

    Attributes:
        day: datetime64[D], ascending.
        close: float64, in the currency or its hundredths, as the candles have it.
        as_of: splits up to this day are in the closes.
        splits: all that are known, ascending.
    """

    symbol: str
    day: np.ndarray
    close: np.ndarray
    as_of: date
    splits: tuple[StockSplit, ...] = ()

    def factor(self, day: date) -> Decimal:
        """Return the units of today for one unit of `day`."""
        ratios = (split.ratio for split in self.splits if day < split.day <= self.as_of)
        return prod(ratios, start=Decimal(1))


def closes_by_symbol(
    table: pa.Table, known_splits: Mapping[str, Sequence[StockSplit]]
) -> dict[str, CloseSeries]:
    """Return the closes of every symbol of a table that is sorted by symbol and day.

    Args:
        known_splits: splits by symbol that the candle files do not have.
    """
    symbols = table["symbol"].combine_chunks().dictionary_encode()
    codes = symbols.indices.to_numpy()
    names = symbols.dictionary.to_pylist()
    edges = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1], True]) if len(codes) else [0]
    day, close = table["date"].to_numpy().astype("datetime64[D]"), table["close"].to_numpy()
    as_of, split = table["as_of"].to_numpy().astype("datetime64[D]"), table["split"].to_numpy()
    series = {}
    for start, end in pairwise(edges):
        symbol, rows = names[codes[start]], slice(start, end)
        own_splits = splits_of(day[rows], split[rows])
        series[symbol] = CloseSeries(
            symbol=symbol,
            day=day[rows],
            close=close[rows],
            as_of=as_of[rows].max().astype(date),
            splits=merge_splits(own_splits, known_splits.get(symbol, ())),
        )
    return series


def splits_of(day: np.ndarray, ratio: np.ndarray) -> list[StockSplit]:
    """Return the splits of a candle file's split column, in which 1 stands for none."""
    return [
        StockSplit(day[index].astype(date), Decimal(str(float(ratio[index]))))
        for index in np.flatnonzero(ratio != 1).tolist()
    ]


def merge_splits(*sources: Iterable[StockSplit]) -> tuple[StockSplit, ...]:
    """Merge the splits of several sources, the most trusted first."""
    merged: list[StockSplit] = []
    for source in sources:
        for split in sorted(source):
            known = any(is_same_split(split, other) for other in merged)
            if split.ratio > 0 and split.ratio != 1 and not known:
                merged.append(split)
    return tuple(sorted(merged))


def is_same_split(split: StockSplit, other: StockSplit) -> bool:
    """Return whether two sources report one split: within a week, ratios within two percent."""
    near = abs((split.day - other.day).days) <= SPLIT_WINDOW_DAYS
    return near and abs(split.ratio / other.ratio - 1) < Decimal("0.02")
