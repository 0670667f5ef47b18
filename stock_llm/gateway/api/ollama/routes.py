"""Ollama's HTTP API, so that every client of Ollama is a client of the gateway.

Requests and answers are as ollama/ollama docs/api.md has them; what Ollama wrote is passed on byte
for byte. The model `auto` asks the router, any other goes to the provider that has it. Requests
that change Ollama's models are refused unless `gateway.manage_models` is set.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from stock_llm.gateway.api.answering import JSON, NDJSON, answer_chat
from stock_llm.gateway.api.disconnect import cancel_on_disconnect
from stock_llm.gateway.api.documentation import answered_with
from stock_llm.gateway.api.handler import RequestHandler
from stock_llm.gateway.api.json_body import JsonRoute
from stock_llm.gateway.api.ollama import responses
from stock_llm.gateway.api.ollama.requests import (
    BLOBS_PATH,
    OllamaChatBody,
    OllamaEmbedBody,
    OllamaGenerateBody,
    OllamaLegacyEmbedBody,
    OllamaShowBody,
)
from stock_llm.gateway.api.request_hints import AUTO, Hints, embedding_query
from stock_llm.gateway.chat import AnswerChunk, ChatAnswer
from stock_llm.gateway.errors import (
    BadRequest,
    FailureReason,
    GatewayError,
    NobodyAnswered,
    TimedOut,
    Unavailable,
    UnknownModel,
)
from stock_llm.gateway.providers.embedded import EmbeddedProvider
from stock_llm.gateway.providers.ollama import OllamaProvider
from stock_llm.gateway.providers.ollama_codec import decode_object
from stock_llm.gateway.providers.registry import ProviderRegistry
from stock_llm.ollama.store import StoredModel

VERSION = "0.32.15"
"""The version of Ollama whose answers are given where none answers behind the gateway."""

DEFAULT_CONTEXT = 4096
"""Tokens of context of a stored model that does not say; Ollama's default without a GPU."""

_MANAGED = {
    "/api/create": ["POST"],
    "/api/copy": ["POST"],
    "/api/delete": ["DELETE"],
    "/api/pull": ["POST"],
    "/api/push": ["POST"],
    BLOBS_PATH + "{digest}": ["HEAD", "POST"],
}


def ollama_routes(
    handler: RequestHandler, registry: ProviderRegistry, may_manage: bool, timeout: float
) -> APIRouter:
    """The routes of Ollama's API.

    Args:
        may_manage: whether requests that change Ollama's models are passed on.
        timeout: seconds that Ollama has to list its models, or to load one.
    """
    routes = APIRouter(tags=["Ollama"], route_class=JsonRoute)
    models = _LocalModels(registry, timeout)
    since = responses.timestamp()

    @routes.head("/api/version", include_in_schema=False)
    @routes.get("/api/version", **answered_with(headers={}))
    async def version() -> Response:
        """The version of Ollama behind the gateway."""
        answer = await models.ask_ollama("GET", "/api/version", None)
        return answer or _json({"version": VERSION})

    @routes.post("/api/chat", **answered_with(NDJSON))
    async def chat(request: Request, hints: Hints, body: OllamaChatBody) -> Response:
        """Continues a conversation. The model `auto` asks the router."""
        if not body.generates:
            return await models.load(request, hints.privacy(body.privacy), body, generate=False)
        writer = partial(_OllamaWriter, generate=False)
        return await answer_chat(handler, request, hints, body, "chat", writer)

    @routes.post("/api/generate", **answered_with(NDJSON))
    async def generate(request: Request, hints: Hints, body: OllamaGenerateBody) -> Response:
        """Answers a prompt. The model `auto` asks the router."""
        if not body.generates:
            return await models.load(request, hints.privacy(body.privacy), body, generate=True)
        writer = partial(_OllamaWriter, generate=True)
        return await answer_chat(handler, request, hints, body, "generate", writer)

    @routes.post("/api/embed", **answered_with())
    async def embed(request: Request, hints: Hints, body: OllamaEmbedBody) -> Response:
        """Embeddings of texts."""
        return await embeddings(request, hints, body)

    @routes.post("/api/embeddings", **answered_with())
    async def legacy_embed(request: Request, hints: Hints, body: OllamaLegacyEmbedBody) -> Response:
        """The embedding of one text, as older clients ask for it."""
        return await embeddings(request, hints, body)

    async def embeddings(request: Request, hints: Hints, body: OllamaEmbedBody) -> Response:
        question = body.to_request()
        query = embedding_query(hints, question, body.privacy)
        result = await cancel_on_disconnect(request.receive, handler.embed(question, query))
        return Response(result.answer.raw, media_type=JSON, headers=result.metadata.headers())

    @routes.head("/api/tags", include_in_schema=False)
    @routes.get("/api/tags", **answered_with(headers={}))
    async def tags() -> Response:
        """The models: Ollama's own, those of the other providers, and `auto`."""
        local = await models.list()
        known = {model["name"] for model in local}
        others = [
            responses.listed_model(name, provider.name, since)
            for name, provider in registry.models()
            if name not in known
        ]
        return _json({"models": [*local, *others, responses.listed_model(AUTO, "router", since)]})

    @routes.post("/api/show", **answered_with(headers={}))
    async def show(request: Request, body: OllamaShowBody) -> Response:
        """What a model is made of."""
        name = body.model or body.name
        if not name:
            raise BadRequest("gateway", "model is required")
        if not name.isprintable() or len(name) > 500:
            raise BadRequest("gateway", "invalid model name")
        owner = registry.provider_for(name)
        if name == AUTO or (owner and not isinstance(owner, OllamaProvider | EmbeddedProvider)):
            return _json(responses.remote_model_details(name, owner.name if owner else "router"))
        if not isinstance(owner, EmbeddedProvider):
            content = orjson.dumps(await request.json())
            if answer := await models.ask_ollama("POST", "/api/show", content):
                return answer
        stored = models.find(name)
        context = stored.modelfile.parameters.get("num_ctx")
        tokens = context if isinstance(context, int) else DEFAULT_CONTEXT
        return _json(responses.stored_model_details(stored, tokens))

    @routes.get("/api/ps", **answered_with(headers={}))
    async def running() -> Response:
        """The models in Ollama's memory."""
        answer = await models.ask_ollama("GET", "/api/ps", None)
        return answer or _json({"models": []})

    async def managed(request: Request) -> Response:
        if not may_manage:
            text = "models are not managed through the gateway unless gateway.manage_models is set"
            return _json({"error": text}, 403)
        if registry.ollama is None:
            raise Unavailable("gateway", "there is no Ollama behind the gateway")
        upload = request.url.path.startswith(BLOBS_PATH)
        content = request.stream() if upload else await request.body()
        answer = await registry.ollama.forward(request.method, request.url.path, content)
        return StreamingResponse(answer.body, answer.status, media_type=answer.kind or None)

    for path, methods in _MANAGED.items():
        routes.add_api_route(path, managed, methods=methods, include_in_schema=False)
    return routes


class _OllamaWriter:
    """The answer to one request in Ollama's format."""

    stream_type = NDJSON
    end = b""

    def __init__(self, id: str, model: str, generate: bool):  # noqa: ARG002 - the id is in the headers
        self._model, self._generate = model, generate

    def body(self, answer: ChatAnswer, metadata: Mapping[str, Any]) -> bytes:
        """A whole answer. Its metadata is in the headers, and in the body where numbers were added
        to the question or are known: headers hold no sentences."""
        known = metadata["grounding"] or metadata["check"]
        return responses.answer_body(answer, self._generate, metadata if known else None)

    def piece(self, chunk: AnswerChunk, metadata: Mapping[str, Any] | None) -> bytes:
        """A line; the last one has the metadata."""
        return responses.stream_line(chunk, self._model, self._generate, metadata)

    def error(self, failure: GatewayError) -> bytes:
        """The line of a stream that breaks off."""
        return responses.error_body(failure.reason) + b"\n"


class _LocalModels:
    """The Ollama behind the gateway, or the folder of published models where there is none."""

    def __init__(self, registry: ProviderRegistry, timeout: float):
        self._registry, self._timeout = registry, timeout

    async def ask_ollama(self, method: str, path: str, content: bytes | None) -> Response | None:
        """Ollama's own answer; None where there is no Ollama."""
        if self._registry.ollama is None:
            return None
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._registry.ollama.forward(method, path, content)
                body = await _read_all(answer.body)
                return Response(body, answer.status, media_type=answer.kind or None)
        except TimeoutError:
            raise TimedOut("ollama", f"no answer within {self._timeout:g} s") from None
        except Unavailable:
            if self._registry.embedded is None:
                raise
            return None

    async def list(self) -> list[dict[str, Any]]:
        """The models of this machine, as /api/tags has them."""
        answer = await self.ask_ollama("GET", "/api/tags", None)
        if answer is not None and answer.status_code == 200:
            return _parse_models(bytes(answer.body))
        embedded, models = self._registry.embedded, []
        for name in embedded.models if embedded else ():
            with suppress(UnknownModel):  # a file of it is missing
                models.append(responses.listed_stored_model(self.find(name)))
        return models

    async def load(
        self,
        request: Request,
        privacy: str,
        body: OllamaChatBody | OllamaGenerateBody,
        generate: bool,
    ) -> Response:
        """Loads, unloads or renders: nothing is generated, so nothing is routed."""
        ollama = self._registry.ollama
        if privacy == "local" and ollama and not ollama.local:
            why = "is not on this machine, and the request must stay there"
            raise NobodyAnswered((FailureReason(ollama.name, "left out", why),))
        owner = self._registry.provider_for(body.model)
        if body.model != AUTO and (owner is None or isinstance(owner, OllamaProvider)):
            path = "/api/generate" if generate else "/api/chat"
            if answer := await self.ask_ollama("POST", path, orjson.dumps(await request.json())):
                return answer
            self.find(body.model)
        reason = "unload" if body.keep_alive == 0 else "load"
        content = responses.empty_body(body.model, reason, generate)
        if body.stream is False:
            return Response(content, media_type=JSON)
        return Response(content + b"\n", media_type=NDJSON)

    def find(self, name: str) -> StoredModel:
        """A model of the folder.

        Raises:
            UnknownModel: it is not there.
        """
        embedded: EmbeddedProvider | None = self._registry.embedded
        if embedded is None:
            raise UnknownModel("gateway", f"model '{name}' not found")
        return embedded.find(name)


def _parse_models(raw: bytes) -> list[dict[str, Any]]:
    models = decode_object(raw).get("models")
    if isinstance(models, list) and all(
        isinstance(model, dict) and isinstance(model.get("name"), str) for model in models
    ):
        return models
    raise Unavailable("ollama", f"answered with something that is no list of models: {raw[:80]!r}")


async def _read_all(body: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in body])


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type=JSON)
