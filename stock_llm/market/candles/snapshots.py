"""Snapshots of the same candles: the row of a day that counts, and the scale of older prices.

What was fetched before a split is in other units, and what was fetched before a dividend is
adjusted for one less. Prices of older snapshots are brought to the scale of the later one that
overlaps them.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stock_llm.market.candles.candle_file import CANDLE_SCHEMA
from stock_llm.market.candles.columns import PRICES
from stock_llm.storage.findings import Finding

_SAME = 1e-6
"""Share by which equal values may differ between two files: Yahoo's CSV files have six digits."""

_STEADY = 0.005
"""Share by which the ratio of two snapshots may vary over common days if it is their scale."""


def dictionary_codes(table: pa.Table, column: str) -> tuple[list[str], np.ndarray]:
    """Return the distinct texts of a column, ascending, and each row's index among them."""
    encoded = table[column].combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    order = sorted(range(len(texts)), key=texts.__getitem__)
    rank = np.empty(len(texts), np.int64)
    rank[order] = np.arange(len(texts))
    indices = encoded.indices.to_numpy() if texts else np.array([], np.int64)
    return [texts[index] for index in order], rank[indices]


def replace_column(table: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    """Return a table of `CANDLE_SCHEMA` with other values in a column."""
    index = CANDLE_SCHEMA.get_field_index(name)
    return table.set_column(index, CANDLE_SCHEMA.field(index), pa.array(values))


def sort_candles(table: pa.Table) -> pa.Table:
    """Sort by symbol and day, the latest snapshot of a day first; then by file and row."""
    codes, day = dictionary_codes(table, "symbol")[1], table["date"].to_numpy().astype(np.int64)
    later = (codes[1:] > codes[:-1]) | ((codes[1:] == codes[:-1]) & (day[1:] > day[:-1]))
    if later.all():
        return table
    file, row = dictionary_codes(table, "source_file")[1], table["source_row"].to_numpy()
    as_of = table["as_of"].to_numpy().astype(np.int64)
    return table.take(pa.array(np.lexsort((row, file, -as_of, day, codes))))


@dataclass(frozen=True)
class DailySelection:
    """What becomes of the rows of a sorted table.

    Attributes:
        kept: mask of those that stay, one a day.
        conflicts: mask of those that contradict another of their day and snapshot; the others say
            nothing more.
        older: indices of rows of an older snapshot than that which stays.
        newer: for each of them the index of the row that stays.
        findings: where an older snapshot differs.
    """

    kept: np.ndarray
    conflicts: np.ndarray
    older: np.ndarray
    newer: np.ndarray
    findings: list[Finding]


def select_daily(table: pa.Table) -> DailySelection:
    """Select one row a day of a table that `sort_candles` sorted: the latest snapshot, once."""
    size = len(table)
    symbols, codes = dictionary_codes(table, "symbol")
    day, as_of = table["date"].to_numpy(), table["as_of"].to_numpy()
    first = np.ones(size, bool)
    first[1:] = (codes[1:] != codes[:-1]) | (day[1:] != day[:-1])
    if first.all():
        none = np.array([], int)
        return DailySelection(first, np.zeros(size, bool), none, none, [])
    again = np.flatnonzero(~first)
    leader = np.flatnonzero(first)[np.cumsum(first) - 1][again]
    differs = np.zeros(len(again), bool)
    for name in (*PRICES, "volume"):
        values = table[name].to_numpy()
        differs |= ~np.isclose(values[again], values[leader], rtol=_SAME, atol=0)
    older = as_of[again] < as_of[leader]
    factor = table["adjustment"].to_numpy()
    contradicts = ~older & (
        differs | ~np.isclose(factor[again], factor[leader], rtol=_SAME, atol=0)
    )

    bad = np.zeros(size, bool)
    bad[leader[contradicts]] = True
    conflicts = bad[np.flatnonzero(first)[np.cumsum(first) - 1]]
    older &= ~conflicts[again]
    replaced = again[older & differs]
    return DailySelection(
        first & ~conflicts,
        conflicts,
        again[older],
        leader[older],
        _find_replaced(symbols, codes[replaced], day[replaced]),
    )


def latest_scale(table: pa.Table, days: DailySelection) -> pa.Table:
    """Bring prices, volumes and adjustments of older snapshots to the scale of the later ones.

    Only where the ratio of two snapshots is steady over the days that they share: else it is no
    matter of scale.
    """
    if not len(days.older):
        return table
    codes, as_of = dictionary_codes(table, "symbol")[1], table["as_of"].to_numpy().astype(np.int64)
    snapshot = codes << 32 | (as_of + (1 << 31))
    close, factor = table["close"].to_numpy(), table["adjustment"].to_numpy()
    ratio = close[days.newer] / close[days.older]
    dividends = factor[days.newer] / factor[days.older]
    scales: dict[int, float] = {}
    adjustments: dict[int, float] = {}
    # Of a symbol's snapshots the later one comes first.
    for key in sorted(set(snapshot[days.older].tolist()), reverse=True):
        shared = np.flatnonzero(snapshot[days.older] == key)
        reference = int(snapshot[days.newer[shared[-1]]])
        for factors, values in ((scales, ratio[shared]), (adjustments, dividends[shared])):
            median = float(np.median(values))
            steady = np.ptp(values) <= _STEADY * median and abs(median - 1) > _SAME
            factors[key] = factors.get(reference, 1.0) * (median if steady else 1.0)
    for key, scale in scales.items():
        rows = np.flatnonzero(days.kept & (snapshot == key))
        if len(rows) and (scale != 1 or adjustments[key] != 1):
            table = _multiply(table, rows, scale, adjustments[key])
    return table


def _multiply(table: pa.Table, rows: np.ndarray, scale: float, adjustment: float) -> pa.Table:
    factors = dict.fromkeys((*PRICES, "scale"), scale)
    for name, factor in (factors | {"volume": 1 / scale, "adjustment": adjustment}).items():
        values = table[name].to_numpy().copy()
        values[rows] *= factor
        table = replace_column(table, name, values)
    return table


def _find_replaced(symbols: list[str], codes: np.ndarray, day: np.ndarray) -> list[Finding]:
    findings = []
    for code in np.unique(codes).tolist():
        own = day[codes == code]
        text = (
            f"{len(own)} candles of an older file differ from those of a later one, which are used"
        )
        days = str(own.min()), str(own.max())
        rule = "replaced by a later file"
        findings.append(Finding(rule, symbols[code], *days, len(own), 1.0, text))
    return findings
