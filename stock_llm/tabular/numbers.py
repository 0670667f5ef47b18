"""Reads numbers as people and brokers write them, whole columns at once.

In: columns of text. Out: decimals or floats with their sign, null or NaN where a text is no number.
What `1,234` means is read from the row, then from the file, then from the format; where all are
silent or contradict each other it stays unread.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.tabular.table import as_mask, map_distinct

MONEY = pa.decimal128(38, 12)
FACTOR = pa.decimal256(27, 12)
"""Wide enough for numbers below `LARGEST`; a product or quotient of two fits 76 digits."""

LARGEST = Decimal(10) ** 13
ZERO = pa.scalar(Decimal(0), FACTOR)

FIAT = frozenset((
    "AED", "ARS", "AUD", "BGN", "BRL", "CAD", "CHF", "CLP", "CNH", "CNY", "COP", "CZK", "DKK",
    "EGP", "EUR", "GBP", "GBX", "HKD", "HUF", "IDR", "ILS", "INR", "ISK", "JPY", "KRW", "KWD",
    "KZT", "MXN", "MYR", "NOK", "NZD", "PEN", "PHP", "PKR", "PLN", "QAR", "RON", "RSD", "RUB",
    "SAR", "SEK", "SGD", "THB", "TRY", "TWD", "UAH", "USD", "UYU", "VND", "ZAR",
))  # fmt: skip
"""Currencies that accounts are kept in, GBX for pence. Not all of ISO 4217: MNT, SCR and TOP are
coins to an exchange."""

MARKS = {
    "€": "EUR",
    "$": "USD",
    "£": "GBP",
    "¥": "JPY",
    "₹": "INR",
    "₽": "RUB",
    "฿": "THB",
    "₩": "KRW",
    "zł": "PLN",
}
"""Sign beside a number → currency."""

_MARK = r"(?P<mark>[€$£¥₹₽฿₩]|\b[A-Z]{3}\b|zł)"
_NOTHING = ("", "-", "--", "—", "–", "n/a", "na", "none", "null", "not available", "nan", "#n/a")
_PLAIN = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?$"
_EITHER_WAY = r"^[+-]?[1-9]\d{0,2}[.,]\d{3}$"
_DECIMAL_COMMA = r"^[+-]?(?:\d*,\d+|\d{1,3}(?:\.\d{3})+,\d*|\d{1,3}(?:\.\d{3}){2,})$"
_DECIMAL_POINT = r"^[+-]?(?:\d*\.\d+|\d{1,3}(?:,\d{3})+\.\d*|\d{1,3}(?:,\d{3}){2,})$"


def bare(texts: pa.Array) -> pa.Array:
    """Removes currency marks, spaces and apostrophes; `(3.00)` and `3.00-` become `-3.00`, `n/a`
    and the like empty."""
    if pc.all(pc.match_substring_regex(texts, _PLAIN), min_count=0).as_py():
        return texts
    texts = pc.replace_substring(texts, "−", "-")
    texts = pc.if_else(
        pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(texts)), pa.array(_NOTHING)), "", texts
    )
    texts = pc.replace_substring_regex(texts, r"^[\s\x{a0}]*[A-Z]{3}\b|\b[A-Z]{3}[\s\x{a0}]*$", "")
    texts = pc.replace_substring_regex(texts, r"[€$£¥₹₽฿₩\s'’\x{a0}\x{202f}]|zł", "")
    texts = pc.replace_substring_regex(texts, r"^\((.*)\)$", r"-\1")
    return pc.replace_substring_regex(texts, r"^([\d.,]+)-$", r"-\1")


def decimal_sign(columns: Iterable[pa.Array]) -> str:
    """Returns the decimal sign that the numbers of a file show; empty where they show none or
    both."""
    comma = point = False
    for column in columns:
        if as_mask(pc.match_substring_regex(column, r"[.,]\d")).any():
            texts = bare(column)
            texts = texts.filter(pc.invert(pc.match_substring_regex(texts, _EITHER_WAY)))
            comma |= bool(as_mask(pc.match_substring_regex(texts, _DECIMAL_COMMA)).any())
            point |= bool(as_mask(pc.match_substring_regex(texts, _DECIMAL_POINT)).any())
    return "" if comma == point else "," if comma else "."


@dataclass(frozen=True)
class NumberColumns:
    """Numbers of some rows by role: decimals, null where empty or wrong; and which texts are
    wrong."""

    values: dict[str, pa.Array]
    wrong: dict[str, np.ndarray]


def read_numbers(
    texts: Mapping[str, pa.Array], file_sign: str, format_sign: str, separator: str
) -> NumberColumns:
    """Reads all number columns of some rows, so that one number of a row can tell how another is
    meant.

    Args:
        texts: the columns by role.
        file_sign, format_sign: what the file shows and the format says is the decimal sign; empty
            where they are silent.
        separator: what stands between the cells of the file.
    """
    bared = {role: bare(column) for role, column in texts.items()}
    values = {
        role: _decimals(column)
        for role, column in _with_points(bared, file_sign or format_sign, separator).items()
    }
    wrong = {
        role: as_mask(pc.and_(pc.is_null(values[role]), pc.not_equal(column, "")))
        for role, column in bared.items()
    }
    return NumberColumns(values, wrong)


def read_floats(
    texts: Mapping[str, pa.Array], file_sign: str, separator: str
) -> dict[str, np.ndarray]:
    """Reads all number columns of some rows as float64, NaN where a text is empty or no number; see
    `read_numbers`."""
    pointed = _with_points(
        {role: bare(column) for role, column in texts.items()}, file_sign, separator
    )
    return {
        role: plain_floats(pc.if_else(pc.match_substring_regex(column, _PLAIN), column, None))
        for role, column in pointed.items()
    }


def plain_floats(texts: pa.Array) -> np.ndarray:
    """Reads a column in which every text is empty, null or a plain number.

    Raises:
        pyarrow.ArrowInvalid: another text is there.
    """
    return np.asarray(pc.cast(pc.if_else(pc.equal(texts, ""), None, texts), pa.float64()))


def _with_points(columns: dict[str, pa.Array], sign: str, separator: str) -> dict[str, pa.Array]:
    """Writes numbers with a point before their decimals and nothing else; `?` where that cannot be
    told."""
    odd = any(
        as_mask(pc.match_substring_regex(column, r",|\..*\.")).any() for column in columns.values()
    )
    if not odd and sign != ",":
        return columns
    either, comma, point = (
        {role: pc.match_substring_regex(column, pattern) for role, column in columns.items()}
        for pattern in (_EITHER_WAY, _DECIMAL_COMMA, _DECIMAL_POINT)
    )
    row_comma = reduce(pc.or_, (pc.and_not(comma[role], either[role]) for role in columns))
    row_point = reduce(pc.or_, (pc.and_not(point[role], either[role]) for role in columns))
    result = {}
    for role, column in columns.items():
        has_comma = pc.match_substring(column, ",")
        # Where nothing tells, a comma beside comma-separated cells groups digits; any other lone
        # sign begins decimals.
        otherwise = pa.scalar(sign == ",") if sign else pc.and_(has_comma, separator != ",")
        row_says = pc.if_else(pc.xor(row_comma, row_point), row_comma, otherwise)
        european = pc.replace_substring(pc.replace_substring(column, ".", ""), ",", ".")
        american = pc.replace_substring(column, ",", "")
        number = pc.if_else(pc.if_else(either[role], row_says, comma[role]), european, american)
        known = pc.or_(pc.or_(comma[role], point[role]), pc.invert(has_comma))
        result[role] = pc.if_else(known, number, "?")
    return result


def _decimals(texts: pa.Array) -> pa.Array:
    """Decimals of 12 places, rounded half to even; null where the text is empty, no number, or too
    large."""
    plain = pc.match_substring_regex(texts, r"^[+-]?(?:\d{1,13}(?:\.\d{0,30})?|\.\d{1,30})$")
    if not pc.all(plain, min_count=0).as_py():
        written = zip(texts.to_pylist(), plain.to_pylist(), strict=True)
        texts = pa.array(
            [text if fits else _spelled_out(text) for text, fits in written], pa.string()
        )
    return pc.cast(pc.round(pc.cast(texts, pa.decimal256(60, 30)), 12, "half_to_even"), FACTOR)


def _spelled_out(text: str) -> str | None:
    if not re.fullmatch(_PLAIN, text):
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return f"{value:.30f}" if abs(value) < LARGEST else None


def product(left: pa.Array, right: pa.Array) -> pa.Array:
    """Multiplies to 12 places, half to even; null where a factor is null or the product does not
    fit."""
    return _fitting(pc.round(pc.multiply(left, right), 12, "half_to_even"))


def quotient(left: pa.Array, right: pa.Array) -> pa.Array:
    """Divides to 12 places, half to even; null where there is nothing to divide by."""
    right = pc.if_else(pc.equal(right, ZERO), pa.scalar(None, FACTOR), right)
    return _fitting(pc.round(pc.divide(left, right), 12, "half_to_even"))


def total(left: pa.Array, right: pa.Array) -> pa.Array:
    """Adds; null where a part is null."""
    return _fitting(pc.add(left, right))


def _fitting(values: pa.Array) -> pa.Array:
    """Back to FACTOR; null where a value is beyond what it holds."""
    limit = pa.scalar(Decimal(10) ** 15 - 1, values.type)
    return pc.cast(
        pc.if_else(pc.less_equal(pc.abs(values), limit), values, pa.scalar(None, values.type)),
        FACTOR,
    )


def marks(texts: pa.Array) -> pa.Array:
    """Returns the currency written beside each number (`€5`, `5 SEK`) as a code; empty where there
    is none."""
    mark = pc.struct_field(pc.extract_regex(texts, _MARK), "mark")
    return map_distinct(pc.fill_null(mark, ""), lambda mark: MARKS.get(mark, mark))
