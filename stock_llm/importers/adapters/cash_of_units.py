"""Joins rows that tell one event in two: units in one row, the money for them in another.

Brokers write a redemption, a cash merger or a private placement so: one row has the units that
leave or come and no cash, another the cash and no units. In: a `Sheet` whose format lists such
actions in `paid_out` (cash for units that leave) and `paid_in` (cash for units that come). Out: the
sheet with the cash of a redemption in the row of its units, and the cash row accounted for.
"""

import re
from collections import defaultdict
from collections.abc import Callable
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
    rows = _rows(sheet)
    money = "net" if "net" in sheet.format.columns else "amount"
    place = next(
        place
        for column in sheet.format.columns[money].names
        if (place := sheet.header.find(column)) is not None
    )
    cash_cells = sheet.columns[place].to_pylist()
    gone: set[int] = set()

    def report(to: Callable[[int, str, str], None], row: _Row, reason: str) -> None:
        number = int(sheet.rows[row.at])
        to(number, reason, sheet.raw(number))
        gone.add(row.at)

    for units, cash in _redemptions(rows, sheet.format.paid_out):
        if units is None:
            report(
                workbook.quarantine,
                cash,
                "the money of a redemption whose units are not in the file",
            )
            continue
        cash_cells[units.at] = cash_cells[cash.at]
        report(workbook.skip, cash, f"joined to the units in row {int(sheet.rows[units.at])}")
    for cash, units in _purchases(rows, sheet.format.paid_in):
        if units is None:
            report(
                workbook.quarantine,
                cash,
                "the money of a purchase whose units are not in the file yet",
            )
        else:
            report(
                workbook.skip, cash, f"the money of the purchase in row {int(sheet.rows[units.at])}"
            )
    columns = list(sheet.columns)
    columns[place] = pa.chunked_array([cash_cells], pa.string())
    kept = [row.at for row in rows if row.at not in gone]
    return replace(sheet, columns=columns).with_columns(kept, {})


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


def _redemptions(rows: list[_Row], actions: tuple[str, ...]) -> list[tuple[_Row | None, _Row]]:
    """Rows of units with the rows of cash of the same asset and day; None where the units are
    missing."""
    groups: dict[tuple[str, str], list[_Row]] = defaultdict(list)
    for row in rows:
        if row.asset and any(glob(action).fullmatch(row.action) for action in actions):
            groups[row.asset, row.day].append(row)
    pairs: list[tuple[_Row | None, _Row]] = []
    for group in groups.values():
        units = [row for row in group if row.units and not row.cash]
        cash = [row for row in group if row.cash and not row.units]
        whole = len(units) == len(cash)
        pairs += [(units[number] if whole else None, row) for number, row in enumerate(cash)]
    return pairs


def _purchases(rows: list[_Row], actions: tuple[str, ...]) -> list[tuple[_Row, _Row | None]]:
    """Each row of cash with the row of units of the same asset that cost it; None where there is
    none."""
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
            if abs(row.units * row.price - abs(cash.cash)) <= abs(cash.cash) / 100
        ]
        found = next(iter(priced or [row for row in fitting if not row.price]), None)
        if found is not None:
            free.remove(found)
        pairs.append((cash, found))
    return pairs
