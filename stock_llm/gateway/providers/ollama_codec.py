"""Requests and answers in Ollama's own words: our nouns → the JSON that Ollama reads, and what it says → our nouns.

Format: ollama/ollama docs/api.md and api/types.go, and what a 0.32 server was seen to do where the page is silent. Ollama's
surprises are handled here: an answer that ends with `done: false` is a failed one. Does not know connections.
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
from stock_llm.gateway.errors import (
    BadRequest,
    Cut,
    GatewayError,
    Overloaded,
    RateLimited,
    Unavailable,
    UnknownModel,
)

GENERATE = "generate"
"""In `ChatRequest.extra`: the prompt belongs to /api/generate. Its value holds that call's own fields (raw, template, …)."""

_MISTAKES = ('option "', "invalid format", "does not support")
"""What Ollama says with status 500 although the request is at fault."""

_TOO_LONG = "exceed_context_size_error"
_FINISH: dict[str, FinishReason] = {
    "length": "length",
    "stop": "stop",
    "load": "stop",
    "unload": "stop",
}


def endpoint_of(request: ChatRequest) -> str:
    """Where the request goes."""
    return "/api/generate" if GENERATE in request.extra else "/api/chat"


def encode_request(request: ChatRequest, *, stream: bool) -> dict[str, Any]:
    """The JSON of a request. A prompt that is too long is to be refused first, so that it can be told when it is cut."""
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
            {"role": each.role, "content": each.content, **each.extra} for each in request.messages
        ]
    else:
        for message in request.messages:
            body["prompt" if message.role == "user" else "system"] = message.content
            body |= message.extra
        body |= generate
    return body | own


def truncation_note(status: int, raw: bytes) -> str | None:
    """What to tell about a prompt that does not fit into the context; None where this refusal is about something else."""
    text = raw.decode(errors="replace")
    if status != 400 or _TOO_LONG not in text:
        return None
    sizes = re.search(r"request \((\d+) tokens\).*?context size \((\d+) tokens\)", text)
    length, room = sizes.groups() if sizes else ("?", "?")
    return f"the prompt has {length} tokens and the model's context only {room}: Ollama left a part of it out"


def decode_error(
    provider: str, status: int, raw: bytes, retry_after: str | None = None
) -> GatewayError:
    """The failure that a refusal stands for."""
    reason = error_text(raw) or f"status {status}"
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    if status == 404:
        return UnknownModel(provider, reason)
    if status == 429:
        return RateLimited(provider, reason, retry_after=seconds)
    if status == 503:
        return Overloaded(provider, reason, retry_after=seconds)
    if status in (401, 403):  # we may not ask it; another provider may
        return Unavailable(provider, f"status {status}: {reason}")
    if 400 <= status < 500 or any(mistake in reason for mistake in _MISTAKES):
        return BadRequest(provider, reason)
    return Unavailable(provider, f"status {status}: {reason}")


def embedding_tokens(provider: str, raw: bytes) -> int:
    """How many tokens the texts of an answer of vectors had.

    Raises:
        Unavailable: it is no such answer.
    """
    said = decode_object(raw)
    if not isinstance(said.get("embeddings", said.get("embedding")), list):
        raise Unavailable(
            provider, f"answered with something that has no vectors: {raw[:80]!r}", charged=True
        )
    return _count(said, "prompt_eval_count")


def decode_object(raw: bytes) -> dict[str, Any]:
    """The JSON object of a body; empty where it is none."""
    try:
        said = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def error_text(raw: bytes) -> str:
    """The text of an error's body; the body itself where it is not `{"error": …}`."""
    try:
        said = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw.decode(errors="replace").strip()[:300]
    error = said.get("error") if isinstance(said, dict) else None
    return error if isinstance(error, str) else raw.decode(errors="replace")[:300]


class AnswerDecoder:
    """An answer as its lines come in; feed it every line, the last one gives the whole."""

    def __init__(
        self, provider: str, request: ChatRequest, queued: float, notes: tuple[str, ...] = ()
    ):
        self._provider, self._request, self._queued, self._notes = provider, request, queued, notes
        self._text: list[str] = []
        self._message: dict[str, Any] = {}
        self.begun = False

    def read(self, line: bytes) -> AnswerChunk:
        """The piece that a line is.

        Raises:
            GatewayFailure: the line is no piece, or says that the answer ends badly; `Cut` after the first piece.
        """
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise self.broken(f"answered with something that is not JSON: {line[:80]!r}") from None
        if not isinstance(said, dict) or "error" in said:
            failure = decode_error(self._provider, 500, line)
            raise Cut(self._provider, failure.reason, charged=True) if self.begun else failure
        message = said.get("message", {"content": said.get("response")})
        if not isinstance(message, dict) or not isinstance(text := message.get("content"), str):
            raise self.broken(f"answered without a text: {line[:80]!r}")
        self._text.append(text)
        extra = {
            name: value
            for name, value in message.items()
            if name not in ("role", "content") and value
        }
        if "thinking" in said:
            extra["thinking"] = said["thinking"]
        for name, value in extra.items():
            self._message[name] = self._message[name] + value if name in self._message else value
        self.begun = True
        answer = self._whole(said) if said.get("done") or "_debug_info" in said else None
        return AnswerChunk(text, answer, extra, line)

    def whole(self, raw: bytes) -> ChatAnswer:
        """The answer of a body that is not streamed.

        Raises:
            Unavailable: it is no answer, or not a whole one.
        """
        answer = self.read(raw).answer
        if answer is None:
            self.begun = False
            raise self.unfinished()
        return answer

    def unfinished(self) -> GatewayError:
        """What a missing `done: true` means."""
        return self.broken(
            "broke the answer off (done: false); it does so when a model repeats itself"
        )

    def broken(self, reason: str) -> GatewayError:
        """A bad end: `Cut` once pieces have gone out."""
        return (Cut if self.begun else Unavailable)(self._provider, reason, charged=True)

    def _whole(self, said: Mapping[str, Any]) -> ChatAnswer:
        finish: FinishReason = (
            "tool_calls"
            if "tool_calls" in self._message
            else _FINISH.get(str(said.get("done_reason")), "stop")
        )
        prompt, generate = _seconds(said, "prompt_eval_duration"), _seconds(said, "eval_duration")
        load = _seconds(said, "load_duration")
        return ChatAnswer(
            text="".join(self._text),
            model=str(said.get("model", self._request.model)),
            usage=TokenUsage(_count(said, "prompt_eval_count"), _count(said, "eval_count")),
            finish=finish,
            timings=ProviderTimings(self._queued, load, prompt, generate=generate),
            message=self._message,
            notes=self._notes,
            raw=orjson.dumps(said),
        )


def _count(said: Mapping[str, Any], name: str) -> int:
    value = said.get(name, 0)
    return value if isinstance(value, int) else 0


def _seconds(said: Mapping[str, Any], name: str) -> float | None:
    return value / 1e9 if isinstance(value := said.get(name), int) else None
