"""Entries of many exports become one ledger: what several files tell is in it once, whatever order the files come in.

In: Parquet files of `LEDGER_SCHEMA`, one per export. Out: the ledger, sorted by time, and what was set aside. An event is known
by its `entry_id`: the broker's own id, or a hash of its content with a counter, so that of equal fills in overlapping files the
most that one file has are kept. One id with two contents is a contradiction: all rows that take part in it are set aside. Does
not know formats, nor what an instrument is called elsewhere.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stock_llm.ledger.entries import LEDGER_SCHEMA, content_keys
from stock_llm.storage import parquet
from stock_llm.storage.findings import Finding
from stock_llm.storage.quarantine import QuarantinedRow

_NAMED = "case when symbol = '' and isin = '' then name else '' end"
_CONTENT = f"account, kind, symbol, isin, {_NAMED}, quantity, price, amount, fee, tax, ratio, currency, executed_at"
"""What stock_llm/ledger/entries.py calls the content of an entry."""


@dataclass(frozen=True)
class LedgerMerge:
    """What became of the rows: rows that were given = kept + conflicts + repeated.

    Attributes:
        entries: of the ledger; a row may be several.
        rows: that have an entry in the ledger.
        repeated: rows that say what another row says.
        conflicts: rows whose id stands for something else elsewhere, one element a row.
        digest: of what the ledger says, wherever it was written down.
    """

    entries: int
    rows: int
    repeated: int
    conflicts: list[QuarantinedRow]
    digest: str


def merge_ledger(parts: Sequence[Path], ledger: Path) -> LedgerMerge:
    """Writes the ledger of several exports to the file `ledger`."""
    with parquet.connect(ledger.parent) as connection:
        connection.execute(f"create view entries as select * from {parquet.rows_of(parts)}")
        connection.execute(
            f"""
            create temp table contradicting as
            select entry_id from entries group by entry_id having count(*) > 1 and count(distinct hash({_CONTENT})) > 1
            """
        )
        connection.execute(
            """
            create temp table spoilt as
            select distinct source_file, source_row from entries semi join contradicting using (entry_id)
            """
        )
        connection.execute(
            "create view sound as select * from entries anti join spoilt using (source_file, source_row)"
        )
        connection.execute(
            """
            create temp table repeated as
            select entry_id, min((source_file, source_row)) as first_at from sound group by entry_id having count(*) > 1
            """
        )
        conflicts = _conflicts(connection)
        kept = f"""
            select {", ".join(f"sound.{name}" for name in LEDGER_SCHEMA.names)}
            from sound left join repeated using (entry_id)
            where first_at is null or (source_file, source_row) = first_at
            order by executed_at, entry_id
        """
        entries = parquet.write_batches(
            parquet.query_batches(connection, kept, LEDGER_SCHEMA), LEDGER_SCHEMA, ledger
        )
        given = _rows(connection, "entries")
        rows = _rows(connection, parquet.rows_of([ledger]))
    return LedgerMerge(
        entries, rows, given - rows - len(conflicts), conflicts, ledger_digest(ledger)
    )


def _rows(connection: parquet.Connection, source: str) -> int:
    """How many rows of exports stand behind entries."""
    return connection.execute(
        f"select count(*) from (select distinct source_file, source_row from {source})"
    ).fetchall()[0][0]


def _conflicts(connection: parquet.Connection) -> list[QuarantinedRow]:
    found = connection.execute(
        """
        select source_file, source_row, min(contradicting.entry_id),
            string_agg(
                concat_ws(',', executed_at::date, kind, symbol, isin, quantity, price, amount, currency), '; ' order by entry_id
            )
        from entries semi join spoilt using (source_file, source_row) left join contradicting using (entry_id)
        group by source_file, source_row order by source_file, source_row
        """
    ).fetchall()
    return [
        QuarantinedRow("trades", file, row, f"another trade has the id {entry}", text)
        for file, row, entry, text in found
    ]


def ledger_digest(ledger: Path) -> str:
    """SHA-256 over ids and contents, in the ledger's order: the same however often and wherever the events were written down."""
    digest = hashlib.sha256()
    with pq.ParquetFile(ledger) as file:
        for batch in file.iter_batches(parquet.BATCH_ROWS):
            columns = {name: batch[name] for name in LEDGER_SCHEMA.names}
            lines = pc.binary_join_element_wise(columns["entry_id"], content_keys(columns), "\x1f")
            for line in lines.to_pylist():
                digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def suspected_duplicates(ledger: Path, names: pa.Table) -> list[Finding]:
    """Events that two formats tell alike and that are therefore in the ledger twice: nothing is dropped, for both may be true.

    Alike is: same instrument, kind, quantity and day, and a price (or, without one, an amount) that is the same to four decimals.

    Args:
        names: columns symbol, isin, name as the exports write them, and `instrument`, what that is.
    """
    with parquet.connect(ledger.parent) as connection:
        connection.register("names", names)
        found = connection.execute(
            f"""
            with told as (
                select instrument, kind, quantity, round(coalesce(price, amount), 4) as worth, executed_at::date as day,
                    source_format, arg_min(source_file || ', row ' || source_row, (source_file, source_row)) as at,
                    count(*) as n
                from {parquet.rows_of([ledger])} join names using (symbol, isin, name)
                where kind in ('BUY', 'SELL', 'DIVIDEND')
                group by all
            ),
            pairs as (
                select one.instrument, one.day, least(one.n, other.n) as n, one.source_format as this,
                    other.source_format as that, one.at as here, other.at as there
                from told one join told other on one.instrument = other.instrument and one.kind = other.kind
                    and one.quantity is not distinct from other.quantity and one.worth = other.worth and one.day = other.day
                    and one.source_format < other.source_format
            )
            select instrument, min(day), max(day), sum(n), this, that, arg_min(here, (day, here)), arg_min(there, (day, here))
            from pairs group by instrument, this, that order by all
            """
        ).fetchall()
    return [
        Finding(
            rule="suspect: told twice",
            symbol=instrument,
            first_day=first.isoformat(),
            last_day=last.isoformat(),
            rows=int(rows),
            factor=1.0,
            text=f"{rows} entries of {this} are also told by {that}, the first in {here} and in {there}; all are counted. "
            "If they are the same trades, take one of the files out",
        )
        for instrument, first, last, rows, this, that, here, there in found
    ]
