"""Candles as CSV files have them.

In: a CSV file. Out: its rows by column, texts as dictionaries and numbers as numbers, and the lines that have too many or too few
values. It is read in blocks, so that memory holds numbers and not text. Does not know what a good candle is.
"""

import csv
import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from stock_llm.errors import InputError
from stock_llm.market.candles.columns import (
    NUMBERS,
    CandleRows,
    Layout,
    absent,
    is_wide,
    layouts,
    wide_layouts,
)
from stock_llm.storage.quarantine import QuarantinedRow
from stock_llm.tabular import columns
from stock_llm.tabular.text import text_blocks

_GROUPED = re.compile(r'"([1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?)"')
"""A number in quotes whose commas group digits: `"1,234,567"`, the only cell of a candle that may hold its separator."""
_DECIMAL_COMMA = re.compile(r'"(?:[\d.]*\d,(?:\d\d?|\d{4,})|0,\d+)"')
"""A number in quotes whose comma begins decimals: where there is one, `"1,234"` may be little more than one."""


def read_rows(file: Path, name: str) -> CandleRows:
    """The rows of a CSV file. A line is a row: no value of a candle holds a line break, so row numbers are an editor's.

    Raises:
        InputError: the file is empty, not UTF-8, or lacks a column.
    """
    blocks = text_blocks(file)
    above, block = 0, next(blocks)
    while not block.strip():  # blank lines may fill a whole block
        above, block = above + block.count("\n"), next(blocks)
    written = (line for line in enumerate(io.StringIO(block), start=1) if line[1].strip())
    lines = list(itertools.islice(written, 3))
    separator = columns.separator(lines[0][1])
    try:
        heads = [next(csv.reader([line], delimiter=separator)) for _, line in lines]
    except csv.Error as error:
        raise InputError(
            f"not a CSV file ({error})",
            file=file,
            row=above + lines[0][0],
            remedy="Export it again",
        ) from None
    if len(heads) == 3 and is_wide(*heads):
        top, found = lines[2][0], wide_layouts(heads[0], heads[1], file, above + lines[0][0])
    else:
        top, found = lines[0][0], layouts(heads[0], file, above + lines[0][0])
    parts = _Parts(found, separator)
    rejected: list[QuarantinedRow] = []
    while True:
        cells, row = _split(block, top, above, len(heads[0]), separator, file, name, rejected)
        parts.add(cells, row)
        above, top = above + block.count("\n"), 0
        if (following := next(blocks, None)) is None:
            break
        block = following
    return parts.rows(file, rejected)


class _Parts:
    """The columns of the blocks that were read so far."""

    def __init__(self, found: list[Layout], separator: str):
        self._layouts, self._separator = found, separator
        self._columns = {column for layout in found for column in layout.places}
        self._texts: dict[str, list[pa.DictionaryArray]] = {
            column: [] for column in self._columns - {*NUMBERS}
        }
        self._numbers: dict[str, list[np.ndarray]] = {
            column: [] for column in self._columns & {*NUMBERS}
        }
        if any(layout.symbol for layout in found):
            self._texts["symbol"] = []
        self._row: list[np.ndarray] = []

    def add(self, cells: list[pa.Array], row: np.ndarray) -> None:
        """Takes a block's cells, column by column."""
        for layout in self._layouts:
            own = {
                column: pc.utf8_trim(cells[place], ' "') for column, place in layout.places.items()
            }
            size, lines = len(row), row
            if (
                layout.symbol
            ):  # a ticker that did not trade on a day has no candle there: its cells are empty
                traded = _any_written(
                    [values for column, values in own.items() if column in NUMBERS], size
                )
                own = {column: values.filter(pa.array(traded)) for column, values in own.items()}
                size, lines = int(traded.sum()), row[traded]
                self._texts["symbol"].append(
                    pa.repeat(pa.scalar(layout.symbol), size).dictionary_encode()
                )
            for column in self._columns:
                values = own.get(column)
                if column in NUMBERS:
                    found = (
                        absent(column, size)
                        if values is None
                        else floats(values, column, self._separator)
                    )
                    self._numbers[column].append(found)
                elif values is not None:
                    self._texts[column].append(values.dictionary_encode())
            self._row.append(lines)

    def rows(self, file: Path, rejected: list[QuarantinedRow]) -> CandleRows:
        row = np.concatenate(self._row)
        return CandleRows(
            text={
                column: pa.chunked_array(parts).unify_dictionaries().combine_chunks()
                for column, parts in self._texts.items()
            },
            number={column: np.concatenate(parts) for column, parts in self._numbers.items()},
            row=row,
            rejected=rejected,
            written=lambda indices: _lines(file, row[indices]),
        )


def _split(
    block: str,
    top: int,
    above: int,
    width: int,
    separator: str,
    file: Path,
    name: str,
    rejected: list[QuarantinedRow],
) -> tuple[list[pa.Array], np.ndarray]:
    """The cells of a block's lines below its first `top`, by column, and their rows in the file; odd lines are set aside."""
    bad: set[int] = set()

    def set_aside(line: pacsv.InvalidRow) -> str:
        if line.text.strip():
            reason = f"{line.actual_columns} values under {line.expected_columns} columns"
            rejected.append(QuarantinedRow("candles", name, above + line.number, reason, line.text))
        bad.add(line.number)
        return "skip"

    places = [str(place) for place in range(width)]
    if separator == "," and '"' in block and not _DECIMAL_COMMA.search(block):
        block = _GROUPED.sub(lambda number: number[1].replace(",", ""), block)
    if not block.endswith("\n"):
        block += "\n"
    if block.count("\n") == top:
        return [pa.array([], pa.string()) for _ in places], np.array([], int)
    try:
        table = pacsv.read_csv(
            pa.py_buffer(block.encode()),
            pacsv.ReadOptions(use_threads=False, column_names=places, skip_rows=top),
            pacsv.ParseOptions(
                delimiter=separator,
                quote_char=False,
                ignore_empty_lines=False,
                invalid_row_handler=set_aside,
            ),
            pacsv.ConvertOptions(
                column_types=dict.fromkeys(places, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise InputError(f"not a CSV file ({error})", file=file, remedy="Export it again") from None
    row = np.setdiff1d(
        np.arange(top + 1, top + 1 + len(table) + len(bad)),
        np.fromiter(bad, int),
        assume_unique=True,
    )
    cells = [column.combine_chunks() for column in table.itercolumns()]
    written = _any_written(cells, len(row))
    if not written.all():
        cells = [column.filter(pa.array(written)) for column in cells]
    return cells, above + row[written]


def _any_written(cells: list[pa.Array], size: int) -> np.ndarray:
    written = np.zeros(size, bool)
    for column in cells:
        if written.all():
            break
        written |= pc.not_equal(column, "").to_numpy(zero_copy_only=False)
    return written


def floats(texts: pa.Array, column: str, separator: str) -> np.ndarray:
    """A column of text as float64, NaN where it is not a number; an empty dividend or split is none, 0."""
    if column in ("dividend", "split"):
        texts = pc.if_else(pc.equal(texts, ""), "0", texts)
    try:
        return pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # not plain digits throughout
        return pc.cast(columns.plain_numbers(texts, separator), pa.float64()).to_numpy(
            zero_copy_only=False
        )


def _lines(file: Path, rows: np.ndarray) -> list[str]:
    """Some lines of a file; it is read again for them."""
    if not len(rows):
        return []
    wanted = dict.fromkeys(rows.tolist(), "")
    last = max(wanted)
    for number, line in enumerate(_all_lines(file), start=1):
        if number in wanted:
            wanted[number] = line
        if number == last:
            break
    return [wanted[row] for row in rows.tolist()]


def _all_lines(file: Path) -> Iterator[str]:
    for block in text_blocks(file):
        yield from block.removesuffix("\n").split("\n")
