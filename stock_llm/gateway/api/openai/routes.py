"""OpenAI's HTTP API: chat with streaming and structured output, completions, models, embeddings.

In: requests as platform.openai.com/docs/api-reference has them. Out: answers of the same shape, from whoever the router or the
model's name chooses. Does not know routing, costs or providers' dialects.
"""

import time
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from stock_llm.gateway.api import openapi
from stock_llm.gateway.api.embedding_requests import openai_request
from stock_llm.gateway.api.handler import FeedbackSubject, RequestHandler, cancel_on_disconnect
from stock_llm.gateway.api.ollama.requests import parse_body
from stock_llm.gateway.api.openai import responses
from stock_llm.gateway.api.openai.requests import chat_request, completion_request, wants_usage
from stock_llm.gateway.api.openai.responses import DONE, CompletionWriter
from stock_llm.gateway.api.request_hints import AUTO, build_query, embedding_query, parse_privacy
from stock_llm.gateway.api.streaming import AnswerStreamResponse
from stock_llm.gateway.chat import AnswerChunk
from stock_llm.gateway.errors import BadRequest, UnknownModel
from stock_llm.gateway.providers.registry import ProviderRegistry


def openai_routes(desk: RequestHandler, backends: ProviderRegistry) -> APIRouter:
    """The routes of OpenAI's API."""
    routes = APIRouter(prefix="/v1", tags=["OpenAI"])
    since = int(time.time())

    @routes.post("/chat/completions", **openapi.OPENAI_CHAT)
    async def chat(request: Request) -> Response:
        """Goes on with a conversation. The model `auto` asks the router."""
        return await answer(request, text_only=False)

    @routes.post("/completions", **openapi.OPENAI_COMPLETION)
    async def completion(request: Request) -> Response:
        """Answers a prompt. The model `auto` asks the router."""
        return await answer(request, text_only=True)

    async def answer(request: Request, text_only: bool) -> Response:
        body = parse_body(await request.body())
        asked = completion_request(body) if text_only else chat_request(body)
        query = build_query(
            request.headers, asked, "completions" if text_only else "chat", parse_privacy(body)
        )
        about = FeedbackSubject(asked.messages[-1].content)
        if not asked.stream:
            outcome = await cancel_on_disconnect(request.receive, desk.answer(asked, query, about))
            story = outcome.story
            replies = CompletionWriter(story.response_id, outcome.answer.model, text_only=text_only)
            return _json(replies.body(outcome.answer, story.event()), headers=story.headers())
        opened = await cancel_on_disconnect(request.receive, desk.open(asked, query, about))
        told = opened.story
        replies = CompletionWriter(
            told.response_id, told.choice.model, text_only=text_only, usage=wants_usage(body)
        )

        def write(chunk: AnswerChunk) -> bytes:
            return replies.events(chunk, opened.story.event() if chunk.answer else None)

        return AnswerStreamResponse(opened, "text/event-stream", write, responses.broken, end=DONE)

    @routes.get("/models", **openapi.OPENAI_MODELS)
    async def models() -> Response:
        """The models: those of every provider, and `auto`."""
        listed = [
            responses.model(name, provider.name, since) for name, provider in backends.models()
        ]
        return _json({"object": "list", "data": [*listed, responses.model(AUTO, "router", since)]})

    @routes.get("/models/{name:path}", **openapi.OPENAI_MODEL)
    async def model(name: str) -> Response:
        """One model."""
        owner = backends.provider_for(name)
        if owner is None and name != AUTO:
            raise UnknownModel("gateway", f"model '{name}' not found")
        return _json(responses.model(name, owner.name if owner else "router", since))

    @routes.post("/embeddings", **openapi.OPENAI_EMBEDDINGS)
    async def embeddings(request: Request) -> Response:
        """Vectors of texts."""
        body = parse_body(await request.body())
        if body.get("encoding_format") not in (None, "float", "base64"):
            raise BadRequest("gateway", "encoding_format must be float or base64")
        asked = openai_request(body)
        outcome = await cancel_on_disconnect(
            request.receive, desk.embed(asked, embedding_query(request.headers, body, asked))
        )
        said = orjson.loads(outcome.answer.raw)
        packed = body.get("encoding_format") == "base64"
        return _json(
            responses.embeddings(outcome.answer.model, said, packed),
            headers=outcome.story.headers(),
        )

    return routes


def _json(value: Any, headers: dict[str, str] | None = None) -> Response:
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    return Response(body, media_type="application/json", headers=headers)
