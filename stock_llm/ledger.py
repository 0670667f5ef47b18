"""The ledger: what happened in the user's accounts, one typed entry per event, money as Decimal, time in UTC.

In: rows of broker exports, already told apart by their format. Out: `LedgerEntry` and its Arrow schema. Does not know any
broker format, nor prices.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import pyarrow as pa


class Kind(StrEnum):
    """What happened. Quantity and amounts are positive; the kind carries the direction."""

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
        entry_id: the broker's own trade id prefixed by the format, else a content hash with an occurrence counter.
        account: salted hash of the account id; never the id itself.
        symbol: as the export writes it; `isin` where it gives one. Empty for cash events.
        quantity: units, positive. For SPLIT: the ratio new/old.
        price: per unit, in `currency`. None where the export has none.
        amount: gross value in `currency`, positive, without fee and tax. None where it has none.
        executed_at: UTC. A date without a time of day is midnight UTC with `time_known` False.
        source_file, source_row: where it came from; the row as an editor counts lines.
    """

    entry_id: str
    account: str
    kind: Kind
    asset_class: AssetClass
    symbol: str
    isin: str
    name: str
    quantity: Decimal | None
    price: Decimal | None
    amount: Decimal | None
    fee: Decimal
    tax: Decimal
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
        pa.field("currency", pa.string(), nullable=False),
        pa.field("executed_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("time_known", pa.bool_(), nullable=False),
        pa.field("source_format", pa.string(), nullable=False),
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
    ]
)
"""One row per `LedgerEntry`, the fields in its order."""
