"""Trades of the user's database: all that was read of it so far, and each time what is new.

In: the settings trades_sql, trades_query, trades_watermark. Out: a `Part` like that of an export, in data/database; the watermark
is in the same file, so that both move together or not at all. A row that is read again under its trade_id replaces what it said
before. importers/database_reader.py does the reading.
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
from stock_llm.secrets import account_hash
from stock_llm.settings import Settings
from stock_llm.storage.atomic import atomic_path
from stock_llm.storage.checksums import digest_of
from stock_llm.storage.parse_cache import CachedParse, code_digest
from stock_llm.storage.quarantine import QuarantinedRow

NAME = "database"
"""What entries and messages call it."""


def fetch_trades(settings: Settings) -> CachedParse:
    """What the database holds, after reading what is new.

    Raises:
        InputError: it cannot be reached, or the query gives no trades.
    """
    source = database_reader.DatabaseSource(
        NAME, settings.trades_sql, settings.trades_query, settings.trades_watermark
    )
    url = account_hash(settings.trades_sql, settings.secrets)  # salted: it may hold a password
    asked = digest_of(query=settings.trades_query, watermark=settings.trades_watermark, url=url)
    path = settings.path("data/database") / f"{asked}.parquet"
    before = pq.read_table(path) if path.exists() else None
    state = json.loads(before.schema.metadata[b"state"]) if before is not None else {}
    if state.get("code") != code_digest(
        *PARSERS
    ):  # read by another program: all of it is read again
        before, state = None, {}
    fetched = database_reader.read_query(
        source,
        partial(account_hash, folder=settings.secrets),
        state.get("watermark", ""),
        settings.path(settings.formats),
    )
    table = fetched.imported.table
    rejected = fetched.imported.quarantined
    last = 0
    if before is not None and settings.trades_watermark:
        last = state["last_row"]
        new = table.filter(pc.invert(pc.is_in(_said(table), _said(before))))
        old = before.filter(pc.invert(pc.is_in(before["entry_id"], pc.unique(new["entry_id"]))))
        table = pa.concat_tables([old.replace_schema_metadata(), _renumbered(new, last)])
        earlier = [QuarantinedRow(**one) for one in state["rejected"]]
        known = {(one.reason, one.raw) for one in earlier}
        rejected = earlier + [
            replace(one, row=one.row + last)
            for one in rejected
            if (one.reason, one.raw) not in known
        ]
    last = max([pc.max(table["source_row"]).as_py() or 0, last, *(one.row for one in rejected)])
    kept = pc.count_distinct(table["source_row"]).as_py()
    facts = as_parse_result(fetched.imported).facts | {
        "rows_read": kept + len(rejected),
        "rows_kept": kept,
        "skipped": {},
    }
    aside = [asdict(one) for one in rejected]
    made = {
        "watermark": fetched.watermark,
        "facts": facts,
        "rejected": aside,
        "last_row": last,
        "code": code_digest(*PARSERS),
    }
    table = table.sort_by([("executed_at", "ascending"), ("entry_id", "ascending")])
    if before is None or made != state or not table.equals(before.replace_schema_metadata()):
        text = json.dumps(made, sort_keys=True).encode()
        with atomic_path(path) as temporary:
            pq.write_table(
                table.replace_schema_metadata({b"state": text}), temporary, compression="zstd"
            )
    return CachedParse(path, rejected, facts, fresh=True)


def _said(table: pa.Table) -> pa.Array:
    columns = {name: table[name].combine_chunks() for name in LEDGER_SCHEMA.names}
    return pc.binary_join_element_wise(columns["entry_id"], content_keys(columns), "\x1f")


def _renumbered(table: pa.Table, read: int) -> pa.Table:
    """Rows are counted over all readings."""
    rows = pc.add(table["source_row"], read)
    return table.set_column(
        LEDGER_SCHEMA.get_field_index("source_row"), LEDGER_SCHEMA.field("source_row"), rows
    )
