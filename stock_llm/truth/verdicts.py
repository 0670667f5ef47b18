"""Judges the sentences of an answer, in whatever form it is."""

from stock_llm.evaluation.answers import LABELS
from stock_llm.skills import SKILLS
from stock_llm.skills.decision_rows import check_claims
from stock_llm.skills.row import Row

_LABELS = frozenset(label for labels in LABELS.values() for label in labels.values())


def lines_of(text: str) -> list[str]:
    """The lines of a text that may hold sentences: those without a label of the answer format."""
    lines = [line.strip() for line in text.splitlines()]
    return [
        line.removeprefix("- ")
        for line in lines
        if line and line.partition(":")[0].strip() not in _LABELS
    ]


def false_sentences(row: Row, text: str) -> list[str] | None:
    """The sentences of an answer to a row in which something is claimed that does not hold.

    A sentence in which nothing can be checked is not false. Whether the answer is in the format
    does not matter. None where the skill's answers state nothing that can be checked.
    """
    checker = getattr(SKILLS[row.skill], "checker", None)
    if checker is None:
        return None
    return [
        sentence
        for sentence, claims in check_claims(lines_of(text), row.input, checker(row))
        if not all(claim.holds for claim in claims)
    ]
