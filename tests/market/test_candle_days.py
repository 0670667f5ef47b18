"""Which day a candle is of: an instant is not a day, whatever the file says of it."""

from datetime import date
from pathlib import Path

import exchange_calendars
import numpy as np
import pandas as pd
import pytest

from stock_llm.errors import InputError
from stock_llm.market.calendars import Exchanges
from stock_llm.market.candles.candle_file import read_file


def frame_of(exchange: str, zone: str) -> pd.DataFrame:
    """Daily candles of an exchange over both changes of summer time, their index midnight there."""
    days = exchange_calendars.get_calendar(exchange).sessions_in_range("2023-11-01", "2024-06-28")
    close = np.arange(len(days)) + 10.0
    values = dict.fromkeys(("Open", "High", "Low", "Close"), close) | {"Volume": close}
    return pd.DataFrame(values, index=days.tz_localize(zone).rename("Date"))


def save(frame: pd.DataFrame, folder: Path, name: str) -> Path:
    path = folder / name
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("name", "exchange", "zone"),
    [
        ("SAP.DE", "XETR", "Europe/Berlin"),
        ("VOD.L", "XLON", "Europe/London"),
        ("7203.T", "XTKS", "Asia/Tokyo"),
        ("BHP.AX", "XASX", "Australia/Sydney"),
        ("AAPL", "XNYS", "America/New_York"),
        ("PETR4.SA", "BVMF", "America/Sao_Paulo"),
        ("EURUSD=X", "24/5", "Europe/London"),
        ("BTC-USD", "24/7", "UTC"),
    ],
)
def test_midnights_of_the_exchange_in_utc_are_its_days(tmp_path, kind, name, exchange, zone):
    frame = frame_of(exchange, zone)
    local = read_file(save(frame, tmp_path, f"{name}.{kind}"), "").table
    frame.index = frame.index.tz_convert("UTC")
    utc = read_file(save(frame, tmp_path, f"{name}.{kind}"), "").table
    days = exchange_calendars.get_calendar(exchange).sessions_in_range("2023-11-01", "2024-06-28")
    assert local["date"].to_pylist() == utc["date"].to_pylist() == [day.date() for day in days]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_close_of_1_march_is_not_known_on_29_february(tmp_path, kind):
    frame = frame_of("XETR", "Europe/Berlin")
    frame.index = frame.index.tz_convert("UTC").tz_localize(None)
    table = read_file(save(frame, tmp_path, f"SAP.DE.{kind}"), "").table
    closes = dict(zip(table["date"].to_pylist(), table["close"].to_pylist(), strict=True))
    assert closes[date(2024, 3, 1)] == frame.loc["2024-02-29 23:00", "Close"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("zone", ["UTC", None])
def test_without_the_exchange_the_instants_of_a_file_are_refused(tmp_path, kind, zone):
    frame = frame_of("XETR", "Europe/Berlin")
    frame.index = frame.index.tz_convert("UTC").tz_localize(None).tz_localize(zone)
    path = save(frame, tmp_path, f"SAP.{kind}")
    with pytest.raises(
        InputError,
        match=r"times are no midnight of their exchange.*2023-10-31 23:00.*YYYY-MM-DD, or give",
    ):
        read_file(path, "")
    table = read_file(path, "", Exchanges({"SAP": "XETR"})).table
    assert table["date"].to_pylist()[0] == date(2023, 11, 1)


@pytest.mark.parametrize("clock", ["23:00:00", "16:00:00", "15:00", "23:00:00+00:00", "21:00Z"])
def test_a_time_that_is_no_midnight_gives_no_day(tmp_path, clock):
    """16:00 may be the close in New York, or midnight in Shanghai written in UTC."""
    lines = "".join(f"2024-03-0{day} {clock},1,1,1,1,1\n" for day in (4, 5, 6))
    (tmp_path / "ABC.csv").write_text("Date,Open,High,Low,Close,Volume\n" + lines)
    with pytest.raises(InputError, match="3 of 3 times are no midnight"):
        read_file(tmp_path / "ABC.csv", "")


def test_a_time_in_a_column_of_its_own_is_a_time(tmp_path):
    for clock, works in (("23:00:00", False), ("000000", True), ("00:00", True)):
        lines = "".join(f"2024-03-0{day},{clock},1,1,1,1,1\n" for day in (4, 5, 6))
        (tmp_path / "ABC.csv").write_text("Date,Time,Open,High,Low,Close,Volume\n" + lines)
        if works:
            days = read_file(tmp_path / "ABC.csv", "").table["date"].to_pylist()
            assert days == [date(2024, 3, day) for day in (4, 5, 6)]
        else:
            with pytest.raises(InputError, match="no midnight"):
                read_file(tmp_path / "ABC.csv", "")


def test_the_running_day_is_quarantined(tmp_path):
    lines = "".join(f"2024-03-0{day} 00:00:00-05:00,1,1,1,1,1\n" for day in (4, 5, 6))
    lines += "2024-03-07 11:31:00-05:00,1,1,1,1,1\n"
    (tmp_path / "ABC.csv").write_text("Date,Open,High,Low,Close,Volume\n" + lines)
    result = read_file(tmp_path / "ABC.csv", "")
    assert [(row.row, row.reason) for row in result.rejected] == [
        (5, "the time is no midnight of the exchange, so that the day is unknown")
    ]
    assert len(result.table) == 3


def test_in_a_typed_column_the_running_day_spoils_no_other(tmp_path):
    days = pd.DatetimeIndex(["2024-03-04", "2024-03-05", "2024-03-06 11:31"], tz="Europe/Berlin")
    values = {name: [1.0, 2.0, 3.0] for name in ("Open", "High", "Low", "Close", "Volume")}
    path = save(pd.DataFrame(values, index=days.rename("Date")), tmp_path, "SAP.parquet")
    result = read_file(path, "")
    assert result.table["date"].to_pylist() == [date(2024, 3, 4), date(2024, 3, 5)]
    assert [row.row for row in result.rejected] == [3]
