"""Parquet files queried with SQL (DuckDB), in memory that does not grow with the files.

A query that needs more memory than it may take spills into a folder. What is written depends on the
rows alone, to the byte.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

BATCH_ROWS = 65_536
"""Rows of a batch and of a row group."""

_MEMORY = "512MB"


@contextmanager
def connect(folder: Path) -> Iterator["Connection"]:
    """Open a database in memory, which spills into `folder` until the end of the block."""
    import duckdb

    spill = folder / ".spilled"
    connection = duckdb.connect(
        config={"memory_limit": _MEMORY, "temp_directory": str(spill), "threads": 2}
    )
    connection.execute("set timezone = 'UTC'")
    try:
        yield connection
    finally:
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)


def rows_of(paths: Iterable[Path]) -> str:
    """Return the rows of Parquet files as a table for a query. The order of the files means
    nothing.
    """
    names = ", ".join("'" + str(path).replace("'", "''") + "'" for path in sorted(paths))
    return f"read_parquet([{names}])"


def query_batches(
    connection: "Connection", query: str, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Yield the result of a query in its order, cast to `schema`."""
    for batch in connection.sql(query).to_arrow_reader(BATCH_ROWS):
        columns = [
            column.cast(item.type) for column, item in zip(batch.columns, schema, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def write_batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> int:
    """Write batches in row groups of `BATCH_ROWS`, so that the same rows are the same bytes.

    Returns:
        The number of rows.
    """
    rows = 0
    pending: list[pa.RecordBatch] = []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            rows += len(batch)
            pending.append(batch)
            table = pa.Table.from_batches(pending, schema)
            whole = len(table) // BATCH_ROWS * BATCH_ROWS
            if whole:
                writer.write_table(table.slice(0, whole), row_group_size=BATCH_ROWS)
                pending = table.slice(whole).to_batches()
        writer.write_table(pa.Table.from_batches(pending, schema), row_group_size=BATCH_ROWS)
    return rows


def write_records(records: Iterable[tuple[object, ...]], schema: pa.Schema, path: Path) -> None:
    """Write tuples, which have the fields of `schema` in its order."""
    table = pa.Table.from_batches([records_batch(list(records), schema)])
    pq.write_table(table, path, compression="zstd")


def records_batch(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.RecordBatch:
    """Return tuples, which have the fields of `schema` in its order, as a batch."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, item.type) for column, item in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
