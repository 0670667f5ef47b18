"""Candles of providers as files in the folder of candles, one CSV file a symbol.

In: provider, symbols, the first day. Out: files `SYMBOL.csv` with yfinance's columns and the day on which they were fetched,
`As Of`. A file is always one snapshot: adjusted closes change with every dividend, so a symbol that is there is fetched again
from its first day. Only files that were made here are replaced. Does not know how a provider is asked.
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
from stock_llm.market.fetch import alpaca, yahoo
from stock_llm.market.fetch.daily_candles import DailyCandles
from stock_llm.settings import Settings
from stock_llm.storage.atomic import atomic_write

FetchCandles = Callable[[Sequence[str], date, date], Iterator[DailyCandles]]

VENDORS: dict[str, FetchCandles] = {"yfinance": yahoo.fetch, "alpaca": alpaca.fetch}

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
    provider: str,
    since: date,
    provide: FetchCandles | None = None,
) -> Iterator[DownloadedFile]:
    """Brings each symbol's file up to date: from `since`, or its own first day if that is earlier, to the last day that is over.

    Args:
        folder: where a symbol's file belongs: `place`, for the folders of the settings.
        provide: asks the provider otherwise than `PROVIDERS` does.

    Raises:
        FetchError: the provider cannot be reached or has no such prices; files of symbols before it are written.
        InputError: no such provider, a symbol that cannot be a file's name, a day to come, or a file that was not made here.
    """
    if provider not in VENDORS:
        raise InputError(
            f"there is no provider '{provider}'", remedy=f"Use one of {', '.join(VENDORS)}"
        )
    today = datetime.now(UTC).date()
    if since >= today:
        raise InputError(f"{since} is not over yet", remedy="Give an earlier day with --since")
    files = {
        symbol: _file(folder(symbol), symbol)
        for symbol in dict.fromkeys(one.strip().upper() for one in symbols)
    }
    starts = {symbol: min(since, _first_day(file) or since) for symbol, file in files.items()}
    for symbol, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        for daily in (provide or VENDORS[provider])([symbol], starts[symbol], today):
            yield _write(file, daily, today)


def folder_for(settings: Settings, symbol: str) -> Path:
    """The folder that a symbol's file belongs to: the candles', or that of exchange rates.

    Raises:
        InputError: it is the sample's, which is fictional and stays so, or it is a file.
    """
    folder = settings.path(settings.fx if symbol.endswith("=X") else settings.candles)
    if folder.resolve().is_relative_to(settings.path("data/sample").resolve()):
        remedy = "Give a folder of your own: --candles ~/candles, or candles in stock-llm.toml"
        raise InputError(
            "these are the candles of the fictional sample", file=folder, remedy=remedy
        )
    if folder.is_file():
        raise InputError(
            "this is a file", file=folder, remedy="Set it to a folder, and put the file into it"
        )
    return folder


def parse_since(text: str | None) -> date:
    """A day that was typed; without one, ten years ago.

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
            remedy="Write it as the provider does: AAPL, AET.L, ^GSPC, EURUSD=X",
        )
    return folder / f"{symbol}.csv"


def _first_day(file: Path) -> date | None:
    """The first day of a file that was fetched before; None where there is no file."""
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
    return pc.min(read_file(file, file.name).table["date"]).as_py()


def _write(file: Path, daily: DailyCandles, today: date) -> DownloadedFile:
    """Days without a price are left out; there is nothing to keep of them."""
    priced = np.isfinite(daily.prices).all(axis=0)
    if not priced.any():
        raise FetchError(
            f"the provider has days but no prices of {daily.symbol}; nothing was written"
        )
    dividend = np.zeros(len(daily.day)) if daily.dividend is None else daily.dividend
    columns = [*daily.prices, daily.adjusted, daily.volume, dividend, daily.split]
    lines = [
        ",".join(
            [
                str(day),
                *("" if np.isnan(value) else _number(value) for value in values),
                today.isoformat(),
            ]
        )
        for day, *values in zip(
            daily.day[priced],
            *(np.asarray(column, float)[priced] for column in columns),
            strict=True,
        )
    ]
    atomic_write(file, "\n".join([_HEADER, *lines, ""]))
    first, last = (day.astype(date) for day in daily.day[priced][[0, -1]])
    return DownloadedFile(file, len(lines), first, last)


def _number(value: float) -> str:
    """The shortest text that reads as the same number."""
    return str(int(value)) if value == int(value) else repr(float(value))
