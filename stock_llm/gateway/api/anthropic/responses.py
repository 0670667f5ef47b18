"""Our answers in the format of Anthropic's messages API. Format:
platform.claude.com/docs/en/api/messages."""

from collections.abc import Mapping
from typing import Any

import orjson

from stock_llm.gateway.chat import AnswerChunk, ChatAnswer
from stock_llm.gateway.errors import GatewayError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
}


class MessageWriter:
    """The answer to one request as a message, or as the events of its making."""

    stream_type = "text/event-stream"
    end = b""

    def __init__(self, id: str, model: str):
        self._id, self._model = f"msg_{id}", model
        self._started = False
        self._open = ""
        self._index = -1
        self._calls = 0

    def body(self, answer: ChatAnswer, metadata: Mapping[str, Any]) -> bytes:
        """A whole answer."""
        content: list[dict[str, Any]] = []
        if thinking := answer.message.get("thinking"):
            content.append({"type": "thinking", "thinking": thinking, "signature": ""})
        if answer.text:
            content.append({"type": "text", "text": answer.text})
        content += [self._call(call) for call in answer.message.get("tool_calls", ())]
        stop = {"stop_reason": _STOP[answer.finish], "usage": _usage(answer)}
        return orjson.dumps(self._message(content) | stop | {"stock_llm": metadata})

    def piece(self, chunk: AnswerChunk, metadata: Mapping[str, Any] | None) -> bytes:
        """The events of a piece."""
        sent = b""
        if not self._started:
            self._started = True
            sent += _event("message_start", message=self._message([]))
        if thinking := chunk.message.get("thinking"):
            sent += self._begin("thinking", {"thinking": "", "signature": ""})
            sent += self._delta({"type": "thinking_delta", "thinking": thinking})
        if chunk.text:
            sent += self._begin("text", {"text": ""})
            sent += self._delta({"type": "text_delta", "text": chunk.text})
        for call in chunk.message.get("tool_calls", ()):
            block = self._call(call)
            arguments = orjson.dumps(block["input"]).decode()
            sent += self._stop() + self._begin("tool_use", block | {"input": {}})
            sent += self._delta({"type": "input_json_delta", "partial_json": arguments})
            sent += self._stop()
        if chunk.answer:
            delta = {"stop_reason": _STOP[chunk.answer.finish], "stop_sequence": None}
            more = {"usage": _usage(chunk.answer), "stock_llm": metadata}
            sent += self._stop() + _event("message_delta", delta=delta, **more)
            sent += _event("message_stop")
        return sent

    def error(self, failure: GatewayError) -> bytes:
        """The event of a stream that breaks off."""
        return _event("error", error=error_body(failure.status, failure.reason)["error"])

    def _message(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        id = call.get("id") or f"toolu_{self._calls}"
        self._calls += 1
        function = call["function"]
        arguments = function.get("arguments", {})
        return {"type": "tool_use", "id": id, "name": function["name"], "input": arguments}

    def _begin(self, kind: str, block: Mapping[str, Any]) -> bytes:
        if self._open == kind:
            return b""
        sent = self._stop()
        self._open = kind
        self._index += 1
        content = {"type": kind} | dict(block)
        return sent + _event("content_block_start", index=self._index, content_block=content)

    def _delta(self, delta: Mapping[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._index, delta=delta)

    def _stop(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        return _event("content_block_stop", index=self._index)


def error_body(status: int, text: str) -> dict[str, Any]:
    """The body of an error."""
    kind = _TYPES.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": text}}


def _usage(answer: ChatAnswer) -> dict[str, int]:
    usage = answer.usage
    return {
        "input_tokens": usage.tokens_in,
        "output_tokens": usage.tokens_out,
        "cache_creation_input_tokens": usage.cached_write + usage.cached_write_hour,
        "cache_read_input_tokens": usage.cached_read,
    }


def _event(kind: str, **values: Any) -> bytes:
    data = orjson.dumps({"type": kind} | values)
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"
