"""The answers behind a judgement, joined with their questions: what the pages show of them.

In: items.jsonl of a scorecard, rows of the holdout. Out: scores by skill, calibration, confusion,
and the answers that a person should look at.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from stock_llm.skills.row import Row

CALIBRATION_BINS = 5

FEWEST_IN_BIN = 5
"""Answers of like confidence; the share of fewer says nothing."""


@dataclass(frozen=True)
class JudgedAnswer:
    """What one model answered to one question, and its marks."""

    id: str
    skill: str
    label: str
    said: str
    answer: str
    value: float
    parsed: bool
    brier: float | None
    false: tuple[str, ...]

    @property
    def confidence(self) -> float | None:
        """The stated confidence, from 0 to 1: its squared distance from what came is noted."""
        if self.brier is None:
            return None
        distance = math.sqrt(self.brier)
        return 1 - distance if self.said == self.label else distance


@dataclass(frozen=True)
class SkillScore:
    """Mean score of one model on one skill, with half of its 95 % interval."""

    skill: str
    mean: float
    margin: float
    rows: int


@dataclass(frozen=True)
class CalibrationPoint:
    """Answers of like confidence, and the share of them that was right."""

    confidence: float
    right: float
    rows: int


def read_answers(items: Path) -> dict[str, list[JudgedAnswer]]:
    """Model → its answers, in the order in which they were asked."""
    found: dict[str, list[JudgedAnswer]] = defaultdict(list)
    with items.open(encoding="utf-8") as stream:
        for line in stream:
            item = json.loads(line)
            found[item["model"]].append(
                JudgedAnswer(
                    id=item["id"],
                    skill=item["skill"],
                    label=item["label"],
                    said=item.get("said", ""),
                    answer=item["answer"],
                    value=item["value"],
                    parsed=item["parsed"],
                    brier=item.get("brier"),
                    false=tuple(item.get("false") or ()),
                )
            )
    return dict(found)


def skill_scores(answers: Iterable[JudgedAnswer]) -> list[SkillScore]:
    """Skills by name; the interval is that of a mean of rows that share nothing."""
    by_skill: dict[str, list[float]] = defaultdict(list)
    for answer in answers:
        by_skill[answer.skill].append(answer.value)
    return [
        SkillScore(
            skill,
            fmean(values),
            1.96 * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0,
            len(values),
        )
        for skill, values in sorted(by_skill.items())
    ]


def calibration(answers: Iterable[JudgedAnswer]) -> list[CalibrationPoint]:
    """Answers with a confidence, in bins of equal width; bins with few answers are left out."""
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for answer in answers:
        if (confidence := answer.confidence) is not None:
            place = min(CALIBRATION_BINS - 1, int(confidence * CALIBRATION_BINS))
            bins[place].append((confidence, answer.said == answer.label))
    return [
        CalibrationPoint(fmean(c for c, _ in inside), fmean(r for _, r in inside), len(inside))
        for _, inside in sorted(bins.items())
        if len(inside) >= FEWEST_IN_BIN
    ]


def confusion(
    answers: Iterable[JudgedAnswer], skills: Iterable[str]
) -> tuple[list[str], list[str], Counter[tuple[str, str]]]:
    """Labels, what was said, and how often both came together, of skills that decide.

    An answer that was not in the format stands under "–".
    """
    chosen = [answer for answer in answers if answer.skill in set(skills)]
    counts = Counter((answer.label, answer.said or "–") for answer in chosen)
    return (
        sorted({label for label, _ in counts}),
        sorted({said for _, said in counts}),
        counts,
    )


def worst(answers: Iterable[JudgedAnswer], count: int) -> list[JudgedAnswer]:
    """The answers with the lowest marks, the lowest first."""
    return sorted(answers, key=lambda answer: (answer.value, answer.id))[:count]


def changed(
    mine: Iterable[JudgedAnswer], theirs: Iterable[JudgedAnswer], count: int
) -> list[tuple[JudgedAnswer, JudgedAnswer]]:
    """Answers of two models to the same question whose marks differ most, for better and for worse
    in turn.
    """
    before = {answer.id: answer for answer in theirs}
    pairs = {answer.id: (answer, before[answer.id]) for answer in mine if answer.id in before}
    gaps = sorted(
        (after.value - then.value, id)
        for id, (after, then) in pairs.items()
        if after.value != then.value
    )
    return [pairs[id] for id in alternate(gaps, count)]


def alternate(gaps: list[tuple[float, str]], count: int) -> list[str]:
    """Ids from the ends of a sorted list in turn: the most improved, the most worsened, the next …

    Args:
        gaps: difference and id.
    """
    better, worse = [gap for gap in reversed(gaps) if gap[0] >= 0], [g for g in gaps if g[0] < 0]
    chosen: list[str] = []
    while len(chosen) < count and (better or worse):
        for side in (better, worse):
            if side and len(chosen) < count:
                chosen.append(side.pop(0)[1])
    return chosen


def question(row: Row | None) -> str:
    """The text that was asked; empty where the row is not there any more."""
    return f"{row.instruction}\n{row.input}".strip() if row else ""
