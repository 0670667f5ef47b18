"""Merges the entries of many exports into one ledger, sorted by time, in which each event stands
once.

An event is known by its `entry_id`: the broker's own id, or a hash of its content with a counter,
so that of equal fills in overlapping files the most that one file has are kept. One id with two
contents is a contradiction: all rows that take part in it are quarantined. The order of the files
means nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stock_llm.ledger.entries import LEDGER_SCHEMA, content_keys
from stock_llm.storage import parquet
from stock_llm.storage.findings import Finding
from stock_llm.storage.quarantine import QuarantinedRow

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_CONTENT = """
    account, kind, symbol, isin, case when symbol = '' and isin = '' then name else '' end,
    quantity, price, amount, fee, tax, ratio, currency, executed_at
"""
"""The columns that `content_keys` of stock_llm/ledger/entries.py joins."""


@dataclass(frozen=True)
class LedgerMerge:
    """What became of the rows of the exports: rows given = `rows` + `conflicts` + `repeated`.

    Attributes:
        entries: in the ledger; a row may be several.
        rows: that have an entry in the ledger.
        repeated: rows that say what another row says.
        conflicts: rows whose id stands for another event elsewhere, one element a row.
        digest: of the ledger's content, the same wherever the events were written down.
    """

    entries: int
    rows: int
    repeated: int
    conflicts: list[QuarantinedRow]
    digest: str


def merge_ledger(exports: Sequence[Path], ledger: Path) -> LedgerMerge:
    """Merge Parquet files of `LEDGER_SCHEMA`, one per export, into the file `ledger`."""
    with parquet.connect(ledger.parent) as connection:
        connection.execute(
            f"""
            create view entries as select * from {parquet.rows_of(exports)};
            create temp table contradicting as
                select entry_id from entries group by entry_id
                having count(*) > 1 and count(distinct hash({_CONTENT})) > 1;
            create temp table conflicting as
                select distinct source_file, source_row
                from entries semi join contradicting using (entry_id);
            create view sound as
                select * from entries anti join conflicting using (source_file, source_row);
            create temp table repeated as
                select entry_id, min((source_file, source_row)) as first_at
                from sound group by entry_id having count(*) > 1;
            """
        )
        conflicts = _conflicts(connection)
        kept = f"""
            select {", ".join(f"sound.{name}" for name in LEDGER_SCHEMA.names)}
            from sound left join repeated using (entry_id)
            where first_at is null or (source_file, source_row) = first_at
            order by executed_at, entry_id
        """
        batches = parquet.query_batches(connection, kept, LEDGER_SCHEMA)
        entries = parquet.write_batches(batches, LEDGER_SCHEMA, ledger)
        given = _count_rows(connection, "entries")
        rows = _count_rows(connection, parquet.rows_of([ledger]))
    return LedgerMerge(
        entries, rows, given - rows - len(conflicts), conflicts, ledger_digest(ledger)
    )


def _count_rows(connection: "DuckDBPyConnection", source: str) -> int:
    """Count the rows of exports that stand behind entries."""
    query = f"select count(*) from (select distinct source_file, source_row from {source})"
    return int(connection.execute(query).fetchall()[0][0])


def _conflicts(connection: "DuckDBPyConnection") -> list[QuarantinedRow]:
    rows = connection.execute(
        """
        select source_file, source_row, min(contradicting.entry_id),
            string_agg(
                concat_ws(
                    ',', executed_at::date, kind, symbol, isin, quantity, price, amount, currency
                ),
                '; ' order by entry_id
            )
        from entries semi join conflicting using (source_file, source_row)
            left join contradicting using (entry_id)
        group by source_file, source_row order by source_file, source_row
        """
    ).fetchall()
    return [
        QuarantinedRow("trades", file, row, f"another trade has the id {entry_id}", text)
        for file, row, entry_id, text in rows
    ]


def ledger_digest(ledger: Path) -> str:
    """Return the SHA-256 over ids and contents in the ledger's order."""
    digest = hashlib.sha256()
    with pq.ParquetFile(ledger) as file:
        for batch in file.iter_batches(parquet.BATCH_ROWS):
            columns = {name: batch[name] for name in LEDGER_SCHEMA.names}
            lines = pc.binary_join_element_wise(columns["entry_id"], content_keys(columns), "\x1f")
            for line in lines.to_pylist():
                digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def suspected_duplicates(ledger: Path, names: pa.Table) -> list[Finding]:
    """Find events that two formats report alike, so that the ledger may have them twice; both stay
    in it.

    Alike is: same instrument, kind, quantity and day, and a price (or, without one, an amount) that
    is the same to four decimals.

    Args:
        names: columns symbol, isin, name as the exports write them, and `instrument`, what that is.
    """
    with parquet.connect(ledger.parent) as connection:
        connection.register("names", names)
        rows = connection.execute(
            f"""
            with events as (
                select instrument, kind, quantity, round(coalesce(price, amount), 4) as worth,
                    executed_at::date as day, source_format, count(*) as n,
                    arg_min(
                        source_file || ', row ' || source_row, (source_file, source_row)
                    ) as place
                from {parquet.rows_of([ledger])} join names using (symbol, isin, name)
                where kind in ('BUY', 'SELL', 'DIVIDEND')
                group by all
            ),
            pairs as (
                select a.instrument, a.day, least(a.n, b.n) as n, a.source_format as format,
                    b.source_format as other_format, a.place as place, b.place as other_place
                from events a join events b on a.instrument = b.instrument and a.kind = b.kind
                    and a.quantity is not distinct from b.quantity and a.worth = b.worth
                    and a.day = b.day
                    and a.source_format < b.source_format
            )
            select instrument, min(day), max(day), sum(n), format, other_format,
                arg_min(place, (day, place)), arg_min(other_place, (day, place))
            from pairs group by instrument, format, other_format order by all
            """
        ).fetchall()
    return [
        Finding(
            rule="suspect: duplicate",
            symbol=instrument,
            first_day=first.isoformat(),
            last_day=last.isoformat(),
            rows=int(count),
            factor=1.0,
            text=f"{count} entries of {name} are also in {other_name}, the first in {place} and in"
            f" {other_place}; all are counted. If they are the same trades, take one of the files"
            " out",
        )
        for instrument, first, last, count, name, other_name, place, other_place in rows
    ]
