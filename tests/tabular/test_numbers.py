"""Numbers written in the ways of many countries come back as they went in."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stock_llm.tabular.numbers import decimal_sign, read_floats, read_numbers

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
    file_says = decimal_sign([texts]) if file_says is None else file_says
    return read_numbers({"n": texts}, file_says, format_says, separator).values["n"].to_pylist()


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


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBER, min_size=1, max_size=8), st.sampled_from(sorted(CONVENTIONS)))
def test_floats_are_the_same_numbers(numbers, convention):
    texts = pa.array([written(number, convention) for number in numbers])
    floats = read_floats({"n": texts}, decimal_sign([texts]), ";")["n"]
    np.testing.assert_allclose(floats, [float(number) for number in numbers])


def test_what_is_no_number_is_nan():
    assert np.isnan(read_floats({"n": pa.array(["", "abc", "1,2,3"])}, "", ";")["n"]).all()
