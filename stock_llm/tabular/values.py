"""Numbers, dates and codes as people and brokers write them, whole columns at once.

In: columns of text and what a format says of them. Out: decimals with their sign, instants in UTC, currency codes; null where a
text is none of these. What `1,234` means is read from the row, then from the file, then from the format; where all are silent or
contradict each other it stays unread. Does not know ledger kinds.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import reduce
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.errors import InputError
from stock_llm.tabular.dates import read_times

MONEY = pa.decimal128(38, 12)
FACTOR = pa.decimal256(27, 12)
"""Wide enough for numbers below `LARGEST`; a product or quotient of two fits 76 digits."""

LARGEST = Decimal(10) ** 13
ZERO = pa.scalar(Decimal(0), FACTOR)

_OFFICIAL = (
    "AED ARS AUD BGN BRL CAD CHF CLP CNH CNY COP CZK DKK EGP EUR GBP GBX HKD HUF IDR ILS INR ISK JPY KRW KWD KZT MXN MYR NOK NZD"
    " PEN PHP PKR PLN QAR RON RSD RUB SAR SEK SGD THB TRY TWD UAH USD UYU VND ZAR"
)
FIAT = frozenset(_OFFICIAL.split())
"""Official currencies, GBX for pence."""
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
_MARK = r"(?P<mark>[€$£¥₹₽฿₩]|\b[A-Z]{3}\b|zł)"

_NOTHING = frozenset(
    ("", "-", "--", "—", "–", "n/a", "na", "none", "null", "not available", "nan", "#n/a")
)
_PLAIN = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?$"
_EITHER_WAY = r"^[+-]?[1-9]\d{0,2}[.,]\d{3}$"
_DECIMAL_COMMA = r"^[+-]?(?:\d*,\d+|\d{1,3}(?:\.\d{3})+,\d*|\d{1,3}(?:\.\d{3}){2,})$"
_DECIMAL_POINT = r"^[+-]?(?:\d*\.\d+|\d{1,3}(?:,\d{3})+\.\d*|\d{1,3}(?:,\d{3}){2,})$"


def trimmed(texts: pa.Array) -> pa.Array:
    """Without white space at the ends, non-breaking space included."""
    return pc.utf8_trim_whitespace(texts)


def bare(texts: pa.Array) -> pa.Array:
    """Numbers without currency marks, spaces and apostrophes, `(3.00)` and `3.00-` as `-3.00`; empty where nothing is meant."""
    if pc.all(pc.match_substring_regex(texts, _PLAIN), min_count=0).as_py():
        return texts
    texts = pc.replace_substring(texts, "−", "-")
    texts = pc.if_else(
        pc.is_in(pc.utf8_lower(trimmed(texts)), pa.array(sorted(_NOTHING))), "", texts
    )
    texts = pc.replace_substring_regex(texts, r"^[\s\x{a0}]*[A-Z]{3}\b|\b[A-Z]{3}[\s\x{a0}]*$", "")
    texts = pc.replace_substring_regex(texts, r"[€$£¥₹₽฿₩\s'’\x{a0}\x{202f}]|zł", "")
    texts = pc.replace_substring_regex(texts, r"^\((.*)\)$", r"-\1")
    return pc.replace_substring_regex(texts, r"^([\d.,]+)-$", r"-\1")


def comma_or_point(columns: Iterable[pa.ChunkedArray]) -> str:
    """The decimal sign that the numbers of a file show; empty where they show none or both."""
    comma = point = False
    for column in columns:
        for chunk in column.chunks:
            if not pc.any(pc.match_substring_regex(chunk, r"[.,]\d"), min_count=0).as_py():
                continue
            texts = bare(chunk)
            sure = pc.invert(pc.match_substring_regex(texts, _EITHER_WAY))
            comma = comma or _any(pc.and_(sure, pc.match_substring_regex(texts, _DECIMAL_COMMA)))
            point = point or _any(pc.and_(sure, pc.match_substring_regex(texts, _DECIMAL_POINT)))
    return "" if comma == point else "," if comma else "."


def _any(mask: pa.Array) -> bool:
    return bool(pc.any(mask, min_count=0).as_py())


@dataclass(frozen=True)
class Numbers:
    """Numbers of a slice: role → decimals with sign, null where empty or wrong; and role → which texts are wrong."""

    of: dict[str, pa.Array]
    wrong: dict[str, np.ndarray]


def read_numbers(
    texts: Mapping[str, pa.Array], file_says: str, format_says: str, separator: str
) -> Numbers:
    """All number columns of a slice, so that one number of a row can tell how another is meant."""
    columns = {role: bare(column) for role, column in texts.items()}
    if not any(_any(pc.match_substring_regex(column, "[.,]")) for column in columns.values()):
        read = {role: _plain_decimals(column) for role, column in columns.items()}
    else:
        read = {
            role: _plain_decimals(column)
            for role, column in _resolved(columns, file_says, format_says, separator).items()
        }
    wrong = {
        role: pc.and_(pc.is_null(read[role]), pc.not_equal(column, "")).to_numpy(
            zero_copy_only=False
        )
        for role, column in columns.items()
    }
    return Numbers(read, wrong)


def _resolved(
    columns: dict[str, pa.Array], file_says: str, format_says: str, separator: str
) -> dict[str, pa.Array]:
    """Numbers with a point before their decimals and nothing else; null where that cannot be told."""
    odd = any(_any(pc.match_substring_regex(column, r",|\..*\.")) for column in columns.values())
    if not odd and "," not in (file_says, format_says):
        return columns
    comma = {
        role: pc.match_substring_regex(column, _DECIMAL_COMMA) for role, column in columns.items()
    }
    either = {
        role: pc.match_substring_regex(column, _EITHER_WAY) for role, column in columns.items()
    }
    point = {
        role: pc.match_substring_regex(column, _DECIMAL_POINT) for role, column in columns.items()
    }
    row_comma = reduce(pc.or_, (pc.and_not(comma[role], either[role]) for role in columns))
    row_point = reduce(pc.or_, (pc.and_not(point[role], either[role]) for role in columns))
    fallback = file_says or format_says
    result = {}
    for role, column in columns.items():
        lone_comma = pc.match_substring(column, ",")
        # Where nothing tells, a comma beside comma-separated cells groups digits; any other lone sign begins decimals.
        otherwise = (
            pa.scalar(fallback == ",") if fallback else pc.and_(lone_comma, separator != ",")
        )
        says = pc.if_else(
            pc.and_not(row_comma, row_point),
            True,
            pc.if_else(pc.and_not(row_point, row_comma), False, otherwise),
        )
        is_comma = pc.if_else(either[role], says, comma[role])
        european = pc.replace_substring(pc.replace_substring(column, ".", ""), ",", ".")
        american = pc.replace_substring(column, ",", "")
        written = pc.or_(comma[role], pc.or_(point[role], pc.invert(lone_comma)))
        value = pc.if_else(is_comma, european, american)
        result[role] = pc.if_else(pc.or_(written, pc.equal(column, "")), value, pa.scalar("?"))
    return result


def _plain_decimals(texts: pa.Array) -> pa.Array:
    """Decimals of 12 places, rounded half to even; null where the text is empty, no number, or too large."""
    plain = pc.match_substring_regex(texts, r"^[+-]?(?:\d{1,13}(?:\.\d{0,30})?|\.\d{1,30})$")
    if not pc.all(plain, min_count=0).as_py():
        texts = pa.array(
            [
                text if fits else _spelled_out(text)
                for text, fits in zip(texts.to_pylist(), plain.to_pylist(), strict=True)
            ],
            pa.string(),
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


def product(one: pa.Array, other: pa.Array) -> pa.Array:
    """12 places, half to even; null where a factor is null or the product is beyond `LARGEST` squared."""
    return _fitting(pc.round(pc.multiply(one, other), 12, "half_to_even"))


def quotient(one: pa.Array, other: pa.Array) -> pa.Array:
    """12 places, half to even; null where there is nothing to divide by."""
    other = pc.if_else(pc.equal(other, ZERO), pa.scalar(None, FACTOR), other)
    return _fitting(pc.round(pc.divide(one, other), 12, "half_to_even"))


def total(one: pa.Array, other: pa.Array) -> pa.Array:
    """The sum; null where a part is null."""
    return _fitting(pc.add(one, other))


def _fitting(values: pa.Array) -> pa.Array:
    """Back to FACTOR; null where a value is beyond what it holds."""
    limit = pa.scalar(Decimal(10) ** 15 - 1, values.type)
    return pc.cast(
        pc.if_else(pc.less_equal(pc.abs(values), limit), values, pa.scalar(None, values.type)),
        FACTOR,
    )


def marks(texts: pa.Array) -> pa.Array:
    """The currency written beside a number (`€5`, `5 SEK`) as a code; empty where there is none."""
    found = pc.struct_field(pc.extract_regex(texts, _MARK), "mark")
    return mapped(pc.fill_null(found, ""), lambda mark: MARKS.get(mark, mark))


def mapped(texts: pa.Array, change) -> pa.Array:
    """`change` applied once to each distinct text."""
    encoded = texts.dictionary_encode()
    changed = pa.array([change(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return changed.take(encoded.indices)


@dataclass(frozen=True)
class Instants:
    """Dates of a slice: datetime64[us] in UTC (NaT where the text is no date), and whether a time of day was written."""

    at: np.ndarray
    timed: np.ndarray


_MONTHS = {
    1: "january|januar|januari|janvier|enero|gennaio|janeiro|jan|ene|gen",
    2: "february|februar|februari|février|febrero|febbraio|fevereiro|feb|fév|fev",
    3: "march|märz|maart|mars|marzo|março|mar|mär|mrt",
    4: "april|avril|abril|aprile|apr|avr|abr",
    5: "may|mai|mei|mayo|maggio|maio|maj|mag",
    6: "june|juni|juin|junio|giugno|junho|jun|giu",
    7: "july|juli|juillet|julio|luglio|julho|jul|juil|lug",
    8: "august|augustus|août|agosto|augusti|aug|aoû|ago",
    9: "september|septembre|septiembre|settembre|setembro|sept|sep|set",
    10: "october|oktober|octobre|octubre|ottobre|outubro|oct|okt|ott|out",
    11: "november|novembre|noviembre|novembro|nov",
    12: "december|dezember|décembre|diciembre|dicembre|dezembro|dec|dez|déc|dic",
}
_ZONES = {
    "EST": "-05:00", "EDT": "-04:00", "CST": "-06:00", "CDT": "-05:00", "PST": "-08:00", "PDT": "-07:00",
    "CET": "+01:00", "CEST": "+02:00", "BST": "+01:00", "WET": "+00:00", "ET": "America/New_York",
}  # fmt: skip
_SLASHED = r"^(?P<one>\d{1,2})[-/.](?P<two>\d{1,2})[-/.](?:\d{4}|\d{2})(?:\D|$)"
_ZONED = r"(?:[Zz]|UTC|GMT|\d [+-]\d{2}:?\d{2}|(?::\d{2}|[ T]\d{6})(?:\.\d+)?[+-]\d{2}:?\d{2})$"


def day_order(column: pa.ChunkedArray, path: Path) -> str:
    """DMY or MDY, whichever a file's dates show; empty where it has none that can be read both ways.

    Raises:
        InputError: there are such dates, and nothing tells.
    """
    day_first = month_first = 0
    example = ""
    for chunk in column.chunks:
        parts = pc.drop_null(
            pc.extract_regex(pc.replace_substring_regex(chunk, r".*\bas of ", ""), _SLASHED)
        )
        if not len(parts):
            continue
        one, two = (
            pc.cast(pc.struct_field(parts, name), pa.int64()).to_numpy() for name in ("one", "two")
        )
        day_first += int(((one > 12) & (two <= 12)).sum())
        month_first += int(((two > 12) & (one <= 12)).sum())
        example = example or f"{one[0]}/{two[0]}"
        dots = pc.match_substring_regex(chunk, r"^\d{1,2}\.\d{1,2}\.")
        day_first += int(pc.sum(dots, min_count=0).as_py())
    if not example:
        return ""
    if day_first == month_first:
        why = (
            "no day is above 12"
            if not day_first
            else "as many can only be read the one way as the other"
        )
        raise InputError(
            f"'{example}' may be day/month or month/day: {why} in the whole file",
            file=path,
            remedy="Write the dates as YYYY-MM-DD",
        )
    return "DMY" if day_first > month_first else "MDY"


def read_instants(
    texts: pa.Array, order: str, zone: str, zones: pa.Array | None, path: Path
) -> Instants:
    """The dates of a slice. `order` is DMY, MDY, YMD (years of two digits first) or empty. `zone` is that of times that do not
    say theirs; `zones` has one for each row."""
    texts = _with_numbered_months(trimmed(texts))
    texts = pc.replace_substring_regex(texts, r"^.*\bas of ", "")
    texts = pc.replace_substring_regex(texts, r"[,;]\s*", " ")
    texts = pc.replace_substring_regex(texts, r"^(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}) ?: ?", r"\1 ")
    if order == "YMD":
        texts = pc.replace_substring_regex(
            texts, r"^(\d\d)([-/.]\d{1,2}[-/.]\d{1,2})(\D|$)", r"20\1\2\3"
        )
    elif order:
        swapped = r"\4-\2-\1\5" if order == "DMY" else r"\4-\1-\2\5"
        texts = pc.replace_substring_regex(
            texts, r"^(\d{1,2})[-/.](\d{1,2})([-/.])(\d\d)(\D|$)", r"\1\3\2\320\4\5"
        )
        texts = pc.replace_substring_regex(
            texts, r"^(\d{1,2})[-/.](\d{1,2})([-/.])(\d{4})(\D|$)", swapped
        )
    named = _any(pc.match_substring_regex(texts, r"[A-Z]{2,4}$"))
    for name, offset in _ZONES.items():
        if named and ":" in offset and _any(pc.match_substring(texts, name)):
            texts = pc.replace_substring_regex(texts, rf" ?\b{name}$", offset)
    times = read_times(texts, path)
    local = times.timed & ~np.isnat(times.instant)
    local &= ~pc.match_substring_regex(texts, _ZONED).to_numpy(zero_copy_only=False)
    at = times.instant.copy()
    if zones is not None:
        for name in set(zones.to_pylist()) - {""}:
            mask = local & pc.equal(zones, name).to_numpy(zero_copy_only=False)
            at[mask] = _utc(at[mask], name)
    elif zone:
        at[local] = _utc(at[local], zone)
    plausible = (at >= np.datetime64("1900-01-01")) & (at < np.datetime64("2100-01-01"))
    return Instants(np.where(plausible, at, np.datetime64("NaT")), times.timed)


def _with_numbered_months(texts: pa.Array) -> pa.Array:
    """`02-Jan-2025`, `2 January 2025` and `Jan 2, 2025` as `2025-1-2`."""
    if not _any(pc.match_substring_regex(texts, r"\pL{3}")):
        return texts
    for number, names in _MONTHS.items():
        word = rf"(?i:{names})\.?"
        texts = pc.replace_substring_regex(
            texts, rf"^(\d{{1,2}})[-/. ]+{word}[-/., ]+(\d{{4}})\b", rf"\2-{number}-\1"
        )
        texts = pc.replace_substring_regex(
            texts, rf"^(\d{{1,2}})[-/. ]+{word}[-/., ]+(\d{{2}})\b", rf"20\2-{number}-\1"
        )
        texts = pc.replace_substring_regex(
            texts, rf"^{word} +(\d{{1,2}}),? +(\d{{4}})\b", rf"\2-{number}-\1"
        )
    return texts


def _utc(local: np.ndarray, zone: str) -> np.ndarray:
    """Wall-clock times of a zone as UTC; of an hour that exists twice the first, one that does not exist moves on."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return np.full(len(local), np.datetime64("NaT"), "datetime64[us]")
    instants = pc.assume_timezone(
        pa.array(local, pa.timestamp("us")), zone, ambiguous="earliest", nonexistent="latest"
    )
    return pc.local_timestamp(pc.cast(instants, pa.timestamp("us", "UTC"))).to_numpy(
        zero_copy_only=False
    )
