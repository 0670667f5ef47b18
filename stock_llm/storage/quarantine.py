"""Quarantine: rows of the user's files that were rejected, each with its reason, as one Parquet
file.

The file is for the user alone: it shows bad rows as they were written, with account ids and notes.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

import pyarrow as pa

from stock_llm.errors import InputError
from stock_llm.storage.parquet import write_records

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
    """A rejected row.

    Attributes:
        kind: trades, candles or feedback.
        row: 1-based line of the file as an editor shows it.
        raw: the row as it was written; its values, where it was read before it was found to
            contradict another.
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
    """Write the rows sorted, so that the same rows are the same bytes."""
    write_records(map(astuple, sorted(rejected)), SCHEMA, path)


def refuse_if_mostly_bad(rejected: list[QuarantinedRow], total: int, file: Path) -> None:
    """Refuse a file more than half of whose rows are bad: it is not what it should be.

    Raises:
        InputError: it names the first bad row and its reason.
    """
    if len(rejected) * 2 > total:
        first = min(rejected, key=lambda row: row.row)
        raise InputError(
            f"{len(rejected)} of {total} rows are bad, the first: {first.reason} ({first.raw})",
            file=file,
            row=first.row,
            remedy="Repair the file or take it out",
        )
