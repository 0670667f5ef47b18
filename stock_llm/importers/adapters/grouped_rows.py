"""Exports that tell one event in several rows: each becomes one row, every other row is accounted for.

In: a `Sheet`. Out: the sheet of events, its columns named as the format's TOML names them. Each function is the `steps` of one
format. Does not know ledger kinds.
"""

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from stock_llm.importers.adapters import degiro, trade_pairs
from stock_llm.importers.sheets import Sheet, Workbook, cells_of, with_columns
from stock_llm.storage.quarantine import QuarantinedRow


def investimental(sheet: Sheet, reading: Workbook, name: str) -> Sheet:
    """A log of orders: a fill tells what is still open, so that what was filled is the difference to the row before."""
    orders: dict[str, list[int]] = {}
    columns = {
        role: cells_of(sheet, role)
        for role in ("order_id", "date", "update", "open", "open_value", "open_fee")
    }
    for at, order in enumerate(columns["order_id"]):
        orders.setdefault(order, []).append(at)
    filled: dict[int, tuple[str, str]] = {}
    for places in orders.values():
        before: tuple[Decimal, Decimal] | None = None
        for at in sorted(places, key=lambda place: columns["date"][place]):
            number = int(sheet.rows[at])
            units, value, fee = (
                _decimal(columns[role][at]) for role in ("open", "open_value", "open_fee")
            )
            if columns["update"][at].lower() != "fil":
                reason = "an order that was placed, changed or withdrawn, not filled"
                reading.skipped.append(
                    QuarantinedRow("trades", name, number, reason, sheet.raw[number])
                )
            elif units is None or value is None or fee is None:
                reason = "volume, value or fee is not a number"
                reading.quarantined.append(
                    QuarantinedRow("trades", name, number, reason, sheet.raw[number])
                )
            elif value == 0:
                filled[at] = (str(units), str(before[1] if before else fee))
            elif before is None:
                reason = "what was open before this fill is not in the file"
                reading.quarantined.append(
                    QuarantinedRow("trades", name, number, reason, sheet.raw[number])
                )
            else:
                filled[at] = (str(before[0] - units), str(before[1] - fee))
            if units is not None and fee is not None:
                before = units, fee
    kept = sorted(filled)
    return with_columns(
        sheet,
        kept,
        {"Filled": [filled[at][0] for at in kept], "Filled Fee": [filled[at][1] for at in kept]},
    )


def _decimal(text: str) -> Decimal | None:
    try:
        value = Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def vanguard_cash(sheet: Sheet, reading: Workbook, name: str) -> Sheet:
    """Purchases and sales stand in the table of investments too, with their price: where that is in the file, it counts."""
    if not any(other.format.name == "vanguard-investments" for other in reading.sheets):
        return sheet
    kept = []
    for at, text in enumerate(cells_of(sheet, "action")):
        if re.match(r"(?:bought|sold) ", text, re.IGNORECASE):
            number = int(sheet.rows[at])
            reason = "the cash of a trade that the table of investments has"
            reading.skipped.append(
                QuarantinedRow("trades", name, number, reason, sheet.raw[number])
            )
        else:
            kept.append(at)
    return with_columns(sheet, kept, {})


STEPS: dict[str, Callable[[Sheet, Workbook, str], Sheet]] = {
    "binance_transactions": trade_pairs.binance_transactions,
    "coinbase_pro_account": trade_pairs.coinbase_pro_account,
    "degiro_account": degiro.account,
    "investimental": investimental,
    "kraken_ledgers": trade_pairs.kraken_ledgers,
    "vanguard_cash": vanguard_cash,
}
"""What a TOML's `steps` may be: (sheet, reading to which joined rows are added, name of the file) → sheet."""
