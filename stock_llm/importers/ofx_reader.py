"""Reads OFX and QFX statements: one record a transaction, its fields as text under their OFX names.

In: the text of an OFX file, version 1 (SGML) or 2 (XML), and the formats. Out: a `Workbook`; rows
are numbered as the transactions stand in the file. A reinvested dividend is two records, the income
and the purchase. The markup is parsed by the library ofxtools. Source: Open Financial Exchange 2.3,
chapters 11 (banking) and 13 (investments).
"""

import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path

from stock_llm.errors import InputError
from stock_llm.importers.format_spec import Format, best_format
from stock_llm.importers.table_reader import Record, Workbook, header_of, sheet_of

_STATEMENTS = ("INVSTMTRS", "STMTRS", "CCSTMTRS")
_INSTANT = re.compile(
    r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?(?:\.\d+)?)?\s*(?:\[([+-]?\d+(?:\.\d+)?)(?::\w+)?\])?"
)
_NO_TIME = ("000000", "120000")
"""Times that stand for a day without one."""


def is_ofx(text: str) -> bool:
    """Whether a text is an OFX file."""
    head = text[:2000].lstrip("\ufeff \t\r\n")
    return head.startswith("OFXHEADER") or "<?OFX " in head or head.startswith("<OFX>")


def identify_statement(text: str, formats: Sequence[Format], path: Path) -> Format | None:
    """The format of the first transactions of an OFX file.

    Raises:
        InputError: the markup is damaged, or there are no transactions.
    """
    groups = _groups(text, path)
    return next(
        (form for group in groups if (form := best_format(formats, header_of(group), "ofx"))), None
    )


def read_statement(text: str, formats: Sequence[Format], path: Path, name: str) -> Workbook:
    """The sheets of an OFX file, one for each kind of transaction.

    Raises:
        InputError: the markup is damaged, or there are no transactions.
    """
    workbook = Workbook(name)
    for group in _groups(text, path):
        header = header_of(group)
        form = best_format(formats, header, "ofx")
        if form is None:
            raise InputError(
                f"no format knows these fields: {', '.join(header.cells)[:200]}", file=path
            )
        workbook.sheets.append(sheet_of(group, form))
    return workbook


def _groups(text: str, path: Path) -> list[list[Record]]:
    """Investment transactions, then those of cash."""
    records = list(_records(_root(text, path)))
    if not records:
        raise InputError(
            "an OFX statement without transactions",
            file=path,
            remedy="Download a period in which there are some",
        )
    groups = [
        [record for record in records if ("DTTRADE" in record.values) == trades]
        for trades in (True, False)
    ]
    return [group for group in groups if group]


def _root(text: str, path: Path) -> ElementTree.Element:
    from ofxtools.Parser import ParseError, TreeBuilder

    begin = text.find("<OFX>")
    if begin < 0 or "<!ENTITY" in text:
        raise InputError(
            "this is no OFX statement: it has no <OFX>", file=path, remedy="Download it again"
        )
    builder = TreeBuilder()
    try:
        builder.feed(text[begin:])
        return builder.close()
    except (ParseError, IndexError, AssertionError, ElementTree.ParseError) as error:
        raise InputError(
            f"the OFX is damaged: {str(error)[:120]}", file=path, remedy="Download it again"
        ) from None


def _records(root: ElementTree.Element) -> Iterator[Record]:
    securities = {
        identity: security
        for info in root.iter("SECLIST")
        for security in info
        if (identity := security.findtext(".//UNIQUEID"))
    }
    number = 0
    for statement in root.iter():
        if statement.tag not in _STATEMENTS:
            continue
        common = {
            "ACCTID": statement.findtext(".//ACCTID", ""),
            "CURDEF": statement.findtext("CURDEF", ""),
            "BROKERID": statement.findtext(".//BROKERID", ""),
        }
        for transaction in _transactions(statement):
            values = _values(transaction, securities)
            raw = ElementTree.tostring(transaction, encoding="unicode").strip()[:2000]
            kinds = (
                ("REINVEST INCOME", "REINVEST")
                if transaction.tag == "REINVEST"
                else (transaction.tag,)
            )
            for kind in kinds:
                number += 1
                yield Record(number, {"KIND": kind, **common, **values}, raw)


def _transactions(statement: ElementTree.Element) -> Iterator[ElementTree.Element]:
    for inner in statement.iter():
        if inner.tag == "INVTRANLIST":
            for transaction in inner:
                if transaction.tag == "INVBANKTRAN":
                    yield from transaction.iter("STMTTRN")
                elif len(transaction):
                    yield transaction
        elif inner.tag == "BANKTRANLIST":
            yield from inner.iter("STMTTRN")


def _values(
    transaction: ElementTree.Element, securities: dict[str, ElementTree.Element]
) -> dict[str, str]:
    """The leaves of a transaction and what the list of securities says of its paper."""
    values: dict[str, str] = {}
    for element in transaction.iter():
        for leaf in element:
            if len(leaf) == 0 and leaf.text:
                name = (
                    f"{element.tag} {leaf.tag}"
                    if element.tag in ("CURRENCY", "ORIGCURRENCY")
                    else leaf.tag
                )
                text = html.unescape(leaf.text.strip())
                values.setdefault(name, _instant(text) if leaf.tag.startswith("DT") else text)
    if values.get("UNIQUEIDTYPE", "").upper() == "ISIN":
        values["ISIN"] = values.get("UNIQUEID", "")
    security = securities.get(values.get("UNIQUEID", ""))
    if security is not None:
        values["SECURITY"] = security.tag
        for name in ("TICKER", "SECNAME", "SHPERCTRCT"):
            values[name] = html.unescape(security.findtext(f".//{name}", "").strip())
    return values


def _instant(text: str) -> str:
    """`20240110150000[-5:EST]` as ISO 8601; the text itself where it is no OFX time."""
    match = _INSTANT.fullmatch(text.strip())
    if match is None:
        return text
    year, month, day, hour, minute, second, offset = match.groups()
    if hour is None or f"{hour}{minute}{second or '00'}" in _NO_TIME:
        return f"{year}-{month}-{day}"
    minutes = round(float(offset or 0) * 60)
    zone = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    return f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}{zone}"
