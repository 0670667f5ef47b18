"""Findings: what a person should know about market data and trades, such as repairs, suspicions and
missing sessions.

A finding removes no row; rejected rows are in the quarantine.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stock_llm.storage.parquet import write_records


@dataclass(frozen=True, order=True)
class Finding:
    """One thing about one symbol.

    Attributes:
        rule: the check that made it, as `repaired: 100x` or `missing sessions`.
        first_day, last_day: the sessions that it is about, ISO 8601; empty where it is about none.
        rows: candles or trades that it is about.
        factor: what prices were multiplied by; 1 where nothing was changed.
        text: what is the matter, what was done, and what to do about it.
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


def write(findings: Iterable[Finding], path: Path) -> None:
    """Write findings sorted, so that the same findings are the same bytes."""
    write_records(map(astuple, sorted(findings)), SCHEMA, path)


def read(path: Path) -> list[Finding]:
    """Read the findings of a file that `write` made."""
    return [Finding(**row) for row in pq.read_table(path).to_pylist()]
