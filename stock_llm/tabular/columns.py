"""Columns of the tables that people have: which is which, and their numbers as people write them.

In: a header or a column of text. Out: places of columns, or plain numbers. Does not know what a column is for.
"""

from collections.abc import Container, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.errors import InputError

_PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$"
_COMMA_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+\.\d*$"
_DECIMAL_COMMA = r"^[+-]?(\d+|\d{1,3}(\.\d{3})+),\d*$"


def find_columns(
    header: list[str],
    names: Mapping[str, tuple[str, ...]],
    optional: Container[str],
    file: Path,
    row: int | None,
    remedy: str,
) -> dict[str, int]:
    """Column → its place in `header`; `names` has, for each column, what it may be called, in lower case, the best first.

    Raises:
        InputError: a column that is not optional is missing.
    """
    written = [name.strip(' "\ufeff').lower() for name in header]
    found = {
        column: next(written.index(name) for name in known if name in written)
        for column, known in names.items()
        if any(name in written for name in known)
    }
    missing = [column for column in names if column not in found and column not in optional]
    if missing:
        shown = ", ".join(name.strip() for name in header)
        raise InputError(
            f"column '{missing[0]}' is missing; the header is: {shown}",
            file=file,
            row=row,
            remedy=remedy,
        )
    return found


def separator(header: str) -> str:
    """What stands between the columns of a header line: comma, semicolon or tab."""
    return max(",;\t", key=header.count)


def plain_numbers(texts: pa.Array, separator: str) -> pa.Array:
    """`1,234.50`, `$12`, `(3.00)` as `1234.50`, `12`, `-3.00`; null where the text is not a number.

    A lone comma is a decimal comma where commas do not separate columns; beside one, digits come in threes.
    """
    if pc.all(pc.match_substring_regex(texts, _PLAIN), min_count=0).as_py():
        return texts
    texts = pc.replace_substring_regex(texts, r"[$€£\s'\x{a0}]", "")
    texts = pc.replace_substring_regex(texts, r"^\((.*)\)$", r"-\1")
    if separator == ",":
        texts = pc.if_else(
            pc.match_substring_regex(texts, _THOUSANDS), pc.replace_substring(texts, ",", ""), texts
        )
    else:
        american = pc.match_substring_regex(texts, _COMMA_THOUSANDS)
        texts = pc.if_else(american, pc.replace_substring(texts, ",", ""), texts)
        european = pc.match_substring_regex(texts, _DECIMAL_COMMA)
        texts = pc.if_else(
            european, pc.replace_substring(pc.replace_substring(texts, ".", ""), ",", "."), texts
        )
    return pc.if_else(pc.match_substring_regex(texts, _PLAIN), texts, pa.scalar(None, pa.string()))
