"""The ledger: what happened in the user's accounts, one typed entry per event, money as Decimal,
time in UTC.

In: rows of broker exports, already told apart by their format. Out: `LedgerEntry` and its Arrow
schema. Does not know any broker format, nor prices.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class EntryKind(StrEnum):
    """What happened; the kind carries the direction.

    DEPOSIT and WITHDRAWAL are cash, TRANSFER is units that come in or leave without a sale (gifts,
    moves between brokers, spin-offs, crypto wallets). INTEREST with a quantity is paid in units of
    its symbol (staking).
    """

    BUY = "BUY"
    SELL = "SELL"
    DIVIDEND = "DIVIDEND"
    INTEREST = "INTEREST"
    FEE = "FEE"
    TAX = "TAX"
    SPLIT = "SPLIT"
    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"
    TRANSFER = "TRANSFER"


class AssetClass(StrEnum):
    """What was traded. Only STOCK and FUND fit the skills; the rest is kept in the ledger."""

    STOCK = "STOCK"
    FUND = "FUND"
    OPTION = "OPTION"
    CRYPTO = "CRYPTO"
    BOND = "BOND"
    CASH = "CASH"
    OTHER = "OTHER"


@dataclass(frozen=True)
class LedgerEntry:
    """One event.

    Attributes:
        entry_id: the broker's own trade id prefixed by the format, else a content hash with an
            occurrence counter.
        account: salted hash of the account id; never the id itself.
        symbol: as the export writes it; `isin` where it gives one. Empty for cash events.
        quantity: units, positive. TRANSFER: negative when they leave. SPLIT: the units that it
            added, where the export says that.
        price: per unit, in `currency`. None where the export has none.
        amount: gross value in `currency`, without fee and tax. None where it has none. Positive;
            DIVIDEND, INTEREST, FEE and TAX are negative where they were taken back (interest that
            was paid, a tax that was refunded).
        fee, tax: in `currency`, negative where they were given back; one in another currency is an
            entry of its own, its id that of the event with `:fee` or `:tax`.
        ratio: SPLIT only: new units per old one, where the export says that.
        executed_at: UTC. A date without a time of day is midnight UTC with `time_known` False.
        source_file, source_row: where it came from; the row as an editor counts lines.
    """

    entry_id: str
    account: str
    kind: EntryKind
    asset_class: AssetClass
    symbol: str
    isin: str
    name: str
    quantity: Decimal | None
    price: Decimal | None
    amount: Decimal | None
    fee: Decimal
    tax: Decimal
    ratio: Decimal | None
    currency: str
    executed_at: datetime
    time_known: bool
    source_format: str
    source_file: str
    source_row: int


_MONEY = pa.decimal128(38, 12)

LEDGER_SCHEMA = pa.schema(
    [
        pa.field("entry_id", pa.string(), nullable=False),
        pa.field("account", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("asset_class", pa.string(), nullable=False),
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("isin", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("quantity", _MONEY),
        pa.field("price", _MONEY),
        pa.field("amount", _MONEY),
        pa.field("fee", _MONEY, nullable=False),
        pa.field("tax", _MONEY, nullable=False),
        pa.field("ratio", _MONEY),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("executed_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("time_known", pa.bool_(), nullable=False),
        pa.field("source_format", pa.string(), nullable=False),
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
    ]
)
"""One row per `LedgerEntry`, the fields in its order."""

_CONTENT = (
    "account",
    "kind",
    "symbol",
    "isin",
    "quantity",
    "price",
    "amount",
    "fee",
    "tax",
    "ratio",
    "currency",
    "executed_at",
)


def content_keys(columns: Mapping[str, pa.Array]) -> pa.Array:
    """What makes an event the same event, as one text a row: all of it but its id and where it was
    written down.

    The name counts only where there is neither symbol nor ISIN: brokers rename, and cut names to
    length.
    """
    named = pc.if_else(
        pc.and_(pc.equal(columns["symbol"], ""), pc.equal(columns["isin"], "")), columns["name"], ""
    )
    texts = [pc.cast(columns[name], pa.string()) for name in _CONTENT]
    return pc.binary_join_element_wise(
        *texts, named, "\x1f", null_handling="replace", null_replacement=""
    )


def number_ids(table: pa.Table) -> pa.Table:
    """Completes the ids of one file: the n-th of equal content hashes `…#` becomes `…-n`.

    Two equal fills of a day are legal; over overlapping files, whose ids then agree, the count is
    the maximum, not the sum.
    """
    ids = table["entry_id"].combine_chunks()
    hashed = pc.match_substring(ids, "#").to_numpy(zero_copy_only=False)
    if not hashed.any():
        return table
    codes = ids.dictionary_encode().indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    run = codes[order]
    first = np.r_[True, run[1:] != run[:-1]]
    starts = np.maximum.accumulate(np.where(first, np.arange(len(run)), 0))
    count = np.empty(len(codes), np.int64)
    count[order] = np.arange(len(run)) - starts + 1
    before = pc.replace_substring_regex(ids, "#.*$", "")
    after = pc.replace_substring_regex(ids, "^[^#]*#", "")
    numbered = pc.binary_join_element_wise(
        before, "-", pc.cast(pa.array(count), pa.string()), after, ""
    )
    return table.set_column(0, LEDGER_SCHEMA.field(0), pc.if_else(pa.array(hashed), numbered, ids))
