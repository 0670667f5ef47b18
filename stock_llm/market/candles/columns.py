"""The columns of candle files: what they are called, and where they are.

In: the first lines of a file. Out: for each symbol the places of its columns. Knows the names of yfinance, Stooq, Alpaca and
pandas, and yfinance's two rows of names, fields over tickers. Does not read values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stock_llm.storage.quarantine import QuarantinedRow
from stock_llm.tabular import columns

PRICES = ("open", "high", "low", "close")

NAMES = {
    "date": ("date", "<date>", "time", "timestamp", "datetime", "t", "<dtyyyymmdd>"),
    "open": ("open", "<open>", "o"),
    "high": ("high", "<high>", "h"),
    "low": ("low", "<low>", "l"),
    "close": ("close", "<close>", "c"),
    "volume": ("volume", "<vol>", "vol", "v"),
    "adjusted": ("adj close", "adj_close", "adjclose", "adjusted close", "adjusted_close"),
    "dividend": ("dividends", "dividend"),
    "split": ("stock splits", "stock_splits", "splits", "split", "split ratio"),
    "as_of": ("as of", "as_of"),
    "symbol": ("symbol", "ticker", "<ticker>", "s"),
}
"""Column → the names that it goes by, in lower case; the first that a file has is taken."""

OPTIONAL = ("volume", "adjusted", "dividend", "split", "as_of", "symbol")
"""What a file may lack; indices and currencies have no volume."""

NUMBERS = (*PRICES, "volume", "adjusted", "dividend", "split")
REMEDY = "A candle file has Date,Open,High,Low,Close,Volume, and Symbol where it holds several"

_FIELDS = {name for column in NUMBERS for name in NAMES[column]} | {"capital gains", "repaired?"}


@dataclass(frozen=True)
class Layout:
    """Where one symbol's columns are: keys of `NAMES` → place. `symbol` is empty where the file has one layout for all."""

    symbol: str
    places: dict[str, int]


@dataclass(frozen=True)
class CandleRows:
    """A file's rows, columns named by the keys of `NAMES`, not checked yet.

    Attributes:
        text: date, as_of and symbol, those that the file has, as dictionary arrays.
        number: float64 by column, NaN where the text is not a number; 0 for an empty dividend or split.
        row: 1-based line or row of the file.
        written: the rows at some indices, as the file has them.
    """

    text: dict[str, pa.DictionaryArray]
    number: dict[str, np.ndarray]
    row: np.ndarray
    rejected: list[QuarantinedRow]
    written: Callable[[np.ndarray], list[str]]


def absent(column: str, size: int) -> np.ndarray:
    """What stands for a column of numbers that some symbols of a file lack: no dividend and no split, or not a number."""
    return np.zeros(size) if column in ("dividend", "split") else np.full(size, np.nan)


def layouts(header: Sequence[str], file: Path, row: int | None) -> list[Layout]:
    """The only layout of a file with one row of names.

    Raises:
        InputError: a column is missing.
    """
    return [Layout("", columns.find_columns(list(header), NAMES, OPTIONAL, file, row, REMEDY))]


def is_wide(top: Sequence[str], below: Sequence[str], index: Sequence[str]) -> bool:
    """Whether three lines are the names of yfinance's table of several tickers: fields, tickers, and the name of the index."""
    named = (
        len(index) > 0
        and index[0].strip().lower() in NAMES["date"]
        and not any(cell.strip() for cell in index[1:])
    )
    return named and len(top) == len(below) > 1 and (_are_fields(top[1:]) or _are_fields(below[1:]))


def wide_layouts(
    top: Sequence[str], below: Sequence[str], file: Path, row: int | None
) -> list[Layout]:
    """A layout for each ticker, in the order of the file; column 0 is the date.

    Raises:
        InputError: a ticker lacks a column.
    """
    fields, tickers = (top, below) if _are_fields(top[1:]) else (below, top)
    places: dict[str, list[int]] = {}
    for place, ticker in enumerate(tickers[1:], start=1):
        places.setdefault(ticker.strip(), []).append(place)
    found = []
    for ticker, own in places.items():
        header = ["date", *(fields[place] for place in own)]
        columns_of = columns.find_columns(
            header, NAMES, OPTIONAL, file, row, f"{ticker} lacks it. {REMEDY}"
        )
        found.append(
            Layout(ticker, {column: [0, *own][place] for column, place in columns_of.items()})
        )
    return found


def _are_fields(names: Sequence[str]) -> bool:
    return all(name.strip().lower() in _FIELDS for name in names)
