"""Rows of the user's files that were set aside, each with its reason, so that nothing is lost in silence.

In: rejected rows. Out: one Parquet file, for the user alone: it shows bad rows as they were written, with account ids and notes.
Does not know what makes a row bad.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stock_llm.errors import InputError

SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("raw", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, order=True)
class QuarantinedRow:
    """One row.

    Attributes:
        kind: trades, candles or feedback.
        row: 1-based line of the file as an editor shows it.
        raw: the row as it was written; its values, where it was read before it was found to contradict another.
    """

    kind: str
    file: str
    row: int
    reason: str
    raw: str


@dataclass(frozen=True)
class ReadResult:
    """What a set of files held: rows_read = rows of `table` + `rejected` + `duplicates`."""

    table: pa.Table
    rejected: list[QuarantinedRow]
    rows_read: int
    duplicates: int


def write(rejected: Iterable[QuarantinedRow], path: Path) -> None:
    """Writes them sorted, so that the same rows are the same bytes."""
    rows = [astuple(one) for one in sorted(rejected)]
    columns = zip(*rows, strict=True) if rows else [()] * len(fields(QuarantinedRow))
    arrays = [
        pa.array(list(column), item.type) for column, item in zip(columns, SCHEMA, strict=True)
    ]
    pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), path, compression="zstd")


def refuse_if_mostly_bad(rejected: list[QuarantinedRow], total: int, file: Path) -> None:
    """Stops where more than half of a file's rows are bad: then it is the file that is not what it should be.

    Raises:
        InputError: it names the first bad row and its reason.
    """
    if len(rejected) * 2 > total:
        first = min(rejected, key=lambda one: one.row)
        raise InputError(
            f"{len(rejected)} of {total} rows are bad, the first: {first.reason} ({first.raw})",
            file=file,
            row=first.row,
            remedy="Repair the file or take it out",
        )
