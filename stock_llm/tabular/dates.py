"""Reads dates and times as files write them, whole columns at once.

In: a column of text. Out: for each row the day as written and the instant in UTC. Understands ISO
8601 (`2024-03-01`, `2024-03-01T14:30:00Z`, `2024-03-01 00:00:00-05:00`), `20240301`, `2024/03/01`,
`01.03.2024`, `2 January 2024`, `Jan 2, 2024`, and `3/1/2024` or `01-03-2024`, where the whole file
must show which number is the month.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.errors import InputError
from stock_llm.tabular.table import as_mask, map_distinct
from stock_llm.tabular.text import without_accents

_LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "nb", "fi", "pl", "cs")
"""Whose names of months are read."""

_OFFSETS = {
    "EST": "-05:00", "EDT": "-04:00", "CST": "-06:00", "CDT": "-05:00", "PST": "-08:00",
    "PDT": "-07:00", "CET": "+01:00", "CEST": "+02:00", "BST": "+01:00", "WET": "+00:00",
}  # fmt: skip
"""Abbreviated zone behind a time → its offset."""

_TIME = (
    r"(?:[T ]+(?P<hour>\d{1,2}):?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:\.(?P<fraction>\d+))?)?"
    r" ?(?P<noon>[AaPp][Mm])?)?"
    r" ?(?:(?P<zone>Z|z|UTC|GMT)|(?P<sign>[+-])(?P<ahead>\d{2}):?(?P<minutes>\d{2}))?$"
)
_YEAR_FIRST = r"^(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})" + _TIME
_SHORT_YEAR_FIRST = r"^(?P<year>\d{2})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})" + _TIME
_PACKED = r"^(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})" + _TIME
_DAY_FIRST = r"^(?P<day>\d{1,2})[-/.](?P<month>\d{1,2})[-/.](?P<year>\d{4}|\d{2})" + _TIME
_MONTH_FIRST = r"^(?P<month>\d{1,2})[-/.](?P<day>\d{1,2})[-/.](?P<year>\d{4}|\d{2})" + _TIME
_DOTTED = r"^(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4}|\d{2})" + _TIME
_PATTERNS = {
    "DMY": (_DAY_FIRST,),
    "MDY": (_MONTH_FIRST,),
    "YMD": (_SHORT_YEAR_FIRST, _DOTTED),
    "": (_DOTTED,),
}
"""Order of a file's dates → how those are read that do not show their order themselves."""

_EITHER = r"^(?P<first>\d{1,2})[-/.](?P<second>\d{1,2})[-/.](?:\d{4}|\d{2})(?:\D|$)"
_NAMED = (
    r"^(?P<day>\d{1,2})[-/. ]+(?:de )?(?P<month>\pL{3,})\.?[-/., ]+(?:de )?(?P<year>\d{4}|\d{2})\b"
    r"(?P<rest>.*)$",
    r"^(?P<month>\pL{3,})\.? +(?P<day>\d{1,2}),? +(?P<year>\d{4})\b(?P<rest>.*)$",
)


@dataclass(frozen=True)
class DateColumn:
    """The dates of some rows.

    Attributes:
        day: datetime64[D], the day as written, whatever the zone; NaT where the text is no date.
        instant: datetime64[us] in UTC; a time without a zone is taken as UTC, a date without a time
            as its midnight.
        timed: whether a time of day was written.
        zoned: whether the text names its zone.
        midnight: whether the time as written is 0:00, or none is written.
    """

    day: np.ndarray
    instant: np.ndarray
    timed: np.ndarray
    zoned: np.ndarray
    midnight: np.ndarray

    def take(self, places: np.ndarray) -> "DateColumn":
        """Returns the dates at some places."""
        columns = (self.day, self.instant, self.timed, self.zoned, self.midnight)
        return DateColumn(*(column[places] for column in columns))


def date_order(columns: Iterable[pa.Array], path: Path) -> str:
    """Returns DMY or MDY, whichever a file's dates show; empty where none can be read both ways.

    Raises:
        InputError: there are such dates, and nothing tells.
    """
    day_first = month_first = 0
    example = ""
    for column in columns:
        texts = pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r".*\bas of ", "")
        either = pc.match_substring_regex(texts, _EITHER)
        if not pc.any(either, min_count=0).as_py():
            continue
        texts = texts.filter(either)
        parts = pc.extract_regex(texts, _EITHER)
        first, second = _numbers(parts, "first"), _numbers(parts, "second")
        dotted = as_mask(pc.match_substring_regex(texts, r"^\d+\.\d+\."))
        day_first += int((((first > 12) & (second <= 12)) | dotted).sum())
        month_first += int(((second > 12) & (first <= 12)).sum())
        example = example or texts[0].as_py()
    if not example:
        return ""
    if day_first == month_first:
        why = (
            "as many can only be read the one way as the other"
            if day_first
            else "no day is above 12"
        )
        raise InputError(
            f"'{example}' may be day/month or month/day: {why} in the whole file",
            file=path,
            remedy="Write the dates as YYYY-MM-DD",
        )
    return "DMY" if day_first > month_first else "MDY"


def read_dates(
    texts: pa.Array, order: str = "", zone: str = "", zones: pa.Array | None = None
) -> DateColumn:
    """Reads a column of dates; an unreadable one is NaT, for the caller to quarantine.

    Args:
        texts: the column.
        order: DMY, MDY or YMD (years of two digits first), as `date_order` or a format says; empty:
            `3/1/2024` is not read.
        zone: IANA zone of times without one; empty: UTC.
        zones: the same for each row, instead of `zone`.
    """
    texts = pc.utf8_trim_whitespace(texts)
    size = len(texts)
    if (days := _plain_days(texts)) is not None:
        no = np.zeros(size, bool)
        return DateColumn(days, days.astype("datetime64[us]"), no, no, ~no)
    texts = _in_plain_words(texts)
    dates = DateColumn(
        np.full(size, "NaT", "datetime64[D]"),
        np.full(size, "NaT", "datetime64[us]"),
        *(np.full(size, value) for value in (False, False, True)),
    )
    unread = np.arange(size)
    for pattern in (_YEAR_FIRST, _PACKED, *_PATTERNS[order]):
        parts = pc.extract_regex(texts.take(pa.array(unread)), pattern)
        matched = as_mask(parts.is_valid())
        rows, unread = unread[matched], unread[~matched]
        if len(rows):
            _fill(dates, rows, parts.drop_null())
    local = dates.timed & ~dates.zoned & ~np.isnat(dates.instant)
    names = set(zones.to_pylist()) - {""} if zones is not None else {zone} - {""}
    for name in names:
        mask = local & as_mask(pc.equal(zones, name)) if zones is not None else local
        dates.instant[mask] = _utc(dates.instant[mask], name)
    return dates


def _plain_days(texts: pa.Array) -> np.ndarray | None:
    """The days of a column in which every text is YYYY-MM-DD; most are."""
    try:
        days = pc.cast(texts, pa.date32())
    except pa.ArrowInvalid:
        return None
    if days.null_count or (pc.year(pc.min(days)).as_py() or 0) < 1000:
        return None
    return np.asarray(days.to_numpy(zero_copy_only=False), "datetime64[D]")


def _in_plain_words(texts: pa.Array) -> pa.Array:
    """Numbers for names of months, offsets for names of zones, one space before a time."""
    if pc.any(pc.match_substring_regex(texts, r"\pL{2}"), min_count=0).as_py():
        texts = pc.replace_substring_regex(texts, r"^.*\bas of ", "")
        for pattern in _NAMED:
            parts = pc.extract_regex(texts, pattern)
            year, month, day, rest = (
                pc.fill_null(parts.field(name), "") for name in ("year", "month", "day", "rest")
            )
            number = map_distinct(month, _month)
            year = pc.binary_join_element_wise(
                pc.if_else(pc.equal(pc.utf8_length(year), 2), "20", ""), year, ""
            )
            numbered = pc.binary_join_element_wise(
                pc.binary_join_element_wise(year, number, day, "-"), rest, ""
            )
            texts = pc.if_else(pc.equal(number, ""), texts, numbered)
        for name, offset in _OFFSETS.items():
            texts = pc.replace_substring_regex(texts, rf" ?\b{name}$", offset)
    texts = pc.replace_substring_regex(texts, r"[,;]\s*", " ")
    return pc.replace_substring_regex(texts, r"^(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}) ?: ?", r"\1 ")


def _month(word: str) -> str:
    """The number of a month by its name, in full or cut off, with or without accents; empty where
    it is none or several."""
    word = _folded(word)
    names = _months()
    months = names.get(word) or {
        month
        for name, of_name in names.items()
        if word and name.startswith(word)
        for month in of_name
    }
    return str(min(months)) if len(months) == 1 else ""


@cache
def _months() -> dict[str, set[int]]:
    """Name of a month → which it is; `lis` may be one in Polish and another in Croatian."""
    from babel import Locale

    months: dict[str, set[int]] = {}
    for language in _LANGUAGES:
        for context in Locale(language).months.values():
            for width in ("wide", "abbreviated"):
                for number, name in context[width].items():
                    months.setdefault(_folded(name), set()).add(number)
    return months


def _folded(word: str) -> str:
    return without_accents(word.lower().rstrip("."))


def _fill(dates: DateColumn, rows: np.ndarray, parts: pa.StructArray) -> None:
    """Writes what a pattern found into the rows that it matched."""
    day, month, year, hour, minute, second = (
        _numbers(parts, name) for name in ("day", "month", "year", "hour", "minute", "second")
    )
    days = _calendar(np.where(year < 100, year + 2000, year), month, day)
    noon, zone, sign, written = (
        pc.utf8_lower(parts.field(name)).to_numpy(zero_copy_only=False)
        for name in ("noon", "zone", "sign", "hour")
    )
    wrong = (
        (hour > 23) | (minute > 59) | (second > 59) | ((noon != "") & ((hour < 1) | (hour > 12)))
    )
    hour = np.where(noon == "", hour, hour % 12 + 12 * (noon == "pm"))
    fraction = pc.utf8_slice_codeunits(pc.utf8_rpad(parts.field("fraction"), 6, "0"), 0, 6)
    ahead = _numbers(parts, "ahead") * 60 + _numbers(parts, "minutes")
    clock = ((hour * 60 + minute) * 60 + second) * 1_000_000 + pc.cast(
        fraction, pa.int64()
    ).to_numpy()
    microseconds = clock - np.where(sign == "-", -ahead, ahead) * 60_000_000
    days = np.where(wrong, np.datetime64("NaT"), days)
    dates.day[rows] = days
    dates.instant[rows] = days.astype("datetime64[us]") + microseconds.astype("timedelta64[us]")
    dates.timed[rows] = written != ""
    dates.midnight[rows] = clock == 0
    dates.zoned[rows] = (zone != "") | (sign != "")


def _calendar(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """datetime64[D]; NaT for 30 February and the like."""
    months = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1)
    days = months.astype("datetime64[D]") + (day - 1)
    real = (month >= 1) & (month <= 12) & (day >= 1) & (days.astype("datetime64[M]") == months)
    return np.where(real, days, np.datetime64("NaT"))


def _numbers(parts: pa.StructArray, name: str) -> np.ndarray:
    """A group of the pattern as int64; 0 where it did not take part."""
    texts = parts.field(name)
    return np.asarray(pc.cast(pc.if_else(pc.equal(texts, ""), "0", texts), pa.int64()))


def _utc(local: np.ndarray, zone: str) -> np.ndarray:
    """Wall-clock times of a zone as UTC; of an hour that exists twice the first, one that does not
    exist moves on."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return np.full(len(local), np.datetime64("NaT"), "datetime64[us]")
    instants = pc.assume_timezone(
        pa.array(local, pa.timestamp("us")), zone, ambiguous="earliest", nonexistent="latest"
    )
    return np.asarray(pc.cast(pc.cast(instants, pa.timestamp("us", "UTC")), pa.timestamp("us")))
