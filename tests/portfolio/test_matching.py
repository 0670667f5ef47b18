"""What exports call an instrument, and what candles do."""

import pytest

from stock_llm.ledger.entries import AssetClass
from stock_llm.ledger.instruments import InstrumentLine, Instruments
from stock_llm.portfolio.matching import LedgerName, match_names, plain_name

PRICED = frozenset(
    {"AAPL", "BRK-B", "VOD.L", "SAP.DE", "SAP.PA", "BTC-EUR", "ETHUSD", "VWCE.DE", "US88160R1014"}
)


def meant(name: LedgerName, *others: LedgerName, known: Instruments | None = None) -> str:
    matched = match_names([name, *others], PRICED, known or Instruments())
    return matched.instrument[name.symbol, name.isin, name.name]


@pytest.mark.parametrize(
    ("symbol", "currency", "expected"),
    [
        ("AAPL", "USD", "AAPL"),
        ("aapl", "", "AAPL"),
        ("AAPL.US", "USD", "AAPL"),
        ("NASDAQ:AAPL", "USD", "AAPL"),
        ("AAPL:xnas", "USD", "AAPL"),
        ("AAPL US", "USD", "AAPL"),
        ("AAPL US Equity", "USD", "AAPL"),
        ("BRK.B", "USD", "BRK-B"),
        ("BRK B", "USD", "BRK-B"),
        ("VOD", "GBX", "VOD.L"),
        ("VOD", "GBP", "VOD.L"),
        ("VOD LN", "GBP", "VOD.L"),
        ("VOD", "USD", "VOD"),
        ("SAP", "EUR", "SAP"),
        ("NOVO.B", "DKK", "NOVO.B"),
    ],
)
def test_tickers(symbol, currency, expected):
    assert meant(LedgerName(symbol, "", "", currency=currency)) == expected


@pytest.mark.parametrize(
    ("symbol", "currency", "expected"),
    [
        ("XXBTZEUR", "EUR", "BTC-EUR"),
        ("XBTEUR", "EUR", "BTC-EUR"),
        ("BTC/EUR", "EUR", "BTC-EUR"),
        ("XXBT", "EUR", "BTC-EUR"),
        ("BTC", "EUR", "BTC-EUR"),
        ("BTC", "USD", "BTC"),
        ("XETHZUSD", "USD", "ETHUSD"),
        ("SOLUSDT", "USDT", "SOLUSDT"),
    ],
)
def test_pairs(symbol, currency, expected):
    assert meant(LedgerName(symbol, "", "", AssetClass.CRYPTO, currency)) == expected


def test_an_isin_is_known_by_the_ticker_beside_it_elsewhere():
    name = LedgerName("VWCE.DE", "IE00BK5BQT80", "Vanguard FTSE All-World")
    assert meant(LedgerName("", "IE00BK5BQT80", ""), name) == "VWCE.DE"
    assert meant(LedgerName("", "", "VANGUARD FTSE ALL WORLD"), name) == "VWCE.DE"
    assert meant(LedgerName("", "US88160R1014", "Tesla")) == "US88160R1014", (
        "candles may go by the ISIN"
    )
    assert meant(LedgerName("", "IE00NOTHING0", "")) == "IE00NOTHING0"
    assert (
        meant(LedgerName("", "IE00NOTHING0", ""), LedgerName("NOPE", "IE00NOTHING0", "")) == "NOPE"
    ), "one position, not two"


def test_the_user_comes_first():
    known = Instruments(aliases={"AAPL": "SAP.DE", "DE0007164600": "SAP.PA"})
    assert meant(LedgerName("AAPL", "", ""), known=known) == "SAP.DE"
    assert meant(LedgerName("SAP", "DE0007164600", "", currency="EUR"), known=known) == "SAP.PA"


def test_a_renamed_symbol_is_the_new_one_for_what_was_traded_before():
    from datetime import date

    known = Instruments((InstrumentLine("rename", "FB", "AAPL", date(2022, 6, 9)),))
    assert meant(LedgerName("FB", "", "", last_day="2021-01-01"), known=known) == "AAPL"
    assert meant(LedgerName("FB", "", "", last_day="2023-01-01"), known=known) == "FB"


def test_what_was_learnt_and_what_waits_for_the_user():
    matched = match_names(
        [
            LedgerName(
                "",
                "US0378331005",
                "Apple Inc.",
                entries=2,
                first_day="2024-01-02",
                last_day="2024-02-01",
            ),
            LedgerName("AAPL", "US0378331005", "APPLE INC"),
            LedgerName(
                "SAP", "", "SAP SE", currency="EUR", first_day="2024-01-02", last_day="2024-02-01"
            ),
            LedgerName("", "", "Some fund", AssetClass.FUND),
            LedgerName("OPT 240119C1", "", "", AssetClass.OPTION),
            LedgerName("GONE", "", ""),
        ],
        PRICED,
        Instruments((InstrumentLine("leave-out", symbol="GONE"),)),
    )
    assert [(line.match, line.symbol, line.note) for line in matched.learnt] == [
        ("Some fund", "", "Some fund"),
        ("US0378331005", "AAPL", "Apple Inc."),
        ("SAP", "", "SAP SE"),
    ]
    assert [(finding.rule, finding.symbol, finding.rows) for finding in matched.findings] == [
        ("no candles", "SAP", 1),
        ("no candles", "SOME FUND", 1),
    ]
    assert "both SAP.DE and SAP.PA fit it" in matched.findings[0].text
    assert "kind alias, match SAP" in matched.findings[0].text


def test_names_are_the_same_whatever_brokers_add():
    assert plain_name("Apple Inc.") == plain_name("APPLE INC - COMMON STOCK") == "apple"
    assert plain_name("Alphabet Inc Class A") == "alphabet"
