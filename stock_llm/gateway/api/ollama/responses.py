"""Our answers in Ollama's words, where Ollama itself has not written them.

In: answers and pieces. Out: the bytes of a body or of a line. What Ollama wrote is passed on as it is. Format: ollama/ollama
docs/api.md. Does not know requests.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from stock_llm.gateway.chat import AnswerChunk, ChatAnswer
from stock_llm.ollama.store import StoredModel

_DETAILS = ("parent_model", "format", "family", "families", "parameter_size", "quantization_level")


def body(answer: ChatAnswer, generate: bool) -> bytes:
    """A whole answer that is not streamed."""
    return answer.raw or orjson.dumps(
        _piece(answer.model, answer.text, answer.message, generate) | _end(answer)
    )


def line(
    chunk: AnswerChunk, model: str, generate: bool, story: Mapping[str, Any] | None = None
) -> bytes:
    """One line of a stream; the last one carries the story."""
    if chunk.answer is None:
        return (
            chunk.raw
            or orjson.dumps(_piece(model, chunk.text, chunk.message, generate) | {"done": False})
        ) + b"\n"
    said = (
        orjson.loads(chunk.raw)
        if chunk.raw
        else _piece(model, chunk.text, chunk.message, generate) | _end(chunk.answer)
    )
    return orjson.dumps(said | {"stock_llm": story}) + b"\n"


def silent(model: str, reason: str, generate: bool) -> bytes:
    """The answer to a request that only loads or unloads a model."""
    return orjson.dumps(_piece(model, "", {}, generate) | {"done": True, "done_reason": reason})


def listed(name: str, provider: str, since: str) -> dict[str, Any]:
    """A model of /api/tags that is not Ollama's."""
    return {
        "name": name,
        "model": name,
        "modified_at": since,
        "size": 0,
        "digest": "",
        "details": {**dict.fromkeys(_DETAILS, ""), "family": provider, "families": [provider]},
        "capabilities": ["completion"],
    }


def stored(model: StoredModel) -> dict[str, Any]:
    """A model of the folder, as /api/tags lists it."""
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": model.modified.isoformat().replace("+00:00", "Z"),
        "size": model.size,
        "digest": model.digest,
        "details": _details(model),
        "capabilities": ["completion"],
    }


def shown(model: StoredModel) -> dict[str, Any]:
    """A model of the folder, as /api/show tells it."""
    modelfile = model.modelfile
    parameters = [
        f"{name:<30} {orjson.dumps(one).decode()}"
        for name, value in modelfile.parameters.items()
        for one in (value if isinstance(value, tuple) else (value,))
    ]
    told = {
        "license": "\n".join(modelfile.license),
        "modelfile": modelfile.write(),
        "parameters": "\n".join(parameters),
        "template": modelfile.template,
        "system": modelfile.system,
    }
    return {
        **{name: text for name, text in told.items() if text},
        "details": _details(model),
        "model_info": {"general.architecture": model.config.get("model_family", "")},
        "capabilities": ["completion"],
        "modified_at": model.modified.isoformat().replace("+00:00", "Z"),
    }


def remote_model_details(name: str, provider: str) -> dict[str, Any]:
    """A model that is not Ollama's, as /api/show tells it."""
    told: dict[str, Any] = dict.fromkeys(("modelfile", "parameters", "template"), "")
    return {
        **told,
        "details": listed(name, provider, "")["details"],
        "model_info": {},
        "capabilities": ["completion"],
    }


def error(text: str) -> bytes:
    """The body of a refusal."""
    return orjson.dumps({"error": text})


def _details(model: StoredModel) -> dict[str, Any]:
    config = model.config
    return {
        "parent_model": "",
        "format": config.get("model_format", ""),
        "family": config.get("model_family", ""),
        "families": config.get("model_families", []),
        "parameter_size": config.get("model_type", ""),
        "quantization_level": config.get("file_type", ""),
    }


def _piece(model: str, text: str, message: Mapping[str, Any], generate: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"model": model, "created_at": now()}
    extra = dict(message)
    beside = {"logprobs": extra.pop("logprobs")} if "logprobs" in extra else {}
    if generate:
        return said | {"response": text, **extra} | beside
    return said | {"message": {"role": "assistant", "content": text, **extra}} | beside


def _end(answer: ChatAnswer) -> dict[str, Any]:
    timings, usage = answer.timings, answer.usage
    times = {
        "load_duration": timings.load,
        "prompt_eval_duration": timings.prompt,
        "eval_duration": timings.generate,
    }
    nanoseconds = {name: int(seconds * 1e9) for name, seconds in times.items() if seconds}
    return {
        "done": True,
        "done_reason": "length" if answer.finish == "length" else "stop",
        "total_duration": sum(nanoseconds.values()),
        **nanoseconds,
        "prompt_eval_count": usage.prompt,
        "eval_count": usage.tokens_out,
    }


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
