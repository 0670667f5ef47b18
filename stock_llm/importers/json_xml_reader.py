"""Reads JSON and XML exports into sheets: one record a row, its values as text, nested values under
dotted names.

In: text that begins like JSON or XML, and the formats. Out: a `Workbook`; rows are numbered as the
records stand in the file. Orders that lie inside an order (`legs`) are records too. IBKR's Flex XML
is parsed by the library ibflex.
"""

import dataclasses
import json
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from datetime import datetime, time
from enum import Enum
from pathlib import Path
from typing import Any

from stock_llm.errors import InputError
from stock_llm.importers.format_spec import Format, best_format
from stock_llm.importers.table_reader import Record, Workbook, header_of, sheet_of

_FLEX = {
    "Trades": ("Trade",),
    "CashTransactions": ("CashTransaction",),
    "CorporateActions": ("CorporateAction",),
    "Transfers": ("Transfer",),
    "TradeConfirms": ("TradeConfirm",),
    "SalesTaxes": ("SalesTax",),
    "TransactionTaxes": ("TransactionTax",),
    "CFDCharges": ("CFDCharge",),
    "StockGrantActivities": ("StockGrantActivity",),
    "ClientFees": ("ClientFee",),
}
"""Sections of a Flex statement that hold events, and which of their elements do."""
_REPEATED = ("Order", "SymbolSummary", "AssetSummary", "Lot", "WashSale")
"""Elements that repeat the trades beside them, added up or in detail."""
_PASSIVE = frozenset(
    [
        "AccountInformation",
        "ChangeInNAV",
        "CashReport",
        "MTDYTDPerformanceSummary",
        "MTMPerformanceSummaryInBase",
        "EquitySummaryInBase",
        "FIFOPerformanceSummaryInBase",
        "FdicInsuredDepositsByBank",
        "StmtFunds",
        "ChangeInPositionValues",
        "OpenPositions",
        "NetStockPositionSummary",
        "ComplexPositions",
        "FxPositions",
        "FxLots",
        "FxTransactions",
        "OptionEAE",
        "PendingExcercises",
        "UnbookedTrades",
        "RoutingCommissions",
        "UnsettledTransfers",
        "UnbundledCommissionDetails",
        "PriorPeriodPositions",
        "SoftDollars",
        "ClientFeesDetail",
        "InterestAccruals",
        "TierInterestDetails",
        "HardToBorrowDetails",
        "HardToBorrowMarkupDetails",
        "SLBOpenContracts",
        "SLBActivities",
        "SLBCollaterals",
        "ChangeInDividendAccruals",
        "OpenDividendAccruals",
        "SecuritiesInfo",
        "ConversionRates",
        "HKIPOOpenSubscriptions",
        "IncentiveCouponAccrualDetails",
        "DepositsOnHold",
        "TransactionTaxDetails",
        "NetStockPositions",
        "CrossTransactions",
    ]
)
"""Sections that tell what is there, or in detail what another section tells."""

_ZONED = re.compile(r"^(?P<time>\d.*\d\d:?\d\d:?\d\d) (?P<zone>(?![AP]M$)[A-Z]{2,5})$")


def is_document(text: str) -> bool:
    """Whether a text begins like JSON or XML."""
    return text.lstrip()[:1] in ("{", "[", "<")


def identify_document(text: str, formats: Sequence[Format], path: Path) -> Format | None:
    """Returns the format of a document's first table.

    Raises:
        InputError: it is neither JSON nor XML.
    """
    content, records = _records(text, formats, path)
    matches = (best_format(formats, header_of(group), content) for group in _by_section(records))
    return next((form for form in matches if form), None)


def read_document(text: str, formats: Sequence[Format], path: Path, name: str) -> Workbook:
    """Reads the sheets of a document, one for each kind of record; rows are reported under `name`.

    Raises:
        InputError: it is neither JSON nor XML, or no format knows its fields.
    """
    content, records = _records(text, formats, path)
    workbook = Workbook(name)
    for record in records:
        if record.wrong:
            workbook.quarantine(record.number, record.wrong, record.raw)
        elif record.skip:
            workbook.skip(record.number, record.skip, record.raw)
    for group in _by_section(records):
        header = header_of(group)
        form = best_format(formats, header, content)
        if form is None and not group[0].section:
            raise InputError(
                f"no format knows these fields: {', '.join(header.cells)[:200]}", file=path
            )
        if form is None:
            for record in group:
                workbook.quarantine(
                    record.number, f"nothing of the section {record.section} is known", record.raw
                )
            continue
        workbook.sheets.append(sheet_of(group, form))
    if not workbook.sheets:
        raise InputError("the document has no records", file=path, remedy="Export it again")
    return workbook


def _by_section(records: Sequence[Record]) -> list[list[Record]]:
    """The records that can be read and hold events, by their section."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if not record.wrong and not record.skip:
            groups.setdefault(record.section, []).append(record)
    return list(groups.values())


def _records(text: str, formats: Sequence[Format], path: Path) -> tuple[str, list[Record]]:
    text = text.lstrip()
    if text.startswith("<"):
        return "xml", list(_flex(text, path))
    try:
        document = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}", file=path, remedy="Export it again") from None
    return "json", list(_json(document, formats, path))


def _json(document: Any, formats: Sequence[Format], path: Path) -> Iterator[Record]:
    """The list of records at the top or one level below; of several one that a format knows, of
    these the longest."""
    lists = [document] if isinstance(document, list) else []
    if isinstance(document, dict):
        nested = [value for value in document.values() if isinstance(value, list)]
        lists = [value for value in nested if any(isinstance(item, dict) for item in value)] or [
            [document]
        ]
    if not lists:
        raise InputError("the document has no list of records", file=path)
    known = [
        items
        for items in lists
        if len(lists) > 1 and best_format(formats, header_of(_numbered(items)), "json")
    ]
    yield from _numbered(max(known or lists, key=len))


def _numbered(items: Sequence[Any]) -> list[Record]:
    return [
        Record(number, dict(_flat(item, "")), json.dumps(item, ensure_ascii=False)[:2000])
        if isinstance(item, dict)
        else Record(number, {}, json.dumps(item, ensure_ascii=False)[:2000], "not a record")
        for number, item in enumerate(_with_legs(items), start=1)
    ]


def _with_legs(records: Sequence[Any]) -> Iterator[Any]:
    for record in records:
        yield record
        if isinstance(record, dict) and isinstance(record.get("legs"), list):
            yield from _with_legs(record["legs"])


def _flat(record: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        if isinstance(value, list) and key != "legs":
            value = next((item for item in value if isinstance(item, dict)), None)
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            yield f"{prefix}{key}", "" if value is None else str(value)


def _flex(text: str, path: Path) -> Iterator[Record]:
    """Trades, cash and corporate actions of a Flex query, each element checked by ibflex."""
    from ibflex import parser

    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError("the XML declares entities, which no Flex query does", file=path)
    try:
        root = ElementTree.fromstring(text.encode())
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"not XML: {error}", file=path, remedy="Export it again") from None
    if root.tag != "FlexQueryResponse":
        raise InputError(
            f"XML of the kind '{root.tag[:60]}' is not known",
            file=path,
            remedy="Export a Flex query as XML",
        )
    number = 0
    for statement in root.iter("FlexStatement"):
        for section in statement:
            for element in section:
                number += 1
                raw = ElementTree.tostring(element, encoding="unicode").strip()[:2000]
                if element.tag not in _FLEX.get(section.tag, ()):
                    yield _other(number, section.tag, element.tag, raw)
                    continue
                zones = _without_zones(element)
                with warnings.catch_warnings():
                    # IBKR has added attributes since: they are not needed
                    warnings.simplefilter("ignore")
                    try:
                        parsed = parser.parse_data_element(element)
                    except Exception as error:  # ibflex raises whatever its converters do
                        yield Record(
                            number, {}, raw, f"not a Flex {element.tag}: {error}"[:200], section.tag
                        )
                        continue
                if parsed is not None:
                    yield Record(number, dict(_attributes(parsed, zones)), raw, "", section.tag)


def _other(number: int, section: str, tag: str, raw: str) -> Record:
    """An element that is no event, or one that nothing reads: the latter may be money."""
    if section in _PASSIVE:
        reason = f"the section {section} states holdings, totals or notes, no transactions"
        return Record(number, {}, raw, skip=reason)
    if section in _FLEX and tag in _REPEATED:
        return Record(number, {}, raw, skip=f"{section}/{tag} repeats the trades beside it")
    return Record(number, {}, raw, f"nothing reads {section}/{tag} of a Flex query")


def _without_zones(element: ElementTree.Element) -> dict[str, str]:
    """Takes the zone from times such as `20250617;103000 EDT`, which ibflex does not read:
    attribute → zone."""
    zones = {}
    for name, text in element.items():
        if (zoned := _ZONED.match(text)) and re.search("date|time|when", name, re.IGNORECASE):
            element.set(name, zoned["time"])
            zones[name] = zoned["zone"]
    return zones


def _attributes(element: Any, zones: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The fields of an element as text; a time that named its zone does so again."""
    for attribute in dataclasses.fields(element):
        value = getattr(element, attribute.name)
        if isinstance(value, Enum):
            value = value.name
        elif isinstance(value, datetime) and value.time() == time() and attribute.name not in zones:
            value = value.date().isoformat()  # ibflex makes a midnight of a date
        elif hasattr(value, "isoformat"):
            value = f"{value.isoformat()} {zones.get(attribute.name, '')}".rstrip()
        elif isinstance(value, tuple):
            value = ";".join(item.name if isinstance(item, Enum) else str(item) for item in value)
        yield attribute.name, "" if value is None else str(value)
