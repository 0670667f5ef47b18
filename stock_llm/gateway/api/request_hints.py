"""What the caller says about a question, for the router: request headers, the rest is estimated.

    x-stock-llm-type         analysis, code, translation or chat
    x-stock-llm-complexity   1 to 10
    x-stock-llm-urgency      1 to 10
    x-stock-llm-privacy      "local": it never leaves this machine

A body may say the same in fields of its own. A header counts before such a field; of two privacies the stricter one counts.

In: headers, what the body says, and a request. Out: a `Query`. Does not know rules.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast, get_args

from stock_llm.gateway.api.ollama.requests import required_capabilities
from stock_llm.gateway.chat import ChatRequest
from stock_llm.gateway.errors import BadRequest
from stock_llm.gateway.query import Privacy, Query, QueryType
from stock_llm.gateway.routing import classifier
from stock_llm.gateway.routing.router import EMBED

AUTO = "auto"
"""The model name that asks the router."""

HEADERS = ("type", "complexity", "urgency", "privacy")
_WORDS = {"type": get_args(QueryType), "privacy": get_args(Privacy)}


def build_query(
    headers: Mapping[str, str],
    request: ChatRequest,
    feature: str,
    privacy: Privacy = "any",
    **known: Any,
) -> Query:
    """The query of a request.

    Args:
        privacy: what the body says.
        known: fields of the query that the body says, or that the feature knows by itself; None: not known.

    Raises:
        BadRequest: a header has a value that it cannot have.
    """
    given = {
        name: _read(name, text) for name in HEADERS if (text := headers.get(f"x-stock-llm-{name}"))
    }
    model = AUTO if request.model in (AUTO, f"{AUTO}:latest") else request.model
    known = (
        {"data_length": len(request.text)}
        | {name: value for name, value in known.items() if value is not None}
        | given
    )
    if privacy == "local":
        known["privacy"] = privacy
    return classifier.complete_query(
        request.question,
        **known,
        model=model,
        feature=feature,
        needs=required_capabilities(request),
    )


def parse_privacy(body: Mapping[str, Any]) -> Privacy:
    """What the body of a chat says of its privacy.

    Raises:
        BadRequest: something that is no privacy.
    """
    said = body.get("privacy")
    if said is None:
        return "any"
    if said not in _WORDS["privacy"]:
        raise BadRequest(
            "gateway", f"privacy is {str(said)[:40]!r}, not one of {', '.join(_WORDS['privacy'])}"
        )
    return cast(Privacy, said)


def is_private(headers: Mapping[str, str], body: Mapping[str, Any]) -> bool:
    """Whether what was sent must not leave this machine.

    Raises:
        BadRequest: the header, or the field, has a value that it cannot have.
    """
    said = headers.get("x-stock-llm-privacy")
    return "local" in (parse_privacy(body), _read("privacy", said) if said else "any")


def embedding_query(
    headers: Mapping[str, str], body: Mapping[str, Any], request: ChatRequest
) -> Query:
    """The query of a request for vectors: what it needs is known, and nothing about its words.

    Raises:
        BadRequest: a header, or the field `privacy`, has a value that it cannot have.
    """
    return replace(
        build_query(headers, request, "embed", parse_privacy(body)), needs=frozenset({EMBED})
    )


def _read(name: str, text: str) -> Any:
    if name in _WORDS:
        if text not in _WORDS[name]:
            raise BadRequest(
                "gateway",
                f"x-stock-llm-{name} is {text[:40]!r}, not one of {', '.join(_WORDS[name])}",
            )
        return text
    if not text.isdecimal() or not 1 <= int(text) <= 10:
        raise BadRequest(
            "gateway", f"x-stock-llm-{name} is {text[:40]!r}, not a number from 1 to 10"
        )
    return int(text)
