"""Joins rows that tell one event in two: units in one row, the money for them in another.

Brokers write a redemption, a cash merger or a private placement so: one row has the units that
leave or come and no cash, another the cash and no units. In: a `Sheet` whose format lists such
actions in `paid_out` (cash for units that leave) and `paid_in` (cash for units that come). Out: the
sheet with cash, fees and taxes in the row of the units, and the cash row accounted for.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from decimal import Decimal

import pyarrow as pa

from stock_llm.importers.format_spec import glob
from stock_llm.importers.table_reader import Sheet, Workbook


@dataclass(frozen=True)
class _Row:
    at: int
    action: str
    asset: str
    day: str
    units: Decimal
    cash: Decimal
    price: Decimal


def cash_of_units(sheet: Sheet, workbook: Workbook) -> Sheet:
    """The `steps` of formats that name `paid_out` or `paid_in`."""
    joined = [glob(action) for action in (*sheet.format.paid_out, *sheet.format.paid_in)]
    actions = set(sheet.cells("action"))
    if not any(pattern.fullmatch(action) for pattern in joined for action in actions):
        return sheet
    rows = _rows(sheet)
    moved = [*_money(sheet), *(name for charge in sheet.format.charges for name in charge.amount)]
    places = [place for name in moved if (place := sheet.header.find(name)) is not None]
    cells = {place: sheet.columns[place].to_pylist() for place in places}
    gone: set[int] = set()
    for cash, units in (
        *_redemptions(rows, sheet.format.paid_out),
        *_purchases(rows, sheet.format.paid_in),
    ):
        number = int(sheet.rows[cash.at])
        gone.add(cash.at)
        if units is None:
            reason = "the money of units that are not in the file"
            workbook.quarantine(number, reason, sheet.raw(number))
            continue
        for column in cells.values():
            column[units.at] = column[units.at].strip() or column[cash.at]
        reason = f"joined to the units in row {workbook.locate(int(sheet.rows[units.at]))[1]}"
        workbook.skip(number, reason, sheet.raw(number))
    columns = [
        pa.chunked_array([cells[place]], pa.string()) if place in cells else column
        for place, column in enumerate(sheet.columns)
    ]
    remaining = [row.at for row in rows if row.at not in gone]
    return replace(sheet, columns=columns).with_columns(remaining, {})


def _money(sheet: Sheet) -> tuple[str, ...]:
    columns = sheet.format.columns
    return columns["net" if "net" in columns else "amount"].names


def _rows(sheet: Sheet) -> list[_Row]:
    def cells(role: str) -> list[str]:
        return sheet.cells(role) if role in sheet.format.columns else [""] * len(sheet.rows)

    money = "net" if "net" in sheet.format.columns else "amount"
    texts = [cells(role) for role in ("action", "isin", "symbol", "name", "date")]
    numbers = sheet.numbers("quantity", money, "price").values()
    return [
        _Row(at, action, isin or symbol or named, re.split("[T ]", date)[0], *moved)
        for at, (action, isin, symbol, named, date, *rest) in enumerate(
            zip(*texts, *numbers, strict=True)
        )
        if (moved := [number or Decimal(0) for number in rest])
    ]


def _redemptions(rows: list[_Row], actions: tuple[str, ...]) -> list[tuple[_Row, _Row | None]]:
    """Each row of cash with the row of units of the same asset and day; None where there is
    none."""
    groups: dict[tuple[str, str], list[_Row]] = defaultdict(list)
    for row in rows:
        if row.asset and any(glob(action).fullmatch(row.action) for action in actions):
            groups[row.asset, row.day].append(row)
    pairs: list[tuple[_Row, _Row | None]] = []
    for group in groups.values():
        units = [row for row in group if row.units and not row.cash]
        cash = [row for row in group if row.cash and not row.units]
        whole = len(units) == len(cash)
        pairs += [(row, units[number] if whole else None) for number, row in enumerate(cash)]
    return pairs


def _purchases(rows: list[_Row], actions: tuple[str, ...]) -> list[tuple[_Row, _Row | None]]:
    """Each row of cash with the row of units that it paid, some days later; None where there is
    none. Units and price may tell up to 5 % less: the costs are in the cash."""
    paid = [
        row
        for row in rows
        if row.cash
        and not row.units
        and any(glob(action).fullmatch(row.action) for action in actions)
    ]
    free = [row for row in rows if row.units > 0 and not row.cash and row.asset]
    pairs: list[tuple[_Row, _Row | None]] = []
    for cash in paid:
        fitting = [row for row in free if row.asset == cash.asset and row.day >= cash.day]
        priced = [
            row
            for row in fitting
            if abs(row.units * row.price - abs(cash.cash)) <= abs(cash.cash) / 20
        ]
        partner = next(iter(priced or [row for row in fitting if not row.price]), None)
        if partner is not None:
            free.remove(partner)
        pairs.append((cash, partner))
    return pairs
