"""What a model is asked: the system text, and the conversation of a row.

How a conversation becomes the text that a model sees is the prompt format's (`prompt_formats`),
which the profile of the base model names.

A change to anything here, to a format, or to how skills lay out their input, is a new
PROMPT_VERSION: a model is judged and served with the version that it was trained with.
"""

from typing import Literal, TypedDict

PROMPT_VERSION = 3

SYSTEM = "You are stock-llm, a stock analyst. Use only the numbers given."
"""Modelfile SYSTEM, and the first message of every training row."""


class Message(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str


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
