"""Parquet files asked with SQL, in memory that does not grow with them.

In: queries over Parquet files, in DuckDB's dialect. Out: Parquet files whose bytes depend on the rows alone, or Arrow batches.
What does not fit the memory that a query may take is spilled beside the result. Does not know what the rows mean.
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from duckdb import DuckDBPyConnection as Connection
from duckdb import connect as _connected

BATCH_ROWS = 65_536
"""Rows of a batch and of a row group."""

_MEMORY = "512MB"


@contextmanager
def connect(folder: Path) -> Iterator[Connection]:
    """A database in memory; `folder` takes what does not fit, until the end."""
    spilled = folder / ".spilled"
    connection = _connected(
        config={"memory_limit": _MEMORY, "temp_directory": str(spilled), "threads": 2}
    )
    connection.execute("set timezone = 'UTC'")
    try:
        yield connection
    finally:
        connection.close()
        shutil.rmtree(spilled, ignore_errors=True)


def rows_of(paths: Iterable[Path]) -> str:
    """The rows of Parquet files as a table in a query. The order of the files means nothing."""
    listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in sorted(paths))
    return f"read_parquet([{listed}])"


def query_batches(
    connection: Connection, query: str, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """What a query finds, in its order, in the types of `schema`."""
    for batch in connection.sql(query).to_arrow_reader(BATCH_ROWS):
        columns = [
            column.cast(item.type) for column, item in zip(batch.columns, schema, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def write_batches(found: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> int:
    """Writes batches in row groups of one size, so that the same rows are the same bytes; returns how many rows."""
    rows = 0
    waiting: list[pa.RecordBatch] = []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in found:
            rows += len(batch)
            waiting.append(batch)
            table = pa.Table.from_batches(waiting, schema)
            whole = len(table) // BATCH_ROWS * BATCH_ROWS
            if whole:
                writer.write_table(table.slice(0, whole), row_group_size=BATCH_ROWS)
                waiting = table.slice(whole).to_batches()
        writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=BATCH_ROWS)
    return rows
