"""Numbers and dates written in the ways of many countries come back as they went in."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stock_llm.tabular import values

CONVENTIONS = {
    "1,234.5": (",", "."),
    "1.234,5": (".", ","),
    "1'234.5": ("'", "."),
    "1 234,5": (" ", ","),
    "1\u00a0234,5": ("\u00a0", ","),
}
NUMBER = st.decimals(min_value=Decimal("-9999999"), max_value=Decimal("9999999"), places=4)


def written(number: Decimal, convention: str) -> str:
    group, point = CONVENTIONS[convention]
    return f"{number:,.4f}".replace(",", "\0").replace(".", point).replace("\0", group)


def read(
    column: list[str], file_says: str | None = None, format_says: str = "", separator: str = ";"
) -> list[Decimal | None]:
    texts = pa.array(column, pa.string())
    file_says = (
        values.comma_or_point([pa.chunked_array([texts])]) if file_says is None else file_says
    )
    return values.read_numbers({"n": texts}, file_says, format_says, separator).of["n"].to_pylist()


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBER, min_size=1, max_size=8), st.sampled_from(sorted(CONVENTIONS)))
def test_numbers_of_every_convention_come_back(numbers, convention):
    assert read([written(number, convention) for number in numbers]) == numbers


@settings(max_examples=60, deadline=None)
@given(
    st.lists(NUMBER, min_size=1, max_size=5),
    st.sampled_from(["€{}", "{} USD", "$ {}", "{} zł", "CHF {}", "{}  "]),
)
def test_marks_and_spaces_do_not_change_a_number(numbers, around):
    assert read([around.format(written(number, "1,234.5")) for number in numbers]) == numbers


@settings(max_examples=40, deadline=None)
@given(NUMBER)
def test_brackets_and_a_minus_behind_are_a_minus(number):
    plain = written(abs(number), "1,234.5")
    assert read([f"({plain})", f"{plain}-", f"−{plain}"]) == [-abs(number)] * 3


@pytest.mark.parametrize(
    ("text", "file_says", "format_says", "separator", "meant"),
    [
        ("1,234", ",", "", ";", "1.234"),
        ("1,234", ".", "", ";", "1234"),
        ("1,234", "", ",", ",", "1.234"),
        ("1,234", "", "", ",", "1234"),
        ("1,234", "", "", ";", "1.234"),
        ("1.234", ",", "", ";", "1234"),
        ("1.234", "", "", ";", "1.234"),
        ("0.123", ",", "", ";", "0.123"),
        ("1.234.567", "", "", ";", "1234567"),
    ],
)
def test_what_one_sign_before_three_digits_means(text, file_says, format_says, separator, meant):
    assert read([text], file_says, format_says, separator) == [Decimal(meant)]


def test_what_is_no_number_is_none():
    assert read(["", "-", "n/a", "abc", "1,2,3", "1.2.3", "--5", "12e99"]) == [None] * 8


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
    found = values.read_instants(pa.array([moment.strftime(form)]), "DMY", "", None, Path("x.csv"))
    assert found.at[0] == np.datetime64(moment.replace(tzinfo=None))
    assert found.timed[0] == ("%H" in form)


def test_an_hour_that_exists_twice_is_the_first_and_one_that_does_not_exist_moves_on():
    texts = pa.array(["2024-11-03 01:30", "2024-03-10 02:30", "2024-07-01 09:30 EDT", "2024-07-01"])
    found = values.read_instants(texts, "", "America/New_York", None, Path("x.csv"))
    utc = [
        datetime(2024, 11, 3, 5, 30, tzinfo=UTC),
        datetime(2024, 3, 10, 7, tzinfo=UTC),
        datetime(2024, 7, 1, 13, 30, tzinfo=UTC),
    ]
    assert [one.astype(datetime).replace(tzinfo=UTC) for one in found.at[:3]] == utc
    assert (found.at[3], bool(found.timed[3])) == (np.datetime64("2024-07-01"), False)
