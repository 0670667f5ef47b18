"""One candle file as a checked table.

In: a CSV or Parquet file with yfinance's, Stooq's, Alpaca's or plain column names, one symbol a file or a symbol column; dates in
any order. Out: its rows as an Arrow table of `CANDLE_SCHEMA`, and those that were set aside with their reasons. CSV is read in
blocks, so that memory holds numbers and not text. Does not compare a candle with its neighbours.
"""

import csv
import io
from collections.abc import Callable, Iterator
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
from stock_llm.inputs import text_blocks
from stock_llm.quarantine import Reading, Rejected, refuse_if_mostly_bad

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
        pa.field("dividend", pa.float64(), nullable=False),
        pa.field("split", pa.float64(), nullable=False),
        pa.field("scale", pa.float64(), nullable=False),
        pa.field("as_of", pa.date32(), nullable=False),
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
    ]
)
"""Prices in the instrument's currency, volume in units, one row per symbol and day.

- `adjustment`: adjusted close / close, for dividends; 1 where the file has none.
- `dividend`: paid per unit on that day; `split`: new units per old one from that day on, 1 where there was none.
- `scale`: what a repair multiplied the file's prices by, 1 where there was none: the file has price / scale.
- `as_of`: when the prices were fetched, as the file says, else the file's last day for the symbol: splits and dividends after it
  are not in the prices.
"""

PRICES = ("open", "high", "low", "close")

NAMES = {
    "date": ("date", "<date>", "time", "timestamp", "datetime", "t"),
    "open": ("open", "<open>", "o"),
    "high": ("high", "<high>", "h"),
    "low": ("low", "<low>", "l"),
    "close": ("close", "<close>", "c"),
    "volume": ("volume", "<vol>", "vol", "v"),
    "adjusted": ("adj close", "adj_close", "adjclose", "adjusted close", "adjusted_close"),
    "dividend": ("dividends", "dividend"),
    "split": ("stock splits", "stock_splits", "splits", "split", "split ratio"),
    "as_of": ("as of", "as_of"),
    "symbol": ("symbol", "ticker", "<ticker>", "s"),
}
"""Column → the names that it goes by, in lower case; the first that a file has is taken."""

_OPTIONAL = ("adjusted", "dividend", "split", "as_of", "symbol")
_NUMBERS = (*PRICES, "volume", "adjusted", "dividend", "split")
_NOISE = 1e-9
"""Share of a price by which a high may lie below the close: what rounding leaves when prices were adjusted."""

_REMEDY = "A candle file has Date,Open,High,Low,Close,Volume, and Symbol where it holds several"


def read_file(file: Path, name: str) -> Reading:
    """The candles of one file, which is called `name` in the result.

    Raises:
        InputError: the file is empty, not UTF-8, lacks a column, or more than half of its rows are bad.
    """
    rows = _parquet_rows(file) if file.suffix.lower() == ".parquet" else _csv_rows(file, name)
    total = len(rows.row) + len(rows.rejected)
    if not total:
        raise InputError("there is a header but no candle", file=file, remedy="Export it again")

    day = _days(rows.text["date"], file)
    if len(rows.row) and np.isnat(day).all():
        raise InputError(
            f"'{rows.text['date'][0]}' is not a date, nor is any other row's",
            file=file,
            row=int(rows.row[0]),
            remedy="Write the dates as YYYY-MM-DD",
        )
    symbol = _symbols(rows, file)
    as_of = _days(rows.text["as_of"], file) if "as_of" in rows.text else day
    reasons = _reasons(day, as_of, rows.number, symbol)
    good = reasons == ""

    bad = np.flatnonzero(~good)
    rejected = rows.rejected + [
        Rejected("candles", name, row, reason, raw)
        for row, reason, raw in zip(rows.row[bad].tolist(), reasons[bad].tolist(), rows.written(bad), strict=True)
    ]
    refuse_if_mostly_bad(rejected, total, file)
    return Reading(_table(rows, day, as_of, symbol, good, name), rejected, total, 0)


@dataclass(frozen=True)
class _Rows:
    """A file's rows, columns named by the keys of `NAMES`, not checked yet.

    Attributes:
        text: date, as_of and symbol, those that the file has, as dictionary arrays.
        number: float64 by column, NaN where the text is not a number; 0 for an empty dividend or split.
        row: 1-based line or row of the file.
        written: the rows at some indices, as the file has them.
    """

    text: dict[str, pa.DictionaryArray]
    number: dict[str, np.ndarray]
    row: np.ndarray
    rejected: list[Rejected]
    written: Callable[[np.ndarray], list[str]]


def _csv_rows(file: Path, name: str) -> _Rows:
    """The rows of a CSV file. A line is a row: no value of a candle holds a line break, so row numbers are an editor's."""
    blocks = text_blocks(file)
    block = next(blocks)
    top, above = 0, 0
    while not block.strip():  # blank lines may fill a whole block
        above, block = above + block.count("\n"), next(blocks)
    for top, first in enumerate(io.StringIO(block), start=1):
        if first.strip():
            break
    separator = columns.separator(first)
    header = next(csv.reader([first], delimiter=separator))
    places = columns.find(header, NAMES, _OPTIONAL, file, above + top, _REMEDY)
    rejected: list[Rejected] = []
    parts: dict[str, list] = {column: [] for column in places}
    numbers: list[np.ndarray] = []
    while True:
        cells, row = _split(block, top, above, len(header), separator, file, name, rejected)
        for column, place in places.items():
            values = pc.utf8_trim(cells[place], ' "')
            parts[column].append(_floats(values, column, separator) if column in _NUMBERS else values.dictionary_encode())
        numbers.append(row)
        above, top = above + block.count("\n"), 0
        if (following := next(blocks, None)) is None:
            break
        block = following
    row = np.concatenate(numbers)
    return _Rows(
        text={column: _united(parts[column]) for column in places if column not in _NUMBERS},
        number={column: np.concatenate(parts[column]) for column in places if column in _NUMBERS},
        row=row,
        rejected=rejected,
        written=lambda indices: _lines(file, row[indices]),
    )


def _split(
    block: str, top: int, above: int, width: int, separator: str, file: Path, name: str, rejected: list[Rejected]
) -> tuple[list[pa.Array], np.ndarray]:
    """The cells of a block's lines below its first `top`, column by column, and their rows in the file; bad lines are set aside."""
    bad: set[int] = set()

    def set_aside(line: pacsv.InvalidRow) -> str:
        if line.text.strip():
            reason = f"{line.actual_columns} values under {line.expected_columns} columns"
            rejected.append(Rejected("candles", name, above + line.number, reason, line.text))
        bad.add(line.number)
        return "skip"

    places = [str(place) for place in range(width)]
    if not block.endswith("\n"):
        block += "\n"
    if block.count("\n") == top:
        return [pa.array([], pa.string()) for _ in places], np.array([], int)
    try:
        table = pacsv.read_csv(
            pa.py_buffer(block.encode()),
            pacsv.ReadOptions(use_threads=False, column_names=places, skip_rows=top),
            pacsv.ParseOptions(delimiter=separator, quote_char=False, ignore_empty_lines=False, invalid_row_handler=set_aside),
            pacsv.ConvertOptions(column_types=dict.fromkeys(places, pa.string()), strings_can_be_null=False),
        )
    except pa.ArrowInvalid as error:
        raise InputError(f"not a CSV file ({error})", file=file, remedy="Export it again") from None
    row = np.setdiff1d(np.arange(top + 1, top + 1 + len(table) + len(bad)), np.fromiter(bad, int))
    cells = [column.combine_chunks() for column in table.itercolumns()]
    written = np.zeros(len(row), bool)
    for column in cells:
        if written.all():
            break
        written |= pc.not_equal(column, "").to_numpy(zero_copy_only=False)
    if not written.all():
        cells = [column.filter(pa.array(written)) for column in cells]
    return cells, above + row[written]


def _floats(texts: pa.Array, column: str, separator: str) -> np.ndarray:
    if column in ("dividend", "split"):
        texts = pc.if_else(pc.equal(texts, ""), "0", texts)
    try:
        return pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # not plain digits throughout
        return pc.cast(columns.plain_numbers(texts, separator), pa.float64()).to_numpy(zero_copy_only=False)


def _united(chunks: list[pa.DictionaryArray]) -> pa.DictionaryArray:
    return pa.chunked_array(chunks).unify_dictionaries().combine_chunks()


def _lines(file: Path, rows: np.ndarray) -> list[str]:
    """Some lines of a file, in the order of `rows`, which ascends; it is read again for them."""
    if not len(rows):
        return []
    wanted, found = iter(rows.tolist()), []
    row = next(wanted)
    for number, line in enumerate(_all_lines(file), start=1):
        if number == row:
            found.append(line)
            if (row := next(wanted, 0)) == 0:
                break
    return found


def _all_lines(file: Path) -> Iterator[str]:
    for block in text_blocks(file):
        yield from block.removesuffix("\n").split("\n")


def _parquet_rows(file: Path) -> _Rows:
    """The rows of a Parquet file; the first is row 1."""
    try:
        table = pq.read_table(file)
    except pa.ArrowInvalid as error:
        raise InputError(f"not a Parquet file ({error})", file=file, remedy="Write it again") from None
    positions = columns.find(table.column_names, NAMES, _OPTIONAL, file, None, _REMEDY)
    cells = {column: table.column(place) for column, place in positions.items()}
    return _Rows(
        text={column: _as_text(values) for column, values in cells.items() if column not in _NUMBERS},
        number={column: _as_floats(values, column) for column, values in cells.items() if column in _NUMBERS},
        row=np.arange(1, len(table) + 1),
        rejected=[],
        written=lambda indices: [
            ",".join("" if value is None else str(value) for value in row.values()) for row in table.take(indices).to_pylist()
        ],
    )


def _as_floats(values: pa.ChunkedArray, column: str) -> np.ndarray:
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return _floats(pc.fill_null(values.cast(pa.string()).combine_chunks(), ""), column, ",")
    numbers = pc.cast(values, pa.float64(), safe=False)
    return pc.fill_null(numbers, 0.0 if column in ("dividend", "split") else float("nan")).to_numpy()


def _as_text(values: pa.ChunkedArray) -> pa.DictionaryArray:
    """A typed column as the text that a CSV file would have; the day of a zoned time is that of its zone."""
    if pa.types.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    if pa.types.is_timestamp(values.type) and values.type.tz:
        values = pc.local_timestamp(values)
    encoded = values.combine_chunks().dictionary_encode()
    distinct = encoded.dictionary
    if pa.types.is_timestamp(distinct.type):
        distinct = pc.cast(distinct, pa.timestamp("us"), safe=False)
    texts = pa.concat_arrays([pc.cast(distinct, pa.string()), pa.array([""])])
    indices = pc.fill_null(encoded.indices, len(distinct))
    return pa.DictionaryArray.from_arrays(indices, texts, safe=False)


def _days(texts: pa.DictionaryArray, file: Path) -> np.ndarray:
    """datetime64[D], the day as written; each distinct text is read once."""
    used = pc.unique(texts.indices)
    days = np.full(len(texts.dictionary), "NaT", "datetime64[D]")
    days[used.to_numpy()] = read_times(texts.dictionary.take(used), file).day
    return days[texts.indices.to_numpy()] if len(texts) else days[:0]


def _symbols(rows: _Rows, file: Path) -> pa.DictionaryArray:
    """The symbol of each row; `.US` goes, as Stooq writes AAPL. The file's name where there is no such column."""
    if "symbol" in rows.text:
        indices, texts = rows.text["symbol"].indices, rows.text["symbol"].dictionary
    else:
        indices, texts = pa.array(np.zeros(len(rows.row), np.int32)), pa.array([file.stem])
    texts = pc.replace_substring_regex(pc.utf8_upper(pc.utf8_trim_whitespace(texts)), r"\.US$", "")
    return pa.DictionaryArray.from_arrays(indices, texts)


def _reasons(day: np.ndarray, as_of: np.ndarray, number: dict[str, np.ndarray], symbol: pa.DictionaryArray) -> np.ndarray:
    """Why each row is bad, "" where it is not; the first reason that applies."""
    high, low = number["high"], number["low"]
    lowest, highest = (np.minimum, np.maximum)
    bottom, top = number["open"], number["open"]
    for name in PRICES[1:]:
        bottom, top = lowest(bottom, number[name]), highest(top, number[name])
    nameless = np.flatnonzero(pc.equal(symbol.dictionary, "").to_numpy(zero_copy_only=False))
    checks = {
        "the date cannot be read": np.isnat(day),
        "there is no symbol": np.isin(symbol.indices.to_numpy(), nameless),
        **{f"{name} is not a number": ~np.isfinite(number[name]) for name in (*PRICES, "volume")},
        "a price is zero or negative": bottom <= 0,
        "the volume is negative": number["volume"] < 0,
        "high is below open, low or close": top > high * (1 + _NOISE),
        "low is above open or close": bottom < low * (1 - _NOISE),
        **{
            f"the {name} is not a number, zero or more": ~(np.isfinite(number[name]) & (number[name] >= 0))
            for name in ("dividend", "split")
            if name in number
        },
        "the date that it is as of cannot be read": np.isnat(as_of),
    }
    reasons = np.full(len(day), "", object)
    for reason, applies in checks.items():
        if applies.any():
            reasons[applies & (reasons == "")] = reason
    return reasons


def _table(rows: _Rows, day: np.ndarray, as_of: np.ndarray, symbol: pa.DictionaryArray, good: np.ndarray, name: str) -> pa.Table:
    """The good rows."""
    number = {column: values[good] for column, values in rows.number.items()}
    size = int(good.sum())
    codes = symbol.indices.to_numpy()[good]
    adjustment = np.ones(size)
    if "adjusted" in number:
        with np.errstate(invalid="ignore"):
            factor = number["adjusted"] / number["close"]
        adjustment = np.where(np.isfinite(factor) & (factor > 0), factor, 1.0)
    split = number.get("split", np.zeros(size))
    told = as_of[good]
    if "as_of" not in rows.text and size:
        last = np.full(len(symbol.dictionary), np.datetime64("0001-01-01", "D"))
        np.maximum.at(last, codes, told)
        told = last[codes]
    return pa.Table.from_arrays(
        [
            symbol.dictionary.take(pa.array(codes)),
            pa.array(day[good], pa.date32()),
            *(pa.array(number[column]) for column in (*PRICES, "volume")),
            pa.array(adjustment),
            pa.array(number.get("dividend", np.zeros(size))),
            pa.array(np.where(split == 0, 1.0, split)),
            pa.array(np.ones(size)),
            pa.array(told, pa.date32()),
            pa.repeat(pa.scalar(name), size),
            pa.array(rows.row[good], pa.int64()),
        ],
        schema=CANDLE_SCHEMA,
    )
