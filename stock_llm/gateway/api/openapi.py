"""What GET /docs says about the routes that read their bodies themselves: schemas, examples, refusals.

Only words: a body is checked where it is read (`ollama_requests`, `openai_requests`).
"""

from typing import Any

_TEXT = {"type": "string"}
_MODEL = {
    "type": "string",
    "minLength": 1,
    "description": "A model's name, or auto to ask the router",
    "examples": ["auto"],
}
_STREAM = {"type": "boolean"}
_OPTIONS = {
    "type": "object",
    "description": "Ollama's options",
    "properties": {
        "temperature": {"type": "number", "minimum": 0},
        "num_predict": {"type": "integer", "minimum": 1},
        "seed": {"type": "integer"},
        "stop": {"type": "array", "items": _TEXT},
    },
}
_FORMAT = {
    "anyOf": [{"type": "object"}, {"const": "json"}],
    "description": "A JSON schema that the answer must fit, or json",
}
_TURN = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {"role": {"enum": ["system", "user", "assistant"]}, "content": _TEXT},
}
_STAYS = "local: the request never leaves the machine"
_PRIVACIES = {"enum": ["any", "local"]}
_PRIVACY = _PRIVACIES | {"description": _STAYS}
_TURNS = {"type": "array", "items": _TURN, "minItems": 1}
SCORES = [
    {
        "name": f"x-stock-llm-{name}",
        "in": "header",
        "required": False,
        "schema": schema,
        "description": said,
    }
    for name, schema, said in (
        (
            "type",
            {"enum": ["analysis", "code", "translation", "chat"]},
            "What is wanted; estimated where it is not said",
        ),
        (
            "complexity",
            {"type": "integer", "minimum": 1, "maximum": 10},
            "How hard it is; estimated where it is not said",
        ),
        (
            "urgency",
            {"type": "integer", "minimum": 1, "maximum": 10},
            "How urgent it is; estimated where it is not said",
        ),
        ("privacy", _PRIVACIES, _STAYS),
    )
]
"""Header parameters of every route that asks the router."""

STORY = {
    f"x-stock-llm-{name}": {"description": said, "schema": _TEXT}
    for name, said in (
        ("provider", "Who answered"),
        ("rule", "Why"),
        ("cost", "Dollars"),
        ("time", "Milliseconds of each part"),
        ("response-id", "For POST /feedback"),
    )
}
"""Headers of every answer."""


def _refusals(ollama: bool) -> dict[int | str, dict[str, Any]]:
    error = (
        {"error": "model 'nope' not found"}
        if ollama
        else {"error": {"message": "…", "type": "not_found_error"}}
    )
    texts = {
        400: "The request is at fault",
        401: "The token is missing or wrong",
        403: "Not allowed from where the request came",
        404: "There is no such model",
        413: "The request is too large",
        422: "The model declined to answer",
        429: "A provider takes no more requests for now",
        501: "Whoever has the model cannot do this",
        502: "A provider answered with something that is no answer",
        503: "Nobody can answer now; Retry-After says when to ask again",
        504: "A provider did not answer in time",
    }
    return {
        status: {"description": text, "content": {"application/json": {"example": error}}}
        for status, text in texts.items()
    }


def _route(
    properties: dict[str, Any] | None,
    required: list[str],
    example: Any,
    answer: Any,
    *,
    kind: str = "",
    ollama: bool = True,
) -> dict[str, Any]:
    """The arguments of a route: its body, an example of it, an example of the answer, what a stream's type is."""
    responses = _refusals(ollama)
    content: dict[str, Any] = {"application/json": {"example": answer}}
    if kind:
        content[kind] = {"schema": _TEXT}
    responses[200] = {
        "description": "The answer",
        "content": content,
        **({"headers": STORY} if kind else {}),
    }
    extra: dict[str, Any] = {}
    if properties is not None:
        schema = {"type": "object", "required": required, "properties": properties}
        extra["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": example}},
        }
    if kind:
        extra["parameters"] = SCORES
    return {"responses": responses, "openapi_extra": extra}


_ASKED = "Analyze KESTRO."
_NDJSON, _EVENTS = "application/x-ndjson", "text/event-stream"
_SAID = {"role": "assistant", "content": "Trend: UP\n…"}
_USAGE = {"prompt_tokens": 27, "completion_tokens": 3, "total_tokens": 30}

VERSION = _route(None, [], None, {"version": "0.32.15"})
CHAT = _route(
    {
        "model": _MODEL,
        "messages": _TURNS,
        "stream": _STREAM,
        "format": _FORMAT,
        "options": _OPTIONS,
        "privacy": _PRIVACY,
    },
    ["model", "messages"],
    {"model": "auto", "messages": [{"role": "user", "content": _ASKED}], "stream": False},
    {"model": "stock-llm:latest", "message": _SAID, "done": True, "done_reason": "stop"},
    kind=_NDJSON,
)
GENERATE = _route(
    {
        "model": _MODEL,
        "prompt": _TEXT,
        "system": _TEXT,
        "stream": _STREAM,
        "format": _FORMAT,
        "options": _OPTIONS,
        "privacy": _PRIVACY,
    },
    ["model", "prompt"],
    {"model": "auto", "prompt": _ASKED, "stream": False},
    {"model": "stock-llm:latest", "response": "Trend: UP\n…", "done": True, "done_reason": "stop"},
    kind=_NDJSON,
)
EMBED = _route(
    {
        "model": _MODEL,
        "privacy": _PRIVACY,
        "input": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
    },
    ["model", "input"],
    {"model": "nomic-embed-text", "input": ["first", "second"]},
    {"model": "nomic-embed-text", "embeddings": [[0.1, 0.2], [0.3, 0.4]]},
)
EMBEDDINGS = _route(
    {"model": _MODEL, "prompt": _TEXT, "privacy": _PRIVACY},
    ["model", "prompt"],
    {"model": "nomic-embed-text", "prompt": "a"},
    {"embedding": [0.1, 0.2]},
)
TAGS = _route(
    None,
    [],
    None,
    {"models": [{"name": "stock-llm:latest", "model": "stock-llm:latest", "size": 4331796}]},
)
SHOW = _route(
    {"model": _MODEL},
    ["model"],
    {"model": "stock-llm:latest"},
    {"template": "[INST] …", "details": {}},
)
PS = _route(None, [], None, {"models": []})

OPENAI_CHAT = _route(
    {
        "model": _MODEL,
        "messages": _TURNS,
        "stream": _STREAM,
        "temperature": {"type": "number", "minimum": 0},
        "max_tokens": {"type": "integer", "minimum": 1},
        "seed": {"type": "integer"},
        "response_format": {
            "type": "object",
            "properties": {"type": {"enum": ["text", "json_object", "json_schema"]}},
        },
        "privacy": _PRIVACY,
    },
    ["model", "messages"],
    {"model": "auto", "messages": [{"role": "user", "content": _ASKED}]},
    {
        "id": "chatcmpl-…",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": _SAID, "finish_reason": "stop"}],
        "usage": _USAGE,
    },
    kind=_EVENTS,
    ollama=False,
)
OPENAI_COMPLETION = _route(
    {
        "model": _MODEL,
        "prompt": _TEXT,
        "stream": _STREAM,
        "max_tokens": {"type": "integer", "minimum": 1},
        "privacy": _PRIVACY,
    },
    ["model", "prompt"],
    {"model": "auto", "prompt": _ASKED, "max_tokens": 64},
    {
        "id": "cmpl-…",
        "object": "text_completion",
        "choices": [{"text": "…", "index": 0, "finish_reason": "stop"}],
    },
    kind=_EVENTS,
    ollama=False,
)
_LISTED = {"id": "auto", "object": "model", "created": 1795409013, "owned_by": "router"}
OPENAI_MODELS = _route(None, [], None, {"object": "list", "data": [_LISTED]}, ollama=False)
OPENAI_MODEL = _route(None, [], None, _LISTED, ollama=False)
OPENAI_EMBEDDINGS = _route(
    {
        "model": _MODEL,
        "privacy": _PRIVACY,
        "input": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]},
    },
    ["model", "input"],
    {"model": "nomic-embed-text", "input": "a"},
    {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
        "model": "nomic-embed-text",
    },
    ollama=False,
)
