"""Dates and times as files write them, whole columns at once.

In: a column of text. Out: for each row the day as written and the instant in UTC. Understands ISO 8601 (`2024-03-01`,
`2024-03-01T14:30:00Z`, `2024-03-01 00:00:00-05:00`), `20240301`, `2024/03/01`, `01.03.2024` (day first), and `3/1/2024` or
`01-03-2024`, where the column itself must show which number is the month. Does not guess.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.errors import InputError

_TIME = (
    r"(?:[T ]+(?P<hour>\d{1,2}):?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:\.(?P<fraction>\d+))?)?"
    r" ?(?P<noon>[AaPp][Mm])?)? ?(?:(?P<zone>Z|z|UTC|GMT)|(?P<sign>[+-])(?P<ahead>\d{2}):?(?P<minutes>\d{2}))?$"
)
_YEAR_FIRST = r"^(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})" + _TIME
_PACKED = r"^(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})" + _TIME
_DAY_FIRST = r"^(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4}|\d{2})" + _TIME
_EITHER = r"^(?P<one>\d{1,2})[-/](?P<two>\d{1,2})[-/](?P<year>\d{4}|\d{2})" + _TIME


@dataclass(frozen=True)
class Times:
    """One column, read.

    Attributes:
        day: datetime64[D], the day as written, whatever the zone; NaT where the text is not a date.
        instant: datetime64[us] in UTC; a time without a zone is taken as UTC, a date without a time as its midnight.
        timed: whether a time of day was written.
    """

    day: np.ndarray
    instant: np.ndarray
    timed: np.ndarray


def read_times(texts: pa.Array | pa.ChunkedArray, file: Path) -> Times:
    """The dates of one column of `file`; an unreadable one is NaT, for the caller to set aside.

    Raises:
        InputError: days and months cannot be told apart.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    texts = pc.utf8_trim_whitespace(texts)
    size = len(texts)
    if (days := _plain_days(texts)) is not None:
        return Times(days, days.astype("datetime64[us]"), np.zeros(size, bool))
    times = Times(
        np.full(size, "NaT", "datetime64[D]"),
        np.full(size, "NaT", "datetime64[us]"),
        np.zeros(size, bool),
    )
    unread = np.arange(size)
    for pattern in (_YEAR_FIRST, _PACKED, _DAY_FIRST, _EITHER):
        parts = pc.extract_regex(texts.take(pa.array(unread)), pattern)
        matched = parts.is_valid().to_numpy(zero_copy_only=False)
        rows, unread = unread[matched], unread[~matched]
        if not len(rows):
            continue
        parts = parts.drop_null()
        if pattern is _EITHER:
            one, two = _numbers(parts, "one"), _numbers(parts, "two")
            month, day = (
                (one, two) if _month_first(one, two, texts[rows[0]].as_py(), file) else (two, one)
            )
        else:
            month, day = _numbers(parts, "month"), _numbers(parts, "day")
        _fill(times, rows, _calendar(_numbers(parts, "year"), month, day), parts)
    return times


def _plain_days(texts: pa.Array) -> np.ndarray | None:
    """The days of a column in which every text is YYYY-MM-DD; most are."""
    try:
        days = pc.cast(texts, pa.date32())
    except pa.ArrowInvalid:
        return None
    if days.null_count or (pc.year(pc.min(days)).as_py() or 0) < 1000:
        return None
    return days.to_numpy(zero_copy_only=False).astype("datetime64[D]")


def _month_first(one: np.ndarray, two: np.ndarray, example: str, file: Path) -> bool:
    month_first, day_first = int((two > 12).sum()), int((one > 12).sum())
    if month_first == day_first:
        why = (
            "no day is above 12"
            if not day_first
            else "some days can only be read one way, as many only the other"
        )
        raise InputError(
            f"'{example}' may be day/month or month/day: {why} in the whole file",
            file=file,
            remedy="Write the dates as YYYY-MM-DD",
        )
    return month_first > day_first


def _calendar(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """datetime64[D]; NaT for 30 February and the like. A year of two digits is of this century."""
    year = np.where(year < 100, year + 2000, year)
    months = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1)
    days = months.astype("datetime64[D]") + (day - 1)
    real = (month >= 1) & (month <= 12) & (day >= 1) & (days.astype("datetime64[M]") == months)
    return np.where(real, days, np.datetime64("NaT"))


def _fill(times: Times, rows: np.ndarray, days: np.ndarray, parts: pa.StructArray) -> None:
    hour, minute, second = (_numbers(parts, name) for name in ("hour", "minute", "second"))
    noon = pc.utf8_lower(parts.field("noon")).to_numpy(zero_copy_only=False)
    wrong = (
        (hour > 23) | (minute > 59) | (second > 59) | ((noon != "") & ((hour < 1) | (hour > 12)))
    )
    hour = np.where(noon == "", hour, hour % 12 + 12 * (noon == "pm"))
    fraction = pc.cast(
        pc.utf8_slice_codeunits(pc.utf8_rpad(parts.field("fraction"), 6, "0"), 0, 6), pa.int64()
    ).to_numpy()
    ahead = _numbers(parts, "ahead") * 60 + _numbers(parts, "minutes")
    ahead = np.where(parts.field("sign").to_numpy(zero_copy_only=False) == "-", -ahead, ahead)
    microseconds = ((hour * 60 + minute - ahead) * 60 + second) * 1_000_000 + fraction
    days = np.where(wrong, np.datetime64("NaT"), days)
    times.day[rows] = days
    times.instant[rows] = days.astype("datetime64[us]") + microseconds.astype("timedelta64[us]")
    times.timed[rows] = parts.field("hour").to_numpy(zero_copy_only=False) != ""


def _numbers(parts: pa.StructArray, name: str) -> np.ndarray:
    """A group of the pattern as int64; 0 where it did not take part."""
    texts = parts.field(name)
    return pc.cast(pc.if_else(pc.equal(texts, ""), "0", texts), pa.int64()).to_numpy()
