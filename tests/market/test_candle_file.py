"""Files as yfinance, Stooq, Alpaca and pandas write them; several files that become one; the same
in parts as in memory."""

import io
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stock_llm.errors import InputError
from stock_llm.market.calendars import Exchanges
from stock_llm.market.candles import candle_table
from stock_llm.market.candles.candle_file import CANDLE_SCHEMA, read_file
from stock_llm.storage.quarantine import ReadResult

DAYS = ["2024-03-01", "2024-03-04", "2024-03-05"]
FIELDS = ["Adj Close", "Close", "High", "Low", "Open", "Volume"]


def read(folder: Path, text: str, name: str = "ABC.csv") -> ReadResult:
    (folder / name).write_text(text)
    return read_file(folder / name, name)


def rows(table: pa.Table, *names: str) -> list[tuple]:
    return sorted(zip(*(table[name].to_pylist() for name in names), strict=True))


def frame_of(tickers: list[str], order: str = "field") -> pd.DataFrame:
    """What yfinance.download returns: columns of (field, ticker), or (ticker, field); B did not
    trade on the first day."""
    data = {}
    for number, ticker in enumerate(tickers, start=1):
        close = np.array([10.0, 11.0, 12.0]) * number
        values = [close * 0.99, close, close + 1, close - 1, close, np.array([100.0, 200.0, 300.0])]
        for field, series in zip(FIELDS, values, strict=True):
            key = (field, ticker) if order == "field" else (ticker, field)
            data[key] = np.where((ticker == "B") & (np.arange(3) == 0), np.nan, series)
    names = ["Price", "Ticker"] if order == "field" else ["Ticker", "Price"]
    frame = pd.DataFrame(data, index=pd.DatetimeIndex(DAYS, name="Date"))
    frame.columns = pd.MultiIndex.from_tuples(frame.columns, names=names)
    return frame


@pytest.mark.parametrize("order", ["field", "ticker"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_table_of_several_tickers_that_yfinance_downloads(tmp_path, order, kind):
    frame = frame_of(["A", "B"], order)
    file = tmp_path / f"download.{kind}"
    frame.to_csv(file) if kind == "csv" else frame.to_parquet(file)
    reading = read_file(file, file.name)
    assert rows(reading.table, "symbol", "date", "close", "volume") == [
        ("A", date(2024, 3, 1), 10.0, 100.0),
        ("A", date(2024, 3, 4), 11.0, 200.0),
        ("A", date(2024, 3, 5), 12.0, 300.0),
        ("B", date(2024, 3, 4), 22.0, 200.0),
        ("B", date(2024, 3, 5), 24.0, 300.0),
    ]
    assert reading.table["adjustment"].to_pylist() == pytest.approx([0.99] * 5)
    assert (reading.rejected, reading.rows_read) == ([], 5)
    first = 4 if kind == "csv" else 1
    assert sorted(set(reading.table["source_row"].to_pylist())) == [first, first + 1, first + 2]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_ticker_that_lacks_an_optional_column(tmp_path, kind):
    frame = frame_of(["A", "B"]).drop(columns=[("Adj Close", "B")])
    file = tmp_path / f"download.{kind}"
    frame.to_csv(file) if kind == "csv" else frame.to_parquet(file)
    table = read_file(file, file.name).table
    assert (
        rows(table, "symbol", "adjustment") == [("A", pytest.approx(0.99))] * 3 + [("B", 1.0)] * 2
    )


def test_one_ticker_downloaded(tmp_path):
    text = "Price,Close,High,Low,Open,Volume\nTicker,MSFT,MSFT,MSFT,MSFT,MSFT\nDate,,,,,\n"
    text += "2024-03-01,10,11,9,10,5\n2024-03-04,x,11,9,10,5\n2024-03-05,10,11,9,10,5\n"
    reading = read(tmp_path, text)
    assert rows(reading.table, "symbol", "source_row") == [("MSFT", 4), ("MSFT", 6)]
    assert [(rejected.row, rejected.reason, rejected.raw) for rejected in reading.rejected] == [
        (5, "close is not a number", "2024-03-04,x,11,9,10,5")
    ]


def test_a_ticker_without_a_column_is_named(tmp_path):
    text = "Price,Close,High,Low,Open,Close\nTicker,A,A,A,A,B\nDate,,,,,\n2024-03-01,10,11,9,10,5\n"
    with pytest.raises(InputError, match=r"row 1: column 'open' is missing.* B lacks it"):
        read(tmp_path, text)


def test_bars_of_alpacas_library(tmp_path):
    """`bars.df` has symbol and timestamp as its index; midnight in New York is 04:00 or 05:00 in
    UTC."""
    index = pd.MultiIndex.from_tuples(
        [("AAPL", pd.Timestamp("2024-03-01T05:00Z")), ("AAPL", pd.Timestamp("2024-03-11T04:00Z"))],
        names=["symbol", "timestamp"],
    )
    values = {
        "open": 1.0,
        "high": 2.0,
        "low": 1.0,
        "close": 2.0,
        "volume": 5.0,
        "trade_count": 3.0,
        "vwap": 1.5,
    }
    frame = pd.DataFrame(values, index=index)
    frame.to_csv(tmp_path / "bars.csv")
    frame.reset_index().to_parquet(tmp_path / "bars.parquet")
    for file in tmp_path.iterdir():
        assert rows(read_file(file, file.name).table, "symbol", "date") == [
            ("AAPL", date(2024, 3, 1)),
            ("AAPL", date(2024, 3, 11)),
        ]


def test_stooqs_bulk_file(tmp_path):
    text = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n" + "".join(
        f"{ticker},D,2024030{day},000000,10,12,9,11,500,0\n"
        for ticker in ("AAPL.US", "BRK-B.US", "VOD.UK")
        for day in (1, 4)
    )
    table = read(tmp_path, text, "bulk.txt").table
    assert rows(table, "symbol", "date") == [
        (symbol, date(2024, 3, day)) for symbol in ("AAPL", "BRK-B", "VOD.UK") for day in (1, 4)
    ]


def test_dates_are_the_days_as_written_whatever_the_zone(tmp_path):
    text = "Date,Open,High,Low,Close,Volume\n2024-03-08 00:00:00-05:00,1,1,1,1,1\n2024-03-11 00:00:00-04:00,1,1,1,1,1\n"
    assert read(tmp_path, text).table["date"].to_pylist() == [date(2024, 3, 8), date(2024, 3, 11)]
    frame = pd.DataFrame({name: [1.0, 1.0] for name in ("Open", "High", "Low", "Close", "Volume")})
    frame.index = pd.DatetimeIndex(["2024-03-29", "2024-04-01"], tz="Asia/Tokyo", name="Date")
    frame.to_parquet(tmp_path / "T.parquet")
    assert read_file(tmp_path / "T.parquet", "T").table["date"].to_pylist() == [
        date(2024, 3, 29),
        date(2024, 4, 1),
    ]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("Close", [[1.0]]),
        ("Close", [{"a": 1.0}]),
        ("Date", [[1]]),
        ("Close", [b"\xff"]),
        ("Symbol", [[1]]),
    ],
)
def test_parquet_columns_of_a_strange_kind_are_refused(tmp_path, column, values):
    table = {
        "Symbol": ["A"],
        "Date": [date(2024, 3, 1)],
        **{name: [1.0] for name in ("Open", "High", "Low", "Close", "Volume")},
    }
    pq.write_table(pa.table(table | {column: values}), tmp_path / "A.parquet")
    with pytest.raises(InputError, match=r"A\.parquet"):
        read_file(tmp_path / "A.parquet", "A.parquet")


@pytest.mark.parametrize(
    "kind", [pa.float32(), pa.int64(), pa.decimal128(9, 3), pa.string(), pa.large_string()]
)
def test_parquet_prices_of_any_kind_of_number(tmp_path, kind):
    price = pa.array(["1", "2"]).cast(kind)
    table = {
        "Date": pa.array(DAYS[:2]).cast(pa.date32()),
        **dict.fromkeys(("Open", "High", "Low", "Close", "Volume"), price),
    }
    pq.write_table(pa.table(table), tmp_path / "A.parquet")
    assert read_file(tmp_path / "A.parquet", "A.parquet").table["close"].to_pylist() == [1, 2]


def test_any_number_of_blank_lines_may_stand_above_the_header(tmp_path):
    reading = read(
        tmp_path, "\n" * 5000 + "Date,Open,High,Low,Close,Volume\n2024-03-01,1,1,1,1,1\n"
    )
    assert reading.table["source_row"].to_pylist() == [5002]


def test_what_has_no_volume_has_none(tmp_path):
    table = read(
        tmp_path, "Date,Open,High,Low,Close\n2024-03-01,1.08,1.09,1.07,1.085\n", "EURUSD=X.csv"
    ).table
    assert table.select(["symbol", "close", "volume"]).to_pylist() == [
        {"symbol": "EURUSD=X", "close": 1.085, "volume": 0.0}
    ]


def test_digits_may_be_grouped_in_quotes(tmp_path):
    table = read(
        tmp_path,
        'Date,Open,High,Low,Close,Volume\n2024-03-01,"1,000.50","1,010.00",990,1005.00,"1,234,567"\n2024-03-04,10,11,9,10,"900"\n',
    ).table
    assert rows(table, "open", "volume") == [(10, 900), (1000.5, 1234567)]


def test_the_decimal_sign_is_that_of_the_file(tmp_path):
    """German numbers beside commas that separate cells: `1,09` shows what `1,085` is."""
    reading = read(
        tmp_path,
        'Date,Open,High,Low,Close,Volume\n2024-03-01,"1,085","1,09","1,08","1,086",5\n2024-03-04,10,11,9,10,900\n',
    )
    assert rows(reading.table, "open") == [(1.085,), (10,)]
    assert reading.rejected == []


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_german_volumes_are_thousands(tmp_path, kind):
    """`795.001` alone may be a little less than 796; the prices of the file say that it is not."""
    volumes = ["900", "795.001", "1.862.976", "1.000"]
    lines = [
        f"0{day + 4}.03.2024;1.050,00;1.061,50;1.049,00;1.060,25;{volume}"
        for day, volume in enumerate(volumes)
    ]
    frame = pd.DataFrame(
        [line.split(";") for line in lines],
        columns=["Date", "Open", "High", "Low", "Close", "Volume"],
    )
    path = tmp_path / f"RHM.DE.{kind}"
    frame.to_csv(path, sep=";", index=False) if kind == "csv" else frame.to_parquet(path)
    reading = read_file(path, path.name)
    assert reading.rejected == []
    assert reading.table["volume"].to_pylist() == [900, 795_001, 1_862_976, 1000]
    assert set(reading.table["close"].to_pylist()) == {1060.25}


def test_a_file_that_shows_both_signs_is_read_row_by_row(tmp_path):
    text = "Date;Open;High;Low;Close;Volume\n2024-03-04;1.050,5;1.061,5;1.049,5;1.060,5;795.001\n"
    reading = read(tmp_path, text + "2024-03-05;1,050.5;1,061.5;1,049.5;1,060.5;795,001\n")
    assert set(
        zip(*(reading.table[name].to_pylist() for name in ("close", "volume")), strict=True)
    ) == {(1060.5, 795_001)}


def test_windows_1252_and_marks_of_currencies_are_read_as_in_trades(tmp_path):
    text = (
        "Date,Open,High,Low,Close,Volume,Börse\n2024-03-04,₹10.50,₹11.50,₹9.50,₹10.50,5,München\n"
    )
    (tmp_path / "ABC.csv").write_bytes(text.replace("₹", "€").encode("cp1252"))
    (tmp_path / "DEF.csv").write_bytes(text.encode("utf-16"))
    for name in ("ABC.csv", "DEF.csv"):
        assert read_file(tmp_path / name, name).table["close"].to_pylist() == [10.5]


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_two_tickers_whose_date_became_a_column_are_two(tmp_path, kind, level):
    frame = frame_of(["A", "B"], "field" if level == 0 else "ticker").reset_index()
    path = tmp_path / f"prices.{kind}"
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    table = read_file(path, path.name).table
    assert rows(table, "symbol", "close") == [
        ("A", 10.0),
        ("A", 11.0),
        ("A", 12.0),
        ("B", 22.0),
        ("B", 24.0),
    ]


def test_names_that_pandas_numbered_are_two_symbols(tmp_path):
    frame_of(["A", "B"]).reset_index().to_csv(tmp_path / "first.csv", index=False)
    pd.read_csv(tmp_path / "first.csv").to_csv(tmp_path / "second.csv", index=False)
    table = read_file(tmp_path / "second.csv", "").table
    assert rows(table, "symbol", "close") == [
        ("A", 10.0),
        ("A", 11.0),
        ("A", 12.0),
        ("B", 22.0),
        ("B", 24.0),
    ]


@pytest.mark.parametrize("second", ["Close", "Close.1", " close"])
def test_a_name_that_occurs_twice_is_refused(tmp_path, second):
    with pytest.raises(InputError, match=r"row 1: there are 2 columns 'close'"):
        read(tmp_path, f"Date,Open,High,Low,Close,{second},Volume\n2024-03-04,10,11,9,10,400,5\n")
    names = ["Date", "Open", "High", "Low", "Close", second]
    columns = [pa.array(["2024-03-04"]), *(pa.array([1.0]) for _ in names[1:])]
    pq.write_table(pa.Table.from_arrays(columns, names=names), tmp_path / "A.parquet")
    with pytest.raises(InputError, match="there are 2 columns 'close'"):
        read_file(tmp_path / "A.parquet", "")


def test_symbols_under_another_name_are_not_the_files(tmp_path):
    """Kaggle's file of the S&P 500: the column of symbols is called Name; one name alone may be
    that of a company."""
    head = "date,open,high,low,close,volume,Name\n"
    two = head + "2015-03-04,10,11,9,10,5,AAL\n2016-03-04,400,410,390,400,5,ZTS\n"
    assert rows(read(tmp_path, two).table, "symbol", "close") == [("AAL", 10), ("ZTS", 400)]
    assert rows(read(tmp_path, two.replace("AAL", "ZTS")).table, "symbol") == [("ABC",), ("ABC",)]


def test_splits_dividends_and_the_day_of_the_snapshot(tmp_path):
    text = (
        "Date,Open,High,Low,Close,Adj Close,Volume,Dividends,Stock Splits,As Of\n"
        "2024-03-01,10,11,9,10,9,5,0.0,0.0,2024-06-30\n2024-03-04,10,11,9,10,9.5,5,0.5,,2024-06-30\n"
        "2024-03-05,10,11,9,10,10,5,,4.0,2024-06-30\n"
    )
    table = read(tmp_path, text).table
    assert table["dividend"].to_pylist() == [0, 0.5, 0]
    assert table["split"].to_pylist() == [1, 1, 4]
    assert table["adjustment"].to_pylist() == [0.9, 0.95, 1.0]
    assert set(table["as_of"].to_pylist()) == {date(2024, 6, 30)}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2024-03-04,10,11,9,10,9,5,-1,0,2024-06-30", "the dividend is not a number, zero or more"),
        ("2024-03-04,10,11,9,10,9,5,0,x,2024-06-30", "the split is not a number, zero or more"),
        ("2024-03-04,10,11,9,10,9,5,0,0,soon", "the date that it is as of cannot be read"),
    ],
)
def test_bad_extras_are_set_aside(tmp_path, line, reason):
    head = "Date,Open,High,Low,Close,Adj Close,Volume,Dividends,Stock Splits,As Of\n"
    good = "".join(f"{day},10,11,9,10,9,5,0,0,2024-06-30\n" for day in ("2024-03-01", "2024-03-05"))
    assert [
        (rejected.row, rejected.reason) for rejected in read(tmp_path, head + good + line).rejected
    ] == [(4, reason)]


@pytest.mark.parametrize("newest_first", [False, True])
def test_intraday_candles_are_refused(tmp_path, newest_first):
    lines = [f"2024-03-01 09:{minute:02d},10,12,9,{10 + minute % 2},5" for minute in range(30, 60)]
    text = "Date,Open,High,Low,Close,Volume\n" + "\n".join(
        reversed(lines) if newest_first else lines
    )
    with pytest.raises(
        InputError,
        match=r"ABC.csv, row 3: 29 of 30 candles share their day .*export the file with the interval 1d",
    ):
        read(tmp_path, text)


def test_a_file_that_was_pasted_together_with_itself_is_not_intraday(tmp_path):
    lines = "".join(f"{day},10,11,9,10,5\n" * 2 for day in DAYS)
    (tmp_path / "ABC.csv").write_text("Date,Open,High,Low,Close,Volume\n" + lines)
    reading = candle_table.read_candles([tmp_path / "ABC.csv"], tmp_path)
    assert (len(reading.table), reading.duplicates) == (3, 3)


def test_of_two_snapshots_the_later_one_counts(tmp_path):
    """Another split has halved all prices since; the older file alone has the first day."""
    head = "Date,Open,High,Low,Close,Volume,Stock Splits\n"
    (tmp_path / "b").mkdir()
    older = "".join(f"{day},20,20,20,20,5,0\n" for day in ("2024-02-29", *DAYS))
    newer = "".join(
        f"{day},10,10,10,10,10,{2 if day == '2024-03-06' else 0}\n" for day in (*DAYS, "2024-03-06")
    )
    (tmp_path / "ABC.csv").write_text(head + older)
    (tmp_path / "b/ABC.csv").write_text(head + newer)
    files = [tmp_path / "ABC.csv", tmp_path / "b/ABC.csv"]
    for order in (files, files[::-1]):
        reading = candle_table.read_candles(order, tmp_path)
        assert reading.table["close"].to_pylist() == [10.0] * 5
        assert reading.table["scale"].to_pylist() == [0.5, 1, 1, 1, 1]
        assert reading.table["source_file"].to_pylist() == ["ABC.csv"] + ["b/ABC.csv"] * 4
        assert (reading.duplicates, reading.rejected) == (3, [])
        assert [(finding.rule, finding.rows) for finding in reading.findings] == [
            ("replaced by a later file", 3)
        ]


def test_older_snapshots_come_to_the_scale_of_the_latest(tmp_path):
    """Three snapshots, each overlapping the next by two days; between them a split of 4 and one of
    1.5, far from any seam."""
    days = np.arange(np.datetime64("2024-01-01"), np.datetime64("2024-03-01"))
    truth = 10 + np.sin(np.arange(60)) / 5
    for name, own, units, dividends in (
        ("a", slice(0, 20), 6.0, 0.5),
        ("b", slice(18, 40), 1.5, 0.8),
        ("c", slice(38, 60), 1.0, 1.0),
    ):
        prices = [round(float(price), 9) for price in truth[own] * units]
        lines = [
            f"{day},{price},{price},{price},{price},{price * 0.9 / dividends},{600 / units}"
            for day, price in zip(days[own], prices, strict=True)
        ]
        (tmp_path / name).mkdir()
        (tmp_path / name / "ABC.csv").write_text(
            "Date,Open,High,Low,Close,Adj Close,Volume\n" + "\n".join(lines)
        )
    reading = candle_table.read_candles(
        [tmp_path / name / "ABC.csv" for name in "cab"],
        tmp_path,
        exchanges=Exchanges(default="24/7"),
    )
    np.testing.assert_allclose(reading.table["close"], truth, rtol=1e-8)
    np.testing.assert_allclose(reading.table["volume"], 600, rtol=1e-8)
    np.testing.assert_allclose(reading.table["adjustment"], 0.9, rtol=1e-8)
    assert reading.table["scale"].to_pylist()[::20] == pytest.approx([1 / 6, 1 / 1.5, 1])
    assert [finding.rule for finding in reading.findings] == ["replaced by a later file"]
    assert (reading.rows_read, len(reading.table), reading.duplicates) == (64, 60, 4)


def test_snapshots_that_differ_otherwise_than_by_scale_are_not_rescaled(tmp_path):
    head = "Date,Open,High,Low,Close,Volume\n"
    (tmp_path / "b").mkdir()
    (tmp_path / "ABC.csv").write_text(
        head + "".join(f"{day},10,10,10,10,5\n" for day in ("2024-02-29", *DAYS))
    )
    later = zip((*DAYS, "2024-03-06"), (10, 11, 10.5, 10), strict=True)
    (tmp_path / "b/ABC.csv").write_text(
        head + "".join(f"{day},{price},{price},{price},{price},5\n" for day, price in later)
    )
    reading = candle_table.read_candles([tmp_path / "ABC.csv", tmp_path / "b/ABC.csv"], tmp_path)
    assert reading.table["close"].to_pylist() == [10, 10, 11, 10.5, 10]
    assert set(reading.table["scale"].to_pylist()) == {1.0}


def test_prices_that_are_adjusted_already_are_reported(tmp_path):
    text = "Date,Open,High,Low,Close,Volume,Dividends\n" + "".join(
        f"{day},10,11,9,10,5,{0.3 if day == DAYS[1] else 0}\n" for day in DAYS
    )
    (tmp_path / "ABC.csv").write_text(text)
    (finding,) = candle_table.read_candles([tmp_path / "ABC.csv"], tmp_path).findings
    assert (finding.rule, finding.first_day) == ("adjusted prices", "2024-03-04")
    assert "auto_adjust=False" in finding.text


LINES = st.lists(
    st.tuples(
        st.sampled_from("ABC"),
        st.integers(1, 28),
        st.sampled_from(["10,11,9,10,5", "10,11,9,10.5,5", "10,11,9,1050,5", "0.1,0.11,0.09,0.1,5", "0,0,0,0,0", "20,21,9,9,5"]),
        st.sampled_from(["2024-03-01", "2024-04-01"]),
        st.sampled_from(["0", "0", "0", "2"]),
    ),
    min_size=1,
    max_size=40,
)  # fmt: skip


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files=st.lists(LINES, min_size=1, max_size=4))
def test_in_parts_as_in_memory_no_row_is_lost_and_the_order_of_files_means_nothing(tmp_path, files):
    paths, parts = [], []
    read_rows, rejected = 0, []
    for number, lines in enumerate(files):
        path = tmp_path / f"{number}.csv"
        body = "".join(
            f"{symbol},2024-02-{day:02d},{prices},{as_of},{split}\n"
            for symbol, day, prices, as_of, split in lines
        )
        path.write_text("Symbol,Date,Open,High,Low,Close,Volume,As Of,Split\n" + body)
        try:
            reading = read_file(path, path.name)
        except InputError:
            continue
        paths.append(path)
        parts.append(tmp_path / f"{number}.parquet")
        pq.write_table(reading.table, parts[-1])
        read_rows += reading.rows_read
        rejected += reading.rejected
    if not paths:
        return
    target = tmp_path / "all.parquet"
    try:
        whole = candle_table.read_candles(paths, tmp_path)
    except InputError as error:
        with pytest.raises(InputError, match="contradict another candle"):
            candle_table.merge_candles(parts, target)
        assert "contradict another candle" in str(error)
        return
    assert whole.rows_read == read_rows == len(whole.table) + len(whole.rejected) + whole.duplicates
    assert whole.table.schema.equals(CANDLE_SCHEMA)
    keys = rows(whole.table, "symbol", "date")
    assert len(set(keys)) == len(keys)
    assert keys == list(
        zip(whole.table["symbol"].to_pylist(), whole.table["date"].to_pylist(), strict=True)
    )
    for order in (parts, parts[::-1]):
        merged = candle_table.merge_candles(order, target)
        assert pq.read_table(target).equals(whole.table)
        assert (merged.kept, merged.duplicates, merged.findings) == (
            len(whole.table),
            whole.duplicates,
            whole.findings,
        )
        assert sorted(rejected + merged.rejected) == sorted(whole.rejected)
    again = candle_table.read_candles(paths[::-1], tmp_path)
    assert again.table.equals(whole.table)
    assert (sorted(again.rejected), again.findings) == (sorted(whole.rejected), whole.findings)


def test_parts_are_merged_some_symbols_at_a_time_into_the_same_bytes(tmp_path, monkeypatch):
    days = np.arange(np.datetime64("2020-01-01"), np.datetime64("2020-02-10"))
    for number in range(7):
        body = "".join(
            f"S{symbol},{day},1,1,1,1,{symbol}\n"
            for symbol in range(number, number + 5)
            for day in days
        )
        reading = read(tmp_path, "Symbol,Date,Open,High,Low,Close,Volume\n" + body, f"{number}.csv")
        pq.write_table(reading.table, tmp_path / f"{number}.parquet")
    parts = sorted(tmp_path.glob("*.parquet"))
    first = candle_table.merge_candles(parts, tmp_path / "one.out")
    monkeypatch.setattr(candle_table, "_MAX_CANDLES", 50)
    second = candle_table.merge_candles(parts[::-1], tmp_path / "two.out")
    assert first.kept == second.kept == 11 * 40
    assert first.duplicates == second.duplicates == 7 * 5 * 40 - 11 * 40
    assert (tmp_path / "one.out").read_bytes() == (tmp_path / "two.out").read_bytes()


def test_a_large_file_needs_no_memory_for_its_text(tmp_path):
    """Numbers of a row take 8 bytes a column; Python and Arrow are not asked for the text of all
    rows at once."""
    stream = io.StringIO()
    stream.write("Symbol,Date,Open,High,Low,Close,Volume\n")
    for symbol in range(100):
        for day in (
            np.arange(np.datetime64("2010-01-01"), np.datetime64("2010-01-01") + 2500)
            .astype(str)
            .tolist()
        ):
            stream.write(f"S{symbol:04d},{day},10.123456,11.123456,9.123456,10.123456,1234567\n")
    (tmp_path / "all.csv").write_text(stream.getvalue())
    before = pa.total_allocated_bytes()
    reading = read_file(tmp_path / "all.csv", "all.csv")
    assert len(reading.table) == 250_000
    assert pa.total_allocated_bytes() - before < 2 * reading.table.nbytes
    assert reading.table.nbytes < 130 * 250_000
