"""From an ID in somebody's `ollama list` to the run, the data and the verdict behind it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stock_llm.errors import InputError
from stock_llm.ollama.manifest import digest_of_bytes, parse_manifest
from stock_llm.ollama.model_name import LATEST, MODEL, version_number
from stock_llm.ollama.store import OllamaStore
from stock_llm.pipeline.publication.restoring import MANIFEST
from stock_llm.settings import Settings


@dataclass(frozen=True)
class Lineage:
    """A version by the digest of its manifest.

    Attributes:
        name: `stock-llm:v7`; empty where the manifest does not say.
        weights: digest of the GGUF.
        adapter: digest of the adapter beside it; empty: there is none.
        notes: what the manifest says of the version.
        is_latest: whether it is behind `stock-llm:latest` now.
    """

    digest: str
    name: str
    weights: str
    adapter: str
    notes: Mapping[str, str]
    is_latest: bool


def find(settings: Settings, id: str) -> Lineage:
    """The version whose manifest has a digest that begins with `id`: published, or published once
    and still among the artifacts.

    Raises:
        InputError: there is none, or more than one.
    """
    wanted = id.strip().lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{4,64}", wanted):
        raise InputError(
            f"{id!r} is no ID", remedy="Copy it from the column ID of `ollama list`: 12 hex digits"
        )
    store = OllamaStore(settings.path(settings.ollama_store))
    found: dict[str, tuple[str, bytes]] = {}
    for name, content in _manifests(settings, store):
        if (digest := digest_of_bytes(content)).startswith(wanted):
            found.setdefault(digest, (name, content))
    if len(found) != 1:
        problem = f"{len(found)} versions have an ID that begins with {wanted}"
        remedy = "Write more of it" if found else "stock-llm history lists the versions"
        raise InputError(problem, remedy=remedy)
    ((digest, (name, content)),) = found.items()
    manifest = parse_manifest(content)
    version = manifest.annotations.get("org.opencontainers.image.version", "")
    layers = {layer.kind: layer.digest for layer in manifest.layers}
    name = f"{MODEL}:{version}" if version else name
    return Lineage(
        digest,
        name,
        weights=layers.get("model", ""),
        adapter=layers.get("adapter", ""),
        notes=manifest.annotations,
        is_latest=store.digest(LATEST) == digest,
    )


def describe(lineage: Lineage) -> str:
    """The lineage for a terminal, a line for each fact."""
    facts = {
        "version": lineage.name + (f", which is {LATEST} now" if lineage.is_latest else ""),
        "manifest": lineage.digest,
        "weights": lineage.weights,
        **({"adapter beside them": lineage.adapter} if lineage.adapter else {}),
        **{
            name.removeprefix("org.opencontainers.image.").removeprefix("stock-llm."): value
            for name, value in lineage.notes.items()
            if name.rpartition(".")[2] not in ("title", "version")
        },
    }
    width = max(map(len, facts)) + 2
    return "\n".join(f"{name:<{width}}{value}" for name, value in facts.items())


def _manifests(settings: Settings, store: OllamaStore) -> Iterator[tuple[str, bytes]]:
    for name in store.list_models(MODEL):
        if version_number(name):
            yield name, store.read_manifest(name)
    for file in settings.artifacts.glob(f"candidate/*/{MANIFEST}"):
        yield "", file.read_bytes()
