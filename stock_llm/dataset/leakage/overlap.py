"""Index of the rows that judge: tells whether another row shares their events, questions or words.

Rows from templates are compared by symbol and time. In what people wrote, stocks and days in the
text count as much as those in the fields.
"""

import hashlib
from collections.abc import Iterable
from datetime import date, timedelta

from stock_llm.dataset.leakage.duplicates import ACROSS, DuplicateIndex, visible
from stock_llm.dataset.leakage.free_text import (
    PORTFOLIO,
    TEMPLATED,
    days,
    names,
    own_words,
    question,
    subject,
    words,
)
from stock_llm.skills import code, follow, portfolio
from stock_llm.skills.decision_point import HORIZON
from stock_llm.skills.row import Row

_EVENT = timedelta(days=HORIZON * 3 // 2 + 1)
"""The label's horizon in calendar days, for what has no label of its own: half as long again, for
weekends."""


class OverlapIndex:
    """Events, questions and words of the rows that judge."""

    def __init__(self, rows: Iterable[Row] = ()):
        self._windows: dict[str, list[tuple[str, str]]] = {}
        self._symbols: set[str] = set()
        self._first = "9999"
        self._questions: set[bytes] = set()
        self._wordings: dict[tuple[str, ...], DuplicateIndex] = {}
        self._texts: DuplicateIndex | None = None
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Takes a row in. A frozen correction judges a question and its words; the event it is
        about may be learnt from."""
        name = PORTFOLIO if row.skill == portfolio.NAME else visible(row.symbol)
        if name and row.as_of and row.skill != follow.NAME:
            self._windows.setdefault(name, []).append(window(row))
            self._symbols.add(row.symbol)
            self._first = min(self._first, window(row)[0])
        self._questions.add(_asked(row))
        if asked := question(row):
            self._wordings.setdefault(subject(row), DuplicateIndex(ACROSS)).remember(row.id, asked)
        for number, text in enumerate(own_words(row)):
            self._texts = self._texts or DuplicateIndex(ACROSS)
            self._texts.remember(f"{row.id} {number}", text)

    def shares_event(self, row: Row) -> bool:
        """Whether a window of time that the row is about overlaps with that of a judging row of the
        same symbol."""
        windows = [(first, last) for first, last in _windows(row) if last >= self._first]
        if not windows:
            return False
        named = {visible(row.symbol)} if row.skill in TEMPLATED else self._named(row)
        judged = [judging for name in named for judging in self._windows.get(name, ())]
        return any(
            first <= until and since <= last for first, last in windows for since, until in judged
        )

    def _named(self, row: Row) -> set[str]:
        """The judged stocks that a row names, as a word of its text too; in any case of letters
        where no field names one."""
        written = words(row)
        judged = {*names(row), *(visible(word) for word in written & self._symbols)}
        if not row.symbol:
            judged |= {
                plain
                for word in written
                if len(word) > 1 and (plain := visible(word)) in self._windows
            }
        return judged

    def asks(self, row: Row) -> bool:
        """Whether the same question judges: with the same numbers, or in nearly the same words of
        somebody's own."""
        if _asked(row) in self._questions:
            return True
        asked = question(row) if self._wordings else ""
        seen = self._wordings.get(subject(row)) if asked else None
        return bool(seen and seen.find(asked))

    def says(self, row: Row) -> bool:
        """Whether anything that somebody wrote in the row is a judging row's, or nearly."""
        seen = self._texts
        return seen is not None and any(seen.find(text) for text in own_words(row))


def window(row: Row) -> tuple[str, str]:
    """First and last ISO date of the event that a row is about."""
    if row.skill == follow.NAME:
        return _event(row.as_of)
    return min(row.as_of, row.label_from), max(row.as_of, row.label_until)


def _windows(row: Row) -> list[tuple[str, str]]:
    """Of what people wrote, also those that begin on the days that it names."""
    own = [window(row)] if row.as_of else []
    return (
        own
        if row.skill in TEMPLATED
        else [*own, *(_event(day) for day in sorted(days(f"{row.instruction}\n{row.input}")))]
    )


def _event(day: str) -> tuple[str, str]:
    return day, (date.fromisoformat(day) + _EVENT).isoformat()


def row_identity(row: Row) -> bytes:
    """What no two train rows share: for decisions what they know of which day, for all else what
    they ask and answer."""
    if row.skill in TEMPLATED and row.skill != code.NAME:
        return _digest(row.skill, row.symbol, row.as_of, row.input)
    return _digest(row.skill, " ".join(row.instruction.split()), row.input, row.output)


def _asked(row: Row) -> bytes:
    """The question and its input, as a reader sees them."""
    return _digest(visible(f"{row.instruction}\n{row.input}"))


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b(
        "\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=12
    ).digest()
