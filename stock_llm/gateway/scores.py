"""What the caller says about a question, for the router: request headers, the rest is estimated.

    x-stock-llm-type         analysis, code, translation or chat
    x-stock-llm-complexity   1 to 10
    x-stock-llm-urgency      1 to 10
    x-stock-llm-privacy      "local": it never leaves this machine

In: headers and a request. Out: a `Query`. Does not know rules.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from stock_llm.gateway import estimate
from stock_llm.gateway.chat import ChatRequest
from stock_llm.gateway.failures import BadRequest
from stock_llm.gateway.ollama_requests import needs_of
from stock_llm.gateway.query import Privacy, Query, Type
from stock_llm.gateway.route import EMBED

AUTO = "auto"
"""The model name that asks the router."""

HEADERS = ("type", "complexity", "urgency", "privacy")
_WORDS = {"type": get_args(Type), "privacy": get_args(Privacy)}


def query_of(headers: Mapping[str, str], request: ChatRequest, feature: str, **known: Any) -> Query:
    """The query of a request.

    Args:
        known: fields of the query that the feature knows by itself.

    Raises:
        BadRequest: a header has a value that it cannot have.
    """
    given = {name: _read(name, text) for name in HEADERS if (text := headers.get(f"x-stock-llm-{name}"))}
    model = AUTO if request.model in (AUTO, f"{AUTO}:latest") else request.model
    known.setdefault("data_length", len(request.text))
    return estimate.complete(request.question, **(known | given), model=model, feature=feature, needs=needs_of(request))


def stays_here(headers: Mapping[str, str]) -> bool:
    """Whether what was sent must not leave this machine.

    Raises:
        BadRequest: the header has a value that it cannot have.
    """
    said = headers.get("x-stock-llm-privacy")
    return bool(said) and _read("privacy", str(said)) == "local"


def vectors_query(headers: Mapping[str, str], request: ChatRequest) -> Query:
    """The query of a request for vectors: what it needs is known, and nothing about its words.

    Raises:
        BadRequest: a header has a value that it cannot have.
    """
    return replace(query_of(headers, request, "embed"), needs=frozenset({EMBED}))


def _read(name: str, text: str) -> Any:
    if name in _WORDS:
        if text not in _WORDS[name]:
            raise BadRequest("gateway", f"x-stock-llm-{name} is {text[:40]!r}, not one of {', '.join(_WORDS[name])}")
        return text
    if not text.isdecimal() or not 1 <= int(text) <= 10:
        raise BadRequest("gateway", f"x-stock-llm-{name} is {text[:40]!r}, not a number from 1 to 10")
    return int(text)
