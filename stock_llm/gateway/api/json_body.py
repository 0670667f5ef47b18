"""Reads the body of a request as JSON, whatever its Content-Type says, as Ollama does.

What Go's decoder accepts is accepted: lone surrogates and bytes that are not UTF-8 become U+FFFD. A
route class hands the parsed body to FastAPI, which validates it against the route's pydantic model.
"""

import json
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from stock_llm.gateway.errors import BadRequest

MAX_DEPTH = 100
"""Brackets within brackets: far more than schemas have, and fewer than what encodes the request
later can take."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")


class RequestBody(BaseModel):
    """Base of the bodies of Ollama's, OpenAI's and Anthropic's APIs: types are strict, unknown
    fields are ignored."""

    model_config = ConfigDict(extra="allow", strict=True)


class ServiceJsonRoute(APIRoute):
    """A route whose body is JSON; a body that does not fit its model is FastAPI's 422."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind our reader."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_json(request: Request) -> Response:
            fields = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
            fields.append((b"content-type", b"application/json"))
            request = Request({**request.scope, "headers": fields}, request.receive)
            request._json = parse_json(await request.body())
            return await handle(request)

        return handle_json


class JsonRoute(ServiceJsonRoute):
    """A route whose body is JSON; a body that does not fit its model is a 400, as at Ollama and
    OpenAI."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The same handler with another error."""
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                raise BadRequest("gateway", describe(error.errors())) from None

        return handle_strictly


def parse_json(raw: bytes) -> dict[str, Any]:
    """The object in a body.

    Raises:
        BadRequest: there is none, or it is nested too deeply.
    """
    if not raw.strip():
        raise BadRequest("gateway", "missing request body")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        value = _parse_leniently(raw, error)
    if not isinstance(value, dict):
        raise BadRequest("gateway", "the body is not a JSON object")
    if is_too_deep(raw, value):
        raise BadRequest("gateway", f"the body is nested more than {MAX_DEPTH} levels deep")
    return value


def is_too_deep(raw: bytes | str, value: Any) -> bool:
    """Whether a JSON value is nested more deeply than it could be passed on; `raw` is its text."""
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
    # The usual request has few brackets: no need to walk through it.
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def describe(errors: Sequence[Mapping[str, Any]]) -> str:
    """The first error of a validation as one sentence that names the field."""
    first = errors[0]
    path = ".".join(str(part) for part in first["loc"] if part != "body")
    if first["type"] == "missing":
        return f"{path} is required"
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "value_error" or not path:
        return message
    return f"{path}: {message}, not {str(first.get('input'))[:40]!r}"


def _parse_leniently(raw: bytes, error: orjson.JSONDecodeError) -> Any:
    """The value of a text that only Python's decoder reads: with lone surrogates or bytes that are
    not UTF-8."""
    text = raw.decode(errors="replace")
    try:
        value = json.loads(text)
        return orjson.loads(_SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False)))
    except (ValueError, RecursionError):
        ended = error.pos >= len(text.rstrip())
        reason = "unexpected EOF" if ended else f"the body is not JSON: {error.msg}"
        raise BadRequest("gateway", reason) from None
