"""What a model is asked: the system text, and the conversation of a row.

How a conversation becomes the text that a model sees is the prompt format's (`prompt_formats`),
which the profile of the base model names.

A change to anything here, to a format, or to how skills lay out their input, is a new
PROMPT_VERSION: a model is judged and served with the version that it was trained with.
"""

from collections.abc import Sequence
from typing import Literal, TypedDict

PROMPT_VERSION = 3

SYSTEM = "You are stock-llm, a stock analyst. Use only the numbers given."
"""Modelfile SYSTEM, and the first message of every training row."""


Role = Literal["system", "user", "assistant"]


class Message(TypedDict):
    role: Role
    content: str


JOINT = "\n\n"
"""Between texts of one role that follow each other, which are one turn."""


def join_adjacent(turns: Sequence[Message]) -> list[Message]:
    """The conversation with one turn in place of those of one role that follow each other, as
    Ollama makes it (template/template.go, collate).
    """
    joined: list[Message] = []
    for turn in turns:
        if joined and joined[-1]["role"] == turn["role"]:
            text = joined[-1]["content"] + JOINT + turn["content"]
            joined[-1] = {"role": turn["role"], "content": text}
        else:
            joined.append(turn)
    return joined


def user_text(instruction: str, context: str = "") -> str:
    """What the user's turn says: the instruction and, below an empty line, the numbers that it is
    about.
    """
    return f"{instruction}\n\n{context}" if context else instruction


def messages(instruction: str, context: str = "", answer: str | None = None) -> list[Message]:
    """The conversation of one row; without `answer`, the prompt to be answered."""
    turns: list[Message] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": user_text(instruction, context)},
    ]
    if answer is not None:
        turns.append({"role": "assistant", "content": answer})
    return turns
