"""Daily candles of all files as one table of `CANDLE_SCHEMA`, sorted by symbol and date.

In: candle files, or what `candle_file.read_file` made of each. Out: the table, the rows that were set aside with their reasons,
and findings. What the files say can be had back: a row's price / `scale` is the file's, `as_of` is the day of its snapshot,
`adjustment` what makes its close an adjusted one. Does not know file formats, trades or indicators.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stock_llm.errors import InputError
from stock_llm.market.calendars import Exchanges
from stock_llm.market.candles.candle_file import CANDLE_SCHEMA, read_file
from stock_llm.market.candles.check import (
    CONFLICT_REASON,
    CheckedCandles,
    check_candles,
    rows_by_symbol,
)
from stock_llm.market.candles.closes import StockSplit
from stock_llm.market.candles.columns import PRICES
from stock_llm.market.situation import Candles
from stock_llm.settings import Settings
from stock_llm.storage import parquet, parse_cache
from stock_llm.storage.checksums import digest_of, file_sha256
from stock_llm.storage.findings import Finding
from stock_llm.storage.parse_cache import CachedParse, ParseResult
from stock_llm.storage.quarantine import QuarantinedRow

PARSERS = ("market/candles", "market/calendars.py", "tabular", "storage/quarantine.py")
"""The code that a candle file is read by; see `code_digest`."""

_AT_ONCE = 250_000
"""Candles that `merge_parts` has in memory."""


@dataclass(frozen=True)
class CandleMerge:
    """What became of the rows of several parts: rows that were given = `kept` + `rejected` + `duplicates`."""

    kept: int
    rejected: list[QuarantinedRow]
    findings: list[Finding]
    duplicates: int


def read_candles(
    files: Sequence[Path],
    root: Path,
    known_splits: Mapping[str, Sequence[StockSplit]] | None = None,
    exchanges: Exchanges | None = None,
) -> CheckedCandles:
    """The candles of several files, in memory; they are named relative to `root`. Its arguments are those of `check`.

    Raises:
        InputError: a file is empty, not UTF-8, not daily, lacks a column, or more than half of its rows are bad; or the files
            contradict each other on most days.
    """
    read_files = [read_file(file, file.relative_to(root).as_posix(), exchanges) for file in files]
    read_files.sort(key=lambda one: one.table["symbol"][0].as_py() if len(one.table) else "")
    table = (
        pa.concat_tables([one.table for one in read_files])
        if read_files
        else CANDLE_SCHEMA.empty_table()
    )
    checked = check_candles(table, known_splits, exchanges)
    _refuse_contradiction(checked.rejected, len(table))
    return replace(
        checked,
        rejected=[row for one in read_files for row in one.rejected] + checked.rejected,
        rows_read=sum(one.rows_read for one in read_files),
    )


def load_candle_file(file: Path, settings: Settings, exchanges: Exchanges) -> CachedParse:
    """One of the user's candle files, read once; its facts tell `rows_read` and `symbols`.

    Raises:
        InputError: the file is empty, not UTF-8, not daily, lacks a column, or more than half of its rows are bad.
    """
    given = settings.path(settings.candles)
    name = file.relative_to(given if given.is_dir() else given.parent).as_posix()

    def work() -> ParseResult:
        reading = read_file(file, name, exchanges)
        facts = {
            "rows_read": reading.rows_read,
            "symbols": sorted(pc.unique(reading.table["symbol"]).to_pylist()),
        }
        return ParseResult(reading.table, reading.rejected, facts)

    digest = digest_of(
        candles=file_sha256(file),
        name=name,
        exchanges=[exchanges.default, *sorted(exchanges.by_symbol.items())],
        code=parse_cache.code_digest(*PARSERS),
    )
    return parse_cache.load_or_parse(settings.artifacts / "parts", digest, work)


def merge_candles(
    files: Sequence[Path],
    target: Path,
    known_splits: Mapping[str, Sequence[StockSplit]] | None = None,
    exchanges: Exchanges | None = None,
) -> CandleMerge:
    """Writes the candles of several Parquet files, each the table that `read_file` made of a file, to `target`,
    some symbols at a time.

    The same files give the same bytes, in whatever order they come. The other arguments are those of `check`.

    Raises:
        InputError: the files contradict each other on most days, or `exchanges` names one that there is not.
    """
    rows: Counter[str] = Counter()
    where: dict[str, list[Path]] = {}
    for file in sorted(files):
        counts = pc.value_counts(pq.read_table(file, columns=["symbol"])["symbol"].combine_chunks())
        for one in counts.to_pylist():
            rows[one["values"]] += one["counts"]
            where.setdefault(one["values"], []).append(file)
    made: list[CheckedCandles] = []

    def some() -> Iterator[pa.RecordBatch]:
        for symbols in _batches(rows):
            holding = sorted({file for symbol in symbols for file in where[symbol]})
            chosen = [
                pq.read_table(file, schema=CANDLE_SCHEMA, filters=[("symbol", "in", symbols)])
                for file in holding
            ]
            checked = check_candles(pa.concat_tables(chosen), known_splits, exchanges)
            made.append(replace(checked, table=CANDLE_SCHEMA.empty_table()))
            yield from checked.table.to_batches()

    kept = parquet.write_batches(some(), CANDLE_SCHEMA, target)
    rejected = [one for checked in made for one in checked.rejected]
    _refuse_contradiction(rejected, rows.total())
    findings = sorted(one for checked in made for one in checked.findings)
    return CandleMerge(kept, rejected, findings, sum(checked.duplicates for checked in made))


def _batches(rows: Mapping[str, int]) -> Iterator[list[str]]:
    """Symbols in their order, together until there are enough rows."""
    batch: list[str] = []
    size = 0
    for symbol in sorted(rows):
        if batch and size + rows[symbol] > _AT_ONCE:
            yield batch
            batch, size = [], 0
        batch.append(symbol)
        size += rows[symbol]
    if batch:
        yield batch


def _refuse_contradiction(rejected: list[QuarantinedRow], rows: int) -> None:
    conflicts = [one for one in rejected if one.reason == CONFLICT_REASON]
    if len(conflicts) * 2 > rows:
        first = min(conflicts)
        raise InputError(
            f"{len(conflicts)} of {rows} candles say something else than another of their day, the first: {first.raw}",
            file=first.file,
            row=first.row,
            remedy="Daily candles are needed, one for each symbol and day: keep one file of each symbol",
        )


def candles_by_symbol(table: pa.Table) -> Iterator[Candles]:
    """One `Candles` per symbol of a table of `CANDLE_SCHEMA` that is sorted by symbol."""
    columns = {name: table[name].to_numpy() for name in (*PRICES, "volume")}
    for span in rows_by_symbol(table):
        yield Candles(
            symbol=span.symbol,
            day=span.day,
            **{name: values[span.start : span.end] for name, values in columns.items()},
        )
