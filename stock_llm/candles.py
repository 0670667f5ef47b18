"""Daily candles, read from the files that people have and checked row by row.

In: CSV or Parquet files with yfinance's, Stooq's, Alpaca's or plain column names, one symbol a file or a symbol column. Out: an
Arrow table of `CANDLE_SCHEMA`, sorted by symbol and date, and the rows that were set aside with their reasons. Prices stay as
the file has them; what turns a close into an adjusted one stands beside it. Does not know trades, calendars or indicators.
"""

import csv
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from stock_llm import columns
from stock_llm.dates import read_times
from stock_llm.errors import InputError
from stock_llm.inputs import read_text
from stock_llm.quarantine import Reading, Rejected, refuse_if_mostly_bad
from stock_llm.situation import Candles

CANDLE_SCHEMA = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("date", pa.date32(), nullable=False),
        pa.field("open", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
        pa.field("low", pa.float64(), nullable=False),
        pa.field("close", pa.float64(), nullable=False),
        pa.field("volume", pa.float64(), nullable=False),
        pa.field("adjustment", pa.float64(), nullable=False),
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
    ]
)
"""Prices in the instrument's currency, volume in units, `adjustment` = adjusted close / close (1 where the file has none)."""

NAMES = {
    "date": ("date", "<date>", "time", "timestamp", "datetime", "t"),
    "open": ("open", "<open>", "o"),
    "high": ("high", "<high>", "h"),
    "low": ("low", "<low>", "l"),
    "close": ("close", "<close>", "c"),
    "volume": ("volume", "<vol>", "vol", "v"),
    "adjusted": ("adj close", "adj_close", "adjclose", "adjusted close", "adjusted_close"),
    "symbol": ("symbol", "ticker", "<ticker>", "s"),
}
"""Column → the names that it goes by, in lower case; the first that a file has is taken."""

_OPTIONAL = ("adjusted", "symbol")
_NOISE = 1e-9
"""Share of a price by which a high may lie below the close: what rounding leaves when prices were adjusted."""

_PRICES = ("open", "high", "low", "close")
_REMEDY = "A candle file has Date,Open,High,Low,Close,Volume, and Symbol where it holds several"


def read(files: list[Path], root: Path) -> Reading:
    """The candles of several files as one table; files are named relative to `root`.

    Raises:
        InputError: a file is empty, not UTF-8, lacks a column, or more than half of its rows are bad.
    """
    parts = [_read_file(file, file.relative_to(root).as_posix()) for file in files]
    table = pa.concat_tables([part.table for part in parts]).sort_by(
        [("symbol", "ascending"), ("date", "ascending"), ("source_file", "ascending"), ("source_row", "ascending")]
    )
    rejected = [one for part in parts for one in part.rejected]
    kept, conflicts = _one_a_day(table)
    _refuse_intraday(table, conflicts, files, root)
    rejected += [
        Rejected("candles", row["source_file"], row["source_row"], "another row has different values for this day", _shown(row))
        for row in table.filter(pa.array(conflicts)).to_pylist()
    ]
    return Reading(
        table=table.filter(pa.array(kept)),
        rejected=rejected,
        rows_read=sum(part.rows_read for part in parts),
        duplicates=len(table) - int(kept.sum()) - int(conflicts.sum()),
    )


def by_symbol(table: pa.Table) -> Iterator[Candles]:
    """One `Candles` per symbol of a table of `CANDLE_SCHEMA`."""
    symbols = table["symbol"].combine_chunks().dictionary_encode()
    codes = symbols.indices.to_numpy()
    edges = [0, *(np.flatnonzero(np.diff(codes)) + 1), len(codes)] if len(codes) else []
    for start, end in itertools.pairwise(edges):
        part = table.slice(start, end - start)
        series = {name: part[name].to_numpy() for name in (*_PRICES, "volume")}
        yield Candles(symbol=part["symbol"][0].as_py(), day=part["date"].to_numpy().astype("datetime64[D]"), **series)


@dataclass(frozen=True)
class _Rows:
    """A file's rows, columns renamed to the keys of `NAMES`, not checked yet."""

    cells: dict[str, pa.Array]
    separator: str
    row: np.ndarray
    rejected: list[Rejected]
    text: str
    """The whole file; empty for Parquet."""

    def raw(self, indices: np.ndarray) -> list[str]:
        """Rows as they were written."""
        if self.text and len(indices):
            lines = self.text.split("\n")
            return [lines[row - 1] for row in self.row[indices]]
        return [",".join(column[index].as_py() for column in self.cells.values()) for index in indices.tolist()]

    def number(self, column: str) -> np.ndarray:
        """float64; NaN where the text is not a number."""
        return pc.cast(columns.plain_numbers(self.cells[column], self.separator), pa.float64()).to_numpy(zero_copy_only=False)


def _read_file(file: Path, name: str) -> Reading:
    rows = _parquet_rows(file) if file.suffix.lower() == ".parquet" else _csv_rows(file, name)
    total = len(rows.row) + len(rows.rejected)
    if not total:
        raise InputError("there is a header but no candle", file=file, remedy="Export it again")

    times = read_times(rows.cells["date"], file)
    if len(rows.row) and np.isnat(times.day).all():
        raise InputError(
            f"'{rows.cells['date'][0]}' is not a date, nor is any other row's",
            file=file,
            row=int(rows.row[0]),
            remedy="Write the dates as YYYY-MM-DD",
        )
    number = {column: rows.number(column) for column in (*_PRICES, "volume")}
    symbol = rows.cells.get("symbol", pa.array([file.stem] * len(rows.row), pa.string()))
    symbol = pc.replace_substring_regex(pc.utf8_upper(pc.utf8_trim_whitespace(symbol)), r"\.US$", "")  # as Stooq writes AAPL
    reasons = _reasons(times.day, number, symbol)
    good = reasons == ""

    bad = np.flatnonzero(~good)
    rejected = rows.rejected + [
        Rejected("candles", name, row, reason, raw)
        for row, reason, raw in zip(rows.row[bad].tolist(), reasons[bad].tolist(), rows.raw(bad), strict=True)
    ]
    refuse_if_mostly_bad(rejected, total, file)
    adjustment = np.ones(len(rows.row))
    if "adjusted" in rows.cells:
        factor = rows.number("adjusted") / np.where(good, number["close"], 1.0)
        adjustment = np.where(np.isfinite(factor) & (factor > 0), factor, 1.0)
    table = pa.Table.from_arrays(
        [
            symbol.filter(pa.array(good)),
            pa.array(times.day[good], pa.date32()),
            *(pa.array(values[good]) for values in number.values()),
            pa.array(adjustment[good]),
            pa.array([name] * int(good.sum()), pa.string()),
            pa.array(rows.row[good], pa.int64()),
        ],
        schema=CANDLE_SCHEMA,
    )
    return Reading(table, rejected, total, 0)


def _csv_rows(file: Path, name: str) -> _Rows:
    """The rows of a CSV file. A line is a row: no value of a candle holds a line break, so row numbers are an editor's."""
    text = read_text(file).replace("\r\n", "\n").replace("\r", "\n")
    top, first = next((row, line) for row, line in enumerate(io.StringIO(text), start=1) if line.strip())
    separator = columns.separator(first)
    header = next(csv.reader([first], delimiter=separator))
    positions = columns.find(header, NAMES, _OPTIONAL, file, top, _REMEDY)
    rejected: list[Rejected] = []
    bad_lines: set[int] = set()

    def set_aside(line: pacsv.InvalidRow) -> str:
        if line.text.strip():
            reason = f"{line.actual_columns} values under {line.expected_columns} columns"
            rejected.append(Rejected("candles", name, line.number, reason, line.text))
        bad_lines.add(line.number)
        return "skip"

    places = [str(place) for place in range(len(header))]
    try:
        table = pacsv.read_csv(
            io.BytesIO(text.encode()),
            pacsv.ReadOptions(use_threads=False, column_names=places, skip_rows=top),
            pacsv.ParseOptions(delimiter=separator, quote_char=False, ignore_empty_lines=False, invalid_row_handler=set_aside),
            pacsv.ConvertOptions(column_types=dict.fromkeys(places, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        raise InputError(f"not a CSV file ({error})", file=file, remedy="Export it again") from None
    row = np.setdiff1d(np.arange(top + 1, top + 1 + len(table) + len(bad_lines)), np.fromiter(bad_lines, int))
    written = np.zeros(len(row), bool)
    for column in table.itercolumns():
        written |= pc.not_equal(column, "").to_numpy().astype(bool)
    cells = {
        column: pc.utf8_trim(table[place].combine_chunks(), ' "').filter(pa.array(written)) for column, place in positions.items()
    }
    return _Rows(cells, separator, row[written], rejected, text)


def _parquet_rows(file: Path) -> _Rows:
    """The rows of a Parquet file; the first is row 1."""
    try:
        table = pq.read_table(file)
    except pa.ArrowInvalid as error:
        raise InputError(f"not a Parquet file ({error})", file=file, remedy="Write it again") from None
    positions = columns.find(table.column_names, NAMES, _OPTIONAL, file, None, _REMEDY)
    cells = {column: _as_text(table.column(place).combine_chunks()) for column, place in positions.items()}
    return _Rows(cells, ",", np.arange(1, len(table) + 1), [], "")


def _as_text(values: pa.Array) -> pa.Array:
    """A typed column as the text that a CSV file would have; the day of a zoned time is that of its zone."""
    if pa.types.is_timestamp(values.type) and values.type.tz:
        values = pc.local_timestamp(values)
    if pa.types.is_timestamp(values.type):
        values = pc.cast(values, pa.timestamp("us"), safe=False)
    return pc.fill_null(pc.cast(values, pa.string()), "")


def _reasons(day: np.ndarray, number: dict[str, np.ndarray], symbol: pa.Array) -> np.ndarray:
    """Why each row is bad, "" where it is not; the first reason that applies."""
    high, low = number["high"], number["low"]
    prices = np.stack([number[name] for name in _PRICES])
    checks = {
        "the date cannot be read": np.isnat(day),
        "there is no symbol": pc.equal(symbol, "").to_numpy(zero_copy_only=False),
        **{f"{name} is not a number": ~np.isfinite(values) for name, values in number.items()},
        "a price is zero or negative": (prices <= 0).any(axis=0),
        "the volume is negative": number["volume"] < 0,
        "high is below open, low or close": (prices > high * (1 + _NOISE)).any(axis=0),
        "low is above open or close": (prices < low * (1 - _NOISE)).any(axis=0),
    }
    return np.select(list(checks.values()), list(checks), default="")


def _one_a_day(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the rows that stay, and of those that contradict another row of their day; the rest repeat a row that stays."""
    size = len(table)
    symbol = table["symbol"].combine_chunks().dictionary_encode().indices.to_numpy()
    day = table["date"].to_numpy()
    values = np.stack([table[name].to_numpy() for name in (*_PRICES, "volume", "adjustment")])
    first = np.ones(size, bool)
    first[1:] = (symbol[1:] != symbol[:-1]) | (day[1:] != day[:-1])
    group = np.cumsum(first) - 1
    same = (values == values[:, np.flatnonzero(first)[group]]).all(axis=0)
    conflicting = np.zeros(first.sum(), bool)
    np.logical_or.at(conflicting, group, ~same)
    conflicts = conflicting[group]
    return first & ~conflicts, conflicts


def _refuse_intraday(table: pa.Table, conflicts: np.ndarray, files: list[Path], root: Path) -> None:
    if conflicts.sum() * 2 <= len(table):
        return
    row = table.slice(int(np.flatnonzero(conflicts)[0]), 1).to_pylist()[0]
    raise InputError(
        f"{int(conflicts.sum())} of {len(table)} candles share their day with another, {row['symbol']} on {row['date']} for one",
        file=root / row["source_file"] if len(files) > 1 else files[0],
        row=row["source_row"],
        remedy="Daily candles are needed, one for each symbol and day",
    )


def _shown(row: dict) -> str:
    return ",".join(str(row[name]) for name in ("symbol", "date", *_PRICES, "volume"))
