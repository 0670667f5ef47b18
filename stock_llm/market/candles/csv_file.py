"""Reads candles from CSV files.

In: a CSV file. Out: its rows by column, texts as dictionaries and numbers as floats, and the lines
that have too many or too few values. It is read in blocks, so that memory holds numbers and not
text. What a good candle is stands in candle_file.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.market.candles.columns import (
    NUMBERS,
    CandleRows,
    Layout,
    absent,
    find_layouts,
    floats,
    with_time,
)
from stock_llm.storage.quarantine import QuarantinedRow
from stock_llm.tabular.numbers import decimal_sign
from stock_llm.tabular.table import is_blank, separator_of, split_record, table_blocks
from stock_llm.tabular.text import text_blocks


def read_rows(file: Path, name: str) -> CandleRows:
    """Reads the rows of a CSV file; row numbers are those of an editor.

    Raises:
        InputError: the file is empty, no text, or lacks a column.
    """
    table, needs_sign = _read(file, name, "")
    if needs_sign:  # the whole file decides what `1.234` means
        sign = decimal_sign(
            block.columns[place]
            for block in _blocks(file)
            for layout in block.layouts
            for column, place in layout.places.items()
            if column in NUMBERS
        )
        table = _read(file, name, sign)[0] if sign else table
    return table


@dataclass(frozen=True)
class _Block:
    """Some rows of a file, columns in the order of its header; `rejected`: row, reason, line."""

    layouts: list[Layout]
    separator: str
    columns: list[pa.Array]
    rows: np.ndarray
    rejected: list[tuple[int, str, str]]


def _blocks(file: Path) -> Iterator[_Block]:
    header: list[str] = []
    above = 0
    for text in text_blocks(file):
        lines = text.removesuffix("\n").split("\n")
        start = 0
        if not header:
            filled = [at for at, line in enumerate(lines) if not is_blank(line)][:3]
            if filled:
                separator = separator_of(lines[filled[0]])
                heads = [split_record(lines[at], separator) for at in filled]
                layouts, names = find_layouts(heads, file, above + filled[0] + 1)
                header, start = heads[0], filled[names - 1] + 1
        if header:
            for block in table_blocks(lines, header, separator, start):
                rejected = [(above + row, reason, lines[row - 1]) for row, reason in block.rejected]
                yield _Block(layouts, separator, block.columns, above + block.rows, rejected)
        above += len(lines)


def _read(file: Path, name: str, sign: str) -> tuple[CandleRows, bool]:
    """The rows, numbers read under a decimal sign; and whether that has to be known."""
    texts: dict[str, list[pa.Array]] = {}
    numbers: dict[str, list[np.ndarray]] = {}
    rows = [np.array([], np.int64)]
    rejected = []
    needs_sign = False
    for block in _blocks(file):
        rejected += [QuarantinedRow("candles", name, *line) for line in block.rejected]
        of_file = {
            column for layout in block.layouts for column in layout.places if column in NUMBERS
        }
        for layout in block.layouts:
            cells = {
                column: pc.utf8_trim(block.columns[place], ' "')
                for column, place in layout.places.items()
            }
            lines = block.rows
            # A ticker that did not trade on a day has no candle there: its cells are empty.
            if layout.symbol:
                filled = [
                    pc.not_equal(text, "") for column, text in cells.items() if column in NUMBERS
                ]
                traded = np.any(
                    [values.to_numpy(zero_copy_only=False) for values in filled], axis=0
                )
                cells = {column: text.filter(pa.array(traded)) for column, text in cells.items()}
                lines = lines[traded]
                cells["symbol"] = pa.repeat(pa.scalar(layout.symbol), len(lines))
            parsed, odd = floats(
                {column: text for column, text in cells.items() if column in NUMBERS},
                sign,
                block.separator,
            )
            needs_sign = needs_sign or odd
            for column in of_file:
                numbers.setdefault(column, []).append(
                    parsed.get(column, absent(column, len(lines)))
                )
            for column, text in with_time(cells).items():
                if column not in NUMBERS:
                    texts.setdefault(column, []).append(text.dictionary_encode())
            rows.append(lines)
    row = np.concatenate(rows)
    table = CandleRows(
        text={
            column: pa.chunked_array(parts).unify_dictionaries().combine_chunks()
            for column, parts in texts.items()
        },
        number={column: np.concatenate(parts) for column, parts in numbers.items()},
        row=row,
        rejected=rejected,
        written=lambda indices: _lines(file, row[indices]),
    )
    return table, needs_sign


def _lines(file: Path, rows: np.ndarray) -> list[str]:
    """Some lines of a file; it is read again for them."""
    wanted = dict.fromkeys(rows.tolist(), "")
    above = 0
    for text in text_blocks(file) if wanted else ():
        lines = text.removesuffix("\n").split("\n")
        wanted |= {
            row: lines[row - above - 1] for row in wanted if above < row <= above + len(lines)
        }
        above += len(lines)
    return [wanted[row] for row in rows.tolist()]
