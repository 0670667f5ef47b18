"""OpenAI's requests as our nouns.

In: the body of a request to /v1/chat/completions or /v1/completions. Out: a `ChatRequest`. A request without a temperature gets
the model's own, where Ollama's `/v1` would set 1.0. Format: platform.openai.com/docs/api-reference. Does not know who answers.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from stock_llm.gateway.api.ollama.requests import is_too_deep, parse_model
from stock_llm.gateway.chat import ChatMessage, ChatRequest, GenerationOptions, Role
from stock_llm.gateway.errors import BadRequest
from stock_llm.gateway.providers.ollama_codec import GENERATE

_ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
}  # fmt: skip
_DATA = re.compile(r"data:image/[\w.+-]+;base64,(.+)", re.DOTALL)
_PASSED: dict[str, type | tuple[type, ...]] = {
    "tool_choice": (str, dict), "parallel_tool_calls": bool, "reasoning_effort": str, "logprobs": bool, "top_logprobs": int,
}  # fmt: skip
"""What is passed on to servers that speak this API; others leave it out."""

_PENALTIES = ("frequency_penalty", "presence_penalty")


def chat_request(body: Mapping[str, Any]) -> ChatRequest:
    """A request to /v1/chat/completions.

    Raises:
        BadRequest: a field does not fit.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _bad("messages must be a list with at least one message")
    tools = body.get("tools")
    if not isinstance(tools, list | None):
        raise _bad("tools must be a list")
    return ChatRequest(
        messages=tuple(_message(message) for message in messages),
        model=parse_model(body),
        options=_options(body, ("max_completion_tokens", "max_tokens")),
        format=_format(body.get("response_format")),
        stream=_is_true(body, "stream"),
        extra=({"tools": tools} if tools else {}) | _passed(body),
    )


def completion_request(body: Mapping[str, Any]) -> ChatRequest:
    """A request to /v1/completions.

    Raises:
        BadRequest: a field does not fit.
    """
    prompt, suffix = body.get("prompt"), body.get("suffix")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str) or not prompt:
        raise _bad("prompt must be a text")
    if not isinstance(suffix, str | None):
        raise _bad("suffix must be a text")
    return ChatRequest(
        messages=(ChatMessage("user", prompt),),
        model=parse_model(body),
        options=_options(body, ("max_tokens",)),
        stream=_is_true(body, "stream"),
        extra={GENERATE: {"suffix": suffix} if suffix else {}},
    )


def wants_usage(body: Mapping[str, Any]) -> bool:
    """Whether a stream is to end with the usage."""
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _passed(body: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: body[name] for name in _PASSED if body.get(name) is not None}
    for name, value in given.items():
        if not isinstance(value, _PASSED[name]) or (
            _PASSED[name] is int and isinstance(value, bool)
        ):
            raise _bad(f"{name} has a value that it cannot have")
    return given


def _options(body: Mapping[str, Any], limits: tuple[str, ...]) -> GenerationOptions:
    if body.get("n") not in (None, 1):
        raise _bad("n must be 1")
    limit = next((body[name] for name in limits if body.get(name) is not None), None)
    if limit is not None and (not _is_whole(limit) or limit < 1):
        raise _bad(f"{limits[-1]} must be a whole number above 0")
    numbers = {name: body.get(name) for name in ("temperature", "top_p", *_PENALTIES)}
    for name, value in numbers.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise _bad(f"{name} must be a number")
    seed, stop = body.get("seed"), body.get("stop")
    if seed is not None and (not _is_whole(seed) or abs(seed) >= 2**63):
        raise _bad("seed must be a whole number")
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or not all(isinstance(one, str) for one in stops):
        raise _bad("stop must be a text or a list of texts")
    return GenerationOptions(
        temperature=numbers["temperature"],
        max_tokens=limit,
        stop=tuple(one for one in stops if one),
        seed=seed,
        top_p=numbers["top_p"],
        extra={name: numbers[name] for name in _PENALTIES if numbers[name] is not None},
    )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_true(body: Mapping[str, Any], name: str) -> bool:
    if not isinstance(body.get(name), bool | None):
        raise _bad(f"{name} must be true or false")
    return body.get(name) is True


def _message(said: object) -> ChatMessage:
    role = _ROLES.get(str(said.get("role"))) if isinstance(said, dict) else None
    if not isinstance(said, dict) or role is None:
        raise _bad(f"a message needs a role, one of {', '.join(_ROLES)}")
    text, images = _content(said.get("content"))
    extra: dict[str, Any] = {"images": images} if images else {}
    if calls := said.get("tool_calls"):
        if not isinstance(calls, list):
            raise _bad("tool_calls must be a list")
        extra["tool_calls"] = [_call(call) for call in calls]
    if isinstance(said.get("tool_call_id"), str):
        extra["tool_call_id"] = said["tool_call_id"]
    return ChatMessage(role, text, extra)


def _content(said: object) -> tuple[str, list[str]]:
    """The text of a message, and its images as base64."""
    if said is None:
        return "", []
    if isinstance(said, str):
        return said, []
    if not isinstance(said, list) or not all(isinstance(part, dict) for part in said):
        raise _bad("content must be a text or a list of parts")
    texts: list[str] = []
    images: list[str] = []
    for part in said:
        address = part.get("image_url")
        address = address.get("url") if isinstance(address, dict) else address
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif (
            part.get("type") == "image_url"
            and isinstance(address, str)
            and (found := _DATA.fullmatch(address))
        ):
            images.append(found[1])
        else:
            raise _bad(
                "a part of a content must be a text or an image_url with data:image/…;base64,…"
            )
    return "\n".join(texts), images


def _call(said: object) -> dict[str, Any]:
    function = said.get("function") if isinstance(said, dict) else None
    if (
        not isinstance(said, dict)
        or not isinstance(function, dict)
        or not isinstance(function.get("name"), str)
    ):
        raise _bad("a tool call needs function.name")
    try:
        written = function.get("arguments") or "{}"
        arguments = orjson.loads(written)
    except (orjson.JSONDecodeError, TypeError):
        raise _bad("a tool call's arguments must be JSON in a text") from None
    if is_too_deep(written, arguments):
        raise _bad("a tool call's arguments are nested too deeply")
    return {
        "id": str(said.get("id", "")),
        "function": {"name": function["name"], "arguments": arguments},
    }


def _format(said: object) -> Any:
    if said is None:
        return None
    kind = said.get("type") if isinstance(said, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return "json"
    schema = said.get("json_schema") if isinstance(said, dict) else None
    if (
        kind != "json_schema"
        or not isinstance(schema, dict)
        or not isinstance(schema.get("schema"), dict)
    ):
        raise _bad(
            "response_format must be text, json_object, or json_schema with json_schema.schema"
        )
    return schema["schema"]


def _bad(reason: str) -> BadRequest:
    return BadRequest("gateway", reason)
