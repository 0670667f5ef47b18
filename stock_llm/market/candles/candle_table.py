"""Daily candles of all files as one table of `CANDLE_SCHEMA`, sorted by symbol and date.

What the files say can be had back: a row's price / `scale` is the file's, `as_of` is the day of its
snapshot, `adjustment` makes its close an adjusted one.
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
from stock_llm.storage import parquet, parse_cache
from stock_llm.storage.checksums import digest_of, file_sha256
from stock_llm.storage.findings import Finding
from stock_llm.storage.parse_cache import CachedParse, ParseResult
from stock_llm.storage.quarantine import QuarantinedRow

PARSERS = ("market/candles", "market/calendars.py", "tabular", "storage/quarantine.py")
"""The code that parses a candle file; see `code_digest`."""

_MAX_CANDLES = 250_000
"""Candles that `merge_candles` has in memory."""


@dataclass(frozen=True)
class CandleMerge:
    """What became of the rows of several files: rows given = `kept` + `rejected` + `duplicates`."""

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
    """Read and check the candles of several files, in memory.

    Args:
        root: folder that the files are named relative to.
        known_splits, exchanges: as for `check_candles`.

    Raises:
        InputError: a file is empty, not UTF-8, not daily, lacks a column, or more than half of its
            rows are bad; or the files contradict each other on most days.
    """
    results = [read_file(file, file.relative_to(root).as_posix(), exchanges) for file in files]
    results.sort(key=lambda result: result.table["symbol"][0].as_py() if len(result.table) else "")
    table = pa.concat_tables([CANDLE_SCHEMA.empty_table(), *(result.table for result in results)])
    checked = check_candles(table, known_splits, exchanges)
    _refuse_contradiction(checked.rejected, len(table))
    return replace(
        checked,
        rejected=[row for result in results for row in result.rejected] + checked.rejected,
        rows_read=sum(result.rows_read for result in results),
    )


def load_candle_file(file: Path, name: str, exchanges: Exchanges, cache: Path) -> CachedParse:
    """Parse a candle file, or read what the cache has of it; facts: `rows_read` and `symbols`.

    Args:
        name: what the file is called in the result.
        cache: folder of parsed files.

    Raises:
        InputError: the file is empty, not UTF-8, not daily, lacks a column, or more than half of
            its rows are bad.
    """

    def parse() -> ParseResult:
        result = read_file(file, name, exchanges)
        symbols = sorted(pc.unique(result.table["symbol"]).to_pylist())
        facts = {"rows_read": result.rows_read, "symbols": symbols}
        return ParseResult(result.table, result.rejected, facts)

    digest = digest_of(
        candles=file_sha256(file),
        name=name,
        exchanges=[exchanges.default, *sorted(exchanges.by_symbol.items())],
        code=parse_cache.code_digest(*PARSERS),
    )
    return parse_cache.load_or_parse(cache, digest, parse)


def merge_candles(
    files: Sequence[Path],
    target: Path,
    known_splits: Mapping[str, Sequence[StockSplit]] | None = None,
    exchanges: Exchanges | None = None,
) -> CandleMerge:
    """Check and write the candles of several Parquet files to `target`, some symbols at a time.

    The same files give the same bytes, in whatever order they come.

    Args:
        files: each holds the table that `read_file` made of a candle file.
        known_splits, exchanges: as for `check_candles`.

    Raises:
        InputError: the files contradict each other on most days, or `exchanges` names one that
            there is not.
    """
    rows: Counter[str] = Counter()
    files_of: dict[str, list[Path]] = {}
    for file in sorted(files):
        counts = pc.value_counts(pq.read_table(file, columns=["symbol"])["symbol"].combine_chunks())
        for item in counts.to_pylist():
            rows[item["values"]] += item["counts"]
            files_of.setdefault(item["values"], []).append(file)
    checks: list[CheckedCandles] = []

    def checked_batches() -> Iterator[pa.RecordBatch]:
        for symbols in _symbol_batches(rows):
            tables = [
                pq.read_table(file, schema=CANDLE_SCHEMA, filters=[("symbol", "in", symbols)])
                for file in sorted({file for symbol in symbols for file in files_of[symbol]})
            ]
            checked = check_candles(pa.concat_tables(tables), known_splits, exchanges)
            checks.append(replace(checked, table=CANDLE_SCHEMA.empty_table()))
            yield from checked.table.to_batches()

    row_count = parquet.write_batches(checked_batches(), CANDLE_SCHEMA, target)
    rejected = [row for checked in checks for row in checked.rejected]
    _refuse_contradiction(rejected, rows.total())
    findings = sorted(finding for checked in checks for finding in checked.findings)
    return CandleMerge(row_count, rejected, findings, sum(checked.duplicates for checked in checks))


def _symbol_batches(rows: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield symbols in their order, together until there are enough rows."""
    batch: list[str] = []
    size = 0
    for symbol in sorted(rows):
        if batch and size + rows[symbol] > _MAX_CANDLES:
            yield batch
            batch, size = [], 0
        batch.append(symbol)
        size += rows[symbol]
    if batch:
        yield batch


def _refuse_contradiction(rejected: list[QuarantinedRow], rows: int) -> None:
    conflicts = [row for row in rejected if row.reason == CONFLICT_REASON]
    if len(conflicts) * 2 > rows:
        first = min(conflicts)
        raise InputError(
            f"{len(conflicts)} of {rows} candles contradict another candle of their day, the first:"
            f" {first.raw}",
            file=first.file,
            row=first.row,
            remedy="Daily candles are needed, one for each symbol and day: keep one file of each"
            " symbol",
        )


def candles_by_symbol(table: pa.Table) -> Iterator[Candles]:
    """Yield one `Candles` per symbol of a table of `CANDLE_SCHEMA` that is sorted by symbol."""
    columns = {name: table[name].to_numpy() for name in (*PRICES, "volume")}
    for rows in rows_by_symbol(table):
        own = {name: values[rows.start : rows.end] for name, values in columns.items()}
        yield Candles(symbol=rows.symbol, day=rows.day, **own)
