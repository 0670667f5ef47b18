"""What a table that no format knows may mean: its separator, its header, which column is what, what
its actions are.

In: the text of a CSV file. Out: `Guess`. A column is judged by its name (words.py) and by what
stands in it: a date column holds dates, whatever it is called. Guesses are shown to the user
(draft.py); nothing is imported by them alone.
"""

import csv
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.errors import InputError
from stock_llm.importers.format_spec import glob
from stock_llm.importers.scaffold.vocabulary import ROLES, UNDONE, kind_of, likeness
from stock_llm.tabular.dates import date_order
from stock_llm.tabular.numbers import FIAT, MARKS, bare, decimal_sign, read_numbers
from stock_llm.tabular.table import SEPARATORS, split_record, trimmed
from stock_llm.tabular.text import read_text

_ROWS = 50_000
"""So many rows are looked at."""

_ISIN = r"^[A-Za-z]{2}[A-Za-z0-9]{9}\d$"
_TICKER = r"^[A-Z0-9][A-Z0-9.:/_-]{0,14}$"
_DATE = (
    r"^(?:\d{4}-\d\d?-\d\d?|\d{4}/\d\d?/\d\d?|\d{4}\.\d\d?\.\d\d?|(?:19|20)\d{6}"
    r"|\d{1,2}[-/. ](?:\d{1,2}|\pL{3,9})[-/. ]+\d{2,4}|\pL{3,9} \d{1,2},? \d{4})(?:\D|$)"
)
_FACTORS = ("quantity", "price", "amount")
_NUMERIC = frozenset(("quantity", "price", "amount", "net", "fee", "tax", "balance"))


@dataclass(frozen=True)
class Table:
    """The table of a file: `at` is the header's line, from 0; columns hold the first rows as
    text."""

    at: int
    separator: str
    header: list[str]
    columns: list[pa.Array]


@dataclass(frozen=True)
class FormatGuess:
    """What the table may mean.

    Attributes:
        roles: role → place of its column.
        decimal: "." or ","; empty where the numbers show neither.
        dates: DMY or MDY; empty where the dates say it themselves.
        unsure_dates: the dates can be read both ways, and nothing tells.
        sign: the number whose sign tells purchases from sales where no action does; empty where an
            action does.
        words: action → how many rows have it.
        kinds: action → kind, `~` for one to leave out, "" where nothing is known.
        currency: the only one that the header names.
        undone: what the status of an order is that was not carried out; empty where no column has
            it.
    """

    table: Table
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
    """Looks at a CSV file.

    Raises:
        InputError: there is no table in it.
    """
    table = _table(read_text(path), path)
    traits = [_traits(column) for column in table.columns]
    roles = _roles(table, traits)
    decimal = decimal_sign(
        table.columns[place] for role, place in roles.items() if role in _NUMERIC
    )
    dates, unsure = _date_order(table, roles, path)
    if unsure and decimal == ",":
        dates, unsure = "DMY", False
    words = _words(table.columns[roles["action"]]) if "action" in roles else {}
    kinds = {word: kind_of(word) for word in words}
    if "amount" in roles and _is_signed(table.columns[roles["amount"]]):
        roles = {("net" if role == "amount" else role): place for role, place in roles.items()}
    directed = any(kind in ("BUY", "SELL") for kind in kinds.values())
    sign = (
        ""
        if directed
        else "quantity"
        if "quantity" in roles and _is_signed(table.columns[roles["quantity"]])
        else "net"
    )
    if sign == "net" and "net" not in roles:
        sign = ""
    undone = _undone(table.columns[roles["status"]]) if "status" in roles else ()
    return FormatGuess(
        table,
        roles,
        decimal,
        dates,
        unsure,
        sign,
        words,
        kinds,
        _currency_of_header(table.header),
        undone,
    )


def _table(text: str, path: Path) -> Table:
    """The header is the line with the most columns under which the most lines have as many."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    places = [at for at, line in enumerate(lines[:2000]) if line.strip(' ,;|\t"')][:200]
    best: tuple[int, int, str] | None = None
    for separator in SEPARATORS:
        widths = {
            at: len(split_record(lines[at], separator)) for at in places if separator in lines[at]
        }
        for at in places[:40]:
            width = widths.get(at, 0)
            names = split_record(lines[at], separator) if width >= 3 else []
            if not names or sum(bool(re.search(r"[^\W\d_]", name)) for name in names) * 2 < width:
                continue
            below = sum(width == other for place, other in widths.items() if place > at)
            if below and (best is None or (below * width, -at) > (best[0], -best[1])):
                best = below * width, at, separator
    if best is None:
        raise InputError(
            "there is no table in this file",
            file=path,
            remedy="A table has a header with three columns or more",
        )
    _, at, separator = best
    header = [cell.strip(' \t"\ufeff') for cell in split_record(lines[at], separator)]
    rows = [
        row
        for row in _records(lines[at + 1 : at + 1 + _ROWS], separator)
        if any(cell.strip() for cell in row)
    ]
    rows = [
        row + [""] * (len(header) - len(row)) for row in rows if len(row) >= min(3, len(header))
    ]
    columns = [
        trimmed(pa.array([row[place] for row in rows], pa.string())) for place in range(len(header))
    ]
    return Table(at, separator, header, columns)


def _records(lines: Sequence[str], separator: str) -> list[list[str]]:
    try:
        return list(csv.reader(lines, delimiter=separator))
    except csv.Error:  # a quote that was never closed before more than a cell may hold
        return [split_record(line, separator) for line in lines]


@dataclass(frozen=True)
class _Traits:
    """Shares of what stands in a column, of the cells that are not empty."""

    filled: float
    dates: float
    times: float
    numbers: float
    isins: float
    currencies: float
    tickers: float
    kinds: float
    distinct: int


def _traits(column: pa.Array) -> _Traits:
    filled = column.filter(pc.invert(pc.is_in(column, pa.array(["", "-", "--"]))))
    if not len(filled):
        return _Traits(0, 0, 0, 0, 0, 0, 0, 0, 0)
    numbers = bare(filled)
    words = Counter(filled.to_pylist())

    def share(texts: pa.Array, pattern: str) -> float:
        return pc.mean(pc.cast(pc.match_substring_regex(texts, pattern), pa.float64())).as_py()

    money = sum(count for word, count in words.items() if word.upper() in FIAT or word in MARKS)
    return _Traits(
        filled=len(filled) / len(column),
        dates=share(filled, _DATE),
        times=share(filled, r"^\d{1,2}:\d{2}"),
        numbers=share(numbers, r"^[+-]?[\d.,]*\d[\d.,]*(?:[eE][+-]?\d+)?$"),
        isins=share(filled, _ISIN),
        currencies=money / len(filled),
        tickers=share(filled, _TICKER),
        kinds=sum(count for word, count in words.items() if kind_of(word) and len(word) <= 60)
        / len(filled),
        distinct=len(words),
    )


def _fits(role: str, traits: _Traits) -> bool:
    """Whether a column holds what the role needs."""
    if role == "date":
        return traits.dates > 0.7
    if role == "time":
        return traits.times > 0.7
    if role in _NUMERIC:
        return traits.numbers > 0.7 and traits.dates < 0.3
    if role == "isin":
        return traits.isins > 0.5
    if role == "currency":
        return traits.currencies > 0.7
    if role == "action":
        return traits.kinds > 0.2 and traits.numbers < 0.3
    if role == "status":
        return (
            traits.numbers < 0.1
            and traits.dates < 0.1
            and traits.isins < 0.1
            and 0 < traits.distinct <= 20
        )
    if role in ("symbol", "name"):
        return (
            traits.dates < 0.3
            and traits.numbers < 0.5
            and traits.isins < 0.5
            and traits.currencies < 0.9
        )
    return traits.filled > 0 and traits.dates < 0.3


def _roles(table: Table, traits: Sequence[_Traits]) -> dict[str, int]:
    """Role → column: the best fit first, each column and each role once."""
    ranked = []
    for place, (name, trait) in enumerate(zip(table.header, traits, strict=True)):
        for role in ROLES:
            if _fits(role, trait):
                ranked.append((likeness(role, name) + _content_score(role, trait), -place, role))
    roles: dict[str, int] = {}
    for score, place, role in sorted(ranked, reverse=True):
        if score >= 1 and role not in roles and -place not in roles.values():
            roles[role] = -place
    _by_arithmetic(table, traits, roles)
    _what_is_left(table, traits, roles)
    if "trade_id" in roles and not _numbers_executions(table, traits, roles["trade_id"]):
        roles["order_id"] = roles.pop("trade_id")
    return roles


def _what_is_left(table: Table, traits: Sequence[_Traits], roles: dict[str, int]) -> None:
    """The only numbers without a name, or the only ones with signs, are the units; where nothing
    names the paper, tickers do."""
    free = [
        place
        for place in range(len(traits))
        if place not in roles.values() and traits[place].filled > 0.5
    ]
    numbers = [place for place in free if _fits("quantity", traits[place])]
    signed = [place for place in numbers if _is_signed(table.columns[place])]
    for units in (numbers, signed):
        if "quantity" not in roles and roles.keys() & {"price", "amount"} and len(units) == 1:
            roles["quantity"] = units[0]
    tickers = [
        place for place in free if _fits("symbol", traits[place]) and traits[place].tickers > 0.8
    ]
    if not roles.keys() & {"symbol", "isin", "name"} and tickers:
        roles["symbol"] = max(tickers, key=lambda place: (traits[place].distinct, -place))
    texts = [
        place for place in free if _fits("name", traits[place]) and place not in roles.values()
    ]
    if not roles.keys() & {"symbol", "name"} and texts:
        roles["name"] = max(texts, key=lambda place: (traits[place].distinct, -place))


def _numbers_executions(table: Table, traits: Sequence[_Traits], place: int) -> bool:
    """Whether a column is the broker's number of each row: it says so, and has none twice. Orders
    may have several rows."""
    named = re.search(
        r"trade|transa[ck]tion|execution|deal|fill|^id$", table.header[place], re.IGNORECASE
    )
    filled = sum(bool(text) for text in table.columns[place].to_pylist())
    return bool(named) and traits[place].distinct == filled == len(table.columns[place])


def _content_score(role: str, traits: _Traits) -> float:
    if role == "isin":
        return 3
    if role == "date":
        return 1 + traits.filled
    if role == "action":
        return 2.5 * traits.kinds * traits.filled
    if role == "currency":
        return traits.currencies
    if role == "symbol":
        return 0.8 * traits.tickers if traits.distinct > 1 else 0
    return 0


def _by_arithmetic(table: Table, traits: Sequence[_Traits], roles: dict[str, int]) -> None:
    """Where names do not tell quantity, price and amount: two columns whose product is a third."""
    missing = [role for role in _FACTORS if role not in roles]
    if not missing or {"quantity", "price"} <= roles.keys():
        return
    free = [
        place
        for place, trait in enumerate(traits)
        if _fits("price", trait) and place not in roles.values()
    ]
    choices = [[roles[role]] if role in roles else free for role in _FACTORS]
    places = sorted({place for choice in choices for place in choice})
    decimal = decimal_sign(table.columns[place] for place in places)
    read = read_numbers(
        {str(place): table.columns[place] for place in places}, decimal, "", table.separator
    ).values
    for triple in itertools.product(*choices):
        in_order = triple[0] < triple[1] or len(missing) < 3
        if (
            len(set(triple)) == 3
            and in_order
            and _multiply(*(read[str(place)] for place in triple))
        ):
            roles.update(zip(_FACTORS, triple, strict=True))
            return


def _multiply(one: pa.Array, other: pa.Array, product: pa.Array) -> bool:
    computed = pc.abs(pc.cast(one, pa.float64())).to_numpy(zero_copy_only=False) * pc.abs(
        pc.cast(other, pa.float64())
    ).to_numpy(zero_copy_only=False)
    said = pc.abs(pc.cast(product, pa.float64())).to_numpy(zero_copy_only=False)
    there = (computed > 0) & (said > 0)
    return bool(
        there.sum() >= 3 and (abs(computed - said)[there] <= 0.02 * said[there]).mean() > 0.8
    )


def _date_order(table: Table, roles: dict[str, int], path: Path) -> tuple[str, bool]:
    if "date" not in roles:
        return "", False
    try:
        return date_order([table.columns[roles["date"]]], path), False
    except InputError:
        return "", True


def _is_signed(column: pa.Array) -> bool:
    """Whether numbers stand with a minus and without."""
    texts = bare(column)
    minus = pc.starts_with(texts, "-")
    plus = pc.match_substring_regex(texts, r"^\+?[\d.,]*[1-9]")
    return bool(pc.any(minus, min_count=0).as_py() and pc.any(plus, min_count=0).as_py())


def _undone(column: pa.Array) -> tuple[str, ...]:
    seen = sorted({word for word in column.to_pylist() if kind_of(word) == "~"})
    return (
        *UNDONE,
        *(word for word in seen if not any(glob(pattern).fullmatch(word) for pattern in UNDONE)),
    )


def _words(column: pa.Array) -> dict[str, int]:
    """The actions and their rows; where they are prose, their first words with a `*`."""
    counts = Counter(word for word in column.to_pylist() if word)
    prose = sum(count for word, count in counts.items() if word.count(" ") > 1) * 2 > sum(
        counts.values()
    )
    if len(counts) > 40 or prose:
        starts: Counter[str] = Counter()
        for word, count in counts.items():
            starts[word.split(" ")[0] + ("*" if " " in word else "")] += count
        counts = starts
    return dict(counts.most_common(200))


def _currency_of_header(header: Sequence[str]) -> str:
    codes = {code for name in header for code in re.findall(r"\b[A-Z]{3}\b", name) if code in FIAT}
    codes |= {code for name in header for mark, code in MARKS.items() if mark in name}
    return codes.pop() if len(codes) == 1 else ""
