"""Encodes requests for Ollama and decodes its answers.

An answer that ends with `done: false` is a failed one. Source: ollama/ollama docs/api.md and
api/types.go, and what a 0.32 server was seen to do where the page is silent.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from stock_llm.gateway.chat import (
    AnswerChunk,
    ChatAnswer,
    ChatRequest,
    FinishReason,
    ProviderTimings,
    TokenUsage,
)
from stock_llm.gateway.errors import BadRequest, Cut, GatewayError, Unavailable
from stock_llm.gateway.providers.http_errors import http_error

GENERATE = "generate"
"""In `ChatRequest.extra`: a request for /api/generate; its value holds the fields of that call
(raw, template, …)."""

_MISTAKES = ('option "', "invalid format", "does not support")
"""Texts that Ollama sends with status 500 although the request is at fault."""

_STATUSES = (401, 402, 403, 404, 429, 503)
"""Statuses that mean the same as elsewhere; any other below 500 is a mistake of the request."""

_TOO_LONG = "exceed_context_size_error"
_FINISH: dict[str, FinishReason] = {
    "length": "length",
    "stop": "stop",
    "load": "stop",
    "unload": "stop",
}


def endpoint_of(request: ChatRequest) -> str:
    """The path of the request."""
    return "/api/generate" if GENERATE in request.extra else "/api/chat"


def encode_request(request: ChatRequest, *, stream: bool) -> dict[str, Any]:
    """The JSON of a request; Ollama is asked to refuse a prompt that is too long instead of cutting
    it."""
    options = dict(request.options.extra)
    given = {
        "temperature": request.options.temperature,
        "num_predict": request.options.max_tokens,
        "seed": request.options.seed,
        "top_p": request.options.top_p,
        "stop": list(request.options.stop) or None,
    }
    options |= {name: value for name, value in given.items() if value is not None}
    body: dict[str, Any] = {"model": request.model, "stream": stream, "truncate": False}
    if options:
        body["options"] = options
    if request.format is not None:
        body["format"] = request.format
    own = {name: value for name, value in request.extra.items() if name != "truncate"}
    if (generate := own.pop(GENERATE, None)) is None:
        body["messages"] = [
            {"role": message.role, "content": message.content, **message.extra}
            for message in request.messages
        ]
    else:
        for message in request.messages:
            body["prompt" if message.role == "user" else "system"] = message.content
            body |= message.extra
        body |= generate
    return body | own


def truncation_note(request: ChatRequest, status: int, raw: bytes) -> str:
    """The note for the caller of a prompt that has to be cut; empty where Ollama refused something
    else."""
    text = raw.decode(errors="replace")
    if status != 400 or _TOO_LONG not in text or request.extra.get("truncate") is False:
        return ""
    sizes = re.search(r"request \((\d+) tokens\).*?context size \((\d+) tokens\)", text)
    length, room = sizes.groups() if sizes else ("?", "?")
    sizes_text = f"the prompt has {length} tokens and the model's context only {room}"
    return f"{sizes_text}: Ollama left a part of it out"


def decode_error(
    provider: str, status: int, raw: bytes, retry_after: str | None = None
) -> GatewayError:
    """The error that a refusal stands for."""
    reason = error_text(raw) or f"status {status}"
    if any(mistake in reason for mistake in _MISTAKES):
        return BadRequest(provider, reason)
    if 400 <= status < 500 and status not in _STATUSES:
        status = 400
    elif status in (401, 402, 403) or status not in _STATUSES:
        reason = f"status {status}: {reason}"
    return http_error(provider, status, reason, retry_after)


def embedding_tokens(provider: str, raw: bytes) -> int:
    """The number of tokens in the texts of an answer with embeddings.

    Raises:
        Unavailable: it is no such answer.
    """
    body = decode_object(raw)
    if not isinstance(body.get("embeddings", body.get("embedding")), list):
        reason = f"answered with something that has no embeddings: {raw[:80]!r}"
        raise Unavailable(provider, reason, charged=True)
    return TokenUsage(body.get("prompt_eval_count", 0)).tokens_in


def decode_object(raw: bytes) -> dict[str, Any]:
    """The JSON object of a body; empty where it is none."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def error_text(raw: bytes) -> str:
    """The text of an error's body; the body itself where it is not `{"error": …}`."""
    error = decode_object(raw).get("error")
    return error if isinstance(error, str) else raw.decode(errors="replace").strip()[:300]


class AnswerDecoder:
    """Decodes the lines of an answer; the last one gives the whole.

    Args:
        queued: seconds that the request waited for its slot.
        note: for the caller, empty where there is none.
    """

    def __init__(self, provider: str, request: ChatRequest, queued: float, note: str = ""):
        self._provider, self._request, self._queued = provider, request, queued
        self._notes = (note,) if note else ()
        self._text: list[str] = []
        self._message: dict[str, Any] = {}
        self.begun = False

    def read(self, line: bytes) -> AnswerChunk:
        """The piece in a line.

        Raises:
            GatewayError: the line is no piece, or says that the answer failed; `Cut` after the
                first piece.
        """
        try:
            body = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise self.broken(f"answered with something that is not JSON: {line[:80]!r}") from None
        if not isinstance(body, dict) or "error" in body:
            failure = decode_error(self._provider, 500, line)
            raise Cut(self._provider, failure.reason, charged=True) if self.begun else failure
        message = body.get("message", {"content": body.get("response")})
        if not isinstance(message, dict) or not isinstance(text := message.get("content"), str):
            raise self.broken(f"answered without a text: {line[:80]!r}")
        self._text.append(text)
        beside = {name: body[name] for name in ("thinking", "logprobs") if body.get(name)}
        extra = {
            name: value
            for name, value in (message | beside).items()
            if name not in ("role", "content") and value
        }
        for name, value in extra.items():
            known = self._message.get(name)
            is_part = isinstance(value, str | list) and type(known) is type(value)
            self._message[name] = known + value if is_part else value
        self.begun = True
        answer = self._whole(body) if body.get("done") or "_debug_info" in body else None
        return AnswerChunk(text, answer, extra, line)

    def whole(self, raw: bytes) -> ChatAnswer:
        """The answer in a body that is not streamed.

        Raises:
            Unavailable: it is no answer, or not a whole one.
        """
        answer = self.read(raw).answer
        if answer is None:
            self.begun = False
            raise self.unfinished()
        return answer

    def unfinished(self) -> GatewayError:
        """The error of an answer without `done: true`."""
        return self.broken(
            "broke the answer off (done: false); it does so when a model repeats itself"
        )

    def broken(self, reason: str) -> GatewayError:
        """The error of an answer that failed: `Cut` once pieces have been sent."""
        return (Cut if self.begun else Unavailable)(self._provider, reason, charged=True)

    def _whole(self, body: Mapping[str, Any]) -> ChatAnswer:
        finish = _FINISH.get(str(body.get("done_reason")), "stop")
        return ChatAnswer(
            text="".join(self._text),
            model=str(body.get("model", self._request.model)),
            usage=TokenUsage(body.get("prompt_eval_count", 0), body.get("eval_count", 0)),
            finish="tool_calls" if "tool_calls" in self._message else finish,
            timings=ProviderTimings(
                self._queued,
                _seconds(body, "load_duration"),
                _seconds(body, "prompt_eval_duration"),
                generate=_seconds(body, "eval_duration"),
            ),
            message=self._message,
            notes=self._notes,
            raw=orjson.dumps(body),
        )


def _seconds(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    return max(0, value) / 1e9 if isinstance(value, int) else None
