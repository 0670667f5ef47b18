"""Writes candles of vendors into the folder of candles: `SYMBOL.csv`, with yfinance's columns.

Each file also has the day on which it was fetched, `As Of`, and is always one snapshot: adjusted
closes change with every dividend, so a symbol that is there is fetched again from its first day.
Only files that were fetched are replaced.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from stock_llm.errors import FetchError, InputError
from stock_llm.market.candles.candle_file import read_file
from stock_llm.market.fetch.daily_candles import DailyCandles
from stock_llm.market.fetch.vendors import VENDORS, FetchCandles
from stock_llm.storage.atomic import atomic_write

_HEADER = "Date,Open,High,Low,Close,Adj Close,Volume,Dividends,Stock Splits,As Of"
_SYMBOL = re.compile(r"[A-Za-z0-9^][A-Za-z0-9.^=_-]*")


@dataclass(frozen=True)
class DownloadedFile:
    """A file that was written."""

    file: Path
    candles: int
    first_day: date
    last_day: date


def download(
    folder: Callable[[str], Path],
    symbols: Sequence[str],
    vendor: str,
    since: date,
    fetch: FetchCandles | None = None,
) -> Iterator[DownloadedFile]:
    """Bring each symbol's file up to date, to the last day that is over.

    Args:
        folder: the folder of a symbol's file.
        since: first day; a file that begins earlier is fetched from its own first day.
        fetch: used in place of the vendor's own function.

    Raises:
        FetchError: the vendor cannot be reached or has no such prices; files of symbols before it
            are written.
        InputError: no such vendor, a symbol that cannot be a file's name, a day to come, or a file
            that was not fetched.
    """
    if vendor not in VENDORS:
        raise InputError(
            f"there is no candle vendor '{vendor}'", remedy=f"Use one of {', '.join(VENDORS)}"
        )
    today = datetime.now(UTC).date()
    if since >= today:
        raise InputError(f"{since} is not over yet", remedy="Give an earlier day with --since")
    names = dict.fromkeys(symbol.strip().upper() for symbol in symbols)
    files = {name: _file(folder(name), name) for name in names}
    starts = {name: min(since, _first_day(file) or since) for name, file in files.items()}
    for name, file in files.items():
        for candles in (fetch or VENDORS[vendor])([name], starts[name], today):
            yield _write(file, candles, today)


def parse_since(text: str | None) -> date:
    """Read a day that was typed; without one, return the day ten years ago.

    Raises:
        InputError: it is not a day.
    """
    if text is None:
        return (datetime.now(UTC) - timedelta(days=3653)).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"'{text}' is not a day", remedy="Write it as 2020-01-31") from None


def _file(folder: Path, symbol: str) -> Path:
    if not _SYMBOL.fullmatch(symbol):
        raise InputError(
            f"'{symbol}' is not a symbol",
            remedy="Write it as the vendor does: AAPL, AET.L, ^GSPC, EURUSD=X",
        )
    return folder / f"{symbol}.csv"


def _first_day(file: Path) -> date | None:
    """Return the first day of a file that was fetched before; None where there is no file."""
    if not file.exists():
        return None
    with file.open(encoding="utf-8", errors="replace") as stream:
        header = stream.readline().strip()
    if header != _HEADER:
        raise InputError(
            "this file was not fetched, and is not replaced",
            file=file,
            remedy="Move it out of the folder, then fetch again",
        )
    day: date | None = pc.min(read_file(file, file.name).table["date"]).as_py()
    return day


def _write(file: Path, daily: DailyCandles, today: date) -> DownloadedFile:
    """Write the days that have a price."""
    priced = np.isfinite(daily.prices).all(axis=0)
    if not priced.any():
        raise FetchError(
            f"the vendor has days but no prices of {daily.symbol}; nothing was written"
        )
    dividend = np.zeros(len(daily.day)) if daily.dividend is None else daily.dividend
    columns = [*daily.prices, daily.adjusted, daily.volume, dividend, daily.split]
    days = daily.day[priced].astype(date)
    rows = zip(*(np.asarray(column, float)[priced] for column in columns), strict=True)
    lines = [
        ",".join([str(day), *map(_number, row), today.isoformat()])
        for day, row in zip(days, rows, strict=True)
    ]
    atomic_write(file, "\n".join([_HEADER, *lines, ""]))
    return DownloadedFile(file, len(lines), days[0], days[-1])


def _number(value: float) -> str:
    """Return the shortest text that reads as the same number; nothing for NaN."""
    if np.isnan(value):
        return ""
    return str(int(value)) if value == int(value) else repr(float(value))
