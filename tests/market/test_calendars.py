"""Which exchange a symbol is of, and what its calendar says of the days that there are."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stock_llm.errors import InputError
from stock_llm.market import calendars
from stock_llm.market.calendars import Exchanges
from stock_llm.market.candles import candle_table
from stock_llm.pipeline.inputs import input_digest
from stock_llm.settings import load_settings
from stock_llm.storage.findings import Finding
from stock_llm.synthetic.sample.market import COMPANIES


def days(*texts: str) -> np.ndarray:
    return np.array(texts, "datetime64[D]")


def findings_of(symbol: str, day: np.ndarray, exchanges: Exchanges | None = None) -> list[Finding]:
    return calendars.check_sessions([(symbol, day)], exchanges or Exchanges())


@pytest.mark.parametrize(
    ("symbol", "code"),
    [
        ("AAPL", "XNYS"), ("BRK.B", "XNYS"), ("BRK-B", "XNYS"), ("AET.L", "XLON"), ("VOD.UK", "XLON"), ("4063.T", "XTKS"),
        ("SAP.DE", "XETR"), ("0700.HK", "XHKG"), ("NPN.JO", "XJSE"), ("EURUSD=X", "24/5"), ("BTC-USD", "24/7"),
        ("ETH/EUR", "24/7"), ("ES=F", "CMES"), ("AET-L-1D-100X-ERROR", "XLON"), ("4063-T-1D-BAD", "XTKS"), ("MINE", "XPAR"),
    ],
)  # fmt: skip
def test_the_exchange_of_a_symbol(symbol, code):
    assert Exchanges({"MINE": "XPAR"}).of(symbol) == code


def test_every_exchange_that_a_suffix_means_exists():
    import exchange_calendars

    assert set(calendars.EXCHANGE_BY_SUFFIX.values()) | calendars.IN_HUNDREDTHS <= set(
        exchange_calendars.get_calendar_names()
    )


def test_the_users_table_and_default_come_before_the_suffix():
    assert Exchanges({"AET.L": "XAMS"}, "XETR").of("AET.L") == "XAMS"
    assert Exchanges(default="XETR").of("SAP") == "XETR"
    assert Exchanges().in_hundredths("AET.L")
    assert not Exchanges({"AET.L": "XAMS"}).in_hundredths("AET.L")


def test_missing_sessions_are_named_by_day_and_range():
    """2024-07-04 is a holiday, 07-06 and 07-07 a weekend."""
    (finding,) = findings_of(
        "AAPL",
        days(
            "2024-07-02",
            "2024-07-09",
            "2024-07-11",
            "2024-07-12",
            "2024-07-15",
            "2024-07-16",
            "2024-07-17",
        ),
    )
    assert (finding.rule, finding.symbol, finding.first_day, finding.last_day, finding.rows) == (
        "missing sessions",
        "AAPL",
        "2024-07-03",
        "2024-07-10",
        4,
    )
    assert (
        "no candle on 4 sessions of XNYS: 2024-07-03 to 2024-07-08, 2024-07-10. Fetch it again"
        in finding.text
    )


def test_candles_on_days_without_trade_are_named():
    (finding,) = findings_of("VOD.L", days("2024-05-03", "2024-05-06", "2024-05-07", "2024-05-08"))
    assert (finding.rule, finding.first_day, finding.rows) == (
        "unexpected sessions",
        "2024-05-06",
        1,
    )
    assert "1 candle on days on which XLON does not trade: 2024-05-06" in finding.text
    assert findings_of("VOD", days("2024-05-03", "2024-05-06", "2024-05-07", "2024-05-08")) == []


def test_holidays_of_every_market_are_its_own():
    week = days("2024-04-29", "2024-04-30", "2024-05-01", "2024-05-02", "2024-05-03")
    assert findings_of("AAPL", week) == []
    assert {finding.rule for finding in findings_of("7203.T", week)} == {"unexpected sessions"}
    assert {finding.rule for finding in findings_of("SAP.DE", week)} == {"unexpected sessions"}
    assert findings_of("SAP.DE", week[[0, 1, 3, 4]]) == []


def test_currencies_on_weekdays_and_coins_every_day():
    every = np.arange(np.datetime64("2023-12-20"), np.datetime64("2024-01-10"))
    weekdays = every[np.is_busday(every)]
    assert findings_of("EURUSD=X", weekdays) == []
    assert findings_of("BTC-USD", every) == []
    assert [finding.rule for finding in findings_of("BTC-USD", weekdays)] == ["missing sessions"]
    assert [finding.rule for finding in findings_of("EURUSD=X", every)] == ["unexpected sessions"]


def test_weekly_candles_are_asked_about():
    weekly = np.arange(np.datetime64("2023-01-02"), np.datetime64("2024-01-02"), 7)
    missing = next(
        finding for finding in findings_of("AAPL", weekly) if finding.rule == "missing sessions"
    )
    assert "sessions of XNYS have a candle; are they daily?" in missing.text


def test_many_gaps_are_counted_and_the_first_named():
    sessions = calendars.sessions("XNYS", np.datetime64("2020-01-02"), np.datetime64("2023-12-29"))
    (finding,) = findings_of("AAPL", np.delete(sessions, np.arange(3, 990, 10)))
    assert finding.rows == 99
    assert finding.text.count(", ") == 11
    assert "and 87 more ranges" in finding.text


def test_a_missing_calendar_is_reported_once():
    several = [(f"A{number}.TA", days("2024-05-02", "2024-05-03")) for number in range(7)]
    (finding,) = calendars.check_sessions(several, Exchanges())
    assert finding.rule == "no calendar"
    assert "XTAE" in finding.text
    assert "and 2 more" in finding.text
    (early,) = findings_of("2222.SR", days("1999-05-02", "1999-05-03"))
    assert early.rule == "no calendar"


def test_a_calendar_that_does_not_exist_is_refused():
    with pytest.raises(
        InputError,
        match=r"there is no exchange calendar 'NASDAK'\. Use one that exchange_calendars has",
    ):
        findings_of("AAPL", days("2024-05-02"), Exchanges(default="NASDAK"))


def test_old_histories_have_calendars_too():
    assert findings_of("KO", days("1962-01-02", "1962-01-03", "1962-01-04")) == []
    assert findings_of("KO", days("1945-08-14", "1945-08-17")) == []  # two days of celebration


@pytest.mark.parametrize(
    "code", sorted({*calendars.EXCHANGE_BY_SUFFIX.values(), "24/5", "24/7", "CMES"})
)
def test_every_calendar_covers_the_last_years(code):
    """Tel Aviv's, Athens's and Bucharest's cannot be built by exchange_calendars 4.13 with pandas
    3.1.
    """
    sessions = calendars.sessions(code, np.datetime64("2022-01-01"), np.datetime64("2025-12-31"))
    if sessions is None:
        assert code in ("XTAE", "ASEX", "XBSE")
        return
    assert 900 < len(sessions) <= 1461


@settings(max_examples=60, deadline=None)
@given(
    code=st.sampled_from(["XNYS", "XLON", "XTKS"]),
    start=st.dates(date(2000, 1, 1), date(2024, 1, 1)),
    length=st.integers(1, 400),
    data=st.data(),
)
def test_a_series_made_of_its_calendar_lacks_exactly_what_was_taken(code, start, length, data):
    sessions = calendars.sessions(
        code, np.datetime64(start), np.datetime64(start + timedelta(days=length))
    )
    if len(sessions) < 3:
        return
    inner = st.integers(1, len(sessions) - 2)
    taken = sorted(data.draw(st.sets(inner, max_size=len(sessions) // 3)))
    findings = findings_of("X", np.delete(sessions, taken), Exchanges(default=code))
    assert sum(finding.rows for finding in findings) == len(taken)
    if taken:
        assert (findings[0].first_day, findings[0].last_day) == (
            str(sessions[taken[0]]),
            str(sessions[taken[-1]]),
        )


def test_the_stocks_of_the_sample_trade_on_every_weekday_wherever_their_files_are():
    assert set(COMPANIES) == calendars.FICTIONAL
    days = np.arange("2025-01-01", "2025-12-31", dtype="datetime64[D]")
    weekdays = days[np.is_busday(days)]
    assert findings_of("KESTRO", weekdays, Exchanges()) == []
    assert findings_of("KESTRO", weekdays, Exchanges({"KESTRO": "XNYS"})) != []
    assert Exchanges({"A": "XPAR"}, "XETR").of("B") == "XETR"


def test_another_exchange_changes_the_input_digest(tmp_path):
    (tmp_path / "trades.csv").write_text(
        "date,symbol,side,quantity,price\n2024-03-01,ABC,BUY,1,1\n"
    )
    (tmp_path / "ABC.csv").write_text("Date,Open,High,Low,Close,Volume\n2024-03-01,1,1,1,1,1\n")
    values = {"home": tmp_path, "trades": "trades.csv", "candles": "ABC.csv"}
    assert input_digest(load_settings(**values)) != input_digest(
        load_settings(**values, exchange="XLON")
    )


def test_candles_report_them(tmp_path):
    (tmp_path / "ABC.csv").write_text(
        "Date,Open,High,Low,Close,Volume\n2024-07-02,1,1,1,1,1\n2024-07-04,1,1,1,1,1\n2024-07-05,1,1,1,1,1\n"
    )
    reading = candle_table.read_candles([tmp_path / "ABC.csv"], tmp_path)
    assert [(finding.rule, finding.first_day) for finding in reading.findings] == [
        ("missing sessions", "2024-07-03"),
        ("unexpected sessions", "2024-07-04"),
    ]
