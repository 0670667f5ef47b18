"""Finds the columns of candle files: what they are called, and where they are.

In: the first lines of a file. Out: for each symbol the places of its columns. Knows the names of
yfinance, Stooq, Alpaca and pandas, and yfinance's two rows of names, fields over tickers. A name
that occurs twice is refused: it would be two symbols.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.errors import InputError
from stock_llm.storage.quarantine import QuarantinedRow
from stock_llm.tabular.numbers import plain_floats, read_floats

PRICES = ("open", "high", "low", "close")

NAMES = {
    "date": ("date", "<date>", "time", "timestamp", "datetime", "t", "<dtyyyymmdd>"),
    "time": ("time", "<time>"),
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
    "name": ("name", "instrument", "code", "security", "act_symbol"),
}
"""Column → the names that it goes by, in lower case; the first that a file has is taken."""

NEEDED = ("date", *PRICES)
"""What no file may lack; indices and currencies have no volume."""

NUMBERS = (*PRICES, "volume", "adjusted", "dividend", "split")
REMEDY = "A candle file has Date,Open,High,Low,Close,Volume, and Symbol where it holds several"

_FIELDS = {name for column in NUMBERS for name in NAMES[column]} | {"capital gains", "repaired?"}
_TIME_OF_DAY = r"^(?:\d{1,2}:\d{2}|\d{4}$|\d{6}$)"


@dataclass(frozen=True)
class Layout:
    """Where one symbol's columns are: keys of `NAMES` → place. `symbol` is empty where the file has
    one layout for all."""

    symbol: str
    places: dict[str, int]


@dataclass(frozen=True)
class CandleRows:
    """A file's rows, columns named by the keys of `NAMES`, not checked yet.

    Attributes:
        text: date, as_of, symbol and name, those that the file has, as dictionary arrays.
        number: float64 by column, NaN where the text is not a number; 0 for an empty dividend or
            split.
        row: 1-based line or row of the file.
        written: returns the rows at some indices, as the file has them.
    """

    text: dict[str, pa.DictionaryArray]
    number: dict[str, np.ndarray]
    row: np.ndarray
    rejected: list[QuarantinedRow]
    written: Callable[[np.ndarray], list[str]]


def find_layouts(
    heads: Sequence[Sequence[str]], file: Path, row: int | None
) -> tuple[list[Layout], int]:
    """Returns the layouts that the first lines of a file name, and how many of the lines are names.

    Raises:
        InputError: a column is missing, or is there twice.
    """
    if len(heads) > 1 and len(heads[0]) == len(heads[1]) > 1:
        top, below = ([_plain(name) for name in head[1:]] for head in heads[:2])
        index = heads[2] if len(heads) > 2 else []
        named_index = (
            bool(index) and _plain(index[0]) in NAMES["date"] and not any(map(str.strip, index[1:]))
        )
        named_above = (
            _plain(heads[0][0]) in NAMES["date"]
            and not heads[1][0].strip()
            and _are_names(top, below)
        )
        if (named_index or named_above) and (_are_fields(top) or _are_fields(below)):
            fields, tickers = (top, heads[1][1:]) if _are_fields(top) else (below, heads[0][1:])
            return _by_ticker(fields, tickers, file, row), 3 if named_index else 2
    return [Layout("", _find(heads[0], file, row, REMEDY))], 1


def _by_ticker(
    fields: Sequence[str], tickers: Sequence[str], file: Path, row: int | None
) -> list[Layout]:
    """A layout for each ticker, in the order of the file; column 0 is the date."""
    places: dict[str, list[int]] = {}
    for place, ticker in enumerate(tickers, start=1):
        places.setdefault(re.sub(r"\.\d+$", "", ticker.strip()), []).append(place)
    layouts = []
    for ticker, own in places.items():
        header = ["date", *(fields[place - 1] for place in own)]
        place_of = _find(header, file, row, f"{ticker} lacks it. {REMEDY}")
        layouts.append(
            Layout(ticker, {column: [0, *own][place] for column, place in place_of.items()})
        )
    return layouts


def _find(names: Sequence[str], file: Path, row: int | None, remedy: str) -> dict[str, int]:
    """Column → its place in a header."""
    header = [_plain(name) for name in names]
    places: dict[str, int] = {}
    for column, known in NAMES.items():
        name = next((name for name in known if name in header), "")
        if not name and column in NEEDED:
            shown = ", ".join(name.strip() for name in names)[:200]
            raise InputError(
                f"column '{column}' is missing; the header is: {shown}",
                file=file,
                row=row,
                remedy=remedy,
            )
        if header.count(name) > 1:
            raise InputError(
                f"there are {header.count(name)} columns '{name}'",
                file=file,
                row=row,
                remedy=REMEDY,
            )
        if name:
            places[column] = header.index(name)
    if places.get("time") == places["date"]:
        del places["time"]
    return places


def _plain(name: str) -> str:
    """A name as `NAMES` has it; pandas writes a second `Close` as `Close.1`."""
    return re.sub(r"\.\d+$", "", name.strip(' "\ufeff').lower())


def _are_fields(names: Sequence[str]) -> bool:
    return all(name in _FIELDS for name in names)


def _are_names(top: Sequence[str], below: Sequence[str]) -> bool:
    """Whether a line below the names of columns is names too, not a row without its date."""
    repeated = len(set(top)) < len(top) or len(set(below)) < len(below)
    return all(below) and (repeated or not any(name.replace(".", "").isdigit() for name in below))


def absent(column: str, size: int) -> np.ndarray:
    """Returns what stands for a column of numbers that some symbols lack: no dividend and no split,
    or not a number."""
    return np.zeros(size) if column in ("dividend", "split") else np.full(size, np.nan)


def floats(
    texts: Mapping[str, pa.Array], sign: str, separator: str
) -> tuple[dict[str, np.ndarray], bool]:
    """Reads columns of text as float64, NaN where one is not a number; an empty dividend or split
    is none, 0.

    Also returns whether some text is more than plain digits, so that the decimal sign has to be
    known.
    """
    texts = {
        column: pc.if_else(pc.equal(text, ""), "0", text)
        if column in ("dividend", "split")
        else text
        for column, text in texts.items()
    }
    if sign != ",":
        try:
            return {column: plain_floats(text) for column, text in texts.items()}, False
        except pa.ArrowInvalid:
            pass
    return read_floats(texts, sign, separator), True


def with_time(texts: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """Joins a time of day that has its own column to the date."""
    if "time" not in texts:
        return texts
    time = pc.if_else(pc.match_substring_regex(texts["time"], _TIME_OF_DAY), texts["time"], "")
    date = pc.utf8_rtrim_whitespace(pc.binary_join_element_wise(texts["date"], time, " "))
    return {column: text for column, text in texts.items() if column != "time"} | {"date": date}
