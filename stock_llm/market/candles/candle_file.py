"""Reads one candle file as a checked table.

In: a CSV or Parquet file with yfinance's, Stooq's, Alpaca's or plain column names, one symbol a
file, a symbol column, or yfinance's table of several tickers; dates in any order. Out: its rows as
an Arrow table of `CANDLE_SCHEMA`, and those that were rejected with their reasons. A candle is
compared with its neighbours in check.py.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.errors import InputError
from stock_llm.market.calendars import Exchanges, zone_of
from stock_llm.market.candles import csv_file, parquet_file
from stock_llm.market.candles.columns import PRICES, CandleRows
from stock_llm.market.candles.repair import one_price_off
from stock_llm.storage.quarantine import QuarantinedRow, ReadResult, refuse_if_mostly_bad
from stock_llm.tabular.dates import DateColumn, date_order, read_dates

CANDLE_SCHEMA = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("date", pa.date32(), nullable=False),
        pa.field("open", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
        pa.field("low", pa.float64(), nullable=False),
        pa.field("close", pa.float64(), nullable=False),
        pa.field("volume", pa.float64(), nullable=False),
        pa.field("adjustment", pa.float64(), nullable=False),
        pa.field("dividend", pa.float64(), nullable=False),
        pa.field("split", pa.float64(), nullable=False),
        pa.field("scale", pa.float64(), nullable=False),
        pa.field("as_of", pa.date32(), nullable=False),
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
    ]
)
"""Prices in the instrument's currency, volume in units, one row per symbol and day.

- `adjustment`: adjusted close / close, for dividends; 1 where the file has none.
- `dividend`: paid per unit on that day; `split`: new units per old one from that day on, 1 where
    there was none.
- `scale`: what a repair multiplied the file's prices by, 1 where there was none: the file has price
    / scale.
- `as_of`: when the prices were fetched, as the file says, else the file's last day for the symbol:
    splits and dividends after it
  are not in the prices.
"""

_NOISE = 1e-9
"""Share of a price by which a high may lie below the close: what rounding leaves when prices were
adjusted."""


def read_file(file: Path, name: str, exchanges: Exchanges | None = None) -> ReadResult:
    """Reads the candles of one file, which is called `name` in the result.

    Args:
        file: CSV or Parquet.
        name: of the file.
        exchanges: whose midnight the instants of a symbol are; default: by suffix, New York where a
            symbol has none.

    Raises:
        InputError: the file is empty, no text, not daily, lacks a column, or more than half of its
            rows are bad.
    """
    of_parquet = file.suffix.lower() == ".parquet"
    rows = parquet_file.read_rows(file) if of_parquet else csv_file.read_rows(file, name)
    total = len(rows.row) + len(rows.rejected)
    rows.number.setdefault("volume", np.zeros(len(rows.row)))
    if not total:
        raise InputError("there is a header but no candle", file=file, remedy="Export it again")
    dates = _dates(rows.text["date"], file)
    if len(rows.row) and np.isnat(dates.day).all():
        raise InputError(
            f"'{rows.text['date'][0]}' is not a date, nor is any other row's",
            file=file,
            row=int(rows.row[0]),
            remedy="Write the dates as YYYY-MM-DD",
        )
    symbol = _symbols(rows, file)
    _refuse_intraday(rows, dates.day, symbol, file)
    day, unclear = _exchange_days(dates, symbol, exchanges or Exchanges())
    if 2 * unclear.sum() > len(day):
        first = int(np.flatnonzero(unclear)[0])
        raise InputError(
            f"{int(unclear.sum())} of {len(day)} times are no midnight of their exchange, so that"
            f" their days are unknown; the first is {rows.text['date'][first]}",
            file=file,
            row=int(rows.row[first]),
            remedy="Write the exchange's days as YYYY-MM-DD, or give the symbol its exchange's"
            " suffix, as in SAP.DE",
        )
    as_of = _dates(rows.text["as_of"], file).day if "as_of" in rows.text else day
    reasons = _reasons(day, unclear, as_of, rows.number, symbol)
    good = reasons == ""

    bad = np.flatnonzero(~good)
    rejected = rows.rejected + [
        QuarantinedRow("candles", name, row, reason, raw)
        for row, reason, raw in zip(
            rows.row[bad].tolist(), reasons[bad].tolist(), rows.written(bad), strict=True
        )
    ]
    refuse_if_mostly_bad(rejected, total, file)
    return ReadResult(_table(rows, day, as_of, symbol, good, name), rejected, total, 0)


def _dates(texts: pa.DictionaryArray, file: Path) -> DateColumn:
    """The dates of each row; each distinct text is read once."""
    used, codes = np.unique(texts.indices.to_numpy(), return_inverse=True)
    distinct = texts.dictionary.take(pa.array(used))
    return read_dates(distinct, date_order([distinct], file)).take(codes)


def _exchange_days(
    dates: DateColumn, symbol: pa.DictionaryArray, exchanges: Exchanges
) -> tuple[np.ndarray, np.ndarray]:
    """The day of each row, and rows whose time is an instant of a day that is not known.

    The day as written counts where it stands alone or with a midnight. Another time is that of an
    instant: midnight of the exchange is 23:00 UTC the day before in Frankfurt. Its day is the
    exchange's, and only a midnight there is the day's candle.
    """
    day = dates.day.copy()
    unclear = ~dates.midnight
    codes = symbol.indices.to_numpy()
    for code in np.unique(codes[unclear]):
        rows = np.flatnonzero((codes == code) & dates.timed & ~np.isnat(dates.instant))
        zone = zone_of(exchanges.of(symbol.dictionary[int(code)].as_py()))
        instants = pa.array(dates.instant[rows], pa.timestamp("us", "UTC"))
        clock = pc.local_timestamp(pc.cast(instants, pa.timestamp("us", zone)))
        local = clock.to_numpy(zero_copy_only=False)
        midnight = local == local.astype("datetime64[D]")
        times = np.unique(dates.instant[rows] - dates.instant[rows].astype("datetime64[D]"))
        # Without a zone, only midnights that move with summer time show that they are in UTC.
        if not dates.zoned[rows].all() and not (midnight.all() and len(times) > 1):
            continue
        day[rows[midnight]] = local[midnight].astype("datetime64[D]")
        unclear[rows[midnight]] = False
    return day, unclear & ~np.isnat(day)


def _symbols(rows: CandleRows, file: Path) -> pa.DictionaryArray:
    """The symbol of each row; `.US` goes, as Stooq writes AAPL. The file's name where there is no
    such column.

    A column of names counts where it holds several: they are the symbols then, or the rows of all
    would be the file's.
    """
    names = rows.text.get("name")
    if "symbol" not in rows.text and names is not None and len(pc.unique(names.indices)) > 1:
        rows.text["symbol"] = names
    if "symbol" in rows.text:
        indices, texts = rows.text["symbol"].indices, rows.text["symbol"].dictionary
    else:
        indices, texts = pa.array(np.zeros(len(rows.row), np.int32)), pa.array([file.stem])
    texts = pc.replace_substring_regex(pc.utf8_upper(pc.utf8_trim_whitespace(texts)), r"\.US$", "")
    return pa.DictionaryArray.from_arrays(indices, texts)


def _refuse_intraday(
    rows: CandleRows, day: np.ndarray, symbol: pa.DictionaryArray, file: Path
) -> None:
    """Raises: InputError: most rows are another candle of the same symbol and day as the row
    before."""
    codes = symbol.indices.to_numpy()
    again = (day[1:] == day[:-1]) & (codes[1:] == codes[:-1])
    if not again.any() or 2 * again.sum() < len(day):
        return
    differs = [values[1:][again] != values[:-1][again] for values in rows.number.values()]
    again[again] = np.any(differs, axis=0)
    if again.any() and 2 * again.sum() >= len(day):
        first = int(np.flatnonzero(again)[0]) + 1
        raise InputError(
            f"{int(again.sum())} of {len(day)} candles share their day with the one before,"
            f" the first on {day[first]}",
            file=file,
            row=int(rows.row[first]),
            remedy="Daily candles are needed, one for each symbol and day: export the file with the"
            " interval 1d",
        )


def _reasons(
    day: np.ndarray,
    unclear: np.ndarray,
    as_of: np.ndarray,
    number: dict[str, np.ndarray],
    symbol: pa.DictionaryArray,
) -> np.ndarray:
    """Why each row is bad, "" where it is not; the first reason that applies.

    A row that is whole but for one price that is a hundred times its fellows is left to
    `candle_repair`.
    """
    prices = [number[name] for name in PRICES]
    bottom, top = np.minimum.reduce(prices), np.maximum.reduce(prices)
    too_low, too_high = top > number["high"] * (1 + _NOISE), bottom < number["low"] * (1 - _NOISE)
    torn = np.flatnonzero((too_low | too_high) & (bottom > 0) & np.isfinite(top))
    excused = torn[one_price_off(np.stack(prices)[:, torn]).any(axis=0)] if len(torn) else torn
    too_low[excused] = too_high[excused] = False
    nameless = np.flatnonzero(pc.equal(symbol.dictionary, "").to_numpy(zero_copy_only=False))
    checks = {
        "the date cannot be read": np.isnat(day),
        "the time is no midnight of the exchange, so that the day is unknown": unclear,
        "there is no symbol": np.isin(symbol.indices.to_numpy(), nameless),
        **{f"{name} is not a number": ~np.isfinite(number[name]) for name in (*PRICES, "volume")},
        "a price is zero or negative": bottom <= 0,
        "the volume is negative": number["volume"] < 0,
        "high is below open, low or close": too_low,
        "low is above open or close": too_high,
        **{
            f"the {name} is not a number, zero or more": ~(
                np.isfinite(number[name]) & (number[name] >= 0)
            )
            for name in ("dividend", "split")
            if name in number
        },
        "the date that it is as of cannot be read": np.isnat(as_of),
    }
    reasons = np.full(len(day), "", object)
    for reason, applies in checks.items():
        if applies.any():
            reasons[applies & (reasons == "")] = reason
    return reasons


def _table(
    rows: CandleRows,
    day: np.ndarray,
    as_of: np.ndarray,
    symbol: pa.DictionaryArray,
    good: np.ndarray,
    name: str,
) -> pa.Table:
    """The good rows."""
    number = {column: values[good] for column, values in rows.number.items()}
    size = int(good.sum())
    codes = symbol.indices.to_numpy()[good]
    adjustment = np.ones(size)
    if "adjusted" in number:
        adjustment = _factors(number)
    split = number.get("split", np.zeros(size))
    snapshot_day = as_of[good]
    if "as_of" not in rows.text and size:
        last = np.full(len(symbol.dictionary), np.datetime64("0001-01-01", "D"))
        np.maximum.at(last, codes, snapshot_day)
        snapshot_day = last[codes]
    return pa.Table.from_arrays(
        [
            symbol.dictionary.take(pa.array(codes)),
            pa.array(day[good], pa.date32()),
            *(pa.array(number[column]) for column in (*PRICES, "volume")),
            pa.array(adjustment),
            pa.array(number.get("dividend", np.zeros(size))),
            pa.array(np.where(split == 0, 1.0, split)),
            pa.array(np.ones(size)),
            pa.array(snapshot_day, pa.date32()),
            pa.repeat(pa.scalar(name), size),
            pa.array(rows.row[good], pa.int64()),
        ],
        schema=CANDLE_SCHEMA,
    )


def _factors(number: dict[str, np.ndarray]) -> np.ndarray:
    """Adjusted close / close; 1 where there is none. Where the close is the one price that is off,
    the others stand for it."""
    prices = np.stack([number[name] for name in PRICES])
    close = number["close"].copy()
    off = np.flatnonzero(prices.max(axis=0) > 50 * prices.min(axis=0))
    if len(off):
        off = off[one_price_off(prices[:, off])[PRICES.index("close")]]
        close[off] = np.median(prices[:, off], axis=0)
    with np.errstate(invalid="ignore"):
        factor = number["adjusted"] / close
    factor[off] = np.where(
        factor[off] > 50,
        factor[off] / 100,
        np.where(factor[off] < 0.02, factor[off] * 100, factor[off]),
    )
    return np.where(np.isfinite(factor) & (factor > 0), factor, 1.0)
