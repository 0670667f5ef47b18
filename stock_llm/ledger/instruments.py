"""Reads and completes the table of instruments: what exports call them, what happened to them.

In: data/instruments.csv, which the user edits. Out: `Instruments`, and the same file with what the
project learnt from exports. Its columns, of which a line needs those that its kind names:

    kind       needs                       says
    alias      match, symbol               what exports write (ISIN, name, pair, ticker) is this
                                           symbol of the candles; an empty symbol waits for you
    rename     match, symbol, from         what was traded as `match` before that day is `symbol`
    merger     match, symbol, from, ratio  one unit of `match` became `ratio` of `symbol` that day
    split      symbol, from, ratio         from that day on there are `ratio` new units per old one
    delisted   symbol, from                not traded after that day; `price` is what a unit was
                                           worth at the end, 0 for nothing
    unit       symbol, ratio               trades' prices times ratio are candles' prices: 0.01 for
                                           pence to pounds
    class      symbol, asset               STOCK, FUND, OPTION, CRYPTO, BOND, CASH or OTHER
    exchange   symbol, exchange            whose calendar says which days are missing, as XLON;
                                           other lines may have it
    leave-out  symbol                      not trained on, and no candles are missed

`match` and `symbol` are read whatever their case. `note` is yours. `by` marks the project's own
lines with a checksum: they are written anew each time; a line that somebody edited no longer fits
its checksum and is the user's from then on. portfolio/matching.py matches exports and candles.
"""

import csv
import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stock_llm.errors import InputError
from stock_llm.storage.atomic import atomic_write
from stock_llm.tabular.text import read_text

if TYPE_CHECKING:
    from stock_llm.ledger.entries import AssetClass

COLUMNS = ("kind", "match", "symbol", "from", "ratio", "price", "asset", "exchange", "note", "by")

NEEDS = {
    "alias": ("match",),
    "rename": ("match", "symbol", "from"),
    "merger": ("match", "symbol", "from", "ratio"),
    "split": ("symbol", "from", "ratio"),
    "delisted": ("symbol", "from"),
    "unit": ("symbol", "ratio"),
    "class": ("symbol", "asset"),
    "exchange": ("symbol", "exchange"),
    "leave-out": ("symbol",),
}
"""Kind → the columns that may not be empty."""

_OURS = "stock-llm:"


@dataclass(frozen=True)
class InstrumentLine:
    """One line of the table; empty text where a column says nothing."""

    kind: str
    match: str = ""
    symbol: str = ""
    day: date | None = None
    ratio: Decimal | None = None
    price: Decimal | None = None
    asset: str = ""
    exchange: str = ""
    note: str = ""

    def texts(self) -> list[str]:
        """Returns the values in the order of `COLUMNS`, without `by`."""
        day = self.day.isoformat() if self.day else ""
        numbers = [
            f"{value.normalize():f}" if value is not None else ""
            for value in (self.ratio, self.price)
        ]
        return [
            self.kind,
            self.match,
            self.symbol,
            day,
            *numbers,
            self.asset,
            self.exchange,
            self.note,
        ]

    @property
    def subject(self) -> tuple[str, str]:
        """What the line is about: a user's line replaces the project's own on the same subject."""
        return self.kind, (self.match or self.symbol).upper()


@dataclass(frozen=True)
class Instruments:
    """What the user's lines say."""

    lines: tuple[InstrumentLine, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict)
    """What exports write, in upper case → symbol."""

    @cached_property
    def left_out(self) -> frozenset[str]:
        """Symbols for which no candles are missed: left out by the user, or traded no more."""
        return frozenset(line.symbol for line in (*self.of("leave-out"), *self.of("delisted")))

    def renamed(self, texts: Iterable[str], last_day: str) -> str:
        """Returns today's name of what was last traded on a day (ISO 8601), empty if the same."""
        names = {text.upper() for text in texts if text}
        for line in self.of("rename"):
            if line.match.upper() in names and line.day and last_day < line.day.isoformat():
                return line.symbol
        return ""

    @cached_property
    def classes(self) -> "dict[str, AssetClass]":
        """Symbol → what it is."""
        # Brings NumPy and Arrow, which the digest does not need.
        from stock_llm.ledger.entries import AssetClass

        return {line.symbol: AssetClass(line.asset) for line in self.of("class")}

    @cached_property
    def units(self) -> dict[str, Decimal]:
        """Symbol → what trades' prices are multiplied by."""
        return {line.symbol: line.ratio for line in self.of("unit") if line.ratio}

    @property
    def exchanges(self) -> dict[str, str]:
        """Symbol → code of a calendar."""
        return {line.symbol: line.exchange for line in self.lines if line.exchange and line.symbol}

    def of(self, kind: str) -> list[InstrumentLine]:
        """The lines of a kind, in their order."""
        return [line for line in self.lines if line.kind == kind]


def load_instruments(path: Path) -> Instruments:
    """Reads the user's lines of the table; none where there is no such file.

    Raises:
        InputError: the file is not such a table; names the row.
    """
    lines = tuple(_line(record, path) for record in _records(path) if not record.ours)
    named = (line for line in lines if line.kind == "alias" and line.symbol)
    return Instruments(lines, {line.match.upper(): line.symbol for line in named})


def user_lines_digest(path: Path) -> str:
    """Returns 16 hex digits over the user's lines, empty where there are none.

    The project's own lines are left out: they can be learnt again and are no news.

    Raises:
        InputError: the file is not such a table.
    """
    values = [record.values for record in _records(path) if not record.ours]
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16] if values else ""


def learn(path: Path, learnt: Iterable[InstrumentLine]) -> None:
    """Replaces the project's own lines; the user's lines stay as they were written.

    A line on the subject of a user's line is left out. The file is written whole or not at all, and
    only if it changes; there is none before there is something to write.

    Raises:
        InputError: the file that is there is not such a table.
    """
    records = _records(path)
    users = {_line(record, path).subject for record in records if not record.ours}
    lines = sorted({tuple(line.texts()) for line in learnt if line.subject not in users})
    before = _text(path)
    if not lines and not before:
        return
    head = before[: before.find(records[0].text)] if records else before
    top = next((line for line in head.splitlines() if _is_filled(line)), "")
    header, separator = _header(top) if top else ([], ",")
    missing = [name for name in COLUMNS if name not in header]
    if not top:
        head += ",".join(COLUMNS) + "\n"
    elif missing:  # lines without `by` would be taken for the user's
        head = head.replace(top, separator.join([top, *missing]), 1)
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator="\n")
    for texts in lines:
        values = dict(zip(COLUMNS, [*texts, _OURS + _checksum(texts)], strict=True))
        writer.writerow([values.get(name, "") for name in header + missing])
    parts = [head, "".join(record.text for record in records if not record.ours)]
    after = (
        "".join(part + "\n" * (part != "" and not part.endswith("\n")) for part in parts)
        + out.getvalue()
    )
    if after != before:
        atomic_write(path, after)


@dataclass(frozen=True)
class _Record:
    """A line as it is written: its row, its text, its values by column."""

    row: int
    text: str
    values: dict[str, str]

    @property
    def ours(self) -> bool:
        """Whether the project wrote it and nobody changed it since."""
        texts = [self.values.get(name, "") for name in COLUMNS[:-1]]
        return self.values.get("by", "") == _OURS + _checksum(texts)


def _checksum(texts: Iterable[str]) -> str:
    return hashlib.sha256("\x1f".join(texts).encode()).hexdigest()[:8]


def _text(path: Path) -> str:
    return read_text(path, strict=True) if path.exists() and path.read_bytes().strip() else ""


def _is_filled(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _records(path: Path) -> list[_Record]:
    lines = _text(path).splitlines(keepends=True)
    top = next((at for at, line in enumerate(lines) if _is_filled(line)), None)
    if top is None:
        return []
    header, separator = _header(lines[top])
    if "kind" not in header:
        raise InputError(
            f"the first line is no header of this table: {lines[top].strip()}",
            file=path,
            row=top + 1,
            remedy=f"It begins with {','.join(COLUMNS)}",
        )
    records: list[_Record] = []
    reader = csv.reader(lines[top + 1 :], delimiter=separator)
    start = top + 1
    for values in reader:
        end = top + 1 + reader.line_num
        text = "".join(lines[start:end])
        named = {name: value.strip() for name, value in zip(header, values, strict=False)}
        if any(named.values()) and not text.startswith("#"):
            records.append(_Record(start + 1, text, named))
        elif records:
            records[-1] = replace(records[-1], text=records[-1].text + text)
        start = end
    return records


def _header(line: str) -> tuple[list[str], str]:
    separator = max(",;\t", key=line.count)
    names = next(csv.reader([line], delimiter=separator))
    return [name.strip().lower() for name in names], separator


def _line(record: _Record, path: Path) -> InstrumentLine:
    from stock_llm.ledger.entries import AssetClass

    values = {name: record.values.get(name, "") for name in COLUMNS}

    def refuse(problem: str, remedy: str) -> InputError:
        return InputError(problem, file=path, row=record.row, remedy=remedy)

    kind = values["kind"].lower()
    if kind not in NEEDS:
        raise refuse(f"'{kind}' is no kind of line", f"Write one of {', '.join(NEEDS)}")
    for name in NEEDS[kind]:
        if not values[name]:
            needed = ", ".join(NEEDS[kind])
            raise refuse(f"a line of kind {kind} needs '{name}'", f"Fill in {needed}")
    try:
        day = date.fromisoformat(values["from"]) if values["from"] else None
    except ValueError:
        raise refuse(f"'{values['from']}' is not a date", "Write YYYY-MM-DD") from None
    numbers = {name: _number(values[name]) for name in ("ratio", "price")}
    for name, value in numbers.items():
        if value is not None and not (value > 0 or (name == "price" and value == 0)):
            problem = f"the {name} '{values[name]}' is not a number above zero"
            raise refuse(problem, "Write it as 4 or 0.25")
    asset = values["asset"].upper()
    if asset and asset not in list(AssetClass):
        raise refuse(f"'{asset}' is no class", f"Write one of {', '.join(AssetClass)}")
    symbol, exchange = values["symbol"].upper(), values["exchange"]
    return InstrumentLine(
        kind,
        values["match"],
        symbol,
        day,
        **numbers,
        asset=asset,
        exchange=exchange,
        note=values["note"],
    )


def _number(text: str) -> Decimal | None:
    """None for nothing; -1 for what is no number, or may be two: `1,000` is one or a thousand."""
    try:
        number = Decimal(text.replace(",", ".")) if text else None
    except InvalidOperation:
        return Decimal(-1)
    unclear = re.fullmatch(r"[1-9]\d{0,2},\d{3}", text) is not None
    return number if number is None or (number.is_finite() and not unclear) else Decimal(-1)
