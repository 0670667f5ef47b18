"""Opinions of labelling tools, by the names of their questions, and the names of their fields.

Both tools let people choose the names. These are understood, in any spelling of case and with
spaces, dashes or underscores; `docs/feedback-files.md` lists them.
"""

from collections.abc import Mapping
from typing import Any, TypedDict

from stock_llm.feedback.exports.question_text import split_question
from stock_llm.feedback.item import Thumb

_QUESTIONS = ("instruction", "question", "prompt", "query")
_INPUTS = ("input", "context", "block", "numbers")
_ANSWERS = ("response", "answer", "output", "completion", "generation")
_SYSTEMS = ("model", "model_version", "model_id")

_THUMBS: dict[str, Thumb] = {
    "up": "up", "good": "up", "like": "up", "yes": "up", "correct": "up", "ดี": "up",
    "down": "down", "bad": "down", "dislike": "down", "no": "down", "wrong": "down", "ไม่ดี": "down",
}  # fmt: skip

STARS, LONG_STARS = 5, 10
"""Scales of ratings; one up to 10 is halved, rounded up."""


class AskedAnswer(TypedDict):
    """Fields of a `FeedbackItem`: what was asked and answered."""

    instruction: str
    input: str
    response: str
    model_version: str


class Opinion(TypedDict, total=False):
    """Fields of a `FeedbackItem`: what somebody said."""

    rating: int
    thumb: Thumb
    correction: str
    comment: str


def asked_answer(*sources: Mapping[str, Any]) -> AskedAnswer:
    """Question, input and answer of a record's fields.

    Raises:
        ValueError: a question or an answer is missing.
    """
    fields = {
        _plain(name): value
        for source in reversed(sources)
        for name, value in source.items()
        if isinstance(value, str) and value.strip()
    }

    def first(names: tuple[str, ...]) -> str:
        return next((fields[name] for name in names if name in fields), "")

    question, answer, block = first(_QUESTIONS), first(_ANSWERS), first(_INPUTS)
    for what, text, names in (("question", question, _QUESTIONS), ("answer", answer, _ANSWERS)):
        if not text:
            raise ValueError(f"there is no {what}: no field {', '.join(names)}")
    if not block:
        question, block = split_question(question)
    return AskedAnswer(
        instruction=question, input=block, response=answer, model_version=first(_SYSTEMS)
    )


def stars(value: Any, scale: int = STARS) -> int:
    """A rating as stars.

    Raises:
        ValueError: it is none on this scale.
    """
    if type(value) is not int or not 1 <= value <= scale:
        raise ValueError(f"a rating is {value!r}, not a whole number from 1 to {scale}")
    return (value + 1) // 2 if scale == LONG_STARS else value


def thumb(words: Any) -> Thumb | None:
    """What a chosen label says; None where it is no thumb."""
    return _THUMBS.get(_plain(words)) if isinstance(words, str) else None


def is_correction(name: str) -> bool:
    """Whether the text of a question of this name is the answer as it should have been."""
    return any(part in _plain(name) for part in ("correct", "better", "edit", "แก้"))


def _plain(name: str) -> str:
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").split())
