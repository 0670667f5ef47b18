"""Requests that a chat program makes by itself: titles, tags and follow-up questions of a
conversation.

Open WebUI asks the chosen model for them after every answer, in a user message that begins with
`### Task:` and ends with the conversation. They are answered by rule, so that they cost nothing and
hold up no question; a task without a rule goes to a local model. Neither is kept for feedback.
"""

import re
from collections import Counter
from typing import Any

import orjson

from stock_llm.gateway.chat import ChatRequest

FEATURE = "chat-task"
"""The feature of such requests in the cost records."""

_BEGIN, _END = "<chat_history>", "</chat_history>"
_WANTED = re.compile(r'\{\s*"(title|tags|follow_ups|queries)"\s*:')
_SYMBOL = re.compile(r"\b[A-Z]{2,6}(?:\.[A-Z]{1,2})?\b")
_NO_SYMBOLS = frozenset(
    [
        "USER",
        "ASSISTANT",
        "BUY",
        "SELL",
        "HOLD",
        "UP",
        "DOWN",
        "RSI",
        "MACD",
        "SMA",
        "ATR",
        "USD",
        "EUR",
        "THB",
        "JSON",
        "AI",
        "LLM",
    ]
)
_READ_CHARACTERS = 100_000
_TITLE_WORDS = 6
_TITLE_CHARACTERS = 60
_TAGS = 3


def is_chat_task(request: ChatRequest) -> bool:
    """Whether a request is such a task, and no question of a person."""
    text = request.question.strip()
    return text.startswith("### Task:") and _BEGIN in text and text.endswith(_END)


def answer_by_rule(request: ChatRequest) -> str | None:
    """The answer as JSON, as the task wants it; None where there is no rule for the task."""
    instruction, _, history = request.question.partition(_BEGIN)
    wanted = _WANTED.search(instruction[:_READ_CHARACTERS])
    if wanted is None:
        return None
    value: Any = []
    if wanted[1] == "title":
        value = _title(history)
    elif wanted[1] == "tags":
        value = _tags(history)
    return orjson.dumps({wanted[1]: value}).decode()


def _title(history: str) -> str:
    """The first words of the first question."""
    question = history.partition("USER:")[2].partition("\nASSISTANT:")[0].removesuffix(_END)
    words = question[:_READ_CHARACTERS].split()[:_TITLE_WORDS]
    return " ".join(words)[:_TITLE_CHARACTERS].rstrip(" .,;:?!") or "Conversation"


def _tags(history: str) -> list[str]:
    """The symbols that are mentioned most often."""
    names = _SYMBOL.findall(history[:_READ_CHARACTERS])
    symbols = Counter(name for name in names if name not in _NO_SYMBOLS)
    return [name for name, _ in symbols.most_common(_TAGS)]
