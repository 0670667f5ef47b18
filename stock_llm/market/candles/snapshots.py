"""Several snapshots of the same candles: which row of a day counts, and how older prices come to the scale of the latest.

In: a table of `CANDLE_SCHEMA` from several files. Out: masks of the rows that stay and that contradict each other, and the
table with the prices of older snapshots brought to the scale of the later one that overlaps them: what was fetched before a
split is in other units, and what was fetched before a dividend is adjusted for one less. Does not know files, splits or
calendars.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stock_llm.market.candles.candle_file import CANDLE_SCHEMA
from stock_llm.market.candles.columns import PRICES
from stock_llm.storage.findings import Finding

_SAME = 1e-6
"""Share by which two files may differ in a value and still say the same: six digits is what Yahoo's CSV files have."""

_STEADY = 0.005
"""Share by which the ratio of two snapshots may vary over the days that they share, for it to be one of scale."""


def dictionary_codes(table: pa.Table, column: str) -> tuple[list[str], np.ndarray]:
    """A text column as its distinct texts, ascending, and each row's place among them."""
    encoded = table[column].combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    order = sorted(range(len(texts)), key=texts.__getitem__)
    rank = np.empty(len(texts), np.int64)
    rank[order] = np.arange(len(texts))
    return [texts[index] for index in order], rank[encoded.indices.to_numpy()] if len(
        texts
    ) else np.array([], np.int64)


def sort_candles(table: pa.Table) -> pa.Table:
    """By symbol and day, the latest snapshot of a day first; then by file and row. Files that are in order are not moved."""
    codes, day = dictionary_codes(table, "symbol")[1], table["date"].to_numpy().astype(np.int64)
    later = (codes[1:] > codes[:-1]) | ((codes[1:] == codes[:-1]) & (day[1:] > day[:-1]))
    if later.all():
        return table
    file, as_of = (
        dictionary_codes(table, "source_file")[1],
        table["as_of"].to_numpy().astype(np.int64),
    )
    return table.take(
        pa.array(np.lexsort((table["source_row"].to_numpy(), file, -as_of, day, codes)))
    )


@dataclass(frozen=True)
class DailySelection:
    """What becomes of the rows of a sorted table.

    Attributes:
        kept: mask of those that stay, one a day.
        conflicts: mask of those that contradict another of their day and snapshot; the others say nothing more.
        older: indices of rows of an older snapshot than that which stays.
        newer: for each of them the index of the row that stays.
        findings: where an older snapshot said something else.
    """

    kept: np.ndarray
    conflicts: np.ndarray
    older: np.ndarray
    newer: np.ndarray
    findings: list[Finding]


def select_daily(table: pa.Table) -> DailySelection:
    """Of a table that `in_order` has sorted: the latest snapshot of a day stays, and one of rows that say the same."""
    size = len(table)
    symbols, codes = dictionary_codes(table, "symbol")
    day, as_of = table["date"].to_numpy(), table["as_of"].to_numpy()
    first = np.ones(size, bool)
    first[1:] = (codes[1:] != codes[:-1]) | (day[1:] != day[:-1])
    if first.all():
        nothing = np.array([], int)
        return DailySelection(first, np.zeros(size, bool), nothing, nothing, [])
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
        _replaced(symbols, codes[replaced], day[replaced]),
    )


def latest_scale(table: pa.Table, days: DailySelection) -> pa.Table:
    """The table with prices, volumes and adjustments of older snapshots as the later ones would have them.

    Over the days that two snapshots of a symbol share, the ratio of their closes must be steady, or it is no matter of scale.
    """
    if not len(days.older):
        return table
    codes, as_of = dictionary_codes(table, "symbol")[1], table["as_of"].to_numpy().astype(np.int64)
    snapshot = codes << 32 | (as_of + (1 << 31))
    close, factor = table["close"].to_numpy(), table["adjustment"].to_numpy()
    ratio, dividends = (
        close[days.newer] / close[days.older],
        factor[days.newer] / factor[days.older],
    )
    scale: dict[int, float] = {}
    adjusted: dict[int, float] = {}
    for key in sorted(
        set(snapshot[days.older].tolist()), reverse=True
    ):  # the later snapshot of a symbol first
        shared = np.flatnonzero(snapshot[days.older] == key)
        reference = int(snapshot[days.newer[shared[-1]]])
        for found, values in ((scale, ratio[shared]), (adjusted, dividends[shared])):
            middle = float(np.median(values))
            steady = np.ptp(values) <= _STEADY * middle and abs(middle - 1) > _SAME
            found[key] = found.get(reference, 1.0) * (middle if steady else 1.0)
    for key, by in scale.items():
        rows = np.flatnonzero(days.kept & (snapshot == key))
        if len(rows) and (by != 1 or adjusted[key] != 1):
            table = _multiplied(table, rows, by, adjusted[key])
    return table


def _multiplied(table: pa.Table, rows: np.ndarray, by: float, adjusted: float) -> pa.Table:
    for name, factor in (
        *((name, by) for name in (*PRICES, "scale")),
        ("volume", 1 / by),
        ("adjustment", adjusted),
    ):
        place = CANDLE_SCHEMA.get_field_index(name)
        values = table[name].to_numpy().copy()
        values[rows] *= factor
        table = table.set_column(place, CANDLE_SCHEMA.field(place), pa.array(values))
    return table


def _replaced(symbols: list[str], codes: np.ndarray, day: np.ndarray) -> list[Finding]:
    found = []
    for code in np.unique(codes).tolist():
        own = day[codes == code]
        text = (
            f"{len(own)} candles of an older file differ from those of a later one, which are used"
        )
        found.append(
            Finding(
                "replaced by a later file",
                symbols[code],
                str(own.min()),
                str(own.max()),
                len(own),
                1.0,
                text,
            )
        )
    return found
