"""Ollama's HTTP API, so that every client of Ollama is a client of the gateway.

In: requests as ollama/ollama docs/api.md has them. Out: answers with the same shapes, statuses and texts; what Ollama wrote is
passed on as it is. The model `auto` asks the router, any other goes to where it is. Managing models is passed on to Ollama,
for this machine alone unless the settings say otherwise. Does not know routing, costs or providers' dialects.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from stock_llm.gateway.api import openapi
from stock_llm.gateway.api.embedding_requests import embed_request, legacy_request
from stock_llm.gateway.api.handler import FeedbackSubject, RequestHandler, cancel_on_disconnect
from stock_llm.gateway.api.middleware import BLOBS_PATH
from stock_llm.gateway.api.ollama import responses
from stock_llm.gateway.api.ollama.requests import (
    chat_request,
    generate_request,
    is_management,
    parse_body,
    parse_model,
    parse_stream,
)
from stock_llm.gateway.api.request_hints import (
    AUTO,
    build_query,
    embedding_query,
    is_private,
    parse_privacy,
)
from stock_llm.gateway.api.streaming import AnswerStreamResponse
from stock_llm.gateway.chat import ChatRequest
from stock_llm.gateway.errors import (
    FailureReason,
    NobodyAnswered,
    TimedOut,
    Unavailable,
    UnknownModel,
)
from stock_llm.gateway.providers.embedded import EmbeddedProvider
from stock_llm.gateway.providers.ollama import OllamaProvider
from stock_llm.gateway.providers.ollama_codec import decode_object
from stock_llm.gateway.providers.registry import ProviderRegistry

LIKE = "0.32.15"
"""The version of Ollama whose answers are given where none answers behind the gateway."""

_JSON = "application/json; charset=utf-8"
_NDJSON = "application/x-ndjson"


def ollama_routes(
    desk: RequestHandler, backends: ProviderRegistry, may_manage: bool, timeout: float
) -> APIRouter:
    """The routes of Ollama's API.

    Args:
        may_manage: whether requests that change Ollama's models are passed on.
        timeout: seconds that Ollama has to say what it has, or to load a model.
    """
    routes = APIRouter(tags=["OllamaProvider"])
    here = _Here(backends, timeout)
    since = responses.now()

    @routes.head("/", include_in_schema=False)
    @routes.get("/", include_in_schema=False)
    async def root() -> Response:
        return PlainTextResponse("Ollama is running")

    @routes.head("/api/version", include_in_schema=False)
    @routes.get("/api/version", **openapi.VERSION)
    async def version() -> Response:
        """The version of Ollama behind the gateway."""
        return (await here.asked("GET", "/api/version", None)) or _json({"version": LIKE})

    @routes.post("/api/chat", **openapi.CHAT)
    async def chat(request: Request) -> Response:
        """Goes on with a conversation. The model `auto` asks the router."""
        return await answer(request, generate=False)

    @routes.post("/api/generate", **openapi.GENERATE)
    async def generate(request: Request) -> Response:
        """Answers a prompt. The model `auto` asks the router."""
        return await answer(request, generate=True)

    async def answer(request: Request, generate: bool) -> Response:
        body = parse_body(await request.body())
        if is_management(body, generate):
            return await here.managed(body, generate, is_private(request.headers, body))
        asked = generate_request(body) if generate else chat_request(body)
        query = build_query(
            request.headers, asked, "generate" if generate else "chat", parse_privacy(body)
        )
        about = FeedbackSubject(asked.messages[-1].content)
        if not asked.stream:
            outcome = await cancel_on_disconnect(request.receive, desk.answer(asked, query, about))
            return Response(
                responses.body(outcome.answer, generate),
                media_type=_JSON,
                headers=outcome.story.headers(),
            )
        opened = await cancel_on_disconnect(request.receive, desk.open(asked, query, about))
        name = opened.story.choice.model

        def write(chunk: Any) -> bytes:
            return responses.line(
                chunk, name, generate, opened.story.event() if chunk.answer else None
            )

        return AnswerStreamResponse(
            opened, _NDJSON, write, lambda failure: responses.error(failure.reason) + b"\n"
        )

    @routes.post("/api/embed", **openapi.EMBED)
    async def embed(request: Request) -> Response:
        """Vectors of texts."""
        body = parse_body(await request.body())
        return await vectors(request, body, embed_request(body))

    @routes.post("/api/embeddings", **openapi.EMBEDDINGS)
    async def embeddings(request: Request) -> Response:
        """The vector of one text, as older clients ask for it."""
        body = parse_body(await request.body())
        return await vectors(request, body, legacy_request(body))

    async def vectors(request: Request, body: dict[str, Any], asked: ChatRequest) -> Response:
        outcome = await cancel_on_disconnect(
            request.receive, desk.embed(asked, embedding_query(request.headers, body, asked))
        )
        return Response(outcome.answer.raw, media_type=_JSON, headers=outcome.story.headers())

    @routes.head("/api/tags", include_in_schema=False)
    @routes.get("/api/tags", **openapi.TAGS)
    async def tags() -> Response:
        """The models: Ollama's own, those of the other providers, and `auto`."""
        models = await here.listed()
        known = {model["name"] for model in models}
        others = [
            responses.listed(name, provider.name, since)
            for name, provider in backends.models()
            if name not in known
        ]
        return _json({"models": [*models, *others, responses.listed(AUTO, "router", since)]})

    @routes.post("/api/show", **openapi.SHOW)
    async def show(request: Request) -> Response:
        """What a model is made of."""
        body = parse_body(await request.body() or b"{}")
        name = parse_model(body | {"model": body.get("model") or body.get("name")})
        owner = backends.provider_for(name)
        if name == AUTO or (owner and not isinstance(owner, OllamaProvider | EmbeddedProvider)):
            return _json(responses.remote_model_details(name, owner.name if owner else "router"))
        if not isinstance(owner, EmbeddedProvider) and (
            said := await here.asked("POST", "/api/show", orjson.dumps(body))
        ):
            return said
        return _json(responses.shown(here.stored(name)))

    @routes.get("/api/ps", **openapi.PS)
    async def running() -> Response:
        """The models in Ollama's memory."""
        return (await here.asked("GET", "/api/ps", None)) or _json({"models": []})

    async def managed(request: Request) -> Response:
        if not may_manage:
            return _json(
                {
                    "error": "models are managed from this machine alone; gateway.manage_models lets others"
                },
                403,
            )
        if backends.ollama is None:
            raise Unavailable("gateway", "there is no Ollama behind the gateway")
        body = request.stream() if request.url.path.startswith(BLOBS_PATH) else await request.body()
        passed = await backends.ollama.forward(request.method, request.url.path, body)
        return StreamingResponse(passed.body, passed.status, media_type=passed.kind or None)

    for path, methods in _MANAGED.items():
        routes.add_api_route(path, managed, methods=methods, include_in_schema=False)
    return routes


_MANAGED = {
    "/api/create": ["POST"],
    "/api/copy": ["POST"],
    "/api/delete": ["DELETE"],
    "/api/pull": ["POST"],
    "/api/push": ["POST"],
    BLOBS_PATH + "{digest}": ["HEAD", "POST"],
}


class _Here:
    """The Ollama behind the gateway, or the folder where there is none."""

    def __init__(self, backends: ProviderRegistry, timeout: float):
        self._backends, self._timeout = backends, timeout

    async def asked(self, method: str, path: str, body: bytes | None) -> Response | None:
        """Ollama's own answer; None where there is no Ollama."""
        if self._backends.ollama is None:
            return None
        try:
            async with asyncio.timeout(self._timeout):
                passed = await self._backends.ollama.forward(method, path, body)
                return Response(
                    await _whole(passed.body), passed.status, media_type=passed.kind or None
                )
        except TimeoutError:
            raise TimedOut("ollama", f"no answer within {self._timeout:g} s") from None
        except Unavailable:
            if self._backends.embedded is None:
                raise
            return None

    async def listed(self) -> list[dict[str, Any]]:
        """The models of this machine, as /api/tags has them."""
        said = await self.asked("GET", "/api/tags", None)
        if said is not None and said.status_code == 200:
            return _models(bytes(said.body))
        embedded, found = self._backends.embedded, []
        for name in embedded.models if embedded else ():
            with suppress(UnknownModel):  # half of it is missing
                found.append(responses.stored(self.stored(name)))
        return found

    async def managed(self, body: dict[str, Any], generate: bool, private: bool) -> Response:
        """Loading, unloading, rendering: nothing is generated, so nothing is routed."""
        if private and self._backends.ollama and not self._backends.ollama.local:
            why = "is not on this machine, and the request must stay there"
            raise NobodyAnswered((FailureReason(self._backends.ollama.name, "left out", why),))
        name = parse_model(body)
        path = "/api/generate" if generate else "/api/chat"
        owner = self._backends.provider_for(name)
        if name != AUTO and (owner is None or isinstance(owner, OllamaProvider)):
            if said := await self.asked("POST", path, orjson.dumps(body)):
                return said
            self.stored(name)
        reason = "unload" if body.get("keep_alive") == 0 else "load"
        said_nothing = responses.silent(name, reason, generate)
        kind = _NDJSON if parse_stream(body) else _JSON
        return Response(said_nothing + (b"\n" if kind == _NDJSON else b""), media_type=kind)

    def stored(self, name: str) -> Any:
        """A model of the folder.

        Raises:
            UnknownModel: it is not there.
        """
        embedded: EmbeddedProvider | None = self._backends.embedded
        if embedded is None:
            raise UnknownModel("gateway", f"model '{name}' not found")
        return embedded.find(name)


def _models(raw: bytes) -> list[dict[str, Any]]:
    models = decode_object(raw).get("models")
    if not isinstance(models, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in models
    ):
        raise Unavailable(
            "ollama", f"answered with something that is no list of models: {raw[:80]!r}"
        )
    return models


async def _whole(body: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in body])


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type=_JSON)
