"""Answers to requests that ask for the same answer every time, kept in memory for a while."""

import hashlib

import orjson
from cachetools import TTLCache

from stock_llm.gateway.chat import ChatAnswer, ChatRequest
from stock_llm.gateway.query import Query

_OVERHEAD = 1024
"""Bytes of a cached answer besides its text."""


class ResponseCache:
    """The answers by what makes two requests the same.

    Args:
        size: bytes; 0: nothing is kept.
        seconds: how long an answer is used.
    """

    def __init__(self, size: int, seconds: float):
        self._answers: TTLCache[bytes, ChatAnswer] | None = (
            TTLCache(size, seconds, getsizeof=_size) if size else None
        )

    def key(self, request: ChatRequest, query: Query) -> bytes | None:
        """What makes two requests the same; None where they do not ask for the same answer."""
        seed = request.options.seed
        if self._answers is None:
            return None
        if request.options.temperature != 0 and (seed is None or seed < 0):  # below 0: random
            return None
        extra = {name: value for name, value in request.extra.items() if name != "keep_alive"}
        content = (request.messages, request.model, request.options, request.format)
        routing = (query.type, query.complexity, query.urgency, query.privacy, query.model)
        parts = (content, request.owner, request.stream, extra, routing, sorted(query.needs))
        options = orjson.OPT_SORT_KEYS
        return hashlib.sha256(orjson.dumps(parts, option=options, default=dict)).digest()

    def get(self, key: bytes) -> ChatAnswer | None:
        """The answer to such a request."""
        return self._answers.get(key) if self._answers is not None else None

    def add(self, key: bytes, answer: ChatAnswer) -> None:
        """Keeps an answer, unless it is larger than everything that is kept."""
        if self._answers is not None and _size(answer) <= self._answers.maxsize:
            self._answers[key] = answer

    def clear(self) -> None:
        """Forgets all of them."""
        if self._answers is not None:
            self._answers.clear()


def _size(answer: ChatAnswer) -> int:
    return _OVERHEAD + 4 * len(answer.text) + len(answer.raw)
