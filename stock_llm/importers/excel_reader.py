"""Reads Excel workbooks (XLSX): each worksheet goes the way of a CSV file.

In: the path of a workbook and the formats. Out: a `Workbook`; rows are numbered as in Excel, and
named with their worksheet where there are several. Numbers are written with a point
and in full, dates as ISO 8601, so that nothing in them is ambiguous. The library is
python-calamine.
"""

import csv
import io
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from stock_llm.errors import InputError
from stock_llm.importers.format_spec import Format
from stock_llm.importers.table_reader import Workbook, first_header, read_tables

_LARGEST = 512 * 2**20
"""Bytes that a workbook may unpack to; a trading history has a few megabytes."""


def is_workbook(path: Path) -> bool:
    """Whether a file is an XLSX workbook, whatever it is called."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def identify_workbook(path: Path, formats: Sequence[Format]) -> Format | None:
    """Returns the format of the first worksheet that one knows.

    Raises:
        InputError: the workbook cannot be read.
    """
    matches = (first_header(lines, formats) for _, lines in _worksheets(path))
    return next((match.format for match in matches if match), None)


def read_workbook(path: Path, formats: Sequence[Format], name: str) -> Workbook:
    """Reads the worksheets that a format knows; the others are reported by their names.

    Raises:
        InputError: the workbook cannot be read, or no format knows any worksheet of it.
    """
    sheets = dict(_worksheets(path))
    known = {title: lines for title, lines in sheets.items() if first_header(lines, formats)}
    if not known:
        return read_tables(
            max(sheets.values(), key=len, default=[""]), formats, path, Workbook(name)
        )
    workbook, before = Workbook(name), 0
    for title, lines in known.items():
        if len(sheets) > 1:
            workbook.worksheets.append((before, title[:60]))
        read_tables([""] * before + lines, formats, path, workbook)
        before += len(lines)
    for title in sheets.keys() - known.keys():
        if any(line.strip(",") for line in sheets[title]):
            workbook.skip(0, f"no format knows the worksheet '{title[:60]}'", title)
    return workbook


def text_of_largest(path: Path) -> str:
    """Returns the worksheet with the most rows as CSV.

    Raises:
        InputError: the workbook cannot be read.
    """
    sheets = [lines for _, lines in _worksheets(path)]
    largest = max(sheets, key=len) if sheets else []
    return "\n".join(largest)


def _worksheets(path: Path) -> Iterator[tuple[str, list[str]]]:
    from python_calamine import CalamineWorkbook

    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _LARGEST:
            raise InputError(
                "the workbook unpacks to more than half a gigabyte",
                file=path,
                remedy="Export a shorter period",
            )
        workbook = CalamineWorkbook.from_path(path)
        for title in workbook.sheet_names:
            rows = workbook.get_sheet_by_name(title).to_python(skip_empty_area=False)
            yield title, [_line(row) for row in rows]
    except InputError:
        raise
    except Exception as error:  # what damaged archives and worksheets raise is not documented
        raise InputError(
            f"the workbook cannot be read: {error}",
            file=path,
            remedy="Export it again, or save it as CSV",
        ) from None


def _line(cells: list[Any]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow([_text(cell) for cell in cells])
    return written.getvalue()


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, datetime):
        return (
            cell.date().isoformat()
            if cell.time() == time()
            else cell.isoformat(sep=" ", timespec="seconds")
        )
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return str(cell)
    if isinstance(cell, float | int):
        return _number(cell)
    return " ".join(str(cell).split())


def _number(value: float) -> str:
    """A number in full, to the 15 digits that Excel keeps; a fourth decimal makes sure that its
    point is no thousands sign."""
    text = format(Decimal(f"{value:.15g}"), "f")
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals}0" if len(decimals) == 3 else text
