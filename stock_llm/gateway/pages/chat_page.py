"""The chat page: streamed answers with who gave them, why, what they cost and how long they took;
feedback on them; the chart of the stock that is talked about; conversations kept on this machine.

A question takes the same way as one of the APIs: `answer_chat`. The page gets lines of JSON: pieces
{"text"}, then {"end"} with the metadata, or {"error"}.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from stock_llm.errors import StockLLMError
from stock_llm.gateway.accounting.conversations import ConversationStore, Turn
from stock_llm.gateway.accounting.tables import text as stored_time
from stock_llm.gateway.api.answering import NDJSON, answer_chat
from stock_llm.gateway.api.json_body import JsonRoute
from stock_llm.gateway.api.request_hints import Hints
from stock_llm.gateway.api.service.schemas import FeedbackRequest
from stock_llm.gateway.chat import AnswerChunk, ChatAnswer, ChatMessage, ChatRequest
from stock_llm.gateway.config import GroundingMode
from stock_llm.gateway.errors import GatewayError, UnknownModel
from stock_llm.gateway.pages import rendering
from stock_llm.gateway.pages.site import Site, problem_of, require_csrf
from stock_llm.gateway.query import Privacy

FEATURE = "page"
"""What the cost records call a question of the chat page."""

MAX_MESSAGES = 40
_CHAT = "/pages/chat/"
_MAX_CHARACTERS = 100_000

_log = logging.getLogger(__name__)
_keeping: set[asyncio.Task[None]] = set()
"""Turns that are being written: a task that nothing holds may vanish."""


class PageMessage(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["user", "assistant"]
    content: Annotated[str, StringConstraints(max_length=_MAX_CHARACTERS)]


class PageQuestion(BaseModel):
    """A question of the chat page, with what was said before it.

    Attributes:
        conversation: its id, made by the page.
        model: "auto" lets the router choose.
        grounding: whether computed numbers may be added to the question; None: as the settings say.
    """

    model_config = ConfigDict(extra="forbid")

    conversation: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    messages: Annotated[list[PageMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: Annotated[str, StringConstraints(min_length=1, max_length=500)] = "auto"
    privacy: Privacy | None = None
    grounding: GroundingMode | None = None

    def to_request(self) -> ChatRequest:
        """The question as the router takes it.

        Raises:
            ValueError: the last message is not the user's, or empty.
        """
        last = self.messages[-1]
        if last.role != "user" or not last.content.strip():
            raise ValueError("the last message has to be a question")
        messages = tuple(ChatMessage(each.role, each.content) for each in self.messages)
        return ChatRequest(messages, self.model, stream=True)


class _PageWriter:
    """Writes an answer as lines for the page, and hands it over when it is whole."""

    stream_type, end = NDJSON, b""

    def __init__(self, keep: "_TurnKeeper"):
        self._keep = keep
        self._text: list[str] = []

    def body(self, answer: ChatAnswer, metadata: Mapping[str, Any]) -> bytes:
        """A whole answer at once."""
        return self.piece(AnswerChunk(answer.text, answer), metadata)

    def piece(self, chunk: AnswerChunk, metadata: Mapping[str, Any] | None) -> bytes:
        """One line or two."""
        self._text.append(chunk.text)
        line = orjson.dumps({"text": chunk.text}) + b"\n" if chunk.text else b""
        if metadata is None:
            return line
        self._keep("".join(self._text), metadata)
        return line + orjson.dumps({"end": metadata}) + b"\n"

    def error(self, failure: GatewayError) -> bytes:
        """The line for an answer that broke off."""
        return orjson.dumps({"error": failure.reason}) + b"\n"


class _TurnKeeper:
    """Keeps a question with its answer."""

    def __init__(self, site: Site, question: PageQuestion, user: str):
        self._site, self._question, self._user = site, question, user

    def __call__(self, answer: str, metadata: Mapping[str, Any]) -> None:
        id = self._site.handler.answers.unsign(metadata["response_id"])
        if id is None or not self._site.conversations.keeps:
            return
        turn = Turn(
            id,
            stored_time(datetime.now(UTC)),
            self._question.messages[-1].content,
            answer,
            metadata,
        )
        task = asyncio.create_task(self._write(self._site.conversations, turn))
        _keeping.add(task)
        task.add_done_callback(_keeping.discard)

    async def _write(self, store: ConversationStore, turn: Turn) -> None:
        try:
            await asyncio.to_thread(store.add, self._question.conversation, self._user, turn)
        except StockLLMError as error:
            _log.error("a conversation is not kept: %s", error)


def show(site: Site, request: Request) -> Response:
    """The page itself; conversations and suggestions are fetched by it."""
    keeps = site.conversations.keeps
    return site.render(
        request,
        "chat",
        "chat.html",
        models=site.models(),
        keep_days=site.settings.keep_answers_days if keeps else 0,
    )


def chat_routes(site: Site) -> APIRouter:
    """What the page asks for."""
    routes = APIRouter(route_class=JsonRoute)

    @routes.post(_CHAT + "answer")
    async def answer(request: Request, hints: Hints, body: PageQuestion) -> Response:
        """The answer in pieces."""
        require_csrf(request)
        keeper = _TurnKeeper(site, body, site.user(request))
        return await answer_chat(
            site.handler, request, hints, body, FEATURE, lambda _id, _model: _PageWriter(keeper)
        )

    @routes.get(_CHAT + "conversations")
    async def conversations(request: Request, search: str = "") -> Response:
        """The kept conversations that have all words of a search."""
        listed = await asyncio.to_thread(site.conversations.find, site.user(request), search[:200])
        return _json(
            [{"id": each.id, "title": each.title, "at": each.updated_at} for each in listed]
        )

    @routes.get(_CHAT + "conversations/{id}")
    async def conversation(request: Request, id: str) -> Response:
        """One of them, with its turns."""
        found = await asyncio.to_thread(site.conversations.read, id, site.user(request))
        if found is None:
            raise UnknownModel("gateway", "there is no such conversation any more")
        return _json(asdict(found))

    @routes.post(_CHAT + "conversations/{id}/delete")
    async def delete(request: Request, id: str) -> Response:
        """Deletes one, with the answers that are kept for feedback."""
        require_csrf(request)
        await site.handler.answers.flush()  # what is not written yet could not be deleted
        turns = await asyncio.to_thread(site.conversations.delete, id, site.user(request))
        return _json({"deleted": turns})

    @routes.post(_CHAT + "feedback")
    async def feedback(request: Request, body: FeedbackRequest) -> Response:
        """Keeps what somebody says of an answer, and tells how far the next training is."""
        require_csrf(request)
        kept = await site.feedback.receive(request, body)
        return _json(kept.model_dump() | {"needed": site.context.retrain_after + 1})

    @routes.get(_CHAT + "chart")
    async def chart(request: Request, question: str = "") -> Response:
        """The candles and levels of the stock that a question names; null where it names none. What
        was paid is the owner's."""
        try:
            found = await site.worker.run(site.project.find_chart, question[:2000])
        except StockLLMError as error:
            return _json({"problem": problem_of(error)})
        if found and not site.handler.is_owner(request):
            levels = tuple(level for level in found.levels if level.kind != "cost")
            found = replace(found, levels=levels)
        return _json(asdict(found) if found else None)

    @routes.get(_CHAT + "suggestions")
    async def suggestions(request: Request) -> Response:
        """Questions to begin with; none for guests, since they are about what is held."""
        if not site.handler.is_owner(request):
            return _json([])
        language = rendering.language_of(request)
        try:
            texts = await site.worker.run(site.project.suggest, language)
        except StockLLMError as error:
            return _json({"problem": problem_of(error)})
        return _json(texts)

    return routes


def _json(value: Any) -> Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(orjson.dumps(value), media_type="application/json", headers=headers)
