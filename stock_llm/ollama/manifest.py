"""A model's manifest: config, layers and annotations, as bytes that Ollama reads.

Format: ollama/ollama manifest/manifest.go, compact JSON and a newline. The annotations are OCI's
(image-spec annotations.md); Ollama does not know them and hands them on verbatim. The SHA-256 of
the bytes is what Ollama lists as the model's digest, so a manifest that was published is never
written anew.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LAYER_TYPE = "application/vnd.ollama.image."
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Layer:
    """A blob of a model: `kind` is the last part of its media type (model, template, params …),
    `digest` is `sha256:` and 64 hex digits, `size` in bytes.
    """

    kind: str
    digest: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """A config, the layers in Ollama's order, and the annotations."""

    config: Layer
    layers: tuple[Layer, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def blobs(self) -> tuple[Layer, ...]:
        """Config and layers."""
        return (self.config, *self.layers)

    def encode(self) -> bytes:
        """The bytes; the annotations by name."""
        parts = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {
                "mediaType": CONFIG_TYPE,
                "digest": self.config.digest,
                "size": self.config.size,
            },
            "layers": [
                {"mediaType": LAYER_TYPE + layer.kind, "digest": layer.digest, "size": layer.size}
                for layer in self.layers
            ],
        }
        notes = {"annotations": dict(sorted(self.annotations.items()))} if self.annotations else {}
        return go_json(parts | notes)

    def is_same_model(self, other: "Manifest") -> bool:
        """Whether config and layers are the same, whatever the annotations say."""
        return self.blobs == other.blobs


def parse_manifest(content: bytes) -> Manifest:
    """
    Raises:
        ValueError: not a manifest as Ollama writes them.
    """
    try:
        values = json.loads(content)
        config = values["config"]
        if (values["schemaVersion"], values["mediaType"], config["mediaType"]) != (
            2,
            MANIFEST_TYPE,
            CONFIG_TYPE,
        ):
            raise ValueError("the types are not Ollama's")
        return Manifest(
            _layer("config", config),
            tuple(_layer(part["mediaType"], part) for part in values["layers"]),
            {str(key): str(value) for key, value in (values.get("annotations") or {}).items()},
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"not a manifest: {error}") from None


def _layer(kind: str, part: Mapping[str, Any]) -> Layer:
    if kind != "config" and not kind.startswith(LAYER_TYPE):
        raise ValueError(f"unknown layer {kind}")
    if not _DIGEST.fullmatch(part["digest"]) or not isinstance(part["size"], int):
        raise ValueError(f"not a digest and a size: {part}")
    return Layer(kind.removeprefix(LAYER_TYPE), part["digest"], part["size"])


def digest_of_bytes(content: bytes) -> str:
    """SHA-256 of a manifest's bytes (hex): the digest that Ollama lists."""
    return hashlib.sha256(content).hexdigest()


def blob_name(digest: str) -> str:
    """The file name of a blob in Ollama's folder.

    Raises:
        ValueError: not a digest.
    """
    if not _DIGEST.fullmatch(digest):
        raise ValueError(digest)
    return digest.replace(":", "-")


def go_json(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """JSON as Go's encoder writes it: compact, `< > &` escaped, whole numbers without a point, a
    newline at the end.
    """
    if isinstance(value, Mapping):
        value = {
            key: int(item) if isinstance(item, float) and item.is_integer() else item
            for key, item in value.items()
        }
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text.encode() + b"\n"
