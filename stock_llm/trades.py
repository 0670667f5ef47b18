"""Purchases and sales from a plain CSV file: one row a fill, columns found by name.

In: CSV files with date, symbol, side, quantity and price, and maybe time, fee, currency, account and trade id. Out: a ledger
table and the rows that were set aside with their reasons. Notes and other columns are not read. Does not know any broker's own
format, nor candles.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm import columns
from stock_llm.dates import Times, read_times
from stock_llm.errors import InputError
from stock_llm.inputs import read_text
from stock_llm.ledger import LEDGER_SCHEMA, AssetClass, Kind
from stock_llm.quarantine import Reading, Rejected, refuse_if_mostly_bad

FORMAT = "generic"

NAMES = {
    "date": ("date", "datetime", "date/time", "timestamp", "trade date", "trade_date", "executed_at", "time"),
    "time": ("time", "trade time", "trade_time"),
    "symbol": ("symbol", "ticker", "instrument"),
    "side": ("side", "action", "type", "buy/sell", "transaction type", "direction"),
    "quantity": ("quantity", "qty", "shares", "units", "size"),
    "price": ("price", "unit price", "unit_price", "unitprice", "price per share", "trade price", "fill price"),
    "fee": ("fee", "fees", "commission", "commissions", "fees & comm"),
    "currency": ("currency", "ccy"),
    "account": ("account", "account id", "account_id", "account number"),
    "trade_id": ("trade_id", "trade id", "tradeid", "execution id", "execution_id", "id"),
}
"""Column → the names that it goes by, in lower case; the first that a file has is taken."""

_OPTIONAL = ("time", "fee", "currency", "account", "trade_id")
_SIDES = {
    **dict.fromkeys(("buy", "b", "bought", "bot", "purchase"), Kind.BUY),
    **dict.fromkeys(("sell", "s", "sold", "sld", "sale"), Kind.SELL),
}
_REMEDY = "A trades file has date,symbol,side,quantity,price, and fee,currency,account,trade_id where you have them"

_LARGEST = 1e13
"""Quantities and prices from here on are refused: their product would not fit the ledger's 26 digits."""

_TOO_MANY_LINES = 20
"""A value in quotes does not run on longer: a quote that does was never closed."""


def read(files: list[Path], root: Path, hashed: Callable[[str], str]) -> Reading:
    """The fills of several files as one ledger, sorted by time; files are named relative to `root`, accounts by `hashed`.

    A fill that several files hold is one entry; two equal fills in one file are two.

    Raises:
        InputError: a file is empty, not UTF-8, lacks a column, or more than half of its rows are bad.
    """
    parts = [_read_file(file, file.relative_to(root).as_posix(), hashed) for file in files]
    table = pa.concat_tables([part.table for part in parts])
    rejected = [one for part in parts for one in part.rejected]
    kept, conflicts = _one_an_id(table)
    rejected += [
        Rejected("trades", row["source_file"], row["source_row"], f"another trade has the id {row['entry_id']}", _shown(row))
        for row in table.filter(pa.array(conflicts)).to_pylist()
    ]
    return Reading(
        table=table.filter(pa.array(kept)).sort_by([("executed_at", "ascending"), ("entry_id", "ascending")]),
        rejected=rejected,
        rows_read=sum(part.rows_read for part in parts),
        duplicates=len(table) - int(kept.sum()) - int(conflicts.sum()),
    )


def _read_file(file: Path, name: str, hashed: Callable[[str], str]) -> Reading:
    rows = _split(file, name)
    total = len(rows.row) + len(rows.rejected)
    if not total:
        raise InputError("there is a header but no trade", file=file, remedy="Export it again")

    times = _times(rows, file)
    side = np.array([_SIDES.get(text.lower(), "") for text in rows.column("side").to_pylist()], object)
    fee = pc.if_else(pc.equal(rows.column("fee"), ""), "0", rows.column("fee"))
    number = {
        column: columns.plain_numbers(texts, rows.separator)
        for column, texts in (("quantity", rows.column("quantity")), ("price", rows.column("price")), ("fee", fee))
    }
    reasons = _reasons(rows, times, side, number)
    rejected = rows.rejected + [
        Rejected("trades", name, int(rows.row[at]), reasons[at], rows.raw[at]) for at in np.flatnonzero(reasons != "").tolist()
    ]
    refuse_if_mostly_bad(rejected, total, file)

    good = reasons == ""
    text = {column: rows.column(column).filter(pa.array(good)) for column in NAMES}
    quantity, price, paid = (_exact(number[column].filter(pa.array(good))) for column in ("quantity", "price", "fee"))
    amount = pc.multiply(pc.cast(quantity, _FACTOR), pc.cast(price, _FACTOR))
    size = int(good.sum())
    values = {
        "account": _mapped(text["account"], hashed),
        "kind": pa.array(side[good].tolist(), pa.string()),
        "asset_class": pa.array([AssetClass.STOCK.value] * size, pa.string()),
        "symbol": pc.utf8_upper(text["symbol"]),
        "isin": pa.array([""] * size, pa.string()),
        "name": pa.array([""] * size, pa.string()),
        "quantity": quantity,
        "price": price,
        "amount": pc.cast(pc.round(amount, 12, "half_to_even"), _MONEY),
        "fee": paid,
        "tax": pc.cast(pa.array([0] * size, pa.int64()), _MONEY),
        "ratio": pa.nulls(size, _MONEY),
        "currency": pc.utf8_upper(text["currency"]),
        "executed_at": pa.array(times.instant[good], pa.timestamp("us", tz="UTC")),
        "time_known": pa.array(times.timed[good]),
        "source_format": pa.array([FORMAT] * size, pa.string()),
        "source_file": pa.array([name] * size, pa.string()),
        "source_row": pa.array(rows.row[good], pa.int64()),
    }
    values["entry_id"] = _entry_ids(text["trade_id"], _content(values))
    return Reading(pa.table([values[column] for column in LEDGER_SCHEMA.names], schema=LEDGER_SCHEMA), rejected, total, 0)


@dataclass(frozen=True)
class _Rows:
    """A file's rows as text, one array per column of the file."""

    cells: list[pa.Array]
    places: dict[str, int]
    separator: str
    row: np.ndarray
    raw: list[str]
    rejected: list[Rejected]

    def column(self, name: str) -> pa.Array:
        """The column, trimmed; empty text where the file has none."""
        if name not in self.places:
            return pa.array([""] * len(self.row), pa.string())
        return pc.utf8_trim_whitespace(self.cells[self.places[name]])


def _split(file: Path, name: str) -> _Rows:
    """The rows of a CSV file that have the right number of values."""
    lines = read_text(file).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    top = next(at for at, line in enumerate(lines) if line.strip())
    separator = columns.separator(lines[top])
    header = next(csv.reader([lines[top]], delimiter=separator))
    places = columns.find(header, NAMES, _OPTIONAL, file, top + 1, _REMEDY)
    cells: list[list[str]] = [[] for _ in header]
    row, raw, rejected = [], [], []
    for record in _records(lines, top + 1, separator, len(header)):
        if len(record.values) != len(header):
            reason = f"{len(record.values)} values under {len(header)} columns"
            rejected.append(Rejected("trades", name, record.row, reason, record.raw))
            continue
        row.append(record.row)
        raw.append(record.raw)
        for column, value in zip(cells, record.values, strict=True):
            column.append(value)
    return _Rows([pa.array(column, pa.string()) for column in cells], places, separator, np.array(row, int), raw, rejected)


@dataclass(frozen=True)
class _Record:
    """One row; `raw` is its first line where its quotes make no sense."""

    row: int
    values: list[str]
    raw: str


def _records(lines: list[str], start: int, separator: str, width: int) -> Iterator[_Record]:
    """Rows from line index `start` on. A stray quote spoils its own line only, never those behind it."""
    at = start
    while at < len(lines):
        end = at + 1
        raw = lines[at]
        while raw.count('"') % 2 and end < min(len(lines), at + _TOO_MANY_LINES):
            raw += "\n" + lines[end]
            end += 1
        values = next(csv.reader(raw.split("\n"), delimiter=separator), []) if '"' in raw else raw.split(separator)
        if end > at + 1 and (raw.count('"') % 2 or len(values) != width):
            raw, end = lines[at], at + 1
            values = raw.split(separator)
        while len(values) > width and not values[-1].strip():
            values.pop()
        if raw.strip(separator + ' "\t'):
            yield _Record(at + 1, values, raw)
        at = end


def _times(rows: _Rows, file: Path) -> Times:
    texts = rows.column("date")
    if rows.places.get("time", rows.places["date"]) != rows.places["date"]:
        texts = pc.binary_join_element_wise(texts, rows.column("time"), " ")
    times = read_times(texts, file)
    if len(rows.row) and np.isnat(times.day).all():
        raise InputError(
            f"'{texts[0]}' is not a date, nor is any other row's",
            file=file,
            row=int(rows.row[0]),
            remedy="Write the dates as YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ",
        )
    return times


def _reasons(rows: _Rows, times: Times, side: np.ndarray, number: dict[str, pa.Array]) -> np.ndarray:
    """Why each row is bad, "" where it is not; the first reason that applies."""
    value = {name: pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False) for name, texts in number.items()}
    quantity, price = value["quantity"], value["price"]
    code = pc.match_substring_regex(rows.column("currency"), "^([A-Za-z]{3,5})?$").to_numpy(zero_copy_only=False)
    checks = {
        "the date cannot be read": np.isnat(times.instant),
        "there is no symbol": pc.equal(rows.column("symbol"), "").to_numpy(zero_copy_only=False),
        "the side is neither BUY nor SELL": side == "",
        **{f"{name} is not a number": ~np.isfinite(values) for name, values in value.items()},
        "the quantity is zero": np.abs(quantity) < 1e-12,
        "a purchase has a negative quantity": (quantity < 0) & (side == Kind.BUY),
        "the price is zero or negative": price < 1e-12,
        "a number is too large": np.max(np.abs(list(value.values())), axis=0) >= _LARGEST,
        "the currency is not a code such as USD": ~code.astype(bool),
    }
    return np.select(list(checks.values()), list(checks), default="")


_MONEY = LEDGER_SCHEMA.field("price").type
_FACTOR = pa.decimal256(27, 12)


def _exact(texts: pa.Array) -> pa.Array:
    """Plain numbers below `_LARGEST` as decimals without their sign: brokers write sales and fees with either.

    Digits behind the twelfth are rounded half to even.
    """
    simple = pc.match_substring_regex(texts, r"^[+-]?\d{1,13}(\.\d{0,30})?$")
    if not pc.all(simple, min_count=0).as_py():
        written = [
            text if fits else f"{Decimal(text):.30f}" for text, fits in zip(texts.to_pylist(), simple.to_pylist(), strict=True)
        ]
        texts = pa.array(written, pa.string())
    return pc.abs(pc.cast(pc.round(pc.cast(texts, pa.decimal256(60, 30)), 12, "half_to_even"), _MONEY))


def _mapped(texts: pa.Array, change: Callable[[str], str]) -> pa.Array:
    """`change` applied once to each distinct text."""
    encoded = texts.dictionary_encode()
    changed = pa.array([change(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return changed.take(encoded.indices)


def _content(values: dict[str, pa.Array]) -> list[str]:
    """What makes a fill the same fill, as text: all of it but where it was written down."""
    parts = ("account", "kind", "symbol", "quantity", "price", "fee", "currency", "executed_at")
    return pc.binary_join_element_wise(*(pc.cast(values[name], pa.string()) for name in parts), "\x1f").to_pylist()


def _entry_ids(trade_ids: pa.Array, content: list[str]) -> pa.Array:
    """The broker's id, else a hash of the content and which of the equal fills of its file it is."""
    seen: Counter[str] = Counter()
    ids = []
    for trade_id, text in zip(trade_ids.to_pylist(), content, strict=True):
        if trade_id:
            ids.append(f"{FORMAT}:{trade_id}")
            continue
        seen[text] += 1
        ids.append(f"{FORMAT}:{hashlib.sha256(text.encode()).hexdigest()[:16]}-{seen[text]}")
    return pa.array(ids, pa.string())


def _one_an_id(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the rows that stay, and of those whose id stands for different trades; the rest repeat a row that stays."""
    ids = table["entry_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    content = pa.array(_content({name: table[name].combine_chunks() for name in table.column_names}))
    content = content.dictionary_encode().indices.to_numpy()
    _, first, group = np.unique(ids, return_index=True, return_inverse=True)
    conflicting = np.zeros(len(first), bool)
    np.logical_or.at(conflicting, group, content != content[first[group]])
    conflicts = conflicting[group]
    kept = np.zeros(len(ids), bool)
    kept[first] = True
    return kept & ~conflicts, conflicts


def _shown(row: dict) -> str:
    return ",".join(str(row[name]) for name in ("executed_at", "symbol", "kind", "quantity", "price", "fee", "currency"))
