"""Anthropic's messages API, so that its clients, and Ollama's users of it, can ask every model."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from stock_llm.gateway.api.answering import answer_chat
from stock_llm.gateway.api.anthropic.requests import AnthropicBody
from stock_llm.gateway.api.anthropic.responses import MessageWriter
from stock_llm.gateway.api.documentation import answered_with
from stock_llm.gateway.api.handler import RequestHandler
from stock_llm.gateway.api.json_body import JsonRoute
from stock_llm.gateway.api.request_hints import Hints


def anthropic_routes(handler: RequestHandler) -> APIRouter:
    """The routes of Anthropic's API."""
    routes = APIRouter(prefix="/v1", tags=["Anthropic"], route_class=JsonRoute)

    @routes.post("/messages", **answered_with("text/event-stream"))
    async def messages(request: Request, hints: Hints, body: AnthropicBody) -> Response:
        """Continues a conversation. The model `auto` asks the router."""
        return await answer_chat(handler, request, hints, body, "chat", MessageWriter)

    return routes
