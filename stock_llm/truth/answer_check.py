"""Checks a whole answer against the numbers of its question, and repairs it while it comes.

The sentences are judged by `verdicts.py`. The lines whose word a rule decides (trend, reading,
outcome, concentration, levels) are judged as well, since a reader takes them for statements too.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from stock_llm.evaluation.answers import (
    LABELS,
    VERDICTS,
    AnswerError,
    Language,
    SkillAnswer,
    parse_answer,
)
from stock_llm.evaluation.numbers_in_text import ungrounded_numbers
from stock_llm.skills.decision_rows import Subject
from stock_llm.truth.answer_grammar import language_of
from stock_llm.truth.subjects import read_subject
from stock_llm.truth.verdicts import SentenceVerdict, sentence_verdicts

MAX_CHARACTERS = 10_000
"""Characters of an answer that are checked; the sentences after them are not."""

_DECIDED = tuple(name for name in VERDICTS if name not in ("recommendation", "sentiment"))
_CONFIDENCE = re.compile(r"^[^:\n]+: (\d+%)\s*$", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.;!?])\s+")


@dataclass(frozen=True, slots=True)
class AnswerCheck:
    """What code found out about an answer.

    Attributes:
        sentences: each sentence, and each line whose word a rule decides, with its verdict.
        invented: numbers that the question does not show, the confidence apart.
        parses: whether it is in the answer format.
        repaired: false sentences that the true one of their kind has replaced.
    """

    sentences: tuple[SentenceVerdict, ...]
    invented: tuple[str, ...]
    parses: bool
    repaired: int = 0

    def count(self, verdict: str) -> int:
        """How many sentences have this verdict."""
        return sum(each.verdict == verdict for each in self.sentences)

    @property
    def false(self) -> tuple[SentenceVerdict, ...]:
        """The false sentences."""
        return tuple(each for each in self.sentences if each.verdict == "false")


class AnswerChecker:
    """Checks answers to one question, which ends with a block of numbers.

    Args:
        language: of the corrections.
    """

    def __init__(self, subject: Subject, language: Language):
        self.subject, self.language = subject, language

    @classmethod
    def of(cls, question: str) -> "AnswerChecker | None":
        """The checker for a question; None where it shows no numbers of ours."""
        subject = read_subject(question)
        return cls(subject, language_of(question)) if subject else None

    def check(self, text: str) -> AnswerCheck:
        """What is found out about an answer."""
        shown = text[:MAX_CHARACTERS]
        verdicts = [verdict for line in shown.split("\n") for verdict in self.judge(line)]
        own = {match[1] for match in _CONFIDENCE.finditer(shown)}
        invented = ungrounded_numbers(shown, self.subject.source)
        try:
            parse_answer(text)
            parses = True
        except AnswerError:
            parses = False
        return AnswerCheck(
            tuple(verdicts),
            tuple(dict.fromkeys(number for number in invented if number not in own)),
            parses,
        )

    def judge(self, line: str) -> list[SentenceVerdict]:
        """The verdicts on the sentences of a line of an answer."""
        if word := self._decided_line(line.strip()):
            return [word]
        return sentence_verdicts(line, self.subject, self.language)

    def repair(self, text: str) -> tuple[str, AnswerCheck]:
        """The answer with the true sentence in place of each false one that has one, and the check
        of the answer as it was."""
        repairer = AnswerRepair(self)
        repaired = repairer.feed(text) + repairer.finish()
        return repaired, replace(self.check(text), repaired=repairer.replaced)

    def _decided_line(self, line: str) -> SentenceVerdict | None:
        """The verdict on a line such as "Trend: UP"; None for any other line."""
        label, colon, value = (part.strip() for part in line.partition(":"))
        for language, labels in LABELS.items():
            name = next((name for name, text in labels.items() if text == label), "")
            if not colon or not (name in _DECIDED or name == "levels"):
                continue
            right = self._right_lines(language).get(name)
            if right is None:
                return SentenceVerdict(line, "unchecked")
            is_true = value == right.partition(": ")[2]
            return SentenceVerdict(line, "true" if is_true else "false", "" if is_true else right)
        return None

    def _right_lines(self, language: Language) -> dict[str, str]:
        """Label → the whole line as it is right; None where the subject decides nothing of it."""
        if language not in self._right:
            self._right[language] = dict(_lines_of(self.subject.answers(language)))
        return self._right[language]

    @cached_property
    def _right(self) -> dict[Language, dict[str, str]]:
        return {}


def _lines_of(answers: list[SkillAnswer]) -> Iterator[tuple[str, str]]:
    for answer in answers:
        labels = LABELS[answer.language]
        for name in _DECIDED:
            if word := getattr(answer, name):
                yield name, f"{labels[name]}: {word}"
        if answer.support and answer.resistance:
            levels = f"{labels['support']} {answer.support}, {labels['resistance']}"
            yield "levels", f"{labels['levels']}: {levels} {answer.resistance}"


class AnswerRepair:
    """Replaces the false sentences of an answer that comes in pieces.

    What `feed` and `finish` return is, joined, the repaired answer. A sentence is held back until
    it is complete: the next one or the next line has begun.

    Attributes:
        replaced: false sentences that were replaced so far.
    """

    def __init__(self, checker: AnswerChecker):
        self._checker = checker
        self._open = ""
        self._passed = 0
        self.replaced = 0

    def feed(self, text: str) -> str:
        """What is complete after this piece."""
        if self._passed + len(self._open) > MAX_CHARACTERS:  # nothing after this is replaced
            passed, self._open = self._open + text, ""
            self._passed += len(passed)
            return passed
        *lines, self._open = (self._open + text).split("\n")
        done = "".join(self._repair(line) + "\n" for line in lines)
        if ends := [match.end() for match in _SENTENCE_END.finditer(self._open)]:
            if ends[-1] == len(self._open):  # the next sentence has not begun
                ends.pop()
            if ends and not self._ends_in_symbol(self._open[: ends[-1]]):
                done += self._repair(self._open[: ends[-1]])
                self._open = self._open[ends[-1] :]
        return done

    def finish(self) -> str:
        """What is left at the end of the answer."""
        left, self._open = self._open, ""
        return self._repair(left)

    def _ends_in_symbol(self, text: str) -> bool:
        return any(text.rstrip().endswith(name) for name in self._checker.subject.dotted)

    def _repair(self, line: str) -> str:
        self._passed += len(line)
        if not line.strip() or self._passed > MAX_CHARACTERS:
            return line
        for verdict in self._checker.judge(line):
            if verdict.verdict == "false" and verdict.correction:
                line = line.replace(verdict.sentence, verdict.correction, 1)
                self.replaced += 1
        return line


def marked(text: str, check: AnswerCheck, before: str = "", after: str = "") -> str:
    """The answer with the true sentence below each line that holds a false one.

    Args:
        before, after: stand around each false sentence, such as what switches a terminal's colour
            on and off.
    """
    lines, waiting = [], list(check.false)
    for line in text.split("\n"):
        below = []
        while waiting and waiting[0].sentence in line:
            verdict = waiting.pop(0)
            line = line.replace(verdict.sentence, f"{before}{verdict.sentence}{after}", 1)
            true = f"; true is: {verdict.correction}" if verdict.correction else ""
            below.append(f"  ^ not true{true}")
        lines += [line, *below]
    return "\n".join(lines)
