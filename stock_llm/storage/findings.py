"""What was found in market data that a person should know: repairs, suspicions, sessions that are missing.

In: findings. Out: one Parquet file and sentences. A finding loses no row; rows that are set aside are the quarantine's business.
Does not know how anything was found.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True, order=True)
class Finding:
    """One thing about one symbol.

    Attributes:
        rule: which check found it, as `repaired: 100x` or `missing sessions`.
        first_day, last_day: the sessions that it is about, ISO 8601; empty where it is about none.
        rows: candles or trades that it is about.
        factor: what prices were multiplied by; 1 where nothing was changed.
        text: what was found, what was done, and what to do about it.
    """

    rule: str
    symbol: str
    first_day: str
    last_day: str
    rows: int
    factor: float
    text: str


SCHEMA = pa.schema(
    [
        pa.field("rule", pa.string(), nullable=False),
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("first_day", pa.string(), nullable=False),
        pa.field("last_day", pa.string(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("factor", pa.float64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)


def write(found: Iterable[Finding], path: Path) -> None:
    """Writes them sorted, so that the same findings are the same bytes."""
    rows = [astuple(one) for one in sorted(found)]
    columns = zip(*rows, strict=True) if rows else [()] * len(fields(Finding))
    arrays = [
        pa.array(list(column), item.type) for column, item in zip(columns, SCHEMA, strict=True)
    ]
    pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), path, compression="zstd")


def read(path: Path) -> list[Finding]:
    """The findings of a file that `write` wrote."""
    return [Finding(**row) for row in pq.read_table(path).to_pylist()]
