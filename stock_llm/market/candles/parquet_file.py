"""Reads candles from Parquet files, written by pandas, Polars or Arrow.

In: a Parquet file with typed columns or text. Out: its rows by column. A column of pandas that is
named by field and ticker, as yfinance makes it, is taken apart. What a good candle is stands in
candle_file.py.
"""

import ast
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stock_llm.errors import InputError
from stock_llm.market.candles.columns import (
    NUMBERS,
    CandleRows,
    Layout,
    absent,
    find_layouts,
    floats,
    with_time,
)
from stock_llm.tabular.numbers import decimal_sign

_TIME = pa.timestamp("us")


def read_rows(file: Path) -> CandleRows:
    """Reads the rows of a Parquet file; the first is row 1.

    Raises:
        InputError: it is not a Parquet file, lacks a column, or a column is neither text nor dates
            nor numbers.
    """
    try:
        table = pq.ParquetFile(file).read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"not a Parquet file ({error})", file=file, remedy="Write it again"
        ) from None
    layouts = _layouts(table.column_names, file)
    try:
        columns = [
            _as_text(column) if _is_text(column.type) else column for column in table.columns
        ]
        sign = decimal_sign(
            columns[place]
            for layout in layouts
            for column, place in layout.places.items()
            if column in NUMBERS and pa.types.is_string(columns[place].type)
        )
        parts = [_part(columns, layout, sign, len(table)) for layout in layouts]
    except pa.ArrowException as error:
        remedy = "Write dates as dates or text, prices as numbers or text"
        raise InputError(
            f"a column is of a kind that candles are not ({error})", file=file, remedy=remedy
        ) from None
    row = np.concatenate([part.row for part in parts])
    of_file = [column for column in NUMBERS if any(column in part.number for part in parts)]
    return CandleRows(
        text={
            column: pa.chunked_array([part.text[column] for part in parts])
            .unify_dictionaries()
            .combine_chunks()
            for column in parts[0].text
        },
        number={
            column: np.concatenate(
                [part.number.get(column, absent(column, len(part.row))) for part in parts]
            )
            for column in of_file
        },
        row=row,
        rejected=[],
        written=lambda indices: [
            ",".join("" if value is None else str(value) for value in values.values())
            for values in table.take(row[indices] - 1).to_pylist()
        ],
    )


def _layouts(names: list[str], file: Path) -> list[Layout]:
    pairs = {
        place: ast.literal_eval(name) for place, name in enumerate(names) if name.startswith("('")
    }
    fields = {place: pair for place, pair in pairs.items() if pair[1]}
    index = [place for place in range(len(names)) if place not in fields]
    if not fields or len(index) != 1:
        return find_layouts(
            [[name if name != "__index_level_0__" else "date" for name in names]], file, None
        )[0]
    order = [index[0], *fields]
    heads = [["date", *(pair[level] for pair in fields.values())] for level in (0, 1)]
    return [
        Layout(layout.symbol, {column: order[place] for column, place in layout.places.items()})
        for layout in find_layouts([heads[0], ["", *heads[1][1:]], ["date"]], file, None)[0]
    ]


def _part(columns: list[pa.Array], layout: Layout, sign: str, size: int) -> CandleRows:
    cells = {column: columns[place] for column, place in layout.places.items()}
    row = np.arange(1, size + 1)
    written = {
        column: text
        for column, text in cells.items()
        if column in NUMBERS and pa.types.is_string(text.type)
    }
    number = floats(written, sign, ",")[0] | {
        column: _floats(values, column)
        for column, values in cells.items()
        if column in NUMBERS and column not in written
    }
    text = with_time(
        {column: _text(values) for column, values in cells.items() if column not in NUMBERS}
    )
    if layout.symbol:
        traded = np.any([np.isfinite(values) & (values != 0) for values in number.values()], axis=0)
        number = {column: values[traded] for column, values in number.items()}
        text = {column: values.filter(pa.array(traded)) for column, values in text.items()}
        row = row[traded]
        text["symbol"] = pa.repeat(pa.scalar(layout.symbol), len(row))
    return CandleRows(
        {column: values.dictionary_encode() for column, values in text.items()},
        number,
        row,
        [],
        lambda _: [],
    )


def _is_text(kind: pa.DataType) -> bool:
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)
    return any(is_kind(kind) for is_kind in texts)


def _as_text(column: pa.ChunkedArray) -> pa.Array:
    return pc.fill_null(pc.cast(column, pa.string()).combine_chunks(), "")


def _floats(values: pa.ChunkedArray, column: str) -> np.ndarray:
    numbers = pc.cast(values, pa.float64(), safe=False)
    nothing = 0.0 if column in ("dividend", "split") else float("nan")
    return np.asarray(pc.fill_null(numbers, nothing))


def _text(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A typed column as the text that a CSV file would have: a midnight of its zone as the day."""
    if isinstance(values, pa.Array):
        return values
    if not pa.types.is_timestamp(values.type):
        return _as_text(values)
    local = pc.cast(pc.local_timestamp(values) if values.type.tz else values, _TIME, safe=False)
    midnight = pc.equal(local, pc.floor_temporal(local, unit="day"))
    utc = pc.cast(values, pa.timestamp("us", "UTC"), safe=False) if values.type.tz else local
    zone = "Z" if values.type.tz else ""
    times = pc.binary_join_element_wise(pc.cast(pc.cast(utc, _TIME), pa.string()), zone, "")
    return _as_text(pc.if_else(midnight, pc.cast(pc.cast(local, pa.date32()), pa.string()), times))
