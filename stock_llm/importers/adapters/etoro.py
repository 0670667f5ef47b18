"""Joins eToro's two accounts of a dividend: what the account got, and what was withheld from it.

In: the sheets of a workbook, "Account Activity" with the cash, the ticker and the time, "Dividends"
with the tax and the ISIN, each row for one position. Out: the activity with the tax and the ISIN
beside the cash; the other rows are accounted for. Without the activity, dividends are events of
their own.
"""

from collections import defaultdict
from datetime import date
from decimal import Decimal

from stock_llm.importers.table_reader import Sheet, Workbook

_DAYS = 7
"""What the days of the two may differ by."""


def activity(sheet: Sheet, workbook: Workbook) -> Sheet:
    """Adds what was withheld from dividends, and their ISINs."""
    details = _sheet(workbook, "etoro-dividends")
    withheld, isins = [""] * len(sheet.rows), [""] * len(sheet.rows)
    if details is not None:
        taxes, named = details.cells("withheld"), details.cells("isin")
        for at, place in _pairs(sheet, details).items():
            withheld[place], isins[place] = taxes[at], named[at]
    return sheet.with_columns(range(len(sheet.rows)), {"Withheld": withheld, "ISIN": isins})


def dividends(sheet: Sheet, workbook: Workbook) -> Sheet:
    """Takes out the rows that the activity has as well."""
    paid = _sheet(workbook, "etoro")
    if paid is None:
        return sheet
    pairs = _pairs(paid, sheet)
    for at, number in enumerate(sheet.rows.tolist()):
        if at in pairs:
            row = workbook.locate(int(paid.rows[pairs[at]]))[1]
            reason = f"the tax of the dividend in row {row} of the account activity"
            workbook.skip(number, reason, sheet.raw(number))
        else:
            reason = "the account activity has no such dividend"
            workbook.quarantine(number, reason, sheet.raw(number))
    return sheet.with_columns([], {})


def _sheet(workbook: Workbook, name: str) -> Sheet | None:
    return next((sheet for sheet in workbook.sheets if sheet.format.name == name), None)


def _pairs(paid: Sheet, details: Sheet) -> dict[int, int]:
    """Place of a dividend's details → place of its cash: same position and amount, nearest day."""
    cash: dict[tuple[str, Decimal | None], list[tuple[date, int]]] = defaultdict(list)
    cells = zip(paid.cells("action"), paid.cells("date"), _keys(paid), strict=True)
    for at, (action, day, key) in enumerate(cells):
        if action == "Dividend":
            cash[key].append((_day(day), at))
    pairs = {}
    for at, (day, key) in enumerate(zip(details.cells("date"), _keys(details), strict=True)):
        near = [(abs((other - _day(day)).days), place) for other, place in cash[key]]
        if near and min(near)[0] <= _DAYS:
            pairs[at] = min(near)[1]
            cash[key] = [pair for pair in cash[key] if pair[1] != pairs[at]]
    return pairs


def _keys(sheet: Sheet) -> list[tuple[str, Decimal | None]]:
    amounts = sheet.numbers("net")["net"]
    return [
        (position, None if amount is None else round(amount, 2))
        for position, amount in zip(sheet.cells("order_id"), amounts, strict=True)
    ]


def _day(text: str) -> date:
    """The day of `02/01/2024 00:10:33` or `2024-01-02`; the first of all where it is none."""
    parts = [int(part) for part in text[:10].replace("/", "-").split("-") if part.isdigit()]
    try:
        return date(*(parts if parts[:1] > [31] else parts[::-1]))
    except (TypeError, ValueError):
        return date.min
