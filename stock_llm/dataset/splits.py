"""Splits a history by time into training and holdout.

The holdout starts with the quarter at seven eighths of the candle history, and ends with the last
quarter that is over (or the last month, if no quarter is). It keeps its rows until a quarter ends.
A decision is on the side that holds all of it, from the close that it knows to the last close that
its label reads; train ends `EMBARGO_DAYS` before the holdout; everything else is purged. Symbols
are on both sides, because people want their own stocks judged over time. Corrections of one chain
stay on one side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from stock_llm.feedback.item import FeedbackItem
from stock_llm.storage.checksums import digest_of

EMBARGO_DAYS = 7
"""Calendar days kept empty between the last train label and the holdout."""

FROZEN_CORRECTIONS = 4
"""One chain of corrections in so many is never trained on; it measures whether corrections are
followed."""


@dataclass(frozen=True)
class TimeSplit:
    """The holdout's days, [`start`, `until`); `until` None: it ends with the history, and grows
    with it."""

    start: date
    until: date | None

    @classmethod
    def parse(cls, start: str, until: str) -> "TimeSplit":
        """Builds a split from ISO dates; `until` may be empty."""
        return cls(date.fromisoformat(start), date.fromisoformat(until) if until else None)

    @property
    def train_before(self) -> date:
        """First day that no train label may reach."""
        return self.start - timedelta(days=EMBARGO_DAYS)

    @property
    def period(self) -> str:
        """The days as text, such as "2025-07-01 to 2025-09-30"."""
        return f"{self.start} to {self.until - timedelta(days=1) if self.until else 'the end'}"

    def learnt(self, until: np.ndarray) -> np.ndarray:
        """Mask of the decisions to train on, by the days on which their labels end."""
        return until < np.datetime64(self.train_before)

    def judged(self, as_of: np.ndarray, until: np.ndarray) -> np.ndarray:
        """Mask of the decisions from `as_of` to `until` that are in the holdout."""
        inside = as_of >= np.datetime64(self.start)
        return inside & (until < np.datetime64(self.until)) if self.until else inside

    def has(self, first: date, last: date) -> bool:
        """Whether the holdout has all the days from `first` to `last`."""
        return self.start <= first and (self.until is None or last < self.until)


def split_of(first: date, last: date, start: date | None = None) -> TimeSplit:
    """The split of a candle history that runs from `first` to `last`; `start` where the user has
    chosen it."""
    near = first + (last - first) * 7 // 8
    start = start or near.replace(month=_quarter(near), day=1)
    # a quarter may end on a weekend
    after = last + timedelta(days=1 if last.weekday() < 4 else 7 - last.weekday())
    for until in (after.replace(month=_quarter(after), day=1), after.replace(day=1)):
        if until > start:
            return TimeSplit(start, until)
    return TimeSplit(start, None)


def _quarter(day: date) -> int:
    return (day.month - 1) // 3 * 3 + 1


def chains(items: Sequence[FeedbackItem]) -> dict[str, str]:
    """Id of an item → id of the first item of its chain.

    Of one chain are items about the same question or the same answer of a model, items that wish
    for the same words, and an item about an answer that another has asked for.
    """
    corrections = {_text(item.correction) for item in items if item.correction}
    first: dict[tuple[str, str], str] = {}
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for item in sorted(items, key=lambda item: (item.created_at, item.id)):
        parent[item.id] = item.id
        marks = [
            ("question", f"{_text(item.instruction)}\0{item.input}"),
            ("text", _text(item.correction or item.response)),
        ]
        if item.response_id:
            marks.append(("response", item.response_id))
        if _text(item.response) in corrections:
            marks.append(("text", _text(item.response)))
        for mark in marks:
            first_root, second_root = root(first.setdefault(mark, item.id)), root(item.id)
            if first_root != second_root:
                parent[second_root] = first_root
    return {name: root(name) for name in parent}


def _text(text: str) -> str:
    return " ".join(text.casefold().split())


def is_frozen(chain: str) -> bool:
    """Whether a chain is never trained on."""
    return int(digest_of(id=chain), 16) % FROZEN_CORRECTIONS == 0
