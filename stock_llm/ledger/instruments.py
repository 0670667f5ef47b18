"""The table of instruments: what exports call an instrument, and what happened to it. The user
edits it; the project adds.

In: data/instruments.csv. Out: `Instruments`, and the same file with what was learnt. Its columns,
of which a line needs those that its kind names:

    kind       needs                       says
    alias      match, symbol               what exports write (ISIN, name, pair, ticker) is this symbol of the candles; an empty
                                           symbol waits for you to fill it in
    rename     match, symbol, from         what was traded as `match` before that day is `symbol` now
    merger     match, symbol, from, ratio  on that day one unit of `match` became `ratio` units of `symbol`
    split      symbol, from, ratio         from that day on there are `ratio` new units for each old one
    delisted   symbol, from                not traded after that day; `price` is what a unit was worth at the end, 0 for nothing
    unit       symbol, ratio               trades' prices times ratio are candles' prices: 0.01 for pence to pounds
    class      symbol, asset               what it is: STOCK, FUND, OPTION, CRYPTO, BOND, CASH or OTHER
    exchange   symbol, exchange            whose calendar says which days are missing, as XLON; other lines may have it
    leave-out  symbol                      not learnt from, and no candles are missed

`match` and `symbol` are read whatever their case. `note` is yours. `by` marks the project's own
lines with a checksum: they are written anew each time; a line that somebody edited no longer fits
its checksum and is the user's from then on. Does not know exports or candles; matching.py does.
"""

import csv
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stock_llm.errors import InputError
from stock_llm.storage.atomic import atomic_write

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
        """The values in the order of `COLUMNS`, without `by`."""
        numbers = [
            "" if value is None else f"{value.normalize():f}" for value in (self.ratio, self.price)
        ]
        return [
            self.kind,
            self.match,
            self.symbol,
            self.day.isoformat() if self.day else "",
            *numbers,
            self.asset,
            self.exchange,
            self.note,
        ]


@dataclass(frozen=True)
class Instruments:
    """What the user's lines say."""

    lines: tuple[InstrumentLine, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict)
    """What exports write, in upper case → symbol."""

    @cached_property
    def left_out(self) -> frozenset[str]:
        """Symbols for which no candles are missed: those to be left out, and those that are traded
        no more."""
        return frozenset(line.symbol for line in (*self.of("leave-out"), *self.of("delisted")))

    def renamed(self, texts: Iterable[str], last_day: str) -> str:
        """What something is called now that was last traded on `last_day` (ISO 8601); empty where
        it was not renamed."""
        names = {text.upper() for text in texts if text}
        for line in self.of("rename"):
            if line.match.upper() in names and line.day and last_day < line.day.isoformat():
                return line.symbol
        return ""

    @cached_property
    def classes(self) -> "dict[str, AssetClass]":
        """Symbol → what it is."""
        from stock_llm.ledger.entries import (
            AssetClass,  # brings NumPy and Arrow, which a look at the digest does not need
        )

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
    """The user's lines of the table; none where there is no such file.

    Raises:
        InputError: the file is not such a table; names the row.
    """
    if not path.exists():
        return Instruments()
    found = [_line(record, path) for record in _records(path) if not record.ours]
    aliases = {
        line.match.upper(): line.symbol for line in found if line.kind == "alias" and line.symbol
    }
    return Instruments(tuple(found), aliases)


def user_lines_digest(path: Path) -> str:
    """16 hex digits over the user's lines; the project's own can be learnt again and are no news.
    Empty where there are none.

    Raises:
        InputError: the file is not such a table.
    """
    values = (
        [record.values for record in _records(path) if not record.ours] if path.exists() else []
    )
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16] if values else ""


def learn(path: Path, learnt: Iterable[InstrumentLine]) -> None:
    """Puts the project's own lines in the place of its earlier ones; the user's lines stay as they
    were written.

    What the user has a line of the same kind for is left out. The file is written whole or not at
    all, and only if it changes; there is none before there is something to tell.

    Raises:
        InputError: the file that is there is not such a table.
    """
    records = _records(path) if path.exists() else []
    theirs = {_about(_line(record, path)) for record in records if not record.ours}
    lines = sorted(
        {tuple(line.texts()): line for line in learnt if _about(line) not in theirs}.items()
    )
    if not lines and not path.exists():
        return
    before = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    kept = "".join(record.text for record in records if not record.ours)
    head = before[: before.find(records[0].text)] if records else before
    top = next(
        (line for line in head.splitlines() if line.strip() and not line.startswith("#")), ""
    )
    header, separator = _header(top) if top else (list(COLUMNS), ",")
    if missing := [
        name for name in COLUMNS if name not in header
    ]:  # lines without `by` would be taken for the user's
        header += missing
        head = head.replace(top, separator.join([top, *missing]), 1)
    if not top:
        head += ",".join(COLUMNS) + "\n"
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator="\n")
    for texts, _ in lines:
        values = dict(zip(COLUMNS, [*texts, _OURS + _checksum(texts)], strict=True))
        writer.writerow([values.get(name, "") for name in header])
    after = (
        "".join(part if not part or part.endswith("\n") else part + "\n" for part in (head, kept))
        + out.getvalue()
    )
    if after == before:
        return
    atomic_write(path, after)


def _about(line: InstrumentLine) -> tuple[str, str]:
    return line.kind, (line.match or line.symbol).upper()


@dataclass(frozen=True)
class _Record:
    """A line as it is written: its row, its text, its values by column."""

    row: int
    text: str
    values: dict[str, str]

    @property
    def ours(self) -> bool:
        """Whether the project wrote it and nobody changed it since."""
        by = self.values.get("by", "")
        return by.startswith(_OURS) and by.removeprefix(_OURS) == _checksum(
            [self.values.get(name, "") for name in COLUMNS[:-1]]
        )


def _checksum(texts: Iterable[str]) -> str:
    return hashlib.sha256("\x1f".join(texts).encode()).hexdigest()[:8]


def _records(path: Path) -> list[_Record]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text ({error})", file=path, remedy="Save it as CSV in UTF-8"
        ) from None
    lines = text.splitlines(keepends=True)
    top = next(
        (at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), None
    )
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
    found = []
    reader = csv.reader(lines[top + 1 :], delimiter=separator)
    start = 0
    for values in reader:
        raw, row = "".join(lines[top + 1 + start : top + 1 + reader.line_num]), top + 2 + start
        start = reader.line_num
        named = {name: value.strip() for name, value in zip(header, values, strict=False)}
        if any(named.values()) and not raw.startswith("#"):
            found.append(_Record(row, raw, named))
        elif found:
            found[-1] = _Record(found[-1].row, found[-1].text + raw, found[-1].values)
    return found


def _header(line: str) -> tuple[list[str], str]:
    separator = max(",;\t", key=line.count)
    return [
        name.strip().lower() for name in next(csv.reader([line], delimiter=separator))
    ], separator


def _line(record: _Record, path: Path) -> InstrumentLine:
    from stock_llm.ledger.entries import AssetClass

    values = record.values

    def refuse(problem: str, remedy: str) -> InputError:
        return InputError(problem, file=path, row=record.row, remedy=remedy)

    kind = values.get("kind", "").lower()
    if kind not in NEEDS:
        raise refuse(f"'{kind}' is no kind of line", f"Write one of {', '.join(NEEDS)}")
    for name in NEEDS[kind]:
        if not values.get(name):
            raise refuse(
                f"a line of kind {kind} needs '{name}'", f"Fill in {', '.join(NEEDS[kind])}"
            )
    try:
        day = date.fromisoformat(values["from"]) if values.get("from") else None
    except ValueError:
        raise refuse(f"'{values['from']}' is not a date", "Write YYYY-MM-DD") from None
    numbers = {name: _number(values.get(name, "")) for name in ("ratio", "price")}
    for name, value in numbers.items():
        if value is not None and not (value > 0 or (name == "price" and value == 0)):
            raise refuse(
                f"the {name} '{values[name]}' is not a number above zero", "Write it as 4 or 0.25"
            )
    asset = values.get("asset", "").upper()
    if asset and asset not in list(AssetClass):
        raise refuse(f"'{asset}' is no class", f"Write one of {', '.join(AssetClass)}")
    return InstrumentLine(
        kind,
        values.get("match", ""),
        values.get("symbol", "").upper(),
        day,
        **numbers,
        asset=asset,
        exchange=values.get("exchange", ""),
        note=values.get("note", ""),
    )


def _number(text: str) -> Decimal | None:
    """None for nothing; -1 for what is no number."""
    if not text:
        return None
    try:
        found = Decimal(text.replace(",", "."))
    except InvalidOperation:
        return Decimal(-1)
    return found if found.is_finite() else Decimal(-1)
