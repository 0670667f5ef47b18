"""Finds the tables of a text export and reads them into sheets; every line of the file is accounted
for.

In: the lines of a file and the formats. Out: a `Workbook`: sheets, and the lines that are no rows
of one, each with its reason (titles, footers, headers that come again, other sections). Column
meanings are applied in column_mapping.py.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa

from stock_llm.errors import InputError
from stock_llm.importers.format_spec import Format, Header, best_format, glob
from stock_llm.storage.quarantine import QuarantinedRow
from stock_llm.tabular.numbers import decimal_sign, read_numbers
from stock_llm.tabular.table import SEPARATORS, is_blank, separator_of, split_record, table_blocks

_DIGIT = re.compile(r"\d")
_HEADER_WITHIN = 200
"""The first header stands in the first so many lines that are not empty;"""
_LAST_HEADER = 5_000
"""but for statements of many sections, where it may come later, and has no digit."""

_TOTAL = "the total of the table"


@dataclass(frozen=True)
class Sheet:
    """A table as text.

    Attributes:
        columns: one array for each cell of the header.
        rows: line numbers; in JSON and XML, record numbers.
        raw: returns what stood in a row.
        totals: footers that say what the rows sum to: line, text.
        currency: that of the account, where a line above the header names it.
    """

    format: Format
    header: Header
    columns: list[pa.ChunkedArray]
    rows: np.ndarray
    raw: Callable[[int], str]
    separator: str = ","
    totals: list[tuple[int, str]] = field(default_factory=list)
    currency: str = ""

    def cells(self, role: str) -> list[str]:
        """Returns the column that the format calls so, trimmed; empty texts where the sheet has
        none."""
        for name in self.format.columns[role].names:
            if (place := self.header.find(name)) is not None:
                return [text.strip() for text in self.columns[place].to_pylist()]
        return [""] * len(self.rows)

    def numbers(self, *roles: str) -> dict[str, list[Decimal | None]]:
        """Returns columns of numbers under the file's decimal sign; None where a text is none."""
        numeric = self.format.columns.keys() & {*self.format.numbers, *roles}
        texts = {role: pa.array(self.cells(role), pa.string()) for role in numeric}
        sign = decimal_sign(texts.values())
        read = read_numbers(texts, sign, self.format.decimal, self.separator).values
        nothing = pa.nulls(len(self.rows))
        return {role: read.get(role, nothing).to_pylist() for role in roles}

    def with_columns(self, kept: Sequence[int], added: dict[str, list[str]]) -> "Sheet":
        """Returns the rows at these places, with further columns."""
        places = np.array(kept, np.int64)
        columns = [column.take(pa.array(places)) for column in self.columns]
        columns += [pa.chunked_array([new], pa.string()) for new in added.values()]
        header = Header([*self.header.cells, *added])
        return replace(self, header=header, columns=columns, rows=self.rows[places])


@dataclass(frozen=True)
class Record:
    """A record of a document; `wrong` says why it cannot be read, `skip` why it holds no event."""

    number: int
    values: dict[str, str]
    raw: str
    wrong: str = ""
    section: str = ""
    skip: str = ""


def header_of(records: Sequence[Record]) -> Header:
    """Returns the names of all values, in the order in which they come."""
    return Header(dict.fromkeys(name for record in records for name in record.values))


def sheet_of(records: Sequence[Record], form: Format) -> Sheet:
    """Returns records as a table; empty texts where one has no such value."""
    header = header_of(records)
    columns = [
        pa.chunked_array([[record.values.get(cell, "") for record in records]], pa.string())
        for cell in header.cells
    ]
    raw = {record.number: record.raw for record in records}
    return Sheet(form, header, columns, np.array(list(raw), np.int64), raw.__getitem__)


@dataclass
class Workbook:
    """What a file holds: its sheets, and the rows that are not in them.

    Attributes:
        worksheets: of a file with several, the number of rows before each, and its title.
    """

    name: str
    sheets: list[Sheet] = field(default_factory=list)
    quarantined: list[QuarantinedRow] = field(default_factory=list)
    skipped: list[QuarantinedRow] = field(default_factory=list)
    worksheets: list[tuple[int, str]] = field(default_factory=list)

    def quarantine(self, row: int, reason: str, raw: str) -> None:
        """Adds a row that should have become an entry and cannot."""
        self.quarantined.append(QuarantinedRow("trades", *self.locate(row), reason, raw))

    def skip(self, row: int, reason: str, raw: str) -> None:
        """Adds a row that is no event of the ledger."""
        self.skipped.append(QuarantinedRow("trades", *self.locate(row), reason, raw))

    def locate(self, row: int) -> tuple[str, int]:
        """Returns the name of the file, with that of the worksheet where it has several, and the
        row as an editor shows it."""
        before = [worksheet for worksheet in self.worksheets if worksheet[0] < row]
        return (
            (f"{self.name}, {before[-1][1]}", row - before[-1][0]) if before else (self.name, row)
        )


@dataclass(frozen=True)
class HeaderMatch:
    """A header that a format knows; `at` counts lines from 0."""

    at: int
    separator: str
    header: Header
    format: Format


def first_header(lines: Sequence[str], formats: Sequence[Format]) -> HeaderMatch | None:
    """Returns the first line that a format knows as a header."""
    seen = 0
    for at, line in enumerate(lines):
        if not line.strip():
            continue
        seen += 1
        if seen > _LAST_HEADER:
            return None
        if seen > _HEADER_WITHIN and _DIGIT.search(line):
            continue
        if match := _match(line, at, formats):
            return match
    return None


def read_tables(
    lines: Sequence[str], formats: Sequence[Format], path: Path, workbook: Workbook
) -> Workbook:
    """Reads the sheets of a text file into a workbook, and returns that.

    Raises:
        InputError: no format knows any header of it.
    """
    match = first_header(lines, formats)
    if match is None:
        raise _unknown(lines, formats, path)
    passive = [glob(title) for form in formats for title in form.passive]
    _report_titles(lines, match, passive, workbook)
    while match is not None:
        match = _read_table(lines, match, formats, passive, workbook)
    return workbook


def _match(line: str, at: int, formats: Sequence[Format]) -> HeaderMatch | None:
    for separator in sorted(SEPARATORS, key=line.count, reverse=True):
        if separator not in line:
            return None
        header = Header(split_record(line, separator))
        if form := best_format(formats, header, "csv"):
            return HeaderMatch(at, separator, header, form)
    return None


def _next_header(
    lines: Sequence[str], match: HeaderMatch, formats: Sequence[Format]
) -> tuple[HeaderMatch | None, list[int]]:
    """The next table's header, and the lines until then that repeat this one. Headers have no
    digits, rows nearly always do."""
    again: list[int] = []
    seen: dict[str, HeaderMatch | None] = {}
    for at in range(match.at + 1, len(lines)):
        line = lines[at]
        if _DIGIT.search(line) or is_blank(line):
            continue
        if line not in seen:
            seen[line] = _match(line, at, formats) if len(seen) < 10_000 else None
        if (other := seen[line]) is None:
            continue
        if other.header.cells != match.header.cells:
            return other, again
        again.append(at)
    return None, again


def _unknown(lines: Sequence[str], formats: Sequence[Format], path: Path) -> InputError:
    """Names the column that is missing where the file is nearly a plain table of trades, else the
    likeliest header."""
    row, top = max(_numbered(lines), key=lambda line: _words(line[1]))
    if _words(top) < 2:
        return InputError(
            "no line of it looks like the header of a table",
            file=path,
            remedy="Export the trades as CSV",
        )
    header = Header(split_record(top, separator_of(top)))
    for plain in (form for form in formats if form.fallback):
        missing = [
            names
            for names in plain.header
            if all(header.find(name) is None for name in names.split("|"))
        ]
        if len(missing) == 1:
            return InputError(
                f"column '{missing[0].split('|')[0]}' is missing; the header is: {top[:200]}",
                file=path,
                row=row,
                remedy="A plain trades file has date,symbol,side,quantity,price; and fee,currency,"
                "account,trade_id where there are such",
            )
    return InputError(
        f"no format knows this file; its header is: {top[:200]}",
        file=path,
        row=row,
        remedy=f"`stock-llm import {path.name} --draft` writes a format for you to complete",
    )


def _numbered(lines: Sequence[str]) -> list[tuple[int, str]]:
    """The first lines that are not empty, with their numbers."""
    return [(row, line) for row, line in enumerate(lines[:2000], start=1) if line.strip()][
        :_HEADER_WITHIN
    ]


def _words(line: str) -> int:
    """How many cells of a line are words: most in a header, few in a title above it, which may name
    a person."""
    cells = split_record(line, separator_of(line))
    return sum(bool(cell.strip()) and not _DIGIT.search(cell) for cell in cells)


def _report_section(
    row: int, line: str, separator: str, passive: Sequence[re.Pattern[str]], workbook: Workbook
) -> None:
    """Reports a line of a section that no format reads: as skipped where the section lists no
    transactions, else as lost, for it may be money."""
    title, *rest = split_record(line, separator)
    title = title.strip()[:60]
    if any(pattern.fullmatch(title) for pattern in passive):
        workbook.skip(
            row, f"the section {title} states holdings, totals or notes, no transactions", line
        )
    elif rest and rest[0].strip() in ("Header", "Total", "SubTotal", "Notes"):
        workbook.skip(row, f"no row of the section {title}, which nothing reads", line)
    else:
        workbook.quarantine(row, f"nothing reads the section {title}", line)


def _report_titles(
    lines: Sequence[str],
    match: HeaderMatch,
    passive: Sequence[re.Pattern[str]],
    workbook: Workbook,
) -> None:
    """Lines above the first header are titles, unless they look like rows that lost their
    header."""
    for row, line in enumerate(lines[: match.at], start=1):
        if is_blank(line):
            continue
        filled = sum(bool(cell.strip()) for cell in split_record(line, match.separator))
        if match.format.section:
            _report_section(row, line, match.separator, passive, workbook)
        elif filled > 4 and filled * 2 > len(match.header.cells):
            workbook.quarantine(row, "a row above the header", line)
        else:
            workbook.skip(row, "a title above the header", line)


def _account_currency(lines: Sequence[str], match: HeaderMatch) -> str:
    if not match.format.currency_line:
        return ""
    pattern = re.compile(match.format.currency_line)
    return next(
        (named["currency"] for line in lines[: match.at] if (named := pattern.search(line))), ""
    )


def _read_table(
    lines: Sequence[str],
    match: HeaderMatch,
    formats: Sequence[Format],
    passive: Sequence[re.Pattern[str]],
    workbook: Workbook,
) -> HeaderMatch | None:
    """Reads the rows below a header; returns the next header, if there is one."""
    following, again = _next_header(lines, match, formats)
    end = following.at if following else len(lines)
    no_rows = dict.fromkeys(again, "the header again")
    no_rows |= _footer(lines, match, end) | _named_lines(lines, match, end)
    for at, reason in sorted(no_rows.items()):
        workbook.skip(at + 1, reason, lines[at])
    if match.format.section:
        for at, unread in _of_other_sections(lines, match, end, again):
            if at in no_rows:
                continue
            no_rows[at] = ""
            if unread:
                workbook.quarantine(at + 1, unread, lines[at])
            else:
                _report_section(at + 1, lines[at], match.separator, passive, workbook)
    width = len(match.header.cells)
    rows: list[np.ndarray] = [np.array([], np.int64)]
    columns: list[list[pa.Array]] = [[] for _ in range(width)]
    ragged = match.format.ragged
    for block in table_blocks(
        lines, match.header.cells, match.separator, match.at + 1, end, no_rows, ragged
    ):
        for row, reason in block.rejected:
            workbook.quarantine(row, reason, lines[row - 1])
        rows.append(block.rows)
        for column, values in zip(columns, block.columns, strict=True):
            column.append(values)
    sheet = Sheet(
        format=match.format,
        header=match.header,
        columns=[pa.chunked_array(column, pa.string()) for column in columns],
        rows=np.concatenate(rows),
        raw=lambda row: lines[row - 1],
        separator=match.separator,
        totals=[(at + 1, lines[at]) for at, reason in no_rows.items() if reason == _TOTAL],
        currency=_account_currency(lines, match),
    )
    workbook.sheets.append(sheet)
    return following


def _named_lines(lines: Sequence[str], match: HeaderMatch, end: int) -> dict[int, str]:
    """Place of a line that the format names → why it is no row."""
    patterns = [(glob(line.like), line.reason) for line in match.format.lines]
    if match.format.total:
        patterns.append((glob(match.format.total), _TOTAL))
    reasons = {}
    for at in range(match.at + 1, end) if patterns else ():
        for pattern, reason in patterns:
            if pattern.fullmatch(lines[at]):
                reasons[at] = reason
                break
    return reasons


_PLAIN_VALUE = re.compile(r"[\d.,:;/$€£%()+\- ]+")


def _footer(lines: Sequence[str], match: HeaderMatch, end: int) -> dict[int, str]:
    """Place of the lines of prose at the end of a table: the broker's small print, when the file
    was made."""
    reasons = {}
    for at in range(end - 1, match.at, -1):
        if is_blank(lines[at]):
            continue
        cells = [cell for cell in split_record(lines[at], match.separator) if cell.strip()]
        prose = len(" ".join(cells).split()) > 2 and (
            len(cells) == 1 or 2 * len(cells) < len(match.header.cells)
        )
        if not prose or any(_PLAIN_VALUE.fullmatch(cell) for cell in cells):
            break
        reasons[at] = "a note below the table"
    return reasons


def _of_other_sections(
    lines: Sequence[str], match: HeaderMatch, end: int, again: Sequence[int]
) -> Iterator[tuple[int, str]]:
    """Lines of a statement that are no rows of the section above them, and why none of a part whose
    header no format knows can be read."""
    begins = match.header.cells[0].lower()
    unread = ""
    for at in range(match.at + 1, end):
        if is_blank(lines[at]):
            continue
        title, _, rest = lines[at].partition(match.separator)
        if title.strip(' "').lower() != begins:
            yield at, ""
        elif at in again:
            unread = ""
        elif rest.partition(match.separator)[0].strip(' "').lower() == "header":
            unread = f"no format knows the columns of this part of the section {title.strip()}"
            yield at, unread
        elif unread:
            yield at, unread
