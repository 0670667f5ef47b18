"""OpenAI's HTTP API: chat with streaming and structured output, completions, models, embeddings.

In: requests as platform.openai.com/docs/api-reference has them. Out: answers of the same shape, from whoever the router or the
model's name chooses. Does not know routing, costs or providers' dialects.
"""

import time
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from stock_llm.gateway import api_docs, openai_replies
from stock_llm.gateway.backends import Backends
from stock_llm.gateway.chat import Chunk
from stock_llm.gateway.desk import About, Desk, unless_gone
from stock_llm.gateway.failures import BadRequest, UnknownModel
from stock_llm.gateway.ollama_requests import read_json
from stock_llm.gateway.openai_replies import DONE, Replies
from stock_llm.gateway.openai_requests import chat_request, completion_request, wants_usage
from stock_llm.gateway.scores import AUTO, query_of, vectors_query
from stock_llm.gateway.streamed import Streamed
from stock_llm.gateway.vectors import openai_request


def openai_routes(desk: Desk, backends: Backends) -> APIRouter:
    """The routes of OpenAI's API."""
    routes = APIRouter(prefix="/v1", tags=["OpenAI"])
    since = int(time.time())

    @routes.post("/chat/completions", **api_docs.OPENAI_CHAT)
    async def chat(request: Request) -> Response:
        """Goes on with a conversation. The model `auto` asks the router."""
        return await answer(request, text_only=False)

    @routes.post("/completions", **api_docs.OPENAI_COMPLETION)
    async def completion(request: Request) -> Response:
        """Answers a prompt. The model `auto` asks the router."""
        return await answer(request, text_only=True)

    async def answer(request: Request, text_only: bool) -> Response:
        body = read_json(await request.body())
        asked = completion_request(body) if text_only else chat_request(body)
        query = query_of(request.headers, asked, "completions" if text_only else "chat")
        about = About(asked.messages[-1].content)
        if not asked.stream:
            outcome = await unless_gone(request.receive, desk.answer(asked, query, about))
            story = outcome.story
            replies = Replies(story.response_id, outcome.answer.model, text_only=text_only)
            return _json(replies.body(outcome.answer, story.event()), headers=story.headers())
        opened = await unless_gone(request.receive, desk.open(asked, query, about))
        told = opened.story
        replies = Replies(told.response_id, told.choice.model, text_only=text_only, usage=wants_usage(body))

        def write(chunk: Chunk) -> bytes:
            return replies.events(chunk, opened.story.event() if chunk.answer else None)

        return Streamed(opened, "text/event-stream", write, openai_replies.broken, end=DONE)

    @routes.get("/models", **api_docs.OPENAI_MODELS)
    async def models() -> Response:
        """The models: those of every provider, and `auto`."""
        listed = [openai_replies.model(name, provider.name, since) for name, provider in backends.models()]
        return _json({"object": "list", "data": [*listed, openai_replies.model(AUTO, "router", since)]})

    @routes.get("/models/{name:path}", **api_docs.OPENAI_MODEL)
    async def model(name: str) -> Response:
        """One model."""
        owner = backends.owner(name)
        if owner is None and name != AUTO:
            raise UnknownModel("gateway", f"model '{name}' not found")
        return _json(openai_replies.model(name, owner.name if owner else "router", since))

    @routes.post("/embeddings", **api_docs.OPENAI_EMBEDDINGS)
    async def embeddings(request: Request) -> Response:
        """Vectors of texts."""
        body = read_json(await request.body())
        if body.get("encoding_format") not in (None, "float", "base64"):
            raise BadRequest("gateway", "encoding_format must be float or base64")
        asked = openai_request(body)
        outcome = await unless_gone(request.receive, desk.embed(asked, vectors_query(request.headers, asked)))
        said = orjson.loads(outcome.answer.raw)
        packed = body.get("encoding_format") == "base64"
        return _json(openai_replies.embeddings(outcome.answer.model, said, packed), headers=outcome.story.headers())

    return routes


def _json(value: Any, headers: dict[str, str] | None = None) -> Response:
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    return Response(body, media_type="application/json", headers=headers)
