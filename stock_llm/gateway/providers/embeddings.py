"""Requests for embeddings of texts, for Ollama.

A request is a `ChatRequest` whose messages are the texts and whose `extra` holds the other fields,
so that it is limited and recorded as any other. Embeddings of two models cannot be compared, so no
other model stands in for the one that was asked for. Source: ollama/ollama docs/api.md.
"""

from typing import Any

from stock_llm.gateway.chat import ChatRequest

LEGACY = "old"
"""In `ChatRequest.extra`: a request to /api/embeddings, whose vectors are not normalised."""


def body_for_ollama(request: ChatRequest) -> tuple[str, dict[str, Any]]:
    """Path and body of the request."""
    texts = [message.content for message in request.messages]
    extra = {name: value for name, value in request.extra.items() if name != LEGACY}
    if LEGACY in request.extra:
        return "/api/embeddings", {"model": request.model, "prompt": texts[0], **extra}
    return "/api/embed", {"model": request.model, "input": texts, **extra}
