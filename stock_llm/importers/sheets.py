"""Tables as they are handed on: the rows as text, one array a column, every line of the file accounted for.

Knows neither files nor what a column means.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from stock_llm.importers.format_spec import Format, Header
from stock_llm.storage.quarantine import QuarantinedRow


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
    columns = [column.take(places) for column in sheet.columns] + [
        pa.chunked_array([new], pa.string()) for new in added.values()
    ]
    header = Header([*sheet.header.cells, *added])
    return replace(sheet, header=header, columns=columns, rows=sheet.rows[np.array(kept, np.int64)])


@dataclass
class Workbook:
    """What a file holds: its sheets, and the lines that are not in them."""

    sheets: list[Sheet] = field(default_factory=list)
    quarantined: list[QuarantinedRow] = field(default_factory=list)
    skipped: list[QuarantinedRow] = field(default_factory=list)
