"""What the skills about a decision share: the row of a moment, its situation kept for the scorer,
the check of its sentences."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from stock_llm.evaluation.answers import SkillAnswer
from stock_llm.market.situation import Position, Situation
from stock_llm.skills import statements
from stock_llm.skills.claims import Claim
from stock_llm.skills.decision_point import DecisionPoint
from stock_llm.skills.row import Row


def decision_row(skill: str, instruction: str, answer: SkillAnswer, moment: DecisionPoint) -> Row:
    """A row whose label is the moment's outcome."""
    situation = moment.situation
    return Row(
        skill=skill,
        language=answer.language,
        symbol=situation.symbol,
        as_of=situation.as_of,
        instruction=instruction,
        input=situation.block(),
        output=answer.text(),
        source=moment.source,
        label=moment.outcome,
        label_from=moment.outcome_from,
        label_until=moment.outcome_until,
        facts=facts(situation),
    )


def facts(situation: Situation) -> dict[str, Any]:
    """The situation as JSON values."""
    held = situation.position
    return {"situation": vars(situation) | {"position": vars(held) if held else None}}


def situation_of(row: Row) -> Situation:
    """The situation that `facts` kept."""
    values = dict(row.facts["situation"])
    if values["position"]:
        values["position"] = Position(**values["position"])
    return Situation(**values)


@dataclass(frozen=True)
class SentenceCheck:
    """What became of an answer's sentences.

    Attributes:
        truth: share of the sentences in which something was checked and nothing is false.
        told: what such a sentence states the value of, and rightly.
    """

    truth: float
    told: frozenset[str]


def check_sentences(
    bullets: Iterable[str], row: Row, claimed: Callable[[str], list[Claim]]
) -> SentenceCheck:
    """The sentences of an answer's bullets held against `claimed`; a line that is copied from the
    input whole is no sentence."""
    lines = f"\n{row.input}\n"
    right, count = 0, 0
    told: set[str] = set()
    for bullet in bullets:
        for piece in statements.pieces(bullet):
            count += 1
            found = [] if f"\n{piece.rstrip('.')}\n" in lines else claimed(piece)
            if statements.all_claims_hold(found):
                right += 1
                told.update(claim.about for claim in found if claim.value)
    return SentenceCheck(right / count if count else 0.0, frozenset(told))


def grounded(answer: SkillAnswer, source: str, sentences: SentenceCheck) -> float:
    """Share of the numbers in sentences and levels that stand in `source`, to the digit.

    0.0 where no value is told rightly: a number without the name that it belongs to says nothing,
    whether it is known or not.
    """
    if not sentences.told:
        return 0.0
    levels = (level for level in (answer.support, answer.resistance) if level)
    return statements.grounded("\n".join((*answer.bullets, *levels)), source)


def brier(answer: SkillAnswer, right: bool) -> float:
    """Brier score of the confidence (Brier 1950): its squared distance from what came, 0 at best, 1
    at worst.

    It stands beside the mark and is no part of it. A proper rule pays the one who knows better, and
    who recommends in hindsight, as the taught answers do, should be sure; they state the odds of
    the training time instead. In the mark the rule would put every taught answer below an
    overconfident one.
    """
    return ((answer.confidence or 0) / 100 - right) ** 2


def pick_wording(choices: tuple[str, ...], phrasing: int, **names: str) -> str:
    """One of the wordings, its names filled in."""
    return choices[phrasing % len(choices)].format(**names)
