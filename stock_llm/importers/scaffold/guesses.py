"""Guesses what a table means that no format knows: its header, its columns, its actions.

In: the text of a CSV file. Out: `FormatGuess`. A column is judged by its name (vocabulary.py) and
by what stands in it: a date column holds dates, whatever it is called. Guesses are shown to the
user (draft.py); nothing is imported by them alone.
"""

import csv
import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from stdnum import isin

from stock_llm.errors import InputError
from stock_llm.importers.excel_reader import is_workbook, text_of_largest
from stock_llm.importers.format_spec import glob
from stock_llm.importers.scaffold.vocabulary import ROLES, UNDONE, kind_of, likeness
from stock_llm.tabular.dates import date_order
from stock_llm.tabular.numbers import FIAT, MARKS, bare, decimal_sign, read_floats
from stock_llm.tabular.table import SEPARATORS, as_mask, is_blank, split_record
from stock_llm.tabular.text import read_text

_ROWS = 50_000
"""So many rows are looked at."""

_DATE = (
    r"^(?:\d{4}-\d\d?-\d\d?|\d{4}/\d\d?/\d\d?|\d{4}\.\d\d?\.\d\d?|(?:19|20)\d{6}"
    r"|\d{1,2}[-/. ](?:\d{1,2}|\pL{3,9})[-/. ]+\d{2,4}|\pL{3,9} \d{1,2},? \d{4})(?:\D|$)"
)
_TIME = r"^\d{1,2}:\d{2}"
_TICKER = r"^[A-Z0-9][A-Z0-9.:/_-]{0,14}$"
_NUMBER = r"^[+-]?[\d.,]*\d[\d.,]*(?:[eE][+-]?\d+)?$"
_FACTORS = ("quantity", "price", "amount")
_NUMERIC = frozenset(("quantity", "price", "amount", "net", "fee", "tax", "balance"))
_NAMES = frozenset(("symbol", "isin", "name"))


@dataclass(frozen=True)
class FormatGuess:
    """What the table may mean.

    Attributes:
        row: line number of the header.
        separator: what stands between its cells.
        header: its cells.
        roles: role → place of its column.
        decimal: "." or ","; empty where the numbers show neither.
        dates: DMY or MDY; empty where the dates say it themselves.
        unsure_dates: the dates can be read both ways, and nothing tells.
        sign: the number whose sign tells purchases from sales; empty where an action does.
        words: action → how many rows have it.
        kinds: action → kind, `~` for one to leave out, "" where nothing is known.
        currency: the only one that the header names.
        undone: statuses of orders that were not carried out; empty where no column has them.
    """

    row: int
    separator: str
    header: list[str]
    roles: dict[str, int]
    decimal: str
    dates: str
    unsure_dates: bool
    sign: str
    words: dict[str, int]
    kinds: dict[str, str]
    currency: str
    undone: tuple[str, ...]


def guess_format(path: Path) -> FormatGuess:
    """Looks at a CSV file, or at the largest worksheet of a workbook.

    Raises:
        InputError: there is no table in it.
    """
    text = text_of_largest(path) if is_workbook(path) else read_text(path)
    at, separator, rows = _table(text, path)
    header = [cell.strip(' \t"\ufeff') for cell in rows[0]]
    columns = [_column(name, [row[place] for row in rows[1:]]) for place, name in enumerate(header)]
    roles = _roles(columns, separator)
    signed = {role for role, place in roles.items() if columns[place].is_signed}
    decimal = decimal_sign(
        columns[place].texts for role, place in roles.items() if role in _NUMERIC
    )
    dates, unsure = "", False
    if "date" in roles:
        try:
            dates = date_order([columns[roles["date"]].texts], path)
        except InputError:
            dates, unsure = ("DMY", False) if decimal == "," else ("", True)
    words = _words(columns[roles["action"]].texts) if "action" in roles else {}
    kinds = {word: kind_of(word) for word in words}
    if "amount" in signed:
        roles["net"] = roles.pop("amount")
    directed = any(kind in ("BUY", "SELL") for kind in kinds.values())
    sign = "quantity" if "quantity" in signed else "net" if "net" in roles else ""
    return FormatGuess(
        row=at + 1,
        separator=separator,
        header=header,
        roles=roles,
        decimal=decimal,
        dates=dates,
        unsure_dates=unsure,
        sign="" if directed else sign,
        words=words,
        kinds=kinds,
        currency=_currency_of_header(header),
        undone=_undone(columns[roles["status"]].texts) if "status" in roles else (),
    )


def _table(text: str, path: Path) -> tuple[int, str, list[list[str]]]:
    """The header's line from 0, the separator, the header and the rows below it.

    The header is the line with the most columns under which the most lines have as many.
    """
    lines = text.split("\n")
    places = [at for at, line in enumerate(lines[:2000]) if not is_blank(line)][:200]
    best: tuple[int, int, str] | None = None
    for separator in SEPARATORS:
        records = {
            at: split_record(lines[at], separator) for at in places if separator in lines[at]
        }
        for at in places[:40]:
            cells = records.get(at, [])
            if len(cells) < 3 or sum(map(_has_letter, cells)) * 2 < len(cells):
                continue
            below = sum(len(cells) == len(other) for place, other in records.items() if place > at)
            if below and (best is None or (below * len(cells), -at) > (best[0], -best[1])):
                best = below * len(cells), at, separator
    if best is None:
        remedy = "A table has a header with three columns or more"
        raise InputError("there is no table in this file", file=path, remedy=remedy)
    _, at, separator = best
    header = split_record(lines[at], separator)
    below_header = lines[at + 1 : at + 1 + _ROWS]
    try:
        rows = list(csv.reader(below_header, delimiter=separator))
    except csv.Error:  # a quote that was never closed before more than a cell may hold
        rows = [split_record(line, separator) for line in below_header]
    filled = (row for row in rows if len(row) >= min(3, len(header)) and any(map(str.strip, row)))
    return at, separator, [header, *(row + [""] * (len(header) - len(row)) for row in filled)]


def _has_letter(cell: str) -> bool:
    return re.search(r"[^\W\d_]", cell) is not None


@dataclass(frozen=True)
class _Column:
    """A column and shares of what stands in it, of the cells that are not empty."""

    name: str
    texts: pa.Array
    filled: float = 0
    dates: float = 0
    times: float = 0
    numbers: float = 0
    isins: float = 0
    currencies: float = 0
    tickers: float = 0
    kinds: float = 0
    distinct: int = 0

    @property
    def is_signed(self) -> bool:
        """Whether its numbers stand with a minus and without."""
        numbers = bare(self.texts)
        minus, plus = (
            pc.match_substring_regex(numbers, rf"^{sign}[\d.,]*[1-9]") for sign in ("-", r"\+?")
        )
        return bool(as_mask(minus).any() and as_mask(plus).any())


def _column(name: str, cells: Sequence[str]) -> _Column:
    texts = pc.utf8_trim_whitespace(pa.array(cells, pa.string()))
    filled = texts.filter(pc.invert(pc.is_in(texts, pa.array(["", "-", "--"]))))
    if not len(filled):
        return _Column(name, texts)
    words = Counter(filled.to_pylist())

    def matching(pattern: str, texts: pa.Array = filled) -> float:
        return float(as_mask(pc.match_substring_regex(texts, pattern)).mean())

    def being(is_one: Callable[[str], object]) -> float:
        return sum(count for word, count in words.items() if is_one(word)) / len(filled)

    return _Column(
        name,
        texts,
        filled=len(filled) / len(texts),
        dates=matching(_DATE),
        times=matching(_TIME),
        numbers=matching(_NUMBER, bare(filled)),
        isins=being(isin.is_valid),
        currencies=being(lambda word: word.upper() in FIAT or word in MARKS),
        tickers=matching(_TICKER),
        kinds=being(lambda word: len(word) <= 60 and kind_of(word)),
        distinct=len(words),
    )


_NEEDS: dict[str, Callable[[_Column], bool]] = {
    "date": lambda column: column.dates > 0.7,
    "time": lambda column: column.times > 0.7,
    "isin": lambda column: column.isins > 0.5,
    "currency": lambda column: column.currencies > 0.7,
    "action": lambda column: column.kinds > 0.2 and column.numbers < 0.3,
    "status": lambda column: (
        max(column.numbers, column.dates, column.isins) < 0.1 and 0 < column.distinct <= 20
    ),
    **dict.fromkeys(_NUMERIC, lambda column: column.numbers > 0.7 and column.dates < 0.3),
    **dict.fromkeys(
        ("symbol", "name"),
        lambda column: (
            column.dates < 0.3
            and max(column.numbers, column.isins) < 0.5
            and column.currencies < 0.9
        ),
    ),
}
"""Role → whether a column holds what it needs."""

_SCORES: dict[str, Callable[[_Column], float]] = {
    "isin": lambda column: 2 + column.filled,
    "date": lambda column: 1 + column.filled,
    "action": lambda column: 2.5 * column.kinds * column.filled,
    "currency": lambda column: column.currencies,
    "symbol": lambda column: 0.8 * column.tickers if column.distinct > 1 else 0,
}
"""Role → how much the content of a column speaks for it, beside its name."""


def _fits(role: str, column: _Column) -> bool:
    return _NEEDS[role](column) if role in _NEEDS else column.filled > 0 and column.dates < 0.3


def _content_score(role: str, column: _Column) -> float:
    return _SCORES[role](column) if role in _SCORES else 0


def _roles(columns: Sequence[_Column], separator: str) -> dict[str, int]:
    """Role → column: the best fit first, each column and each role once."""
    ranked = [
        (likeness(role, column.name) + _content_score(role, column), -place, role)
        for place, column in enumerate(columns)
        for role in ROLES
        if _fits(role, column)
    ]
    roles: dict[str, int] = {}
    for score, place, role in sorted(ranked, reverse=True):
        if score >= 1 and role not in roles and -place not in roles.values():
            roles[role] = -place
    _add_by_arithmetic(columns, separator, roles)
    _add_what_is_left(columns, roles)
    if "trade_id" in roles and not _numbers_executions(columns[roles["trade_id"]]):
        roles["order_id"] = roles.pop("trade_id")
    return roles


def _add_what_is_left(columns: Sequence[_Column], roles: dict[str, int]) -> None:
    """The only numbers without a name, or the only ones with signs, are the units; where nothing
    names the paper, tickers do."""

    def free(role: str) -> list[int]:
        places = set(range(len(columns))) - set(roles.values())
        return [
            at for at in sorted(places) if columns[at].filled > 0.5 and _fits(role, columns[at])
        ]

    def add(role: str, places: list[int]) -> None:
        if places:
            roles[role] = max(places, key=lambda place: (columns[place].distinct, -place))

    numbers = free("quantity")
    for units in (numbers, [place for place in numbers if columns[place].is_signed]):
        if "quantity" not in roles and roles.keys() & {"price", "amount"} and len(units) == 1:
            roles["quantity"] = units[0]
    if not roles.keys() & _NAMES:
        add("symbol", [place for place in free("symbol") if columns[place].tickers > 0.8])
    if not roles.keys() & {"symbol", "name"}:
        add("name", free("name"))


def _numbers_executions(column: _Column) -> bool:
    """Whether a column is the broker's number of each row: it says so, and has none twice. Orders
    may have several rows."""
    executions = r"trade|transa[ck]tion|execution|deal|fill|^id$"
    unique = column.filled == 1 and column.distinct == len(column.texts)
    return unique and re.search(executions, column.name, re.IGNORECASE) is not None


def _add_by_arithmetic(columns: Sequence[_Column], separator: str, roles: dict[str, int]) -> None:
    """Where names do not tell quantity, price and amount: two columns whose product is a third."""
    missing = [role for role in _FACTORS if role not in roles]
    if not missing or {"quantity", "price"} <= roles.keys():
        return
    taken = set(roles.values())
    free = [at for at, column in enumerate(columns) if at not in taken and _fits("price", column)]
    choices = [[roles[role]] if role in roles else free for role in _FACTORS]
    texts = {str(place): columns[place].texts for choice in choices for place in choice}
    numbers = read_floats(texts, decimal_sign(texts.values()), separator)
    for triple in itertools.product(*choices):
        in_order = triple[0] < triple[1] or len(missing) < 3
        if len(set(triple)) == 3 and in_order:
            units, price, amount = (np.abs(numbers[str(place)]) for place in triple)
            there = (units * price > 0) & (amount > 0)
            fits = np.abs(units * price - amount)[there] <= 0.02 * amount[there]
            if len(fits) >= 3 and fits.mean() > 0.8:
                roles.update(zip(_FACTORS, triple, strict=True))
                return


def _undone(column: pa.Array) -> tuple[str, ...]:
    others = sorted({word for word in column.to_pylist() if kind_of(word) == "~"})
    known = [word for word in others if any(glob(pattern).fullmatch(word) for pattern in UNDONE)]
    return (*UNDONE, *(word for word in others if word not in known))


def _words(column: pa.Array) -> dict[str, int]:
    """The actions and their rows; where they are prose, their first words with a `*`."""
    counts = Counter(word for word in column.to_pylist() if word)
    prose = sum(count for word, count in counts.items() if word.count(" ") > 1)
    if len(counts) > 40 or prose * 2 > counts.total():
        starts: Counter[str] = Counter()
        for word, count in counts.items():
            starts[word.split(" ")[0] + "*" * (" " in word)] += count
        counts = starts
    return dict(counts.most_common(200))


def _currency_of_header(header: Sequence[str]) -> str:
    codes = {code for name in header for code in re.findall(r"\b[A-Z]{3}\b", name) if code in FIAT}
    codes |= {code for name in header for mark, code in MARKS.items() if mark in name}
    return codes.pop() if len(codes) == 1 else ""
