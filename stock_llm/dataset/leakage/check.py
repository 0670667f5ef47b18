"""Checks the files of a dataset for leaks: rows that share something with a row that judges, and
rows that show what was not known at their time.

Rows from templates are compared by symbol and time, because their texts are alike by design. What
people wrote is compared as text, near-duplicates included. Every row of the market is built again
and has to be the same.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from stock_llm.dataset.decisions import Market
from stock_llm.dataset.leakage.free_text import TEMPLATED, shows_later_day
from stock_llm.dataset.leakage.overlap import OverlapIndex, row_identity, window
from stock_llm.dataset.leakage.rebuild_check import RebuildCheck
from stock_llm.dataset.splits import TimeSplit
from stock_llm.errors import LeakageError
from stock_llm.skills import follow
from stock_llm.skills.row import Row, read_rows

CLOSELY = 1000
"""Rows at most whose indicators are computed again from candles that end at the close, spread
evenly over a file."""


@dataclass(frozen=True)
class DatasetFiles:
    """The files of one dataset."""

    train: Path
    holdout: Path
    corrections: Path
    preference: Path


def check(files: DatasetFiles, split: TimeSplit, market: Market) -> None:
    """Checks the files of one dataset.

    Raises:
        LeakageError: a row is where it may not be, or knows what it may not know.
    """
    faults: dict[str, list[str]] = {}

    def report(what: str, row: str) -> None:
        faults.setdefault(what, []).append(row)

    known = RebuildCheck(
        market, market.base_rates(np.flatnonzero(split.learnt(market.decisions.until)))
    )
    judging, frozen, both = OverlapIndex(), OverlapIndex(), OverlapIndex()
    for row, closely in _rows(files.holdout):
        judging.add(row)
        both.add(row)
        if _outside(row, split):
            report("holdout rows lie outside of it", row.id)
        for what in _knows(row, known, closely):
            report(what, row.id)
    refs = set()
    for row in read_rows(files.corrections):
        frozen.add(row)
        both.add(row)
        refs.add(row.source["ref"])

    def straddles(side: str, row: Row) -> Iterable[str]:
        """Asks the joint index first: most rows overlap with nothing."""
        overlaps = both.shares_event(row) or both.asks(row) or both.says(row)
        return _straddles(side, row, judging, frozen) if overlaps else ()

    seen: set[bytes] = set()
    for row, closely in _rows(files.train):
        if _reaches(row, split):
            report("train rows reach into the holdout", row.id)
        if (identity := row_identity(row)) in seen:
            report("train rows stand there twice", row.id)
        seen.add(identity)
        for what in (*straddles("train", row), *_knows(row, known, closely)):
            report(what, row.id)
    for row in _preferred(files.preference):
        if row.source["ref"] in refs:
            report("preference rows are of a frozen correction", row.source["ref"])
        for what in straddles("preference", row):
            report(what, row.source["ref"])
    if faults:
        raise LeakageError(faults)


def _rows(file: Path) -> Iterator[tuple[Row, bool]]:
    """The rows of a file, and whether one is to be looked at closely."""
    with file.open("rb") as stream:
        step = max(1, sum(1 for _ in stream) // CLOSELY)
    for number, row in enumerate(read_rows(file)):
        yield row, number % step == 0


def _straddles(side: str, row: Row, judging: OverlapIndex, frozen: OverlapIndex) -> Iterator[str]:
    """What a train row shares with rows that judge."""
    if judging.shares_event(row):
        yield f"{side} rows are about an event of the holdout"
    if judging.asks(row):
        yield f"{side} rows ask what the holdout asks"
    if judging.says(row):
        yield f"{side} rows say what the holdout says"
    if frozen.asks(row):
        yield f"{side} rows ask what a frozen correction answers"
    if frozen.says(row):
        yield f"{side} rows say what a frozen correction says"


def _knows(row: Row, known: RebuildCheck, closely: bool) -> Iterable[str]:
    """What a row shows that was not known at its time."""
    if shows_later_day(row):
        yield "rows show a later day"
    if row.skill in TEMPLATED:
        yield from known.faults(row, closely)


def _preferred(file: Path) -> Iterator[Row]:
    """The answers that preference rows prefer or judge, each as the row that would teach it."""
    with file.open(encoding="utf-8") as stream:
        for line in stream:
            values = json.loads(line)
            asked = "\n".join(
                turn["content"] for turn in values["prompt"] if turn["role"] == "user"
            )
            for answer in values.get("chosen") or values["completion"]:
                yield Row(
                    skill=follow.NAME,
                    language="",
                    symbol="",
                    as_of="",
                    instruction=asked,
                    input="",
                    output=answer["content"],
                    source={"kind": "feedback", "ref": values["feedback"]},
                    label=follow.TEXT,
                    label_from="",
                    label_until="",
                )


def _outside(row: Row, split: TimeSplit) -> bool:
    return bool(row.as_of) and not split.has(*(date.fromisoformat(day) for day in window(row)))


def _reaches(row: Row, split: TimeSplit) -> bool:
    """Feedback may be given at any time: its event is compared instead."""
    return row.skill != follow.NAME and row.label_until >= split.train_before.isoformat()
