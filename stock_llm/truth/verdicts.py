"""Judges the sentences of an answer, in whatever form and wording it is."""

from dataclasses import dataclass
from typing import Literal

from stock_llm.evaluation.answers import DISCLAIMER, LABELS, Language
from stock_llm.skills import SKILLS
from stock_llm.skills.claims import Claim
from stock_llm.skills.decision_rows import Subject, check_claims
from stock_llm.skills.row import Row
from stock_llm.truth.subjects import read_subject

_NO_SENTENCES = {label for labels in LABELS.values() for label in labels.values()} | {
    *DISCLAIMER.values()
}


@dataclass(frozen=True)
class SentenceVerdict:
    """What is known of a sentence.

    Attributes:
        verdict: "unchecked" where nothing that it says can be checked.
        correction: the true sentence of the same quantities; empty where it is not false, or where
            there is none.
    """

    sentence: str
    verdict: Literal["true", "false", "unchecked"]
    correction: str = ""


def sentence_verdicts(text: str, subject: Subject, language: Language) -> list[SentenceVerdict]:
    """Judges each sentence of an answer.

    Args:
        subject: what was asked about, from `read_subject`.
        language: of the corrections.
    """
    return [
        SentenceVerdict(sentence, "unchecked")
        if not claims
        else SentenceVerdict(sentence, "true")
        if all(claim.holds for claim in claims)
        else SentenceVerdict(sentence, "false", _correction(claims, subject, language))
        for sentence, claims in check_claims(lines_of(text), subject)
    ]


def repair(text: str, subject: Subject, language: Language) -> str:
    """The answer with the true sentence in place of each false one that has one."""
    for judged in sentence_verdicts(text, subject, language):
        if judged.correction:
            text = text.replace(judged.sentence, judged.correction, 1)
    return text


def false_sentences(row: Row, text: str) -> list[str] | None:
    """The sentences of an answer to a row in which something is claimed that does not hold.

    A sentence in which nothing can be checked is not false. Whether the answer is in the format
    does not matter. None where the question shows no numbers that could be stated.
    """
    skill = SKILLS[row.skill]
    subject = skill.subject(row) if hasattr(skill, "subject") else read_subject(row.input)
    return None if subject is None else false_sentences_about(subject, text)


def false_sentences_about(subject: Subject, text: str) -> list[str]:
    """The sentences in which something is claimed of the subject that does not hold."""
    judged = sentence_verdicts(text, subject, "en")
    return [verdict.sentence for verdict in judged if verdict.verdict == "false"]


def lines_of(text: str) -> list[str]:
    """The lines of a text that may hold sentences: no disclaimer, and none with a label of
    the answer format."""
    lines = [line.strip() for line in text.splitlines()]
    return [
        line.removeprefix("- ")
        for line in lines
        if line and line.partition(":")[0].strip() not in _NO_SENTENCES
    ]


def _correction(claims: list[Claim], subject: Subject, language: Language) -> str:
    """True sentences of the quantities that are claimed about, those of the false claims first."""
    chosen: list[str] = []
    told: set[str] = set()
    for claim in sorted(claims, key=lambda claim: claim.holds):
        about = {claim.about, claim.other} - {""}
        statement = max(subject.statements(language), key=lambda true: len(true.about & about))
        if statement.about & about and not (claim.holds and told & about):
            chosen.append(statement.text)
            told |= statement.about
    return " ".join(dict.fromkeys(chosen))
