"""Follow the user: what they accepted or wrote themselves, learnt as the answer to the same
question."""

from collections import Counter
from difflib import SequenceMatcher

from stock_llm.evaluation.answers import VERDICTS, AnswerError, SkillAnswer, parse_answer
from stock_llm.feedback.item import FeedbackItem
from stock_llm.skills.row import UNPARSED, Row, Score, mean_of

NAME = "follow"

TEXT = "TEXT"
"""Label of an answer in the user's own words, outside of the answer format."""

CORRECTION_WEIGHT = 3.0
"""A correction counts as much as three computed rows: there are few, and they are what the user
asked for."""


def wanted(item: FeedbackItem) -> str | None:
    """The answer that the user wants: their edit, else a response that they liked; None where they
    only disliked it."""
    if item.edit is not None:
        return item.edit
    return item.response.strip() if item.liked else None


def row(item: FeedbackItem, answer: str) -> Row:
    """Builds one row; it looks at nothing after the moment that the question was about."""
    as_of = item.as_of or item.created_at.date().isoformat()
    try:
        label = _stated(parse_answer(answer)) or TEXT
    except AnswerError:
        label = TEXT
    return Row(
        skill=NAME,
        language=item.language,
        symbol=item.symbol or "",
        as_of=as_of,
        instruction=item.instruction,
        input=item.input or "",
        output=answer,
        source={"kind": "feedback", "ref": item.id},
        label=label,
        label_from=as_of,
        label_until=as_of,
        weight=CORRECTION_WEIGHT if item.edit else 1.0,
    )


def _stated(answer: SkillAnswer) -> str:
    """The class that an answer is about: of its words, the one that says most; empty for none."""
    return (
        answer.recommendation
        or answer.trend
        or answer.reading
        or answer.outcome
        or answer.concentration
        or answer.sentiment
        or ""
    )


def score(row: Row, text: str) -> Score:
    """Scores an answer against the user's own wording: the same class ("recommendation", whichever
    label it has), lines and language.

    `lines` is the share of lines that both have, of the longer list: what the user did not write
    costs as much as what is left out. `verdicts`, `confidence` and `levels` are marked where either
    answer has such lines: the labels' words that agree, and the very numbers. Free text, which has
    no labelled lines, is marked by its similarity alone (difflib's ratio over words).
    """
    if row.label == TEXT:
        return mean_of(
            TEXT,
            similar=SequenceMatcher(None, row.output.split(), text.split(), autojunk=False).ratio(),
        )
    try:
        given, right = parse_answer(text), parse_answer(row.output)
    except AnswerError:
        return UNPARSED
    stated = _stated(given)
    checks = {
        "recommendation": float(stated == row.label),
        "lines": _common(given.bullets, right.bullets),
    }
    verdicts = [(getattr(given, name), getattr(right, name)) for name in VERDICTS]
    if len(asked := [(mine, theirs) for mine, theirs in verdicts if mine or theirs]) > 1:
        checks["verdicts"] = sum(mine == theirs for mine, theirs in asked) / len(asked)
    if (given.confidence, right.confidence) != (None, None):
        checks["confidence"] = float(given.confidence == right.confidence)
    if given.support or right.support:
        checks["levels"] = float(
            (given.support, given.resistance) == (right.support, right.resistance)
        )
    return mean_of(stated, **checks, language=float(given.language == right.language))


def _common(mine: tuple[str, ...], theirs: tuple[str, ...]) -> float:
    longer = max(len(mine), len(theirs))
    return (Counter(mine) & Counter(theirs)).total() / longer if longer else 1.0
