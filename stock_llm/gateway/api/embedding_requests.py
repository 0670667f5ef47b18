"""Requests for embeddings, as Ollama's and OpenAI's APIs have them."""

from collections.abc import Mapping
from typing import Any

from stock_llm.gateway.api.ollama.requests import parse_model
from stock_llm.gateway.chat import ChatMessage, ChatRequest
from stock_llm.gateway.errors import BadRequest
from stock_llm.gateway.providers.embeddings import LEGACY

_FIELDS = ("truncate", "dimensions", "options", "keep_alive")


def embed_request(body: Mapping[str, Any]) -> ChatRequest:
    """A request to /api/embed.

    Raises:
        BadRequest: there is no model, or the input is neither a text nor a list of texts.
    """
    texts = _texts(body.get("input", ""), "invalid input type")
    return _request(
        body, texts, {name: body[name] for name in _FIELDS if body.get(name) is not None}
    )


def legacy_request(body: Mapping[str, Any]) -> ChatRequest:
    """A request to /api/embeddings.

    Raises:
        BadRequest: there is no model, or the prompt is no text.
    """
    (text,) = _texts(
        body.get("prompt", "") if isinstance(body.get("prompt", ""), str) else None,
        "invalid input type",
    )
    return _request(
        body,
        [text],
        {LEGACY: True} | {name: body[name] for name in _FIELDS[2:] if body.get(name) is not None},
    )


def openai_request(body: Mapping[str, Any]) -> ChatRequest:
    """A request to /v1/embeddings.

    Raises:
        BadRequest: a field is not what it must be.
    """
    texts = _texts(body.get("input") or None, "input must be a text or a list of texts")
    wanted = body.get("dimensions")
    if wanted is not None and (
        not isinstance(wanted, int) or isinstance(wanted, bool) or not 1 <= wanted <= 2**16
    ):
        raise BadRequest("gateway", "dimensions must be a whole number above 0")
    return _request(body, texts, {"dimensions": wanted} if wanted else {})


def _request(body: Mapping[str, Any], texts: list[str], extra: dict[str, Any]) -> ChatRequest:
    return ChatRequest(
        tuple(ChatMessage("user", text) for text in texts), parse_model(body), extra=extra
    )


def _texts(given: Any, problem: str) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequest("gateway", problem)
    return texts
