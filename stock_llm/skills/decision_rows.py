"""What skills share: building the row of a decision point, and checking an answer's sentences."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from stock_llm.evaluation.answers import AnswerError, Language, SkillAnswer, parse_answer
from stock_llm.market.situation import Position, Situation
from stock_llm.skills import statements
from stock_llm.skills.claims import Claim, find_claims
from stock_llm.skills.decision_point import BaseRates, DecisionPoint
from stock_llm.skills.row import Row
from stock_llm.skills.statements import Statement


def decision_row(skill: str, instruction: str, answer: SkillAnswer, decision: DecisionPoint) -> Row:
    """Builds a row whose label is the outcome of the decision point."""
    situation = decision.situation
    return Row(
        skill=skill,
        language=answer.language,
        symbol=situation.symbol,
        as_of=situation.as_of,
        instruction=instruction,
        input=situation.block(),
        output=answer.text(),
        source=decision.source,
        label=decision.outcome,
        label_from=decision.outcome_from,
        label_until=decision.outcome_until,
        facts=facts(situation),
    )


def recommendation_row(
    skill: str,
    wordings: tuple[str, ...],
    answer: Callable[[Situation, str, int, Language], SkillAnswer],
    decision: DecisionPoint,
    base_rates: BaseRates,
    language: Language,
    phrasing: int,
) -> Row:
    """Builds a row whose answer recommends the outcome, with the base rates' confidence.

    Args:
        wordings: of the question, in the language; `phrasing` picks one.
        answer: makes the answer to train on from situation, recommendation, confidence, language.
    """
    situation = decision.situation
    confidence = base_rates.confidence(situation, decision.outcome)
    return decision_row(
        skill,
        pick_wording(wordings, phrasing, symbol=situation.symbol),
        answer(situation, decision.outcome, confidence, language),
        decision,
    )


def facts(situation: Situation) -> dict[str, Any]:
    """The situation as JSON values."""
    held = situation.position
    return {"situation": vars(situation) | {"position": vars(held) if held else None}}


def situation_of(row: Row) -> Situation:
    """The situation in a row's facts."""
    values = dict(row.facts["situation"])
    if values["position"]:
        values["position"] = Position(**values["position"])
    return Situation(**values)


def parse_complete(text: str, *lines: str) -> SkillAnswer | None:
    """Parses an answer; None if it is not in the format or one of the `lines` is missing."""
    try:
        answer = parse_answer(text)
    except AnswerError:
        return None
    missing = [name for name in lines if getattr(answer, name) in (None, ())]
    return None if missing else answer


@dataclass(frozen=True)
class Subject:
    """What a question is about, and what is true of it.

    Attributes:
        source: the block that the question shows.
        find_claims: sentence → what it claims, and whether that holds.
        statements: language → the true sentences.
        answers: language → an answer of each form that suits, made of such sentences.
        dotted: symbols that end in a full stop, which ends no sentence.
    """

    source: str
    find_claims: Callable[[str], list[Claim]]
    statements: Callable[[Language], list[Statement]]
    answers: Callable[[Language], list[SkillAnswer]]
    dotted: tuple[str, ...] = ()


def situation_subject(
    situation: Situation,
    source: str,
    *answers: Callable[[Situation, str, int, Language], SkillAnswer],
) -> Subject:
    """A stock at a close.

    Args:
        answers: the skills' own, whose recommendation and confidence are not looked at.
    """
    return Subject(
        source,
        lambda piece: find_claims(piece, situation),
        lambda language: statements.true_statements(situation, language),
        lambda language: [answer(situation, "HOLD", 50, language) for answer in answers],
    )


def check_claims(bullets: Iterable[str], subject: Subject) -> Iterator[tuple[str, list[Claim]]]:
    """Each sentence of the bullets with its claims; a line that is copied from the block whole has
    none."""
    lines = f"\n{subject.source}\n"
    for bullet in bullets:
        for piece in statements.pieces(bullet, subject.dotted):
            copied = f"\n{piece.rstrip('.')}\n" in lines
            yield piece, [] if copied else subject.find_claims(piece)


@dataclass(frozen=True)
class SentenceCheck:
    """How an answer's sentences were checked.

    Attributes:
        truth: share of the sentences in which something was checked and nothing is false.
        stated: what such sentences state the right value of.
    """

    truth: float
    stated: frozenset[str]


def check_sentences(bullets: Iterable[str], subject: Subject) -> SentenceCheck:
    """The sentences of an answer's bullets, checked and counted."""
    right, count = 0, 0
    stated: set[str] = set()
    for _, claims in check_claims(bullets, subject):
        count += 1
        if statements.all_claims_hold(claims):
            right += 1
            stated.update(claim.about for claim in claims if claim.value)
    return SentenceCheck(right / count if count else 0.0, frozenset(stated))


def grounded(answer: SkillAnswer, source: str, sentences: SentenceCheck) -> float:
    """Share of the numbers in sentences and levels that stand in `source`, to the digit.

    0.0 where no value is told rightly: a number without the name that it belongs to says nothing,
    whether it is known or not.
    """
    if not sentences.stated:
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
    """Picks one of the wordings and fills in its names."""
    return choices[phrasing % len(choices)].format(**names)
