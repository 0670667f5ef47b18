"""Candles as Parquet files have them, written by pandas, Polars or Arrow.

In: a Parquet file with typed columns or text. Out: its rows by column. A column of pandas that is named by field and ticker, as
yfinance makes it, is taken apart. Does not know what a good candle is.
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
    is_wide,
    layouts,
    wide_layouts,
)
from stock_llm.market.candles.csv_file import floats


def read_rows(file: Path) -> CandleRows:
    """The rows of a Parquet file; the first is row 1.

    Raises:
        InputError: it is not a Parquet file, lacks a column, or a column is neither text nor dates nor numbers.
    """
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"not a Parquet file ({error})", file=file, remedy="Write it again"
        ) from None
    found = _layouts(table.column_names, file)
    try:
        parts = [_part(table, layout) for layout in found]
    except pa.ArrowException as error:
        remedy = "Write dates as dates or text, prices as numbers or text"
        raise InputError(
            f"a column is of a kind that candles are not ({error})", file=file, remedy=remedy
        ) from None
    row = np.concatenate([part.row for part in parts])
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
            for column in NUMBERS
            if any(column in part.number for part in parts)
        },
        row=row,
        rejected=[],
        written=lambda indices: [
            ",".join("" if value is None else str(value) for value in row.values())
            for row in table.take(row[indices] - 1).to_pylist()
        ],
    )


def _layouts(names: list[str], file: Path) -> list[Layout]:
    pairs = [ast.literal_eval(name) for name in names if name.startswith("('")]
    index = [name for name in names if not name.startswith("('")]
    if not pairs or len(index) != 1:
        return layouts(
            [name if name != "__index_level_0__" else "date" for name in names], file, None
        )
    top, below = ["", *(pair[0] for pair in pairs)], ["", *(pair[1] for pair in pairs)]
    if not is_wide(top, below, ["date"]):
        return layouts(names, file, None)
    order = [
        names.index(index[0]),
        *(place for place, name in enumerate(names) if name.startswith("('")),
    ]
    return [
        Layout(layout.symbol, {column: order[place] for column, place in layout.places.items()})
        for layout in wide_layouts(top, below, file, None)
    ]


def _part(table: pa.Table, layout: Layout) -> CandleRows:
    cells = {column: table.column(place) for column, place in layout.places.items()}
    row = np.arange(1, len(table) + 1)
    number = {
        column: _floats(values, column) for column, values in cells.items() if column in NUMBERS
    }
    text = {column: _text(values) for column, values in cells.items() if column not in NUMBERS}
    if layout.symbol:
        traded = np.any([np.isfinite(values) & (values != 0) for values in number.values()], axis=0)
        number = {column: values[traded] for column, values in number.items()}
        text = {column: values.filter(pa.array(traded)) for column, values in text.items()}
        row = row[traded]
        text["symbol"] = pa.repeat(pa.scalar(layout.symbol), len(row)).dictionary_encode()
    return CandleRows(text, number, row, [], lambda _: [])


def _floats(values: pa.ChunkedArray, column: str) -> np.ndarray:
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return floats(pc.fill_null(values.cast(pa.string()).combine_chunks(), ""), column, ",")
    numbers = pc.cast(values, pa.float64(), safe=False)
    return pc.fill_null(
        numbers, 0.0 if column in ("dividend", "split") else float("nan")
    ).to_numpy()


def _text(values: pa.ChunkedArray) -> pa.DictionaryArray:
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
