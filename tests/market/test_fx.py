"""Exchange rates as people have them."""

from datetime import date
from decimal import Decimal

import pytest

from stock_llm.errors import InputError
from stock_llm.market.fx import load_rates

ECB = "Date,USD,JPY,BGN,\n2024-03-04,1.0846,163.35,N/A,\n2024-03-01,1.0813,162.77,1.9558,\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "eurofxref-hist.csv").write_text(ECB)
    return tmp_path


def rates(folder):
    return load_rates(folder.iterdir())


def test_the_central_banks_table(folder):
    table = rates(folder)
    assert table.rate("EUR", "USD", date(2024, 3, 1)) == Decimal("1.0813")
    assert table.rate("USD", "EUR", date(2024, 3, 4)) == 1 / Decimal("1.0846")
    assert table.rate("EUR", "USD", date(2024, 3, 3)) == Decimal("1.0813"), "a weekend"
    assert table.rate("BGN", "EUR", date(2024, 3, 5)) == 1 / Decimal("1.9558"), "N/A is no rate"
    assert abs(table.rate("USD", "JPY", date(2024, 3, 4)) - Decimal("150.6085")) < Decimal("0.0001")


def test_an_unknown_rate_is_none(folder):
    table = rates(folder)
    assert table.rate("EUR", "USD", date(2024, 2, 29)) is None
    assert table.rate("EUR", "USD", date(2024, 3, 12)) is None, "a rate holds for a week"
    assert table.rate("EUR", "THB", date(2024, 3, 4)) is None
    assert table.rate("THB", "THB", date(2024, 3, 4)) == 1


def test_pairs_as_candles(folder):
    (folder / "USDTHB=X.csv").write_text(
        "Date,Open,High,Low,Close,Volume\n2024-03-04,35.8,36,35.7,35.9,0\n"
    )
    table = rates(folder)
    assert table.rate("USD", "THB", date(2024, 3, 4)) == Decimal("35.9")
    assert table.rate("EUR", "THB", date(2024, 3, 4)) == Decimal("1.0846") * Decimal("35.9")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "rates.csv",
            "Date,USD\n2024-03-04,1.08\nyesterday,1.09\n",
            "rates.csv, row 3: not a line of exchange rates: yesterday,1.09",
        ),
        ("rates.csv", "Date,USD\n2024-03-04,much\n", "row 2: not a line"),
        (
            "ABC.csv",
            "Date,Open,High,Low,Close,Volume\n2024-03-04,1,1,1,1,0\n",
            "'ABC' is not a pair of currencies. Call it EURUSD",
        ),
    ],
)
def test_other_files_are_refused(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=message):
        rates(folder)
