"""JSON and XML exports become sheets: one record a row, its values as text, its nested values under dotted names.

In: text that begins like a document, and the formats. Out: a `Reading`; rows are numbered as the records stand in the file.
Orders that lie inside an order (`legs`) are records too. IBKR's Flex XML is read by the library ibflex. Does not know what a
field means.
"""

import dataclasses
import json
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stock_llm.errors import InputError
from stock_llm.importers.format_spec import Format, Header, best_format
from stock_llm.importers.sheets import Sheet, Workbook
from stock_llm.storage.quarantine import QuarantinedRow

_FLEX = {
    "Trades": ("Trade",),
    "CashTransactions": ("CashTransaction",),
    "CorporateActions": ("CorporateAction",),
    "Transfers": ("Transfer",),
}
"""Sections of a Flex statement that hold events, and which of their elements do: orders and summaries repeat the trades."""

_ZONED = re.compile(r"^(?P<time>\d.*\d\d:?\d\d:?\d\d) (?P<zone>(?![AP]M$)[A-Z]{2,5})$")


@dataclass(frozen=True)
class _Record:
    """One record; `wrong` says why it is none, `skip` why it holds no event."""

    number: int
    values: dict[str, str]
    raw: str
    wrong: str = ""
    section: str = ""
    skip: str = ""


def is_document(text: str) -> bool:
    """Whether a text begins like JSON or XML."""
    return text.lstrip("\ufeff \t\r\n")[:1] in ("{", "[", "<")


def recognised(text: str, formats: Sequence[Format], path: Path) -> Format | None:
    """The format of a document's first table.

    Raises:
        InputError: it is neither JSON nor XML.
    """
    content, records = _records(text, formats, path)
    for group in _by_section(
        [record for record in records if not record.wrong and not record.skip]
    ):
        if found := best_format(formats, _header(group), content):
            return found
    return None


def read(text: str, formats: Sequence[Format], path: Path, name: str) -> Workbook:
    """The sheets of a document, one for each kind of record.

    Raises:
        InputError: it is neither JSON nor XML, or no format knows its fields.
    """
    content, records = _records(text, formats, path)
    reading = Workbook()
    reading.quarantined += [
        QuarantinedRow("trades", name, record.number, record.wrong, record.raw)
        for record in records
        if record.wrong
    ]
    reading.skipped += [
        QuarantinedRow("trades", name, record.number, record.skip, record.raw)
        for record in records
        if record.skip
    ]
    for group in _by_section(
        [record for record in records if not record.wrong and not record.skip]
    ):
        header = _header(group)
        found = best_format(formats, header, content)
        if found is None and not group[0].section:
            raise InputError(
                f"no format knows these fields: {', '.join(header.cells)[:200]}", file=path
            )
        if found is None:
            reason = f"nothing of the section {group[0].section} is known"
            reading.quarantined += [
                QuarantinedRow("trades", name, record.number, reason, record.raw)
                for record in group
            ]
            continue
        columns = [
            pa.chunked_array([[record.values.get(cell, "") for record in group]], pa.string())
            for cell in header.cells
        ]
        raw = _Raw({record.number: record.raw for record in group})
        rows = np.array([record.number for record in group], np.int64)
        reading.sheets.append(Sheet(found, header, columns, rows, raw))
    if not reading.sheets:
        raise InputError("the document has no records", file=path, remedy="Export it again")
    return reading


@dataclass(frozen=True)
class _Raw(Sequence[str]):
    """What stood there, by record number."""

    of: dict[int, str]

    def __getitem__(self, number: int) -> str:  # type: ignore[override]
        return self.of[number]

    def __len__(self) -> int:
        return len(self.of)


def _by_section(records: Sequence[_Record]) -> list[list[_Record]]:
    groups: dict[str, list[_Record]] = {}
    for record in records:
        groups.setdefault(record.section, []).append(record)
    return list(groups.values())


def _header(records: Sequence[_Record]) -> Header:
    return Header(dict.fromkeys(name for record in records for name in record.values))


def _records(text: str, formats: Sequence[Format], path: Path) -> tuple[str, list[_Record]]:
    text = text.lstrip("\ufeff \t\r\n")
    if text.startswith("<"):
        return "xml", list(_flex(text, path))
    try:
        document = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}", file=path, remedy="Export it again") from None
    return "json", list(_json(document, formats, path))


def _json(document: Any, formats: Sequence[Format], path: Path) -> Iterator[_Record]:
    """The list of records at the top or one level below; of several one that a format knows, of these the longest."""
    lists = [document] if isinstance(document, list) else []
    if isinstance(document, dict):
        lists = [
            value
            for value in document.values()
            if isinstance(value, list) and any(isinstance(one, dict) for one in value)
        ]
        lists = lists or [[document]]
    if not lists:
        raise InputError("the document has no list of records", file=path)
    known = (
        [records for records in lists if best_format(formats, _fields_of(records), "json")]
        if len(lists) > 1
        else []
    )
    for number, one in enumerate(_with_legs(max(known or lists, key=len)), start=1):
        raw = json.dumps(one, ensure_ascii=False)[:2000]
        if not isinstance(one, dict):
            yield _Record(number, {}, raw, "not a record")
            continue
        yield _Record(number, dict(_flat(one, "")), raw)


def _fields_of(records: Sequence[Any]) -> Header:
    return Header(
        dict.fromkeys(
            name for one in records if isinstance(one, dict) for name, _ in _flat(one, "")
        )
    )


def _with_legs(records: Sequence[Any]) -> Iterator[Any]:
    for record in records:
        yield record
        if isinstance(record, dict) and isinstance(record.get("legs"), list):
            yield from _with_legs(record["legs"])


def _flat(record: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        if isinstance(value, list) and key != "legs":
            value = next((one for one in value if isinstance(one, dict)), None)
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            yield f"{prefix}{key}", "" if value is None else str(value)


def _flex(text: str, path: Path) -> Iterator[_Record]:
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
                    yield _Record(number, {}, raw, skip=f"{section.tag}/{element.tag} is no event")
                    continue
                zones = _without_zones(element)
                with warnings.catch_warnings():
                    warnings.simplefilter(
                        "ignore"
                    )  # attributes that IBKR added since: they are not needed
                    try:
                        parsed = parser.parse_data_element(element)
                    except Exception as error:  # ibflex raises whatever its converters do
                        yield _Record(
                            number, {}, raw, f"not a Flex {element.tag}: {error}"[:200], section.tag
                        )
                        continue
                if parsed is not None:
                    yield _Record(number, dict(_attributes(parsed, zones)), raw, "", section.tag)


def _without_zones(element: ElementTree.Element) -> dict[str, str]:
    """Takes the zone from times such as `20250617;103000 EDT`, which ibflex does not read: attribute → zone."""
    zones = {}
    for name, text in element.items():
        if (zoned := _ZONED.match(text)) and re.search("date|time|when", name, re.IGNORECASE):
            element.set(name, zoned["time"])
            zones[name] = zoned["zone"]
    return zones


def _attributes(element: Any, zones: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The fields of an element as text; a time that named its zone does so again."""
    for item in dataclasses.fields(element):
        value = getattr(element, item.name)
        if isinstance(value, Enum):
            value = value.name
        elif isinstance(value, datetime) and value.time() == time() and item.name not in zones:
            value = value.date().isoformat()  # ibflex makes a midnight of a date
        elif hasattr(value, "isoformat"):
            value = f"{value.isoformat()} {zones.get(item.name, '')}".rstrip()
        elif isinstance(value, tuple):
            value = ";".join(one.name if isinstance(one, Enum) else str(one) for one in value)
        yield item.name, "" if value is None else str(value)
