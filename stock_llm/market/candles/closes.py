"""Candles as trades are compared with them: closes by day, and the splits that are worked into them.

In: a table of `CANDLE_SCHEMA`, splits from elsewhere. Out: `Series`. Trades are written as they were made; closes as if every
split up to the snapshot had always been in force: `Series.factor` is between them. Does not know trades.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

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
        """Units of today's for one of that day's."""
        found = Decimal(1)
        for split in self.splits:
            if day < split.day <= self.as_of:
                found *= split.ratio
        return found


def closes_by_symbol(
    table: pa.Table, elsewhere: Mapping[str, Sequence[StockSplit]]
) -> dict[str, CloseSeries]:
    """Every symbol of a table that is sorted by symbol and day.

    Args:
        elsewhere: splits by symbol that the candles' own files do not tell.
    """
    symbols = table["symbol"].combine_chunks().dictionary_encode()
    codes = symbols.indices.to_numpy()
    names = symbols.dictionary.to_pylist()
    edges = (
        np.flatnonzero(np.r_[True, codes[1:] != codes[:-1], True]) if len(codes) else np.array([0])
    )
    day, close = table["date"].to_numpy().astype("datetime64[D]"), table["close"].to_numpy()
    as_of, split = table["as_of"].to_numpy().astype("datetime64[D]"), table["split"].to_numpy()
    found = {}
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        symbol = names[codes[start]]
        told = [
            StockSplit(day[start + at].astype(date), Decimal(str(float(split[start + at]))))
            for at in np.flatnonzero(split[start:end] != 1.0).tolist()
        ]
        found[symbol] = CloseSeries(
            symbol=symbol,
            day=day[start:end],
            close=close[start:end],
            as_of=as_of[start:end].max().astype(date),
            splits=merge_splits(told, elsewhere.get(symbol, ())),
        )
    return found


def merge_splits(*sources: Iterable[StockSplit]) -> tuple[StockSplit, ...]:
    """The splits of several sources, the most trusted first: one of the same ratio within a week is the same split."""
    found: list[StockSplit] = []
    for source in sources:
        for split in sorted(source):
            if (
                split.ratio > 0
                and split.ratio != 1
                and not any(is_same_split(split, other) for other in found)
            ):
                found.append(split)
    return tuple(sorted(found))


def is_same_split(one: StockSplit, other: StockSplit) -> bool:
    """Whether two sources tell of one split: a week apart at most, and of the same ratio to two percent."""
    return abs((one.day - other.day).days) <= SPLIT_WINDOW_DAYS and abs(
        one.ratio / other.ratio - 1
    ) < Decimal("0.02")
