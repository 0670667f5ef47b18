"""Trades of the user's database: all that was read of it so far, and each time what is new.

They are kept in data/private/database, in one file with the watermark, so that both move together
or not at all. A row that is read again under its trade_id replaces what it said before.
"""

import json
from dataclasses import asdict, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stock_llm.importers import database_reader
from stock_llm.ledger.entries import LEDGER_SCHEMA, content_keys
from stock_llm.pipeline.exports import PARSERS, as_parse_result
from stock_llm.pipeline.private_folder import private_folder
from stock_llm.secrets import account_hash
from stock_llm.settings import Settings
from stock_llm.storage.atomic import atomic_path
from stock_llm.storage.checksums import digest_of
from stock_llm.storage.parse_cache import CachedParse, code_digest
from stock_llm.storage.quarantine import QuarantinedRow

NAME = "database"
"""What entries and messages call it."""


def fetch_trades(settings: Settings) -> CachedParse:
    """Read what is new in the database, and return all that it holds.

    Raises:
        InputError: it cannot be reached, or the query gives no trades.
    """
    source = database_reader.DatabaseSource(
        NAME, settings.trades_sql, settings.trades_query, settings.trades_watermark
    )
    hash_account = partial(account_hash, folder=settings.secrets)
    digest = digest_of(
        query=settings.trades_query,
        watermark=settings.trades_watermark,
        url=hash_account(settings.trades_sql),  # it may hold a password
    )
    path = private_folder(settings) / "database" / f"{digest}.parquet"
    before = pq.read_table(path) if path.exists() else None
    state = json.loads(before.schema.metadata[b"state"]) if before is not None else {}
    # Read by another version of the program: all of it is read again.
    if state.get("code") != code_digest(*PARSERS):
        before, state = None, {}
    result = database_reader.read_query(
        source, hash_account, state.get("watermark", ""), settings.path(settings.formats)
    )
    table, rejected = result.imported.table, result.imported.quarantined
    facts = as_parse_result(result.imported).facts
    last_row = 0
    if before is not None and settings.trades_watermark:
        last_row = state["last_row"]
        new = table.filter(pc.invert(pc.is_in(_content(table), _content(before))))
        old = before.filter(pc.invert(pc.is_in(before["entry_id"], pc.unique(new["entry_id"]))))
        table = pa.concat_tables([old.replace_schema_metadata(), _renumbered(new, last_row)])
        earlier = [QuarantinedRow(**row) for row in state["rejected"]]
        known = {(row.reason, row.raw) for row in earlier}
        fresh = [row for row in rejected if (row.reason, row.raw) not in known]
        rejected = earlier + [replace(row, row=row.row + last_row) for row in fresh]
        if not len(new) and not fresh:  # the rows at the watermark are read again each time
            facts = state["facts"]
    rows = [pc.max(table["source_row"]).as_py() or 0, last_row, *(row.row for row in rejected)]
    rows_kept = pc.count_distinct(table["source_row"]).as_py()
    facts |= {
        "rows_read": rows_kept + len(rejected),
        "rows_kept": rows_kept,
        "skipped": {},
    }
    if before is not None:  # what is read from the watermark on says nothing of the whole
        facts["notes"] = state["facts"]["notes"]
    new_state = {
        "watermark": result.watermark,
        "facts": facts,
        "rejected": [asdict(row) for row in rejected],
        "last_row": max(rows),
        "code": code_digest(*PARSERS),
    }
    table = table.sort_by([("executed_at", "ascending"), ("entry_id", "ascending")])
    if before is None or new_state != state or not table.equals(before.replace_schema_metadata()):
        text = json.dumps(new_state, sort_keys=True).encode()
        with atomic_path(path) as temporary:
            stated = table.replace_schema_metadata({b"state": text})
            pq.write_table(stated, temporary, compression="zstd")
    return CachedParse(path, rejected, facts, fresh=True)


def _content(table: pa.Table) -> pa.Array:
    columns = {name: table[name].combine_chunks() for name in LEDGER_SCHEMA.names}
    return pc.binary_join_element_wise(columns["entry_id"], content_keys(columns), "\x1f")


def _renumbered(table: pa.Table, rows_before: int) -> pa.Table:
    """Return the table with its rows counted on from those that were read before."""
    index = LEDGER_SCHEMA.get_field_index("source_row")
    rows = pc.add(table["source_row"], rows_before)
    return table.set_column(index, LEDGER_SCHEMA.field(index), rows)
