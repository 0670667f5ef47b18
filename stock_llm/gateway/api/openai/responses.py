"""Our answers in OpenAI's words.

In: answers and pieces. Out: JSON for a body, lines for a stream of server-sent events. Format:
platform.openai.com/docs/api-reference. Does not know requests.
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
    429: "rate_limit_error",
}
_CHAT_ID, _TEXT_ID = "chatcmpl-", "cmpl-"
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

    def __init__(self, id: str, model: str, *, text_only: bool, usage: bool = False):
        self._id = f"{_TEXT_ID if text_only else _CHAT_ID}{id}"
        self._model, self._text_only, self._usage = model, text_only, usage
        self._created, self._first, self._calls = int(time.time()), True, 0

    def body(self, answer: ChatAnswer, story: Mapping[str, Any]) -> bytes:
        """A whole answer."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": _finish(answer)}
        choice |= (
            {"text": answer.text}
            if self._text_only
            else {"message": _message("assistant", answer.text, answer.message)}
        )
        choice |= {} if self._text_only else _logprobs(answer.message)
        kind = "text_completion" if self._text_only else "chat.completion"
        return orjson.dumps(
            self._around(kind, [choice]) | {"usage": _usage(answer.usage), "stock_llm": story}
        )

    def events(self, chunk: AnswerChunk, story: Mapping[str, Any] | None) -> bytes:
        """The events of a piece; the last one carries the story."""
        kind = "text_completion" if self._text_only else "chat.completion.chunk"
        sent = b""
        if chunk.text or chunk.message or self._first:
            sent += _event(self._around(kind, [self._delta(chunk)]))
        if chunk.answer:
            ended: dict[str, Any] = {"index": 0, "finish_reason": _finish(chunk.answer)}
            ended["text" if self._text_only else "delta"] = "" if self._text_only else {}
            sent += _event(
                self._around(kind, [ended]) | ({} if self._usage else {"stock_llm": story})
            )
            if self._usage:
                sent += _event(
                    self._around(kind, [])
                    | {"usage": _usage(chunk.answer.usage), "stock_llm": story}
                )
        return sent

    def _delta(self, chunk: AnswerChunk) -> dict[str, Any]:
        if self._text_only:
            self._first = False
            return {"index": 0, "text": chunk.text, "finish_reason": None}
        message = _message(
            "assistant" if self._first else "", chunk.text, chunk.message, self._calls
        )
        for call in message.get("tool_calls", ()):
            call["index"] = self._calls
            self._calls += 1
        self._first = False
        return {"index": 0, "delta": message, "finish_reason": None} | _logprobs(chunk.message)

    def _around(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": _FINGERPRINT,
            "choices": choices,
        }


def parse_response_id(response_id: str) -> str:
    """The id that the gateway signed, without what OpenAI's API puts before it."""
    return response_id.removeprefix(_CHAT_ID).removeprefix(_TEXT_ID)


def error(failure: GatewayError, text: str) -> dict[str, Any]:
    """The body of a refusal."""
    return error_body(failure.status, text)


def error_body(status: int, text: str) -> dict[str, Any]:
    """The same for a refusal that no provider had a part in."""
    kind = _TYPES.get(status, "invalid_request_error" if status in (413, 422) else "api_error")
    return {"error": {"message": text, "type": kind, "param": None, "code": None}}


def broken(failure: GatewayError) -> bytes:
    """The event of a stream that breaks off."""
    return _event(error(failure, failure.reason))


def model(name: str, owner: str, created: int) -> dict[str, Any]:
    """A model of /v1/models."""
    return {"id": name, "object": "model", "created": created, "owned_by": owner}


def embeddings(name: str, said: Mapping[str, Any], packed: bool) -> dict[str, Any]:
    """What /v1/embeddings answers; `packed`: as little-endian float32 in base64, which the official client asks for."""
    vectors = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _packed(vector) if packed else list(vector),
        }
        for index, vector in enumerate(said["embeddings"])
    ]
    tokens = said.get("prompt_eval_count") or 0
    return {
        "object": "list",
        "data": vectors,
        "model": name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _event(said: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(said) + b"\n\n"


def _finish(answer: ChatAnswer) -> str:
    return "content_filter" if answer.finish == "refusal" else answer.finish


def _message(
    role: str, text: str, extra: Mapping[str, Any], calls_before: int = 0
) -> dict[str, Any]:
    message: dict[str, Any] = ({"role": role} if role else {}) | {"content": text}
    if thought := extra.get("thinking"):
        message["reasoning"] = thought
    if calls := extra.get("tool_calls"):
        message["tool_calls"] = [
            {
                "id": call.get("id") or f"call_{number}",
                "type": "function",
                "function": {
                    "name": call["function"]["name"],
                    "arguments": orjson.dumps(call["function"].get("arguments", {})).decode(),
                },
            }
            for number, call in enumerate(calls, start=calls_before)
        ]
    return message


def _logprobs(extra: Mapping[str, Any]) -> dict[str, Any]:
    return {"logprobs": {"content": extra["logprobs"]}} if "logprobs" in extra else {}


def _usage(usage: TokenUsage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.tokens_out,
        "total_tokens": usage.prompt + usage.tokens_out,
    }
