"""Where a table begins: the line that a format knows as its header, and what separates its values.

Copes with any of four separators, titles above, and further tables below. Does not read rows.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stock_llm.errors import InputError
from stock_llm.importers.format_spec import Format, Header, best_format

SEPARATORS = ",;\t|"
_DIGIT = re.compile(r"\d")
_HEADER_WITHIN = 200
"""The first header stands in the first so many lines that are not empty;"""
_LAST_HEADER = 5_000
"""but for statements of many sections, where it may come later, and has no digit."""


@dataclass(frozen=True)
class HeaderMatch:
    """A header that a format knows; `at` counts lines from 0."""

    at: int
    separator: str
    header: Header
    format: Format


def first_header(lines: Sequence[str], formats: Sequence[Format]) -> HeaderMatch | None:
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
        if found := recognised(line, at, formats):
            return found
    return None


def next_header(
    lines: Sequence[str], found: HeaderMatch, formats: Sequence[Format]
) -> tuple[HeaderMatch | None, list[int]]:
    """The next table's header, and the lines until then that repeat this one. Headers have no digits, rows nearly always do."""
    again: list[int] = []
    seen: dict[str, HeaderMatch | None] = {}
    for at in range(found.at + 1, len(lines)):
        line = lines[at]
        if _DIGIT.search(line) or blank(line):
            continue
        if line not in seen:
            seen[line] = recognised(line, at, formats) if len(seen) < 10_000 else None
        if (one := seen[line]) is None:
            continue
        if one.header.cells == found.header.cells:
            again.append(at)
        else:
            return one, again
    return None, again


def recognised(line: str, at: int, formats: Sequence[Format]) -> HeaderMatch | None:
    for separator in sorted(SEPARATORS, key=line.count, reverse=True):
        if separator not in line:
            return None
        header = Header(cells(line, separator))
        if one := best_format(formats, header, "csv"):
            return HeaderMatch(at, separator, header, one)
    return None


def unknown(lines: Sequence[str], formats: Sequence[Format], path: Path) -> InputError:
    """What to say of a file that no format knows: which column is missing where it is nearly a plain table of trades."""
    row, top = next((row, line) for row, line in enumerate(lines, start=1) if line.strip())
    header = Header(cells(top, max(",;\t", key=top.count)))
    for plain in (one for one in formats if one.fallback):
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
                remedy="A plain trades file has date,symbol,side,quantity,price; fee,currency,account,trade_id where there are",
            )
    return InputError(
        f"no format knows this file; its first line is: {top[:200]}",
        file=path,
        remedy=f"`stock-llm import {path.name} --draft` writes a format for it that you can complete",
    )


def cells(raw: str, separator: str) -> list[str]:
    """The values of one record, quotes undone."""
    if '"' not in raw:
        return raw.split(separator)
    try:
        return next(csv.reader((line + "\n" for line in raw.split("\n")), delimiter=separator), [])
    except csv.Error:
        return raw.split(separator)


def blank(line: str) -> bool:
    return not line.strip(' ,;|\t"\ufeff')
