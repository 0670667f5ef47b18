"""Our answers in Ollama's format, where Ollama itself has not written them.

What Ollama wrote is passed on byte for byte. Format: ollama/ollama docs/api.md.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from stock_llm.gateway.chat import AnswerChunk, ChatAnswer
from stock_llm.ollama.store import StoredModel

_DETAILS = ("parent_model", "format", "family", "families", "parameter_size", "quantization_level")


def answer_body(
    answer: ChatAnswer, generate: bool, metadata: Mapping[str, Any] | None = None
) -> bytes:
    """A whole answer that is not streamed, with the metadata if there is any to be in it."""
    if answer.raw and not metadata:
        return answer.raw
    body = (
        orjson.loads(answer.raw)
        if answer.raw
        else _piece(answer.model, answer.text, answer.message, generate) | _end(answer)
    )
    return orjson.dumps(body | ({"stock_llm": metadata} if metadata else {}))


def stream_line(
    chunk: AnswerChunk, model: str, generate: bool, metadata: Mapping[str, Any] | None = None
) -> bytes:
    """One line of a stream; the last one carries the metadata."""
    piece = _piece(model, chunk.text, chunk.message, generate)
    if chunk.answer is None:
        return (chunk.raw or orjson.dumps(piece | {"done": False})) + b"\n"
    last = orjson.loads(chunk.raw) if chunk.raw else piece | _end(chunk.answer)
    return orjson.dumps(last | {"stock_llm": metadata}) + b"\n"


def empty_body(model: str, reason: str, generate: bool) -> bytes:
    """The answer to a request that only loads or unloads a model."""
    return orjson.dumps(_piece(model, "", {}, generate) | {"done": True, "done_reason": reason})


def listed_model(name: str, provider: str, since: str) -> dict[str, Any]:
    """A model of /api/tags that is not Ollama's. Clients cut its digest, so it is as long as
    Ollama's."""
    return {
        "name": name,
        "model": name,
        "modified_at": since,
        "size": 0,
        "digest": hashlib.sha256(f"{provider}/{name}".encode()).hexdigest(),
        "details": {
            **dict.fromkeys(_DETAILS, ""),
            "family": provider,
            "families": [provider],
        },
        "capabilities": ["completion"],
    }


def listed_stored_model(model: StoredModel) -> dict[str, Any]:
    """A model of the folder, as /api/tags lists it."""
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": model.modified.isoformat().replace("+00:00", "Z"),
        "size": model.size,
        "digest": model.digest,
        "details": _details(model),
        "capabilities": _capabilities(model),
    }


def stored_model_details(model: StoredModel, context_length: int) -> dict[str, Any]:
    """A model of the folder, as /api/show describes it."""
    modelfile = model.modelfile
    parameters = [
        f"{name:<30} {orjson.dumps(single).decode()}"
        for name, value in modelfile.parameters.items()
        for single in (value if isinstance(value, tuple) else (value,))
    ]
    texts = {
        "license": "\n".join(modelfile.license),
        "modelfile": modelfile.write(),
        "parameters": "\n".join(parameters),
        "template": modelfile.template,
        "system": modelfile.system,
    }
    family = model.config.get("model_family", "")
    return {
        **{name: text for name, text in texts.items() if text},
        "details": _details(model),
        "model_info": {
            "general.architecture": family,
            f"{family}.context_length": context_length,
        },
        "capabilities": _capabilities(model),
        "modified_at": model.modified.isoformat().replace("+00:00", "Z"),
    }


def remote_model_details(name: str, provider: str) -> dict[str, Any]:
    """A model that is not Ollama's, as /api/show describes it."""
    empty: dict[str, Any] = dict.fromkeys(("modelfile", "parameters", "template"), "")
    return {
        **empty,
        "details": listed_model(name, provider, "")["details"],
        "model_info": {},
        "capabilities": ["completion"],
    }


def error_body(text: str) -> bytes:
    """The body of an error."""
    return orjson.dumps({"error": text})


def timestamp() -> str:
    """The current time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _capabilities(model: StoredModel) -> list[str]:
    """Ollama derives the same from the template."""
    return ["completion", "tools"] if ".Tools" in model.modelfile.template else ["completion"]


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
    extra = dict(message)
    logprobs = {"logprobs": extra.pop("logprobs")} if "logprobs" in extra else {}
    content: dict[str, Any] = {"response": text, **extra}
    if not generate:
        content = {"message": {"role": "assistant", "content": text, **extra}}
    return {"model": model, "created_at": timestamp()} | content | logprobs


def _end(answer: ChatAnswer) -> dict[str, Any]:
    timings, usage = answer.timings, answer.usage
    durations = {
        "load_duration": timings.load,
        "prompt_eval_duration": timings.prompt,
        "eval_duration": timings.generate,
    }
    nanoseconds = {name: int(seconds * 1e9) for name, seconds in durations.items() if seconds}
    return {
        "done": True,
        "done_reason": "length" if answer.finish == "length" else "stop",
        "total_duration": sum(nanoseconds.values()),
        **nanoseconds,
        "prompt_eval_count": usage.prompt,
        "eval_count": usage.tokens_out,
    }
