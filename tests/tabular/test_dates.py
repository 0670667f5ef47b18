"""Dates as files write them: every style, the impossible ones, and the ambiguous ones that are
refused."""

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stock_llm.errors import InputError
from stock_llm.tabular.dates import DateColumn, date_order, read_dates


def read(*texts: str) -> DateColumn:
    column = pa.array(texts, pa.string())
    return read_dates(column, date_order([column], Path("some.csv")))


@pytest.mark.parametrize(
    ("text", "day", "instant"),
    [
        ("2024-03-01", "2024-03-01", "2024-03-01T00:00"),
        (" 2024/3/1 ", "2024-03-01", "2024-03-01T00:00"),
        ("20240301", "2024-03-01", "2024-03-01T00:00"),
        ("01.03.2024", "2024-03-01", "2024-03-01T00:00"),
        ("1.3.24 9:05", "2024-03-01", "2024-03-01T09:05"),
        ("2024-03-01T14:30:15Z", "2024-03-01", "2024-03-01T14:30:15"),
        ("2024-03-01 14:30:15.25 UTC", "2024-03-01", "2024-03-01T14:30:15.25"),
        ("2024-03-01 00:00:00+09:00", "2024-03-01", "2024-02-29T15:00"),
        ("2024-03-01T22:00:00-0530", "2024-03-01", "2024-03-02T03:30"),
        ("2024-03-01 12:15 AM", "2024-03-01", "2024-03-01T00:15"),
        ("2024-03-01 12:15pm", "2024-03-01", "2024-03-01T12:15"),
        ("20240301 143000", "2024-03-01", "2024-03-01T14:30"),
    ],
)
def test_styles(text, day, instant):
    times = read(text)
    assert times.day[0] == np.datetime64(day)
    assert times.instant[0] == np.datetime64(instant)
    assert times.timed[0] == (":" in text or "143000" in text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2024-02-30",
        "2024-13-01",
        "2024-00-01",
        "2023-02-29",
        "2024-03-01 24:00",
        "13:00 PM",
        "2024111",
        "2024-03-01 13:00 PM",
    ],
)
def test_what_is_no_date_is_not_made_one(text):
    assert np.isnat(read(text).day[0])
    assert np.isnat(read(text).instant[0])


def test_the_column_shows_which_number_is_the_month():
    assert read("1/2/2024", "1/31/2024").day.astype(str).tolist() == ["2024-01-02", "2024-01-31"]
    assert read("1/2/2024", "31/1/2024").day.astype(str).tolist() == ["2024-02-01", "2024-01-31"]
    mixed = read("1/2/2024", "1/31/2024", "2/25/2024", "31/1/2024")
    assert mixed.day.astype(str).tolist() == ["2024-01-02", "2024-01-31", "2024-02-25", "NaT"]


@pytest.mark.parametrize("texts", [("1/2/2024", "3/4/2024"), ("31/1/2024", "1/31/2024")])
def test_an_ambiguous_column_is_refused(texts):
    with pytest.raises(
        InputError,
        match=r"some.csv: .* may be day/month or month/day.*Write the dates as YYYY-MM-DD",
    ):
        read(*texts)


ZONES = st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours)))
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=ZONES)  # noqa: DTZ001  (the bounds must be naive)


@given(st.lists(MOMENTS, min_size=1))
def test_any_iso_time_is_the_instant_that_python_reads(moments):
    times = read(*(moment.isoformat() for moment in moments))
    for moment, day, instant in zip(moments, times.day, times.instant, strict=True):
        assert instant == np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")
        assert day.astype(date) == moment.date()


FORMS = [
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%d-%b-%Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%Y%m%d",
    "%Y-%m-%dT%H:%M:%SZ",
    "%d/%m/%Y %H:%M",
]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 100 * 365 * 86_400), st.sampled_from(FORMS))
def test_dates_of_every_form_come_back(seconds, form):
    moment = datetime(1990, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    moment = moment.replace(second=0 if "%S" not in form else moment.second)
    if "%H" not in form:
        moment = moment.replace(hour=0, minute=0)
    parsed = read_dates(pa.array([moment.strftime(form)]), "DMY")
    assert parsed.instant[0] == np.datetime64(moment.replace(tzinfo=None))
    assert parsed.timed[0] == ("%H" in form)


def test_an_hour_that_exists_twice_is_the_first_and_one_that_does_not_exist_moves_on():
    texts = pa.array(["2024-11-03 01:30", "2024-03-10 02:30", "2024-07-01 09:30 EDT", "2024-07-01"])
    parsed = read_dates(texts, "", "America/New_York")
    utc = [
        datetime(2024, 11, 3, 5, 30, tzinfo=UTC),
        datetime(2024, 3, 10, 7, tzinfo=UTC),
        datetime(2024, 7, 1, 13, 30, tzinfo=UTC),
    ]
    assert [instant.astype(datetime).replace(tzinfo=UTC) for instant in parsed.instant[:3]] == utc
    assert (parsed.instant[3], bool(parsed.timed[3])) == (np.datetime64("2024-07-01"), False)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2 de enero de 2024", "2024-01-02"),
        ("03-ago-24", "2024-08-03"),
        ("15 déc. 2023", "2023-12-15"),
        ("1 Fév 2024", "2024-02-01"),
        ("7 mrt 2024", "2024-03-07"),
        ("9 März 2024", "2024-03-09"),
        ("12 gennaio 2024", "2024-01-12"),
        ("30 kwietnia 2024", "2024-04-30"),
        ("Sept 5, 2024", "2024-09-05"),
        ("5 May 2024 14:30", "2024-05-05"),
    ],
)
def test_names_of_months_in_the_languages_of_brokers(text, day):
    assert read_dates(pa.array([text])).day[0] == np.datetime64(day)


@pytest.mark.parametrize("text", ["2 Smarch 2024", "2 jui 2024", "2 ma 2024"])
def test_a_word_that_is_no_month_or_two_of_them_is_not_read(text):
    assert np.isnat(read_dates(pa.array([text])).day[0])
