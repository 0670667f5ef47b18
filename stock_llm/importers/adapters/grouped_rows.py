"""Turns exports that tell one event in several rows into one row an event; every other row is
accounted for.

In: a `Sheet`. Out: the sheet of events, its columns named as the format's TOML names them. Each
function is the `steps` of one format; those of crypto ledgers are in trade_pairs.py, DEGIRO's and
eToro's in modules of their own.
"""

import re
from collections.abc import Callable
from decimal import Decimal

from stock_llm.importers.adapters import degiro, etoro, trade_pairs
from stock_llm.importers.adapters.cash_of_units import cash_of_units
from stock_llm.importers.table_reader import Sheet, Workbook


def investimental(sheet: Sheet, workbook: Workbook) -> Sheet:
    """Reads a log of orders: what was filled is what is still open less than in the row before."""
    orders: dict[str, list[int]] = {}
    for at, order in enumerate(sheet.cells("order_id")):
        orders.setdefault(order, []).append(at)
    dates, updates = sheet.cells("date"), sheet.cells("update")
    open_units, open_value, open_fee = sheet.numbers("open", "open_value", "open_fee").values()
    filled: dict[int, tuple[str, str]] = {}
    for places in orders.values():
        before: tuple[Decimal, Decimal] | None = None
        for at in sorted(places, key=lambda place: dates[place]):
            row, raw = int(sheet.rows[at]), sheet.raw(int(sheet.rows[at]))
            units, value, fee = open_units[at], open_value[at], open_fee[at]
            if updates[at].lower() != "fil":
                workbook.skip(
                    row, "an order that was placed, changed or withdrawn, not filled", raw
                )
            elif units is None or value is None or fee is None:
                workbook.quarantine(row, "volume, value or fee is not a number", raw)
            elif value == 0:
                filled[at] = (str(units), str(before[1] if before else fee))
            elif before is None:
                workbook.quarantine(row, "what was open before this fill is not in the file", raw)
            else:
                filled[at] = (str(before[0] - units), str(before[1] - fee))
            if units is not None and fee is not None:
                before = units, fee
    kept = sorted(filled)
    return sheet.with_columns(
        kept,
        {"Filled": [filled[at][0] for at in kept], "Filled Fee": [filled[at][1] for at in kept]},
    )


def vanguard_cash(sheet: Sheet, workbook: Workbook) -> Sheet:
    """Skips purchases and sales that the table of investments has too, with their price, where that
    is in the file."""
    if not any(other.format.name == "vanguard-investments" for other in workbook.sheets):
        return sheet
    remaining = []
    for at, text in enumerate(sheet.cells("action")):
        if re.match(r"(?:bought|sold) ", text, re.IGNORECASE):
            row = int(sheet.rows[at])
            workbook.skip(
                row, "the cash of a trade that the table of investments has", sheet.raw(row)
            )
        else:
            remaining.append(at)
    return sheet.with_columns(remaining, {})


STEPS: dict[str, Callable[[Sheet, Workbook], Sheet]] = {
    "binance_transactions": trade_pairs.binance_transactions,
    "cash_of_units": cash_of_units,
    "coinbase_pro_account": trade_pairs.coinbase_pro_account,
    "degiro_account": degiro.account,
    "degiro_transactions": degiro.transactions,
    "etoro": etoro.activity,
    "etoro_dividends": etoro.dividends,
    "investimental": investimental,
    "kraken_ledgers": trade_pairs.kraken_ledgers,
    "vanguard_cash": vanguard_cash,
}
"""What a TOML's `steps` may be: (sheet, workbook to which joined rows are reported) → sheet."""
