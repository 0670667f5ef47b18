"""Over all exports at hand, each row whose file states its cash is explained to the cent or reported.

The figures are read here a second time, by the csv module and by name, so that a mistake of the importer does not hide itself.
"""

import csv
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import pytest
from importers.test_exports import SAMPLES
from importers.test_shared_samples import SAMPLES as SHARED_SAMPLES

from stock_llm.importers import engine
from stock_llm.ledger.entries import EntryKind, LedgerEntry
from stock_llm.tabular.text import read_text

FIGURES = {
    "avanza": ("Belopp", "Valutakurs"),
    "bitvavo": ("Received / Paid Amount", ""),
    "bux": ("Transaction Amount", "Exchange Rate"),
    "cash-app": ("Net Amount", ""),
    "coinbase-pro-fills": ("total", ""),
    "comdirect": ("Umsatz in EUR", ""),
    "commsec-confirmations": ("Total Value ($)", ""),
    "degiro-transactions": ("Gesamt EUR", "Wechselkurs"),
    "disnat": ("Montant de l'opération", ""),
    "etrade": ("Amount", ""),
    "etrade-activity": ("Amount $", ""),
    "fidelity": ("Amount ($)", ""),
    "finpension": ("Cash Flow", ""),
    "firstrade": ("Amount", ""),
    "freetrade": ("Total Amount", "Base FX Rate"),
    "google-finance": ("Cash value", ""),
    "hitbtc": ("Total", ""),
    "hl": ("Value (£)", ""),
    "ibkr-statement": ("Net Amount", ""),
    "lightyear": ("Net Amt.", ""),
    "merrill": ("Amount", ""),
    "questrade": ("Net Amount", ""),
    "rabobank": ("Bedrag", ""),
    "revolut-invest": ("Total Amount", ""),
    "robinhood": ("Amount", ""),
    "schwab": ("Amount", ""),
    "selfwealth": ("Total", ""),
    "sharesies": ("Amount", ""),
    "tastytrade": ("Total", ""),
    "td-ameritrade": ("AMOUNT", ""),
    "traderepublic": ("Waarde (netto)", ""),
    "trading212": ("Total", "Exchange rate"),
    "vanguard-us": ("Net Amount", ""),
    "wealthsimple": ("net_cash_amount", ""),
    "wealthsimple-statement": ("amount", ""),
    "xtb": ("Amount", ""),
}
"""Format → the column with the cash of a row, and that with the rate where the price is in another currency."""

_DIRECTION = {
    EntryKind.BUY: -1,
    EntryKind.SELL: 1,
    EntryKind.FEE: -1,
    EntryKind.TAX: -1,
    EntryKind.WITHDRAWAL: -1,
}
EXPORTS = [path for path in dict.fromkeys([*SAMPLES, *SHARED_SAMPLES]) if path.suffix == ".csv"]


def moved(entry: LedgerEntry) -> Decimal:
    """The cash that an entry stands for, with its sign."""
    if entry.kind in (EntryKind.TRANSFER, EntryKind.SPLIT):
        return -entry.fee - entry.tax
    return (
        (entry.amount or Decimal(0)) * _DIRECTION.get(EntryKind(entry.kind), 1)
        - entry.fee
        - entry.tax
    )


def number(text: str) -> Decimal | None:
    """A figure as brokers write it; the last of two signs begins the decimals."""
    text = re.sub(r"^\((.*)\)$", r"-\1", re.sub(r"[^\d.,()-]", "", text))
    if "," in text and "." in text:
        group = "," if text.rfind(".") > text.rfind(",") else "."
        text = text.replace(group, "")
    try:
        return Decimal(text.replace(",", "."))
    except InvalidOperation:
        return None


@dataclass(frozen=True)
class Stated:
    """What a row says of its cash; `rounding` is what the last digits of rate and price leave open, in the price's currency."""

    cash: Decimal
    rate: Decimal | None
    rounding: Callable[[Decimal], Decimal]


def figures(path: Path, column: str, rate: str) -> dict[int, Stated]:
    """Line → what it says."""
    lines = read_text(path).split("\n")
    at = next((at for at, line in enumerate(lines) if column in line), None)
    column = f"{column} (GBP)" if at is not None and f"{column} (GBP)" in lines[at] else column
    if at is None:
        return {}
    separator = max(",;\t", key=lines[at].count)
    (header,) = csv.reader([lines[at]], delimiter=separator)
    names = [name.strip() for name in header]
    if column not in names:
        return {}
    by_row = {}
    for row, line in enumerate(lines[at + 1 :], start=at + 2):
        values = next(csv.reader([line], delimiter=separator), [])
        cell = dict(zip(names, values, strict=False)).get
        cash, factor = number(cell(column, "")), number(cell(rate, ""))
        if cash is None:
            continue
        price, units = cell("Price / share", ""), number(cell("No. of shares", "")) or Decimal(0)
        of_rate = _half_digit(cell(rate, "")) / factor if factor else Decimal(0)
        of_price = _half_digit(price) * units if number(price) else Decimal(0)

        def rounding(worth: Decimal, of_rate=of_rate, of_price=of_price) -> Decimal:
            return abs(worth) * of_rate + of_price

        by_row[row] = Stated(cash, factor, rounding)
    return by_row


def _half_digit(text: str) -> Decimal:
    """Half of the last digit's worth: 0.005 for 14.75."""
    return Decimal(1).scaleb(-len(text.partition(".")[2])) / 2


@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: path.name)
def test_each_row_is_explained_to_the_cent_or_reported(path):
    imported = engine.read_export(path, lambda account: account)
    form = imported.formats[0].name
    if form not in FIGURES:
        pytest.skip("no column has the cash of a row, or its table is one of several")
    booked: dict[int, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    units = set()
    for entry in imported.entries:
        booked[entry.source_row][entry.currency] += moved(entry)
        if entry.kind in (EntryKind.TRANSFER, EntryKind.SPLIT):
            units.add(entry.source_row)
    reported = {difference.row for difference in imported.differences}
    unchecked = set(imported.unchecked)
    assert bool(unchecked) == any(note.rule == "unchecked cash" for note in imported.notes)
    compared = 0
    for row, stated in figures(path, *FIGURES[form]).items():
        if row in unchecked:
            assert not stated.rate, "with a rate it can be compared"
        if row not in booked or row in reported | units | unchecked:
            continue
        compared += 1
        assert any(_near(stated, *total) for total in _totals(booked[row], stated)), (
            row,
            stated,
            dict(booked[row]),
        )
    assert compared or not booked or set(booked) <= units | unchecked, "nothing was compared"


def _near(stated: Stated, total: Decimal, rounding: Decimal) -> bool:
    return abs(abs(stated.cash) - abs(total)) <= Decimal("0.01") + rounding


def _totals(by_currency: dict[str, Decimal], stated: Stated) -> list[tuple[Decimal, Decimal]]:
    """What the entries of a row may be in its cash, and what rounding leaves open: as they are, or one currency at the rate."""
    totals = [sum(by_currency.values(), Decimal(0)), *by_currency.values()]
    exact = [(total, Decimal(0)) for total in totals]
    at_rate = []
    for currency, amount in by_currency.items():
        rest = sum((other for code, other in by_currency.items() if code != currency), Decimal(0))
        for factor in (stated.rate, 1 / stated.rate) if stated.rate else ():
            at_rate += [
                (foreign * factor + own, stated.rounding(foreign) * factor)
                for foreign, own in ((amount, rest), (rest, amount))
            ]
        if currency == "GBX":
            exact.append((amount / 100 + rest, Decimal(0)))
    return exact + at_rate


HEADERS = {
    "a fee that is hidden": ("Date,Action,Symbol,Description,Quantity,Price,Fees & Comm,Amount", "01/15/2024,Buy,ACME,A,10,$15.00,,-$153.00", ["-153 -150"]),
    "a rebate without its sign": ("Date,Action,Symbol,Description,Quantity,Price,Fees & Comm,Amount", "01/15/2024,Sell,ACME,A,10,$15.00,$1.00,$151.00", []),
    "a dividend less its tax": ("Date,Reference,Ticker,ISIN,Type,Quantity,CCY,Price/share,Gross Amount,FX Rate,Fee,Net Amt.,Tax Amt.", "16/12/2024 06:02:35,R1,ACME,US0000000001,Dividend,,USD,,10.00,,,8.00,1.50", ["8 8.5"]),
    "cash at a rate": ("Action,Time,ISIN,Ticker,Name,No. of shares,Price / share,Currency (Price / share),Exchange rate,Total,Currency (Total),ID", "Market buy,2024-01-02 10:00:00,US0000000001,ACME,Acme,2,50.00,USD,1.25,80.00,GBP,E1", []),
    "cash off its rate": ("Action,Time,ISIN,Ticker,Name,No. of shares,Price / share,Currency (Price / share),Exchange rate,Total,Currency (Total),ID", "Market buy,2024-01-02 10:00:00,US0000000001,ACME,Acme,2,50.00,USD,1.25,81.00,GBP,E1", ["-81 -80"]),
    "a cent": ("Date,Action,Symbol,Description,Quantity,Price,Fees & Comm,Amount", "01/15/2024,Buy,ACME,A,3,$3.3333,,-$10.00", []),
    "a price of whole dollars": ("Date,Action,Symbol,Description,Quantity,Price,Fees & Comm,Amount", "01/15/2024,Buy,ACME,A,100,$15,,-$1502.00", ["-1502 -1500"]),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_what_does_not_add_up_is_reported_with_both_figures(name, tmp_path):
    header, row, expected = HEADERS[name]
    path = tmp_path / "export.csv"
    path.write_text(f"{header}\n{row}\n", encoding="utf-8")
    differences = engine.read_export(path, lambda account: account).differences
    assert [
        f"{difference.stated.normalize():f} {difference.computed.normalize():f}"
        for difference in differences
    ] == expected


def test_a_sign_that_is_the_other_way_round_is_reported(tmp_path):
    """Money that came in for a purchase: units say buy, the cash says sell."""
    path = tmp_path / "export.csv"
    path.write_text(
        "Date,Action,Symbol,Description,Quantity,Price,Fees & Comm,Amount\n01/15/2024,Buy,ACME,A,10,$15.00,,$150.00\n"
    )
    (off,) = engine.read_export(path, lambda account: account).differences
    assert (off.row, off.what, off.stated, off.computed) == (2, "the cash", 150, -150)


def test_cash_in_another_currency_without_a_rate_is_reported(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text(
        "Action,Time,ISIN,Ticker,Name,No. of shares,Price / share,Currency (Price / share),Total,Currency (Total),ID\n"
        "Market buy,2024-01-02 10:00:00,US0000000001,ACME,Acme,2,50.00,USD,80.00,GBP,E1\n"
    )
    imported = engine.read_export(path, lambda account: account)
    (note,) = imported.notes
    assert imported.unchecked == [2]
    assert note.rule == "unchecked cash"
    assert "the cash of 1 rows is in another currency" in note.text
