"""What the marks of judged models say: the lines of the holdout table, differences among answers in
the format, and every answer in a file.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from stock_llm.evaluation import gate
from stock_llm.evaluation.gate import Interval
from stock_llm.pipeline import registry
from stock_llm.pipeline.judging.asking import ModelAnswers
from stock_llm.pipeline.judging.speed import Speed
from stock_llm.skills import abstain, analyse, signal
from stock_llm.skills.decision_rows import situation_of
from stock_llm.skills.row import Row

DECISIONS = (analyse.NAME, signal.NAME)
"""Skills whose label is an outcome of the market: the baselines answer these."""


def write_items(path: Path, rows: list[Row], judged: list[ModelAnswers]) -> None:
    """Every answer with its marks, a line each."""
    with path.open("w", encoding="utf-8") as stream:
        for model in judged:
            for row, answer, score, false in zip(
                rows, model.answers, model.scores, model.false, strict=True
            ):
                item = {
                    "model": model.name,
                    "id": row.id,
                    "skill": row.skill,
                    "label": row.label,
                    "answer": answer,
                    "false": false,
                    **asdict(score),
                }
                stream.write(json.dumps(item, ensure_ascii=False, sort_keys=True) + "\n")


def summary(
    holdout: list[Row],
    corrections: list[Row],
    model: ModelAnswers,
    bare: ModelAnswers | None,
    measured: Speed,
) -> dict[str, Any]:
    """One line of the holdout table; shares and scores in [0, 1], the speed beside them.

    Args:
        bare: the answers to the frozen questions without numbers; None for the base, which rambles.
    """
    size = len(holdout)
    scores = model.scores[:size]
    by_skill = {
        skill: fmean(only([score.value for score in scores], holdout, skill))
        for skill in sorted({row.skill for row in holdout})
    }
    hits = [
        float(score.said == row.label)
        for row, score in zip(holdout, scores, strict=True)
        if row.skill in DECISIONS
    ]
    numbered = [
        abstain.abstains(answer)
        for row, answer in zip(holdout, model.answers, strict=False)
        if row.skill != abstain.NAME
    ]
    stating = [bool(false) for false in model.false[:size] if false is not None]
    return {
        "score": fmean(score.value for score in scores),
        "parsed": fmean(score.parsed for score in scores),
        "false answers": fmean(stating) if stating else None,
        "signal accuracy": fmean(hits) if hits else None,
        "follows corrections": fmean(score.value for score in model.scores[size:])
        if corrections
        else None,
        "Brier": fmean(stated)
        if (stated := [score.brier for score in scores if score.brier is not None])
        else None,
        "abstains": fmean(score.parsed for score in bare.scores) if bare else None,
        "abstains wrongly": fmean(numbered) if numbered else None,
        registry.SPEED: measured.tokens_per_second,
        registry.FIRST_WORD: measured.first_seconds,
        registry.MEMORY: (measured.memory + measured.gpu_memory) / 2**20,
        **by_skill,
    }


def baselines(holdout: list[Row], train: list[Row]) -> dict[str, dict[str, Any]]:
    """What needs no model: always saying the most frequent outcome of the training time, and the
    textbook's RSI rule.
    """
    asked = [row for row in holdout if row.skill in DECISIONS]
    if not asked:
        return {}
    counts = Counter(row.label for row in train if row.skill in DECISIONS)
    common = min(counts, key=lambda label: (-counts[label], label))
    rule = {"OVERSOLD": "BUY", "OVERBOUGHT": "SELL", "NEUTRAL": "HOLD"}
    textbook = [rule[situation_of(row).rsi_zone.upper()] == row.label for row in asked]
    return {
        f"majority ({common})": {"signal accuracy": fmean(row.label == common for row in asked)},
        "textbook (RSI 30/70)": {"signal accuracy": fmean(textbook)},
    }


def both_parsed(
    judged: dict[str, ModelAnswers], size: int, clusters: list[str]
) -> dict[str, Interval]:
    """The differences again, among the questions that both models answered in the format: the lift
    that is not format.
    """
    gaps = {}
    challenger = judged["challenger"]
    for name, model in judged.items():
        both = _both(challenger, model, size)
        if name != "challenger" and both:
            mine, theirs = (
                [scores[index].value for index in both]
                for scores in (challenger.scores, model.scores)
            )
            gaps[f"challenger - {name}, both parsed"] = gate.difference(
                mine, theirs, [clusters[index] for index in both]
            )
    return gaps


def _both(challenger: ModelAnswers, other: ModelAnswers, size: int) -> list[int]:
    """The rows of the holdout that both answered in the format."""
    return [
        index
        for index in range(size)
        if challenger.scores[index].parsed and other.scores[index].parsed
    ]


def false_answers(
    challenger: ModelAnswers, other: ModelAnswers, clusters: list[str], seed: int
) -> Interval | None:
    """The difference in the share of answers with a false sentence, among the questions that both
    answered in the format; None where there are none.

    An answer in no format states little: a base that only babbles would be the most truthful.
    """
    both = [
        index
        for index in _both(challenger, other, len(clusters))
        if challenger.false[index] is not None
    ]
    if not both:
        return None
    mine, theirs = (
        [float(bool(model.false[index])) for index in both] for model in (challenger, other)
    )
    return gate.difference(mine, theirs, [clusters[index] for index in both], seed)


def only(values: Sequence[Any], rows: list[Row], skill: str) -> list[Any]:
    """The values of one skill's rows."""
    return [value for value, row in zip(values, rows, strict=True) if row.skill == skill]
