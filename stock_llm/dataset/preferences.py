"""Preference rows for TRL's DPO and KTO trainers, with what the market did after each answer; what
of them is trained on.

A correction gives a DPO row (`prompt`, `chosen`, `rejected`), a thumb or a rating a KTO row
(`prompt`, `completion`, `label`), both in TRL's conversational form. Where the horizon of a dated
answer about a stock is over, the realised outcome stands beside it, and judges the answer if no
person did. Of two opinions of the same answer the newer counts. Outcomes that end on `before` or
later are not read.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import numpy as np

from stock_llm.dataset.decisions import Market
from stock_llm.evaluation.answers import AnswerError, parse_answer
from stock_llm.feedback.item import FeedbackItem
from stock_llm.llm.prompts import Message, messages
from stock_llm.skills import decision_point
from stock_llm.skills.decision_point import HORIZON

Evidence = Literal["correction", "thumb", "rating", "outcome"]


@dataclass(frozen=True)
class RealizedOutcome:
    """What the market did after an answer.

    Attributes:
        label: BUY, HOLD or SELL in hindsight, as decision rows have it.
        until: ISO date of the last close that the label looks at.
        agrees: whether the answer recommended it; None where it recommended nothing.
    """

    label: str
    until: str
    agrees: bool | None


@dataclass(frozen=True)
class DpoRow:
    """A DPO row: one answer that was wanted, and one that was not."""

    feedback: str
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    outcome: RealizedOutcome | None


@dataclass(frozen=True)
class KtoRow:
    """A KTO row: one answer, and whether it was good.

    Attributes:
        said: what says so: a thumb, a rating, or the outcome where no person did.
    """

    feedback: str
    prompt: list[Message]
    completion: list[Message]
    label: bool
    said: Evidence
    outcome: RealizedOutcome | None


class OutcomeLookup:
    """Realised outcomes of a market's stocks, for labels that end before a day."""

    def __init__(self, market: Market, before: date):
        self._market, self._before = market, before
        self._scores: dict[str, np.ndarray] = {}

    def of(self, item: FeedbackItem) -> RealizedOutcome | None:
        """The market's outcome after the item's `as_of`; None where it names no stock and close, or
        the horizon is not over."""
        series = self._market.series_of(item.symbol) if item.symbol and item.as_of else None
        if series is None:
            return None
        as_of = date.fromisoformat(item.as_of)
        index = series.last_before(as_of + timedelta(days=1))
        days = series.candles.day
        if index < 0 or days[index] != np.datetime64(as_of) or index + HORIZON >= len(days):
            return None
        scores = self._scores.setdefault(item.symbol, decision_point.outcomes(series))
        until = days[index + HORIZON].item()
        if until >= self._before or not np.isfinite(scores[index]):
            return None
        label = decision_point.outcome_of(scores[index])
        recommended = _recommendation(item.response)
        return RealizedOutcome(
            label, until.isoformat(), recommended == label if recommended else None
        )


def preferences(items: Iterable[FeedbackItem], outcomes: OutcomeLookup) -> list[DpoRow | KtoRow]:
    """Makes the rows of these items, in order of time; an edit that is the original answer but for
    spaces is none."""
    pairs: dict[tuple[str, frozenset[str]], DpoRow] = {}
    votes: dict[tuple[str, str], KtoRow] = {}
    ordered = sorted(items, key=lambda item: (item.created_at, item.id))
    for item in ordered:
        outcome = outcomes.of(item)
        prompt, asked = messages(item.instruction, item.input), f"{item.instruction}\0{item.input}"
        if (edit := item.edit) is not None:
            pairs[asked, frozenset((edit, item.response))] = DpoRow(
                item.id, prompt, _answer(edit), _answer(item.response), outcome
            )
        if (judged := _judged(item, outcome)) is not None:
            label, evidence = judged
            votes[asked, item.response] = KtoRow(
                item.id, prompt, _answer(item.response), label, evidence, outcome
            )
    place = {item.id: number for number, item in enumerate(ordered)}
    return sorted(
        [*pairs.values(), *votes.values()],
        key=lambda row: (place[row.feedback], isinstance(row, KtoRow)),
    )


def _judged(item: FeedbackItem, outcome: RealizedOutcome | None) -> tuple[bool, Evidence] | None:
    """Whether the answer was good, by a person, else by the market; None if nothing says so."""
    if item.liked is not None:
        return item.liked, "thumb" if item.thumb else "rating"
    silent = item.thumb is None and item.rating is None and item.edit is None
    if silent and outcome and outcome.agrees is not None:
        return outcome.agrees, "outcome"
    return None


def write(rows: Iterable[DpoRow | KtoRow], path: Path) -> int:
    """Writes JSON lines, `kind` saying dpo or kto; returns how many. The same rows are the same
    bytes."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            values = asdict(row) | {"kind": "dpo" if isinstance(row, DpoRow) else "kto"}
            stream.write(json.dumps(values, sort_keys=True, ensure_ascii=False) + "\n")
            count += 1
    return count


def read(path: Path) -> list[DpoRow | KtoRow]:
    """Reads the rows of a file that `write` wrote; none where there is no file."""
    if not path.exists():
        return []
    rows: list[DpoRow | KtoRow] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        kind = DpoRow if values.pop("kind") == "dpo" else KtoRow
        if values["outcome"]:
            values["outcome"] = RealizedOutcome(**values["outcome"])
        rows.append(kind(**values))
    return rows


def _answer(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text.strip()}]


def _recommendation(text: str) -> str | None:
    try:
        return parse_answer(text).recommendation
    except AnswerError:
        return None
