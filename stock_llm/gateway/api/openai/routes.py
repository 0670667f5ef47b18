"""OpenAI's HTTP API: chat with streaming and structured output, responses, completions, models,
embeddings."""

import time
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from stock_llm.gateway.api.answering import EVENTS, answer_chat
from stock_llm.gateway.api.disconnect import cancel_on_disconnect
from stock_llm.gateway.api.documentation import answered_with
from stock_llm.gateway.api.handler import RequestHandler
from stock_llm.gateway.api.json_body import JsonRoute
from stock_llm.gateway.api.openai import responses
from stock_llm.gateway.api.openai.requests import (
    OpenAIChatBody,
    OpenAICompletionBody,
    OpenAIEmbeddingBody,
)
from stock_llm.gateway.api.openai.responses import CompletionWriter
from stock_llm.gateway.api.openai.responses_api import ResponsesBody, ResponsesWriter
from stock_llm.gateway.api.request_hints import AUTO, Hints, embedding_query
from stock_llm.gateway.errors import UnknownModel
from stock_llm.gateway.providers.registry import ProviderRegistry


def openai_routes(handler: RequestHandler, registry: ProviderRegistry) -> APIRouter:
    """The routes of OpenAI's API."""
    routes = APIRouter(prefix="/v1", tags=["OpenAI"], route_class=JsonRoute)
    since = int(time.time())

    @routes.post("/chat/completions", **answered_with(EVENTS))
    async def chat(request: Request, hints: Hints, body: OpenAIChatBody) -> Response:
        """Continues a conversation. The model `auto` asks the router."""
        writer = partial(CompletionWriter, text_only=False, usage=body.wants_usage)
        return await answer_chat(handler, request, hints, body, "chat", writer)

    @routes.post("/responses", **answered_with(EVENTS))
    async def response(request: Request, hints: Hints, body: ResponsesBody) -> Response:
        """Continues a conversation; nothing is stored. The model `auto` asks the router."""
        return await answer_chat(handler, request, hints, body, "chat", ResponsesWriter)

    @routes.post("/completions", **answered_with(EVENTS))
    async def completion(request: Request, hints: Hints, body: OpenAICompletionBody) -> Response:
        """Answers a prompt. The model `auto` asks the router."""
        writer = partial(CompletionWriter, text_only=True, usage=body.wants_usage)
        return await answer_chat(handler, request, hints, body, "completions", writer)

    @routes.get("/models", **answered_with(headers={}))
    async def models() -> Response:
        """The models: those of every provider, and `auto`."""
        owners = [(name, provider.name) for name, provider in registry.models()]
        listed = [responses.listed_model(*each, since) for each in (*owners, (AUTO, "router"))]
        return _json({"object": "list", "data": listed})

    @routes.get("/models/{name:path}", **answered_with(headers={}))
    async def model(name: str) -> Response:
        """One model."""
        owner = registry.provider_for(name)
        if owner is None and name != AUTO:
            raise UnknownModel("gateway", f"model '{name}' not found")
        return _json(responses.listed_model(name, owner.name if owner else "router", since))

    @routes.post("/embeddings", **answered_with())
    async def embeddings(request: Request, hints: Hints, body: OpenAIEmbeddingBody) -> Response:
        """Embeddings of texts."""
        question = body.to_request()
        query = embedding_query(hints, question, body.privacy)
        result = await cancel_on_disconnect(request.receive, handler.embed(question, query))
        vectors, packed = orjson.loads(result.answer.raw), body.encoding_format == "base64"
        content = responses.embeddings_body(result.answer.model, vectors, packed)
        return _json(content, headers=result.metadata.headers())

    return routes


def _json(value: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), media_type="application/json", headers=headers)
