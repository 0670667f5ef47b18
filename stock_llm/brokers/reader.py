"""Text files become sheets: the rows of a table as text, one array a column, every line of the file accounted for.

In: the bytes of a CSV file and the formats. Out: `Sheet`s, and the lines that are no rows of one, each with its reason. Copes
with byte order marks, UTF-16, Latin-1, any of four separators, title rows, footers, several tables and quotes that were never
closed. Does not know what a column means.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.brokers.formats import Format, Header, best, glob
from stock_llm.errors import InputError
from stock_llm.quarantine import Rejected

SEPARATORS = ",;\t|"
_BLOCK = 65_536
_TOO_MANY_LINES = 20
"""A value in quotes does not run on longer: a quote that does was never closed."""
_DIGIT = re.compile(r"\d")
_OTHER_SECTION = "a line of another section"
_HEADER_WITHIN = 200
"""The first header stands in the first so many lines that are not empty;"""
_LAST_HEADER = 5_000
"""but for statements of many sections, where it may come later, and has no digit."""


@dataclass(frozen=True)
class Sheet:
    """A table. `rows` are line numbers (in a document: record numbers), `raw` what stood there."""

    format: Format
    header: Header
    columns: list[pa.ChunkedArray]
    rows: np.ndarray
    raw: Sequence[str]
    separator: str = ","
    totals: list[tuple[int, str]] = field(default_factory=list)
    """Footers that say what the rows sum to: line, text."""
    currency: str = ""
    """The currency of the account, where a line above the header names it."""


def cells_of(sheet: Sheet, role: str) -> list[str]:
    """What stands in the column that the format calls so, trimmed; empty where the sheet has none."""
    for name in sheet.format.columns[role].names:
        if (place := sheet.header.find(name)) is not None:
            return [text.strip() for text in sheet.columns[place].to_pylist()]
    return [""] * len(sheet.rows)


def with_columns(sheet: Sheet, kept: Sequence[int], added: dict[str, list[str]]) -> Sheet:
    """The rows at these places, with further columns."""
    places = pa.array(kept, pa.int64())
    columns = [column.take(places) for column in sheet.columns] + [pa.chunked_array([new], pa.string()) for new in added.values()]
    header = Header([*sheet.header.cells, *added])
    return replace(sheet, header=header, columns=columns, rows=sheet.rows[np.array(kept, np.int64)])


@dataclass
class Reading:
    """What a file holds: its sheets, and the lines that are not in them."""

    sheets: list[Sheet] = field(default_factory=list)
    quarantined: list[Rejected] = field(default_factory=list)
    skipped: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    """A header that a format knows; `at` counts lines from 0."""

    at: int
    separator: str
    header: Header
    format: Format


def text_of(path: Path) -> str:
    """A file as text. A line that is not UTF-8 is Latin-1 (Windows-1252), the others stay what they are.

    Raises:
        InputError: the file is empty, unreadable or not text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    return decoded(content, path)


def decoded(content: bytes, path: Path) -> str:
    """See `text_of`."""
    if not content.strip():
        raise InputError("the file is empty", file=path, remedy="Export it again")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-16 text: {error.reason}", file=path, remedy="Save it as CSV in UTF-8") from None
    if content.startswith(b"PK\x03\x04"):
        raise InputError("this is a spreadsheet or a ZIP file, not text", file=path, remedy="Save it as CSV in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "\n".join(_line(line) for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"))


def _line(line: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode("latin-1")


def read_csv(text: str, formats: Sequence[Format], path: Path, name: str) -> Reading:
    """The sheets of a text file; rows are named by `name`.

    Raises:
        InputError: no format knows any header of it.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found = first_header(lines, formats)
    if found is None:
        raise _unknown(lines, formats, path)
    reading = Reading()
    _set_aside_titles(lines, found, name, reading)
    while found is not None:
        found = _read_table(lines, found, formats, name, reading)
    return reading


def _unknown(lines: Sequence[str], formats: Sequence[Format], path: Path) -> InputError:
    """What to say of a file that no format knows: which column is missing where it is nearly a plain table of trades."""
    row, top = next((row, line) for row, line in enumerate(lines, start=1) if line.strip())
    header = Header(cells(top, max(",;\t", key=top.count)))
    for plain in (one for one in formats if one.fallback):
        missing = [names for names in plain.header if all(header.find(name) is None for name in names.split("|"))]
        if len(missing) == 1:
            return InputError(
                f"column '{missing[0].split('|')[0]}' is missing; the header is: {top[:200]}",
                file=path,
                row=row,
                remedy="A plain trades file has date,symbol,side,quantity,price; fee,currency,account,trade_id where there are",
            )
    return InputError(
        f"no format knows this file; its first line is: {top[:200]}",
        file=path,
        remedy=f"`stock-llm import {path.name} --draft` writes a format for it that you can complete",
    )


def first_header(lines: Sequence[str], formats: Sequence[Format]) -> _Found | None:
    """The first line that a format knows as a header."""
    seen = 0
    for at, line in enumerate(lines):
        if not line.strip():
            continue
        seen += 1
        if seen > _LAST_HEADER:
            return None
        if seen > _HEADER_WITHIN and _DIGIT.search(line):
            continue
        if found := _recognised(line, at, formats):
            return found
    return None


def _recognised(line: str, at: int, formats: Sequence[Format]) -> _Found | None:
    for separator in sorted(SEPARATORS, key=line.count, reverse=True):
        if separator not in line:
            return None
        header = Header(cells(line, separator))
        if one := best(formats, header, "csv"):
            return _Found(at, separator, header, one)
    return None


def cells(raw: str, separator: str) -> list[str]:
    """The values of one record, quotes undone."""
    if '"' not in raw:
        return raw.split(separator)
    try:
        return next(csv.reader((line + "\n" for line in raw.split("\n")), delimiter=separator), [])
    except csv.Error:
        return raw.split(separator)


def _set_aside_titles(lines: Sequence[str], found: _Found, name: str, reading: Reading) -> None:
    """Lines above the first header are titles, unless they look like rows that lost their header."""
    width = len(found.header.cells)
    for at in range(found.at):
        line = lines[at]
        if _blank(line):
            continue
        if found.format.section:
            reading.skipped.append(Rejected("trades", name, at + 1, _OTHER_SECTION, line))
            continue
        filled = sum(bool(cell.strip()) for cell in cells(line, found.separator))
        if filled > 4 and filled * 2 > width:
            reading.quarantined.append(Rejected("trades", name, at + 1, "a row above the header", line))
        else:
            reading.skipped.append(Rejected("trades", name, at + 1, "a title above the header", line))


def _account_currency(lines: Sequence[str], found: _Found) -> str:
    if not found.format.currency_line:
        return ""
    pattern = re.compile(found.format.currency_line)
    return next((match["currency"] for line in lines[: found.at] if (match := pattern.search(line))), "")


def _blank(line: str) -> bool:
    return not line.strip(' ,;|\t"\ufeff')


def _read_table(lines: Sequence[str], found: _Found, formats: Sequence[Format], name: str, reading: Reading) -> _Found | None:
    """Reads the rows below a header; returns the next header, if there is one."""
    following, again = _next_header(lines, found, formats)
    end = following.at if following else len(lines)
    aside: dict[int, str] = dict.fromkeys(again, "the header again")
    totals: list[tuple[int, str]] = []
    patterns = [(glob(line.like), line.reason) for line in found.format.lines]
    if found.format.total:
        patterns.append((glob(found.format.total), "the total of the table"))
    if found.format.section:
        begins = found.header.cells[0].lower()
        for at in range(found.at + 1, end):
            if not _blank(lines[at]) and lines[at].split(found.separator, 1)[0].strip(' "').lower() != begins:
                aside[at] = _OTHER_SECTION
    if patterns:
        for at in range(found.at + 1, end):
            for pattern, reason in patterns:
                if pattern.fullmatch(lines[at]):
                    aside[at] = reason
                    if reason == "the total of the table":
                        totals.append((at + 1, lines[at]))
                    break
    reading.skipped += [Rejected("trades", name, at + 1, reason, lines[at]) for at, reason in aside.items()]

    width = len(found.header.cells)
    rows: list[np.ndarray] = []
    columns: list[list[pa.Array]] = [[] for _ in range(width)]
    for block in _blocks(lines, found, end, aside):
        reading.quarantined += [Rejected("trades", name, row, reason, lines[row - 1]) for row, reason in block.bad]
        rows.append(block.rows)
        for column, values in zip(columns, block.columns, strict=True):
            column.append(values)
    reading.sheets.append(
        Sheet(
            format=found.format,
            header=found.header,
            columns=[pa.chunked_array(column, pa.string()) for column in columns],
            rows=np.concatenate([np.array([], np.int64), *rows]),
            raw=_Lines(lines),
            separator=found.separator,
            totals=totals,
            currency=_account_currency(lines, found),
        )
    )
    return following


@dataclass(frozen=True)
class _Lines(Sequence[str]):
    """Line numbers from 1, as an editor counts."""

    lines: Sequence[str]

    def __getitem__(self, row: int) -> str:  # type: ignore[override]
        return self.lines[row - 1]

    def __len__(self) -> int:
        return len(self.lines)


def _next_header(lines: Sequence[str], found: _Found, formats: Sequence[Format]) -> tuple[_Found | None, list[int]]:
    """The next table's header, and the lines until then that repeat this one. Headers have no digits, rows nearly always do."""
    again: list[int] = []
    seen: dict[str, _Found | None] = {}
    for at in range(found.at + 1, len(lines)):
        line = lines[at]
        if _DIGIT.search(line) or _blank(line):
            continue
        if line not in seen:
            seen[line] = _recognised(line, at, formats) if len(seen) < 10_000 else None
        if (one := seen[line]) is None:
            continue
        if one.header.cells == found.header.cells:
            again.append(at)
        else:
            return one, again
    return None, again


@dataclass
class _Block:
    rows: np.ndarray
    columns: list[pa.Array]
    bad: list[tuple[int, str]]


def _blocks(lines: Sequence[str], found: _Found, end: int, aside: dict[int, str]) -> Iterator[_Block]:
    at = found.at + 1
    width = len(found.header.cells)
    while at < end:
        stop = min(at + _BLOCK, end)
        places = [place for place in range(at, stop) if lines[place] and place not in aside and not _blank(lines[place])]
        part = [lines[place] for place in places]
        if not any('"' in line for line in part):
            yield _unquoted(places, part, found, width)
        elif (records := _line_by_line(part, found.separator)) is not None:
            yield _block(places, records, found, width)
        else:
            places, records, stop = _with_stray_quotes(lines, at, stop, end, aside, found.separator, width)
            yield _block(places, records, found, width)
        at = stop


def _unquoted(places: list[int], part: list[str], found: _Found, width: int) -> _Block:
    texts = pa.array(part, pa.string())
    split = pc.split_pattern(texts, found.separator)
    fitting = pc.equal(pc.list_value_length(split), width).to_numpy(zero_copy_only=False)
    if not fitting.all():
        return _block(places, [line.split(found.separator) for line in part], found, width)
    return _Block(np.array(places, np.int64) + 1, [pc.list_element(split, place) for place in range(width)], [])


def _line_by_line(part: list[str], separator: str) -> list[list[str]] | None:
    """One record a line, None where a value in quotes runs over several."""
    try:
        records = list(csv.reader(part, delimiter=separator))
    except csv.Error:
        return None
    return records if len(records) == len(part) and part[-1].count('"') % 2 == 0 else None


def _with_stray_quotes(
    lines: Sequence[str], start: int, stop: int, end: int, aside: dict[int, str], separator: str, width: int
) -> tuple[list[int], list[list[str]], int]:
    """Records from `start` on, and where they end. A stray quote spoils its own line only, never those behind it."""
    places, records = [], []
    at = start
    while at < stop:
        if at in aside or _blank(lines[at]):
            at += 1
            continue
        after, raw = at + 1, lines[at]
        while raw.count('"') % 2 and after < min(end, at + _TOO_MANY_LINES):
            raw += "\n" + lines[after]
            after += 1
        values = cells(raw, separator)
        if after > at + 1 and (raw.count('"') % 2 or len(values) != width or any(line in aside for line in range(at, after))):
            values, after = lines[at].split(separator), at + 1
        places.append(at)
        records.append(values)
        at = after
    return places, records, at


def _block(places: list[int], records: list[list[str]], found: _Found, width: int) -> _Block:
    kept, good, bad = [], [], []
    for place, values in zip(places, records, strict=True):
        while len(values) > width and not values[-1].strip():
            values.pop()
        if len(values) < width and (found.format.ragged or all(not cell for cell in found.header.cells[len(values) :])):
            values = values + [""] * (width - len(values))
        if len(values) != width:
            bad.append((place + 1, f"{len(values)} values under {width} columns"))
            continue
        kept.append(place + 1)
        good.append(values)
    columns = list(zip(*good, strict=True)) if good else [()] * width
    return _Block(np.array(kept, np.int64), [pa.array(column, pa.string()) for column in columns], bad)
