"""The last look at a dataset, at the files as they were written: does training see what judges it, or what comes later?

In: the files, the split, the market that they were made from. Out: nothing, or an error with the ids of the rows. Decision rows
are compared by symbol and window of time, whatever their numbers: they come from templates, so that their text says nothing.
Free text is compared as text, near-duplicates included. What a row knows is computed again, from candles that end at its close.
Does not know how rows are made.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path

from stock_llm.dataset.decisions import Market
from stock_llm.dataset.duplicates import Seen
from stock_llm.dataset.moments import HORIZON
from stock_llm.dataset.rows import Row, read_rows
from stock_llm.dataset.splits import Split
from stock_llm.errors import LeakageError
from stock_llm.situation import Candles, compute
from stock_llm.skills import SKILLS, analyse, code, explain, follow, portfolio, review, signal
from stock_llm.skills.decision import situation_of

TEMPLATED = (analyse.NAME, signal.NAME, explain.NAME, review.NAME, portfolio.NAME, code.NAME)
"""Skills whose rows come from templates."""

OUTCOMES = (analyse.NAME, signal.NAME)
"""Skills whose label is what the market did after the close."""

RECOMPUTED = 1000
"""Rows whose situation is computed again at most, spread evenly over a file."""

_EVENT = timedelta(days=HORIZON * 3 // 2 + 1)
"""The label's horizon in calendar days, for what has no label of its own: half as long again, for weekends."""


def check(train: Path, holdout: Path, corrections: Path, split: Split, market: Market) -> None:
    """Compares the files of one dataset.

    Raises:
        LeakageError: a row is where it may not be, or knows what it may not know.
    """
    found: dict[str, list[str]] = {}

    def report(what: str, ids: Iterable[str]) -> None:
        if named := list(ids):
            found.setdefault(what, []).extend(named)

    known = Known(market)
    judging, frozen = Judging(), Judging(read_rows(corrections))
    for row, closely in _rows(holdout):
        judging.add(row)
        report("holdout rows lie outside of it", _outside(row, split))
        for what in known.faults(row, closely):
            report(what, [row.id])

    seen: set[bytes] = set()
    for row, closely in _rows(train):
        for what, wrong in (
            ("train rows reach into the holdout", _reaches(row, split)),
            ("train rows are about an event of the holdout", judging.shares_event(row)),
            ("train rows ask what the holdout asks", judging.asks(row)),
            ("train rows ask what a frozen correction answers", frozen.asks(row)),
            ("train rows say what the holdout says", judging.says(row)),
            ("train rows say what a frozen correction says", frozen.says(row)),
            ("train rows stand there twice", (said := mark(row)) in seen),
        ):
            report(what, [row.id] if wrong else ())
        seen.add(said)
        for what in known.faults(row, closely):
            report(what, [row.id])
    if found:
        raise LeakageError(found)


def _rows(file: Path) -> Iterator[tuple[Row, bool]]:
    """The rows of a file, and whether one is to be computed again."""
    with file.open("rb") as stream:
        step = max(1, sum(1 for _ in stream) // RECOMPUTED)
    for number, row in enumerate(read_rows(file)):
        yield row, number % step == 0


class Judging:
    """What rows that judge are about: their events, questions and texts."""

    def __init__(self, rows: Iterable[Row] = ()):
        self._windows: dict[str, list[tuple[str, str]]] = {}
        self._first = "9999"
        self._questions: set[bytes] = set()
        self._texts: Seen | None = None
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Takes a row in."""
        if row.symbol and row.as_of:
            self._windows.setdefault(row.symbol, []).append(window(row))
            self._first = min(self._first, window(row)[0])
        self._questions.add(_question(row))
        if text := free_text(row):
            self._texts = self._texts or Seen()
            self._texts.add(row.id, text)

    def shares_event(self, row: Row) -> bool:
        """Whether the row's window of time overlaps with that of a judging row of the same symbol."""
        if not row.symbol or not row.as_of or row.symbol not in self._windows:
            return False
        first, last = window(row)
        return last >= self._first and any(first <= until and since <= last for since, until in self._windows[row.symbol])

    def asks(self, row: Row) -> bool:
        """Whether the same question with the same numbers judges."""
        return _question(row) in self._questions

    def says(self, row: Row) -> bool:
        """Whether the row's free text is a judging row's, or nearly."""
        text = free_text(row) if self._texts else ""
        return bool(text and self._texts and self._texts.look(text))


def window(row: Row) -> tuple[str, str]:
    """First and last ISO date of the event that a row is about."""
    if row.skill == follow.NAME:
        return row.as_of, (date.fromisoformat(row.as_of) + _EVENT).isoformat()
    return min(row.as_of, row.label_from), max(row.as_of, row.label_until)


class Known:
    """What could be known at a close."""

    def __init__(self, market: Market):
        self._market = market
        self._fills = {fill.ref: fill.day.isoformat() for fill in market.fills}

    def faults(self, row: Row, closely: bool) -> Iterator[str]:
        """What is wrong with a row that knows what came after its close; `closely`: its situation is computed again."""
        if row.skill not in TEMPLATED or row.skill == code.NAME:
            return
        if any(day > row.as_of for day in _DATE.findall(row.input)):
            yield "rows show a later day"
        if row.skill in OUTCOMES and row.label_from <= row.as_of:
            yield "labels begin before the close is over"
        if row.skill in OUTCOMES and row.source["kind"] == "trade" and row.as_of >= self._fills.get(row.source["ref"], ""):
            yield "decisions know the day of their fill"
        if closely and "situation" in row.facts and not self._as_it_was(row):
            yield "rows do not show what was known at their close"

    def _as_it_was(self, row: Row) -> bool:
        """Whether the situation is the one computed from candles that end at its close, and the input has nothing else."""
        told = situation_of(row)
        series = self._market.named(told.symbol)
        if series is None:
            return False
        size = series.last_before(date.fromisoformat(told.as_of) + timedelta(days=1)) + 1
        full = series.candles
        columns = (full.day, full.open, full.high, full.low, full.close, full.volume)
        then = compute(Candles(full.symbol, *(column[:size] for column in columns))).at(size - 1, told.position)
        if then != told:
            return False
        if row.skill == review.NAME:
            entry = told.lines()
            return all(f"Entry {name}: {entry[name]}" in row.input.splitlines() for name in ("Close", "SMA50", "RSI14"))
        return set(row.input.splitlines()) <= set(told.block().splitlines())


_DATE = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")


def _outside(row: Row, split: Split) -> list[str]:
    if not row.as_of:
        return []
    first, last = window(row)
    return [] if split.has(date.fromisoformat(first), date.fromisoformat(last)) else [row.id]


def _reaches(row: Row, split: Split) -> bool:
    """Feedback may be as young as it likes: what it is about is compared event by event."""
    return row.skill != follow.NAME and row.label_until >= split.train_before.isoformat()


def mark(row: Row) -> bytes:
    """What no two train rows share: for decisions what they know of which day, for all else what they ask and answer."""
    if row.skill in TEMPLATED and row.skill != code.NAME:
        return _digest(row.skill, row.symbol, row.as_of, row.input)
    return _digest(row.skill, " ".join(row.instruction.split()), row.input, row.output)


def _question(row: Row) -> bytes:
    return _digest(" ".join(row.instruction.split()), row.input)


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=12).digest()


def free_text(row: Row) -> str:
    """The text of the row that somebody wrote; empty where it comes from templates."""
    if row.skill in TEMPLATED or (row.skill == follow.NAME and row.label != follow.TEXT):
        return ""
    return row.output if row.skill == follow.NAME else f"{row.instruction}\n{row.input}" if row.skill not in SKILLS else row.input
