"""What all chat routes do alike: from a checked body to a whole answer or a stream, in the format
that a writer gives it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from fastapi import Request
from fastapi.responses import Response

from stock_llm.gateway.api import chat_tasks
from stock_llm.gateway.api.disconnect import cancel_on_disconnect
from stock_llm.gateway.api.grounding import SKILL_OF
from stock_llm.gateway.api.handler import FeedbackSubject, RequestHandler
from stock_llm.gateway.api.request_hints import RequestHints, build_query
from stock_llm.gateway.api.streaming import AnswerStreamResponse
from stock_llm.gateway.chat import AnswerChunk, ChatAnswer, ChatRequest
from stock_llm.gateway.config import GroundingMode
from stock_llm.gateway.errors import BadRequest, GatewayError
from stock_llm.gateway.query import Privacy

JSON, NDJSON, EVENTS = (
    "application/json; charset=utf-8",
    "application/x-ndjson",
    "text/event-stream",
)


class ChatBody(Protocol):
    """The body of a request for an answer."""

    @property
    def privacy(self) -> Privacy | None:
        """What the body says of its privacy."""

    @property
    def grounding(self) -> GroundingMode | None:
        """What the body says of numbers below the question."""

    def to_request(self) -> ChatRequest:
        """The question as ours.

        Raises:
            ValueError: a field does not fit.
        """


class AnswerWriter(Protocol):
    """Writes the answer to one request in the format of one API."""

    stream_type: str
    end: bytes

    def body(self, answer: ChatAnswer, metadata: Mapping[str, Any]) -> bytes:
        """A whole answer."""

    def piece(self, chunk: AnswerChunk, metadata: Mapping[str, Any] | None) -> bytes:
        """What is sent for a piece of a stream; the last one, and only it, comes with the
        metadata."""

    def error(self, failure: GatewayError) -> bytes:
        """What is sent when a stream breaks off."""


async def answer_chat(
    handler: RequestHandler,
    caller: Request,
    hints: RequestHints,
    body: ChatBody,
    feature: str,
    writer_for: Callable[[str, str], AnswerWriter],
) -> Response:
    """The response to a request for an answer.

    Args:
        feature: names the route in the cost records.
        writer_for: response id and the model that answers → the writer.

    Raises:
        GatewayError: nobody answered, or a field of the body does not fit.
    """
    try:
        request = body.to_request()
    except ValueError as error:
        raise BadRequest("gateway", str(error)) from None
    if chat_tasks.is_chat_task(request):
        feature = chat_tasks.FEATURE
        request = replace(request, extra={k: v for k, v in request.extra.items() if k != "tools"})
    query = build_query(hints, request, feature, body.privacy)
    question = request.messages[-1].content if request.messages else ""
    if feature != chat_tasks.FEATURE:
        wanted = hints.grounding(body.grounding)
        request = await handler.grounder.ground(request, wanted, handler.is_owner(caller))
    subject = FeedbackSubject(question)
    if block := request.grounding.added:
        subject = FeedbackSubject(
            question.strip(), block.text, SKILL_OF[block.kind], block.symbol, block.as_of
        )
    if request.stream:
        opening = handler.open(request, query, subject)
        stream = await cancel_on_disconnect(caller.receive, opening)
        writer = writer_for(stream.metadata.response_id, stream.metadata.choice.model)

        def write(chunk: AnswerChunk) -> bytes:
            return writer.piece(chunk, stream.metadata.event() if chunk.answer else None)

        return AnswerStreamResponse(stream, writer.stream_type, write, writer.error, writer.end)
    result = await cancel_on_disconnect(caller.receive, handler.answer(request, query, subject))
    writer = writer_for(result.metadata.response_id, result.answer.model)
    content = writer.body(result.answer, result.metadata.event())
    return Response(content, media_type=JSON, headers=result.metadata.headers())
