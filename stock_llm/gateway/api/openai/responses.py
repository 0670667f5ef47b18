"""Our answers in the format of OpenAI's chat and completion APIs.

In: answers and pieces. Out: JSON for a body, lines for a stream of server-sent events. Format:
platform.openai.com/docs/api-reference.
"""

import base64
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from stock_llm.gateway.chat import AnswerChunk, ChatAnswer, TokenUsage
from stock_llm.gateway.errors import GatewayError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}
_CHAT_ID, _TEXT_ID, RESPONSE_ID = "chatcmpl-", "cmpl-", "resp_"
_FINGERPRINT = "fp_stock_llm"
DONE = b"data: [DONE]\n\n"


class CompletionWriter:
    """The answer to one request.

    Args:
        id: of the response.
        model: the model that answers.
        text_only: for /v1/completions.
        usage: whether a stream ends with the usage.
    """

    stream_type = "text/event-stream"
    end = DONE

    def __init__(self, id: str, model: str, *, text_only: bool, usage: bool = False):
        self._id = f"{_TEXT_ID if text_only else _CHAT_ID}{id}"
        self._model, self._text_only, self._usage = model, text_only, usage
        self._created, self._first, self._calls = int(time.time()), True, 0

    def body(self, answer: ChatAnswer, metadata: Mapping[str, Any]) -> bytes:
        """A whole answer."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": _finish(answer)}
        if self._text_only:
            choice["text"] = answer.text
        else:
            choice["message"] = _message("assistant", answer.text, answer.message)
            choice |= _logprobs(answer.message)
        kind = "text_completion" if self._text_only else "chat.completion"
        more = {"usage": _usage(answer.usage), "stock_llm": metadata}
        return orjson.dumps(self._frame(kind, [choice]) | more)

    def piece(self, chunk: AnswerChunk, metadata: Mapping[str, Any] | None) -> bytes:
        """The events of a piece; the last one carries the metadata."""
        kind = "text_completion" if self._text_only else "chat.completion.chunk"
        sent = b""
        if chunk.text or chunk.message or self._first:
            sent += event(self._frame(kind, [self._delta(chunk)]))
        if chunk.answer:
            last: dict[str, Any] = {"index": 0, "finish_reason": _finish(chunk.answer)}
            last["text" if self._text_only else "delta"] = "" if self._text_only else {}
            more = {} if self._usage else {"stock_llm": metadata}
            sent += event(self._frame(kind, [last]) | more)
            if self._usage:
                more = {"usage": _usage(chunk.answer.usage), "stock_llm": metadata}
                sent += event(self._frame(kind, []) | more)
        return sent

    def error(self, failure: GatewayError) -> bytes:
        """The event of a stream that breaks off."""
        return event(error_body(failure.status, failure.reason))

    def _delta(self, chunk: AnswerChunk) -> dict[str, Any]:
        if self._text_only:
            self._first = False
            return {"index": 0, "text": chunk.text, "finish_reason": None}
        role = "assistant" if self._first else ""
        message = _message(role, chunk.text, chunk.message, self._calls)
        for call in message.get("tool_calls", ()):
            call["index"] = self._calls
            self._calls += 1
        self._first = False
        return {"index": 0, "delta": message, "finish_reason": None} | _logprobs(chunk.message)

    def _frame(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": _FINGERPRINT,
            "choices": choices,
        }


def parse_response_id(response_id: str) -> str:
    """The id that the gateway signed, without what an API puts before it."""
    for prefix in (_CHAT_ID, _TEXT_ID, RESPONSE_ID, "msg_"):
        response_id = response_id.removeprefix(prefix)
    return response_id


def error_body(status: int, text: str) -> dict[str, Any]:
    """The body of an error."""
    kind = _TYPES.get(status, "api_error")
    return {"error": {"message": text, "type": kind, "param": None, "code": None}}


def listed_model(name: str, owner: str, created: int) -> dict[str, Any]:
    """A model of /v1/models."""
    return {"id": name, "object": "model", "created": created, "owned_by": owner}


def embeddings_body(name: str, answer: Mapping[str, Any], packed: bool) -> dict[str, Any]:
    """The answer of /v1/embeddings; `packed`: as little-endian float32 in base64, which the
    official client asks for."""
    vectors = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector}
        for index, vector in enumerate(answer["embeddings"])
    ]
    tokens = answer.get("prompt_eval_count") or 0
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": vectors, "model": name, "usage": usage}


def event(data: Mapping[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _finish(answer: ChatAnswer) -> str:
    return "content_filter" if answer.finish == "refusal" else answer.finish


def _message(
    role: str, text: str, extra: Mapping[str, Any], calls_before: int = 0
) -> dict[str, Any]:
    message: dict[str, Any] = ({"role": role} if role else {}) | {"content": text}
    if reasoning := extra.get("thinking"):
        message["reasoning"] = reasoning
    if calls := extra.get("tool_calls"):
        message["tool_calls"] = [
            {
                "id": call.get("id") or f"call_{number}",
                "type": "function",
                "function": {
                    "name": call["function"]["name"],
                    "arguments": arguments_text(call["function"]),
                },
            }
            for number, call in enumerate(calls, start=calls_before)
        ]
    return message


def arguments_text(function: Mapping[str, Any]) -> str:
    """The arguments of a tool call as JSON in a text."""
    return orjson.dumps(function.get("arguments", {})).decode()


def _logprobs(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {"logprobs": {"content": extra["logprobs"]}} if "logprobs" in extra else {}


def _usage(usage: TokenUsage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.tokens_out,
        "total_tokens": usage.prompt + usage.tokens_out,
    }
