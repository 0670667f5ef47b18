"""Positions of whole ledgers: splits, transfers, mergers, pence, currencies, shorts; checked by
hand.
"""

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stock_llm.ledger.entries import LEDGER_SCHEMA
from stock_llm.ledger.instruments import InstrumentLine, Instruments
from stock_llm.market.candles.closes import CloseSeries, StockSplit, merge_splits
from stock_llm.market.fx import ExchangeRates
from stock_llm.portfolio import holdings, positions
from stock_llm.portfolio.valuation import ValuationInputs

D = Decimal
DAYS = np.arange("2024-01-01", "2024-07-01", dtype="datetime64[D]")


def series(symbol="ABC", close=10.0, splits=(), as_of=date(2024, 6, 30)):
    return CloseSeries(symbol, DAYS, np.full(len(DAYS), close), as_of, merge_splits(splits))


class Ledger:
    """Entries written one after the other, and what comes of them."""

    def __init__(self, folder):
        self.folder, self.entries = folder, []

    def add(self, kind, month, day, quantity=None, price=None, **other):
        number = len(self.entries)
        blank = (
            dict.fromkeys(LEDGER_SCHEMA.names, "")
            | dict.fromkeys(("amount", "ratio"))
            | dict.fromkeys(("fee", "tax"), D(0))
        )
        entry = blank | {
            "entry_id": f"t:{number:03d}",
            "kind": kind,
            "asset_class": "STOCK",
            "symbol": "ABC",
            "quantity": None if quantity is None else D(str(quantity)),
            "price": None if price is None else D(str(price)),
            "currency": "USD",
            "executed_at": datetime(2024, month, day, tzinfo=UTC),
            "time_known": False,
            "source_row": number + 2,
        }
        self.entries.append(entry | other)
        return self

    def write(self, inputs):
        ledger = self.folder / "ledger.parquet"
        pq.write_table(pa.Table.from_pylist(self.entries, schema=LEDGER_SCHEMA), ledger)
        names = {(entry["symbol"], "", ""): entry["symbol"] for entry in self.entries}
        written = positions.write_positions(
            ledger, names, inputs, self.folder / "positions.parquet", self.folder / "steps.parquet"
        )
        rows = pq.read_table(self.folder / "positions.parquet").to_pylist()
        self.steps = pq.read_table(self.folder / "steps.parquet")
        self.findings = written.findings
        return {(row["instrument"], row["currency"]): row for row in rows}

    def position(self, market=None, **lines):
        known = Instruments(tuple(lines.get("lines", ())))
        market = {"ABC": series()} if market is None else market
        (row,) = self.write(ValuationInputs(known, market)).values()
        return row

    @property
    def rules(self):
        return [finding.rule for finding in self.findings]


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


def test_purchases_sales_dividends_and_charges(ledger):
    ledger.add("BUY", 1, 2, 10, 9, fee=D(1)).add("BUY", 2, 1, 10, 12).add(
        "SELL", 3, 1, 15, 11, tax=D(2)
    )
    ledger.add("DIVIDEND", 4, 1, amount=D("3.5"), tax=D("0.5")).add("FEE", 5, 1, amount=D(4))
    row = ledger.position()
    assert (row["quantity"], row["cost_fifo"], row["cost_average"]) == (5, 60, D("52.5"))
    assert (row["realised_fifo"], row["realised_average"]) == (165 - 150, D(165) - D("157.5"))
    assert (row["dividends"], row["fees"], row["taxes"], row["trades"]) == (
        D("3.5"),
        5,
        D("2.5"),
        3,
    )
    assert (row["value"], row["unrealised_fifo"], row["value_day"]) == (50, -10, date(2024, 6, 30))
    assert ledger.findings == []


SPLIT = StockSplit(date(2024, 3, 15), D(4))


def test_trades_before_a_split_are_seen_on_the_candles_scale(ledger):
    """Closes are 10 throughout as the split is worked in: 40 was paid before it."""
    ledger.add("BUY", 2, 1, 3, 40).add("SELL", 4, 1, 6, 11)
    row = ledger.position({"ABC": series(splits=[SPLIT])})
    assert (row["quantity"], row["cost_fifo"], row["realised_fifo"], row["value"]) == (6, 60, 6, 60)
    first, second = holdings.read_fills(ledger.steps)
    assert (first.quantity, first.price, second.quantity, second.price) == (12, 10, -6, 11)


@pytest.mark.parametrize(
    "booked",
    [
        [],
        [("SPLIT", 15, None, {"ratio": D(4)})],
        [("SPLIT", 18, 9, {})],
        [("SPLIT", 14, 6, {"account": "a"}), ("SPLIT", 14, 3, {"account": "b"})],
        [("TRANSFER", 15, -3, {}), ("TRANSFER", 15, 12, {})],
        [("TRANSFER", 17, 9, {})],
    ],
)
def test_a_split_counts_once_however_it_is_booked(ledger, booked):
    ledger.add("BUY", 2, 1, 3, 40)
    for kind, day, quantity, other in booked:
        ledger.add(kind, 3, day, quantity, **other)
    row = ledger.add("SELL", 4, 1, 6, 11).position({"ABC": series(splits=[SPLIT])})
    assert (row["quantity"], row["cost_fifo"], row["realised_fifo"]) == (6, 60, 6)
    assert ledger.findings == []


def test_a_split_that_only_the_ledger_or_the_table_knows(ledger):
    ledger.add("BUY", 2, 1, 3, 40).add("SPLIT", 3, 15, ratio=D(4))
    assert ledger.position({})["quantity"] == 12
    other = Ledger(ledger.folder).add("BUY", 2, 1, 3, 40)
    inputs = ValuationInputs(Instruments(), {}, {"ABC": (SPLIT,)})
    assert other.write(inputs)["ABC", "USD"]["quantity"] == 12
    assert holdings.read_fills(other.steps) == [], "nothing is learnt without candles"


def test_an_export_that_is_adjusted_already(ledger):
    row = (
        ledger.add("BUY", 2, 1, 12, 10)
        .add("SELL", 4, 1, 6, 11)
        .position({"ABC": series(splits=[SPLIT])})
    )
    assert (row["quantity"], row["cost_fifo"]) == (6, 60)
    assert [fill.quantity for fill in holdings.read_fills(ledger.steps)] == [12, -6]
    assert ledger.rules == ["scale: adjusted"]


def test_pence_and_pounds(ledger):
    ledger.add("BUY", 2, 1, 3, 950, currency="GBX", amount=D(2850), fee=D(100)).add(
        "SELL", 4, 1, 1, "9.90", currency="GBP"
    )
    row = ledger.position({"ABC": series(close=1000.0)})
    assert (row["currency"], row["cost_fifo"], row["fees"], row["realised_fifo"], row["value"]) == (
        "GBP",
        19,
        1,
        D("0.4"),
        20,
    )
    assert [(fill.quantity, fill.price) for fill in holdings.read_fills(ledger.steps)] == [
        (3, 950),
        (-1, 990),
    ]
    assert ledger.rules == ["scale: hundredths"]


def test_nothing_is_learnt_from_trades_that_fit_no_candles(ledger):
    row = ledger.add("BUY", 2, 1, 3, 35).add("SELL", 4, 1, 3, 36).position()
    assert row["realised_fifo"] == 3, "the position is what the ledger says"
    assert ledger.steps.num_rows == 0
    assert ledger.rules == ["suspect: price"]
    assert "at 36 on 2024-04-01, close 10" in ledger.findings[0].text


def test_units_that_come_back_bring_their_cost(ledger):
    ledger.add("BUY", 2, 1, 10, 9).add("TRANSFER", 3, 1, -10).add("TRANSFER", 3, 4, 10).add(
        "SELL", 4, 1, 10, 11
    )
    row = ledger.position()
    assert (row["quantity"], row["realised_fifo"], row["realised_average"]) == (0, 20, 20)
    held = holdings.holdings_by_symbol(holdings.read_fills(ledger.steps))["ABC"]
    assert [(sale.bought, sale.fill.quantity) for sale in held.sales] == [(9, -10)]


@pytest.mark.parametrize("order", [1, -1])
def test_units_that_leave_and_come_in_another_number_on_one_day_are_a_split(ledger, order):
    ledger.add("BUY", 2, 1, 100, 10)
    for quantity in (-100, 10)[::order]:
        ledger.add("TRANSFER", 3, 1, quantity)
    row = ledger.add("SELL", 4, 1, 4, 120).position(market={})
    assert (row["quantity"], row["cost_fifo"], row["realised_fifo"]) == (6, 600, 80)
    assert ledger.rules == []


def test_a_split_whose_new_units_have_another_name_is_a_transfer(ledger):
    ledger.add("BUY", 2, 1, 100, 10).add("SPLIT", 3, 1, -100).add("SPLIT", 3, 1, 10, symbol="NEW")
    rows = ledger.write(ValuationInputs(Instruments(()), {}))
    assert {name: row["quantity"] for (name, _), row in rows.items()} == {"ABC": 0, "NEW": 10}
    assert ledger.rules == ["unknown cost"]


def test_at_one_instant_purchases_come_before_sales(ledger):
    ledger.add("SELL", 2, 1, 10, 12, time_known=True).add("BUY", 2, 1, 10, 10, time_known=True)
    row = ledger.position(market={})
    assert (row["quantity"], row["realised_fifo"]) == (0, 20)
    assert ledger.rules == []


def test_units_without_a_price_gain_nothing_and_are_reported(ledger):
    row = (
        ledger.add("TRANSFER", 2, 1, 10)
        .add("TRANSFER", 2, 2, 10, 8)
        .add("SELL", 4, 1, 5, 11)
        .position()
    )
    assert (row["quantity"], row["unknown_cost"], row["realised_fifo"], row["cost_fifo"]) == (
        15,
        5,
        0,
        80,
    )
    assert ledger.rules == ["unknown cost", "unknown cost: sold"]


@pytest.mark.parametrize("asset_class", ["STOCK", "CRYPTO"])
def test_units_of_unknown_cost_are_reported_after_they_were_sold(ledger, asset_class):
    ledger.add("TRANSFER", 2, 1, 10, asset_class=asset_class)
    row = ledger.add("SELL", 4, 1, 10, 11, asset_class=asset_class).position()
    assert (row["quantity"], row["unknown_cost"], row["realised_fifo"]) == (0, 0, 0)
    assert ledger.rules == ["unknown cost: sold"]
    assert "10 units were sold that had come in without a price" in ledger.findings[0].text
    ledger.add("TRANSFER", 5, 1, 3, asset_class=asset_class).position()
    assert ledger.rules == ["unknown cost", "unknown cost: sold"]
    assert "3 units came in without a price" in ledger.findings[0].text


def test_units_of_unknown_cost_that_left_again_are_no_gain_and_no_finding(ledger):
    ledger.add("TRANSFER", 2, 1, 10).add("TRANSFER", 4, 1, -10).position()
    assert ledger.rules == []


def test_a_short_sale_is_booked_and_left_out_of_what_is_learnt(ledger):
    ledger.add("BUY", 2, 1, 4, 9).add("SELL", 3, 1, 10, 11).add("BUY", 4, 1, 8, 10)
    row = ledger.position()
    assert (row["quantity"], row["realised_fifo"]) == (2, 8 + 6)
    assert ledger.rules == ["sold more than held"]
    assert [fill.quantity for fill in holdings.read_fills(ledger.steps)] == [4, -4, 2]


def test_options_and_coins_have_positions_and_no_steps(ledger):
    ledger.add("SELL", 2, 1, 1, 9, asset_class="OPTION").add(
        "BUY", 2, 1, 1, 9, symbol="BTC", asset_class="CRYPTO"
    )
    ledger.add("INTEREST", 2, 3, "0.5", 10, symbol="BTC", asset_class="CRYPTO", amount=D(5))
    rows = ledger.write(ValuationInputs(Instruments(), {"ABC": series(), "BTC": series("BTC")}))
    assert rows["ABC", "USD"]["quantity"] == -1
    assert (
        rows["BTC", "USD"]["quantity"],
        rows["BTC", "USD"]["cost_fifo"],
        rows["BTC", "USD"]["interest"],
    ) == (D("1.5"), 14, 5)
    assert ledger.steps.num_rows == 0
    assert ledger.findings == []


MERGER = InstrumentLine("merger", "ABC", "NEW", date(2024, 3, 1), D("0.5"))


@pytest.mark.parametrize("booked", [False, True])
def test_a_merger_carries_the_cost(ledger, booked):
    ledger.add("BUY", 2, 1, 10, 9)
    if booked:
        ledger.add("TRANSFER", 3, 4, -10).add("TRANSFER", 3, 4, 5, symbol="NEW")
    ledger.add("SELL", 4, 1, 2, 21, symbol="NEW")
    rows = ledger.write(
        ValuationInputs(Instruments((MERGER,)), {"ABC": series(), "NEW": series("NEW", 20.0)})
    )
    assert rows["ABC", "USD"]["quantity"] == 0
    new = rows["NEW", "USD"]
    assert (new["quantity"], new["cost_fifo"], new["realised_fifo"], new["value"]) == (3, 54, 6, 60)
    held = holdings.holdings_by_symbol(holdings.read_fills(ledger.steps))
    assert held["NEW"].sales[0].bought == 18 and held["ABC"].sales == []


def test_renamed_and_delisted(ledger):
    ledger.add("BUY", 2, 1, 10, 9, symbol="OLD").add("BUY", 5, 1, 1, 10, symbol="OLD").add(
        "BUY", 4, 1, 10, 9
    )
    ledger.add("BUY", 2, 1, 5, 9, symbol="GONE")
    known = Instruments(
        (
            InstrumentLine("rename", "OLD", "ABC", date(2024, 3, 1)),
            InstrumentLine("delisted", symbol="GONE", day=date(2024, 5, 2), price=D(0)),
        )
    )
    rows = ledger.write(ValuationInputs(known, {"ABC": series()}))
    assert rows["ABC", "USD"]["quantity"] == 20
    assert rows["OLD", "USD"]["quantity"] == 1, "whatever is called so now"
    assert (rows["GONE", "USD"]["quantity"], rows["GONE", "USD"]["realised_fifo"]) == (0, -45)


RATES = ExchangeRates(
    {
        ("EUR", "USD"): (
            [date(2024, 2, 1), date(2024, 4, 1), date(2024, 6, 28)],
            [D("1.25"), D("1.0"), D("1.6")],
        )
    }
)


def test_returns_in_the_base_currency_have_the_rate_of_each_day(ledger):
    ledger.add("BUY", 2, 1, 10, 9).add("SELL", 4, 1, 5, 11)
    row = ledger.write(ValuationInputs(Instruments(), {"ABC": series()}, rates=RATES, base="EUR"))[
        "ABC", "USD"
    ]
    assert (row["realised_fifo"], row["base_currency"]) == (10, "EUR")
    assert row["realised_fifo_base"] == 55 - 36
    assert row["unrealised_fifo_base"] == D(50) / D("1.6") - 36
    assert ledger.findings == []


def test_without_a_rate_the_own_currency_counts_alone_and_is_reported(ledger):
    row = ledger.add("BUY", 1, 2, 10, 9).write(
        ValuationInputs(Instruments(), {"ABC": series()}, rates=RATES, base="EUR")
    )["ABC", "USD"]
    assert (row["cost_fifo"], row["base_currency"], row["realised_fifo_base"]) == (90, None, None)
    assert ledger.rules == ["no exchange rate"]


def test_two_currencies_are_one_position_where_a_rate_joins_them(ledger):
    ledger.add("BUY", 2, 1, 10, 9).add("BUY", 2, 2, 10, 9).add("SELL", 4, 1, 5, 11, currency="EUR")
    (row,) = ledger.write(ValuationInputs(Instruments(), {"ABC": series()}, rates=RATES)).values()
    assert (row["currency"], row["quantity"], row["realised_fifo"]) == ("USD", 15, 10)
    apart = ledger.write(ValuationInputs(Instruments(), {"ABC": series()}))
    assert {key: row["quantity"] for key, row in apart.items()} == {
        ("ABC", "USD"): 20,
        ("ABC", "EUR"): -5,
    }


def test_of_one_day_purchases_come_first_where_no_time_is_known(ledger):
    row = ledger.add("SELL", 2, 1, 10, 11).add("BUY", 2, 1, 10, 9).position()
    assert (row["quantity"], row["realised_fifo"]) == (0, 20)
    assert ledger.findings == []
