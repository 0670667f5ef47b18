"""Model names as Ollama parses them: host, namespace, model and tag.

Rules: ollama/ollama types/model/name.go.
"""

import re
from dataclasses import dataclass

from stock_llm.errors import InputError

MODEL = "stock-llm"
LATEST = f"{MODEL}:latest"
"""What is published: versions are tags of it, `stock-llm:v7`."""

_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"
_PARTS = {
    "host": re.compile(r"\w[\w.:-]{0,349}", re.ASCII),
    "namespace": re.compile(r"\w[\w-]{0,79}", re.ASCII),
    "model": re.compile(r"\w[\w.-]{0,79}", re.ASCII),
    "tag": re.compile(r"\w[\w.-]{0,79}", re.ASCII),
}


@dataclass(frozen=True)
class ModelName:
    """`[[host/]namespace/]model[:tag]`, with exactly one level of namespace."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> "ModelName":
        """The parts of a name, the usual ones where it leaves them out.

        Raises:
            InputError: not a name, or with a tag that Ollama cuts off as a mark of its own
                (`local`, `cloud`).
        """
        path, colon, tag = text.rpartition(":")
        if not colon or "/" in tag:
            path, tag = text, _TAG
        *above, model = path.rsplit("/", 2)
        namespace = above.pop() if above else _NAMESPACE
        host = above.pop() if above else _HOST
        name = cls(host.split("://")[-1], namespace, model, tag)
        for part, pattern in _PARTS.items():
            if not pattern.fullmatch(getattr(name, part)):
                raise InputError(
                    f"{text!r} is not a model name: its {part} is {getattr(name, part)!r}"
                )
        if tag in ("local", "cloud") or tag.endswith("-cloud"):
            raise InputError(
                f"{text!r} is not a model name: Ollama keeps the tag {tag!r} for itself"
            )
        return name

    def __str__(self) -> str:
        above = "" if self.namespace == _NAMESPACE else f"{self.namespace}/"
        above = above if self.host == _HOST else f"{self.host}/{self.namespace}/"
        return f"{above}{self.model}:{self.tag}"


def version_name(number: int) -> str:
    """`stock-llm:v7`."""
    return f"{MODEL}:v{number}"


def version_number(name: str) -> int | None:
    """N of `stock-llm:vN`; None for any other name."""
    found = re.fullmatch(rf"{re.escape(MODEL)}:v([1-9]\d*)", name)
    return int(found[1]) if found else None
