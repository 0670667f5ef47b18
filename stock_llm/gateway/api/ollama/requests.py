"""Ollama's requests as our nouns, refused with Ollama's own words.

In: the body of a request to /api/chat or /api/generate. Out: a `ChatRequest`. Where a client's mistake makes Ollama answer 500,
the text is Ollama's and the status 400. Format: ollama/ollama docs/api.md, api/types.go. Does not know who answers.
"""

import json
from collections.abc import Mapping
from typing import Any, get_args

import orjson

from stock_llm.gateway.chat import ChatMessage, ChatRequest, GenerationOptions, Role
from stock_llm.gateway.errors import BadRequest
from stock_llm.gateway.providers.ollama_codec import GENERATE
from stock_llm.ollama.modelfile import PARAMETERS

_NAMES = {"num_predict": "max_tokens"}
_TYPES = {int: "integer", float: "float32", bool: "boolean", tuple: "array"}
_OWN = ("raw", "template", "suffix", "context")
"""What only /api/generate has, and what only a backend that renders prompts as Ollama does can honour."""

_DEEPEST = 100
"""Brackets within brackets in a body: far more than schemas have, and fewer than what it is written with later can take."""

_KEPT = ("tools", "think", "keep_alive", "truncate", "shift", "logprobs", "top_logprobs")


def parse_body(raw: bytes) -> dict[str, Any]:
    """The object in a body.

    Raises:
        BadRequest: there is none, or it is nested too deeply.
    """
    if not raw.strip():
        raise _bad("missing request body")
    try:
        read = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        ended = error.pos >= len(raw.decode(errors="replace").rstrip())
        raise _bad("unexpected EOF" if ended else f"the body is not JSON: {error.msg}") from None
    if not isinstance(read, dict):
        raise _bad("the body is not a JSON object")
    if is_too_deep(raw, read):
        raise _bad(f"the body is nested more than {_DEEPEST} levels deep")
    return read


def is_too_deep(raw: bytes | str, read: Any) -> bool:
    """Whether JSON is nested more deeply than it could be passed on; `read` is what `raw` says."""
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
    if (
        text.count("[") + text.count("{") <= _DEEPEST
    ):  # the usual request: no need to walk through it
        return False
    level = [read]
    for _ in range(_DEEPEST):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def is_management(body: Mapping[str, Any], generate: bool) -> bool:
    """Whether a request to /api/generate, or else to /api/chat, loads, unloads or renders, and generates nothing."""
    if body.get("_debug_render_only"):
        return True
    return not any(
        body.get(name) for name in (("prompt", "suffix", "images") if generate else ("messages",))
    )


def chat_request(body: Mapping[str, Any]) -> ChatRequest:
    """A request to /api/chat.

    Raises:
        BadRequest: a field does not fit.
    """
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise _bad("messages must be a list")
    return ChatRequest(
        messages=tuple(_message(message) for message in messages),
        model=parse_model(body),
        options=parse_options(body),
        format=_format(body.get("format")),
        stream=parse_stream(body),
        extra=_kept(body),
    )


def generate_request(body: Mapping[str, Any]) -> ChatRequest:
    """A request to /api/generate.

    Raises:
        BadRequest: a field does not fit.
    """
    prompt, system, images = body.get("prompt", ""), body.get("system"), body.get("images")
    if not isinstance(prompt, str) or not isinstance(system, str | None):
        raise _bad("prompt and system must be texts")
    extra = {"images": _images(images)} if images else {}
    own = {name: body[name] for name in _OWN if body.get(name)}
    if not isinstance(own.get("template", ""), str) or not isinstance(own.get("suffix", ""), str):
        raise _bad("template and suffix must be texts")
    return ChatRequest(
        messages=(
            *((ChatMessage("system", system),) if system else ()),
            ChatMessage("user", prompt, extra),
        ),
        model=parse_model(body),
        options=parse_options(body),
        format=_format(body.get("format")),
        stream=parse_stream(body),
        extra=_kept(body) | {GENERATE: own},
    )


def required_capabilities(request: ChatRequest) -> frozenset[str]:
    """What a provider must be able to do."""
    needs = {
        "json-schema": isinstance(request.format, dict),
        "tools": bool(request.extra.get("tools"))
        or any(message.role == "tool" for message in request.messages),
        "images": any(message.extra.get("images") for message in request.messages),
        "thinking": bool(request.extra.get("think")),
        GENERATE: bool(request.extra.get(GENERATE)),
    }
    return frozenset(name for name, needed in needs.items() if needed)


def parse_model(body: Mapping[str, Any]) -> str:
    """The model that is asked for.

    Raises:
        BadRequest: none is.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise _bad("model is required")
    if len(model) > 500 or not model.isprintable():
        raise _bad("invalid model name")
    return model


def parse_stream(body: Mapping[str, Any]) -> bool:
    """Whether the answer is to be streamed; Ollama's default is yes.

    Raises:
        BadRequest: neither true nor false.
    """
    stream = body.get("stream")
    if not isinstance(stream, bool | None):
        raise _bad("stream must be true or false")
    return stream is not False


def parse_options(body: Mapping[str, Any]) -> GenerationOptions:
    """The options, checked as Ollama does it; unknown ones are passed on.

    Raises:
        BadRequest: one has a value of a wrong type.
    """
    options = body.get("options") or {}
    if not isinstance(options, dict):
        raise _bad("options must be an object")
    for name, value in options.items():
        kind = PARAMETERS.get(name)
        if kind and value is not None and not _fits(value, kind):
            raise _bad(f'option "{name}" must be of type {_TYPES[kind]}')
    known = {name: value for name, value in options.items() if value is not None}
    given = {
        _NAMES.get(name, name): known.pop(name)
        for name in ("temperature", "num_predict", "seed", "top_p")
        if name in known
    }
    longest = given.get("max_tokens")
    if longest is not None and longest < 1:  # -1: without end, -2: fill the context
        known["num_predict"] = given.pop("max_tokens")
    return GenerationOptions(stop=tuple(known.pop("stop", ())), extra=known, **given)


def _fits(value: object, kind: type) -> bool:
    if kind is tuple:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return (whole or (isinstance(value, float) and value.is_integer())) and abs(value) < 2**63  # type: ignore[arg-type]
    return isinstance(value, kind)


def _message(said: object) -> ChatMessage:
    if not isinstance(said, dict) or said.get("role") not in get_args(Role):
        raise _bad(f"a message needs a role, one of {', '.join(get_args(Role))}")
    content = said.get("content") or ""
    if not isinstance(content, str):
        raise _bad("a message's content must be a text")
    extra = {
        name: value
        for name, value in said.items()
        if name not in ("role", "content") and value is not None
    }
    if "images" in extra:
        extra["images"] = _images(extra["images"])
    calls = extra.get("tool_calls", [])
    if not isinstance(calls, list) or not all(_is_call(call) for call in calls):
        raise _bad("tool_calls must be a list of calls with function.name")
    return ChatMessage(said["role"], content, extra)


def _is_call(call: object) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _images(said: object) -> list[str]:
    if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
        raise _bad("images must be a list of base64 texts")
    return said


def _format(said: object) -> Any:
    if said is None or said == "":
        return None
    if said == "json" or isinstance(said, dict):
        return said
    quoted = json.dumps(json.dumps(said, ensure_ascii=False), ensure_ascii=False)
    raise _bad(f'invalid format: {quoted}; expected "json" or a valid JSON Schema object')


def _kept(body: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: body[name] for name in _KEPT if body.get(name) is not None}
    if not isinstance(kept.get("tools", []), list):
        raise _bad("tools must be a list")
    return kept


def _bad(reason: str) -> BadRequest:
    return BadRequest("gateway", reason)
