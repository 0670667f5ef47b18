"""Text files become sheets: the rows of a table as text, one array a column, every line of the file accounted for.

In: the text of a CSV file and the formats. Out: `Sheet`s, and the lines that are no rows of one, each with its reason: titles,
footers, headers that come again, other sections. Does not know what a column means.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stock_llm.importers.format_spec import Format, glob
from stock_llm.importers.headers import (
    HeaderMatch,
    blank,
    cells,
    first_header,
    next_header,
    unknown,
)
from stock_llm.importers.records import blocks
from stock_llm.importers.sheets import Sheet, Workbook
from stock_llm.storage.quarantine import QuarantinedRow

_OTHER_SECTION = "a line of another section"


def read_csv(text: str, formats: Sequence[Format], path: Path, name: str) -> Workbook:
    """The sheets of a text file; rows are named by `name`.

    Raises:
        InputError: no format knows any header of it.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found = first_header(lines, formats)
    if found is None:
        raise unknown(lines, formats, path)
    reading = Workbook()
    _set_aside_titles(lines, found, name, reading)
    while found is not None:
        found = _read_table(lines, found, formats, name, reading)
    return reading


def _set_aside_titles(
    lines: Sequence[str], found: HeaderMatch, name: str, reading: Workbook
) -> None:
    """Lines above the first header are titles, unless they look like rows that lost their header."""
    width = len(found.header.cells)
    for at in range(found.at):
        line = lines[at]
        if blank(line):
            continue
        if found.format.section:
            reading.skipped.append(QuarantinedRow("trades", name, at + 1, _OTHER_SECTION, line))
            continue
        filled = sum(bool(cell.strip()) for cell in cells(line, found.separator))
        if filled > 4 and filled * 2 > width:
            reading.quarantined.append(
                QuarantinedRow("trades", name, at + 1, "a row above the header", line)
            )
        else:
            reading.skipped.append(
                QuarantinedRow("trades", name, at + 1, "a title above the header", line)
            )


def _account_currency(lines: Sequence[str], found: HeaderMatch) -> str:
    if not found.format.currency_line:
        return ""
    pattern = re.compile(found.format.currency_line)
    return next(
        (match["currency"] for line in lines[: found.at] if (match := pattern.search(line))), ""
    )


def _read_table(
    lines: Sequence[str],
    found: HeaderMatch,
    formats: Sequence[Format],
    name: str,
    reading: Workbook,
) -> HeaderMatch | None:
    """Reads the rows below a header; returns the next header, if there is one."""
    following, again = next_header(lines, found, formats)
    end = following.at if following else len(lines)
    aside: dict[int, str] = dict.fromkeys(again, "the header again")
    totals: list[tuple[int, str]] = []
    patterns = [(glob(line.like), line.reason) for line in found.format.lines]
    if found.format.total:
        patterns.append((glob(found.format.total), "the total of the table"))
    if found.format.section:
        begins = found.header.cells[0].lower()
        for at in range(found.at + 1, end):
            if (
                not blank(lines[at])
                and lines[at].split(found.separator, 1)[0].strip(' "').lower() != begins
            ):
                aside[at] = _OTHER_SECTION
    if patterns:
        for at in range(found.at + 1, end):
            for pattern, reason in patterns:
                if pattern.fullmatch(lines[at]):
                    aside[at] = reason
                    if reason == "the total of the table":
                        totals.append((at + 1, lines[at]))
                    break
    reading.skipped += [
        QuarantinedRow("trades", name, at + 1, reason, lines[at]) for at, reason in aside.items()
    ]

    width = len(found.header.cells)
    rows: list[np.ndarray] = []
    columns: list[list[pa.Array]] = [[] for _ in range(width)]
    for block in blocks(lines, found, end, aside):
        reading.quarantined += [
            QuarantinedRow("trades", name, row, reason, lines[row - 1]) for row, reason in block.bad
        ]
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
