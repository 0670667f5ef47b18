"""Follow the user: what they accepted or wrote themselves, learnt as the answer to the same question."""

from difflib import SequenceMatcher

from stock_llm.answers import AnswerError, parse
from stock_llm.dataset.rows import UNPARSED, Row, Score, mean_of
from stock_llm.feedback_item import FeedbackItem

NAME = "follow"

TEXT = "TEXT"
"""Label of an answer in the user's own words, outside of the answer format."""

CORRECTION_WEIGHT = 3.0
"""A correction counts as much as three computed rows: there are few, and they are what the user asked for."""


def wanted(item: FeedbackItem) -> str | None:
    """The answer that the user wants: their edit, else a response that they liked; None where they only disliked it."""
    if item.edit is not None:
        return item.edit
    return item.response.strip() if item.liked else None


def row(item: FeedbackItem, answer: str) -> Row:
    """One row; it looks at nothing after the moment that the question was about."""
    as_of = item.as_of or item.created_at.date().isoformat()
    try:
        given = parse(answer)
        label = given.recommendation or given.trend or given.reading or given.outcome or TEXT
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


def score(row: Row, text: str) -> Score:
    """Marks against the user's own wording: the same recommendation, and the share of their lines that the answer has.

    Free text, which has no labelled lines, is marked by its similarity alone (difflib's ratio over words).
    """
    if row.label == TEXT:
        return mean_of(TEXT, similar=SequenceMatcher(None, row.output.split(), text.split(), autojunk=False).ratio())
    try:
        given, right = parse(text), parse(row.output)
    except AnswerError:
        return UNPARSED
    said = given.recommendation or given.trend or given.reading or given.outcome or ""
    return mean_of(
        said,
        recommendation=float(said == row.label),
        lines=sum(line in given.bullets for line in right.bullets) / len(right.bullets) if right.bullets else 1.0,
        language=float(given.language == right.language),
    )
