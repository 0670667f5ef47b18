"""Daily candles of all files as one table: one candle a symbol and day, repaired, compared with the exchange's calendar.

In: candle files, or what `candle_file.read_file` made of each; splits that are known elsewhere; which exchange a symbol is of.
Out: an Arrow table of `CANDLE_SCHEMA`, sorted by symbol and date, the rows that were set aside with their reasons, and
findings. What the files say can be had back: a row's price / `scale` is the file's, `as_of` is the day of its snapshot,
`adjustment` what makes its close an adjusted one. Does not know file formats, trades or indicators.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stock_llm import calendars, candle_repair
from stock_llm.calendars import Exchanges
from stock_llm.candle_file import CANDLE_SCHEMA, PRICES, read_file
from stock_llm.candle_repair import Repair, Series, Split
from stock_llm.errors import InputError
from stock_llm.findings import Finding
from stock_llm.quarantine import Reading, Rejected
from stock_llm.situation import Candles

_SAME = 1e-6
"""Share by which two files may differ in a value and still say the same: six digits is what Yahoo's CSV files have."""


@dataclass(frozen=True)
class Checked:
    """What a set of candle files holds: rows_read = rows of `table` + `rejected` + `duplicates`."""

    table: pa.Table
    rejected: list[Rejected]
    findings: list[Finding]
    rows_read: int
    duplicates: int


def read(
    files: Sequence[Path],
    root: Path,
    known_splits: Mapping[str, Sequence[Split]] | None = None,
    exchanges: Exchanges | None = None,
) -> Checked:
    """The candles of several files; they are named relative to `root`.

    Raises:
        InputError: a file is empty, not UTF-8, not daily, lacks a column, or more than half of its rows are bad; or the files
            contradict each other on most days.
    """
    return merge((read_file(file, file.relative_to(root).as_posix()) for file in files), known_splits, exchanges)


def merge(
    parts: Iterable[Reading], known_splits: Mapping[str, Sequence[Split]] | None = None, exchanges: Exchanges | None = None
) -> Checked:
    """The candles of files that were read one by one. The order of `parts` does not matter.

    Args:
        known_splits: by symbol, from the ledger or the table of instruments; those of the files' own split column are known.
        exchanges: default: by suffix, New York where a symbol has none.

    Raises:
        InputError: the files contradict each other on most days, or `exchanges` names one that there is not.
    """
    exchanges = exchanges or Exchanges()
    parts = sorted(parts, key=lambda part: part.table["symbol"][0].as_py() if len(part.table) else "")
    read_rows = sum(part.rows_read for part in parts)
    rejected = [one for part in parts for one in part.rejected]
    table = _in_order(pa.concat_tables([part.table for part in parts]) if parts else CANDLE_SCHEMA.empty_table())
    del parts

    days = _one_a_day(table)
    rejected += _set_aside(table, np.where(days.conflicts, "another row has different values for this day", ""))
    duplicates = len(table) - int(days.kept.sum() + days.conflicts.sum())
    if not days.kept.all():
        table = table.filter(pa.array(days.kept))

    repaired = _repaired(table, known_splits or {}, exchanges)
    rejected += _set_aside(table, repaired.reasons)
    table = repaired.table
    findings = days.findings + repaired.findings + _adjusted(table)
    findings += calendars.check(((span.symbol, span.day) for span in _spans(table)), exchanges)
    return Checked(table, rejected, sorted(findings), read_rows, duplicates)


def by_symbol(table: pa.Table) -> Iterator[Candles]:
    """One `Candles` per symbol of a table of `CANDLE_SCHEMA` that is sorted by symbol."""
    columns = {name: table[name].to_numpy() for name in (*PRICES, "volume")}
    for span in _spans(table):
        yield Candles(
            symbol=span.symbol, day=span.day, **{name: values[span.start : span.end] for name, values in columns.items()}
        )


@dataclass(frozen=True)
class _Span:
    """One symbol's rows of a sorted table."""

    symbol: str
    start: int
    end: int
    day: np.ndarray


def _spans(table: pa.Table) -> list[_Span]:
    symbols, codes = _encoded(table, "symbol")
    day = table["date"].to_numpy().astype("datetime64[D]")
    edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)] if len(codes) else []
    return [_Span(symbols[codes[start]], start, end, day[start:end]) for start, end in itertools.pairwise(edges)]


def _encoded(table: pa.Table, column: str) -> tuple[list[str], np.ndarray]:
    """A text column as its distinct texts, ascending, and each row's place among them."""
    encoded = table[column].combine_chunks().dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    order = sorted(range(len(texts)), key=texts.__getitem__)
    rank = np.empty(len(texts), np.int64)
    rank[order] = np.arange(len(texts))
    return [texts[index] for index in order], rank[encoded.indices.to_numpy()] if len(texts) else np.array([], np.int64)


def _in_order(table: pa.Table) -> pa.Table:
    """By symbol and day, the latest snapshot of a day first; then by file and row. Files that are in order are not moved."""
    codes, day = _encoded(table, "symbol")[1], table["date"].to_numpy().astype(np.int64)
    later = (codes[1:] > codes[:-1]) | ((codes[1:] == codes[:-1]) & (day[1:] > day[:-1]))
    if later.all():
        return table
    file, as_of = _encoded(table, "source_file")[1], table["as_of"].to_numpy().astype(np.int64)
    return table.take(pa.array(np.lexsort((table["source_row"].to_numpy(), file, -as_of, day, codes))))


@dataclass(frozen=True)
class _Days:
    """Masks of the rows that stay and of those that contradict another of their day and snapshot; the rest say nothing more."""

    kept: np.ndarray
    conflicts: np.ndarray
    findings: list[Finding]


def _one_a_day(table: pa.Table) -> _Days:
    size = len(table)
    symbols, codes = _encoded(table, "symbol")
    day, as_of = table["date"].to_numpy(), table["as_of"].to_numpy()
    first = np.ones(size, bool)
    first[1:] = (codes[1:] != codes[:-1]) | (day[1:] != day[:-1])
    if first.all():
        return _Days(first, np.zeros(size, bool), [])
    again = np.flatnonzero(~first)
    leader = np.flatnonzero(first)[np.cumsum(first) - 1][again]
    differs = np.zeros(len(again), bool)
    for name in (*PRICES, "volume"):
        values = table[name].to_numpy()
        differs |= ~np.isclose(values[again], values[leader], rtol=_SAME, atol=0)
    older = as_of[again] < as_of[leader]
    factor = table["adjustment"].to_numpy()
    contradicts = ~older & (differs | ~np.isclose(factor[again], factor[leader], rtol=_SAME, atol=0))

    bad = np.zeros(size, bool)
    bad[leader[contradicts]] = True
    conflicts = bad[np.flatnonzero(first)[np.cumsum(first) - 1]]
    replaced = again[older & differs & ~conflicts[again]]
    days = _Days(first & ~conflicts, conflicts, _replaced(symbols, codes[replaced], day[replaced]))
    _refuse_contradiction(table, conflicts)
    return days


def _replaced(symbols: list[str], codes: np.ndarray, day: np.ndarray) -> list[Finding]:
    found = []
    for code in np.unique(codes).tolist():
        own = day[codes == code]
        text = f"{len(own)} candles of an older file differ from those of a later one, which are used"
        found.append(Finding("replaced by a later file", symbols[code], str(own.min()), str(own.max()), len(own), 1.0, text))
    return found


def _refuse_contradiction(table: pa.Table, conflicts: np.ndarray) -> None:
    if conflicts.sum() * 2 <= len(table):
        return
    row = table.slice(int(np.flatnonzero(conflicts)[0]), 1).to_pylist()[0]
    raise InputError(
        f"{int(conflicts.sum())} of {len(table)} candles say something else than another of their day, "
        f"{row['symbol']} on {row['date']} for one",
        file=row["source_file"],
        row=row["source_row"],
        remedy="Daily candles are needed, one for each symbol and day: keep one file of each symbol",
    )


@dataclass(frozen=True)
class _Repaired:
    """The table after repairs, without those of its rows before for which `reasons` is not empty."""

    table: pa.Table
    reasons: np.ndarray
    findings: list[Finding]


def _repaired(table: pa.Table, known_splits: Mapping[str, Sequence[Split]], exchanges: Exchanges) -> _Repaired:
    reasons = np.full(len(table), "", object)
    prices = np.stack([table[name].to_numpy() for name in PRICES])
    volume, ratio, scale = (table[name].to_numpy() for name in ("volume", "split", "scale"))
    spans = _spans(table)
    suspicious = candle_repair.suspicious(prices, np.array([*(span.start for span in spans), len(table)]))
    findings: list[Finding] = []
    changed = False
    for span, doubtful in zip(spans, suspicious.tolist(), strict=True):
        own = slice(span.start, span.end)
        splits = _splits(span, ratio[own], known_splits.get(span.symbol, ()))
        if not doubtful and not splits:
            continue
        series = Series(span.symbol, span.day, prices[:, own], volume[own], exchanges.in_hundredths(span.symbol), tuple(splits))
        made = candle_repair.repair(series)
        findings += made.findings
        reasons[own] = made.reason
        if _changes(made, series):
            if not changed:
                prices, volume, scale = prices.copy(), volume.copy(), scale.copy()
            prices[:, own], volume[own], scale[own] = made.prices, made.volume, scale[own] * made.scale
            changed = True
    if changed:
        for name, values in (*zip(PRICES, prices, strict=True), ("volume", volume), ("scale", scale)):
            place = CANDLE_SCHEMA.get_field_index(name)
            table = table.set_column(place, CANDLE_SCHEMA.field(place), pa.array(values))
    kept = reasons == ""
    return _Repaired(table if kept.all() else table.filter(pa.array(kept)), reasons, findings)


def _splits(span: _Span, ratio: np.ndarray, known: Sequence[Split]) -> list[Split]:
    """The splits of a symbol, those that are said twice once."""
    own = [Split(span.day[index], float(ratio[index])) for index in np.flatnonzero(ratio != 1).tolist()]
    week = np.timedelta64(7, "D")
    return own + [
        one for one in known if not any(abs(one.day - other.day) <= week and np.isclose(one.ratio, other.ratio) for other in own)
    ]


def _changes(made: Repair, series: Series) -> bool:
    return not (np.array_equal(made.prices, series.prices) and np.array_equal(made.volume, series.volume))


def _set_aside(table: pa.Table, reasons: np.ndarray) -> list[Rejected]:
    """The rows that have a reason."""
    mask = reasons != ""
    if not mask.any():
        return []
    return [
        Rejected("candles", row["source_file"], row["source_row"], reason, _shown(row))
        for row, reason in zip(table.filter(pa.array(mask)).to_pylist(), reasons[mask].tolist(), strict=True)
    ]


def _shown(row: dict) -> str:
    return ",".join(str(row[name]) for name in ("symbol", "date", *PRICES, "volume"))


def _adjusted(table: pa.Table) -> list[Finding]:
    """Symbols whose dividends are known while no price before them has a factor: their prices are adjusted already."""
    dividend, factor = table["dividend"].to_numpy(), table["adjustment"].to_numpy()
    found = []
    for span in _spans(table) if dividend.any() else ():
        paid = np.flatnonzero(dividend[span.start : span.end])
        if len(paid) and paid[-1] and (factor[span.start : span.start + paid[-1]] == 1).all():
            text = (
                f"{len(paid)} dividends are in the file and no adjusted close: its prices seem adjusted for them already, and "
                "will be others after the next one. Fetch it with auto_adjust=False, as stock-llm fetch does"
            )
            days = str(span.day[paid[0]]), str(span.day[paid[-1]])
            found.append(Finding("adjusted prices", span.symbol, *days, len(paid), 1.0, text))
    return found
