"""What a registry gives out of the folder of published models: the versions of `stock-llm` and the
blobs that their manifests name, and nothing else that may lie in that folder.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from stock_llm.errors import InputError, PublishError
from stock_llm.ollama.manifest import digest_of_bytes, parse_manifest
from stock_llm.ollama.model_name import MODEL, ModelName
from stock_llm.ollama.store import Blob, OllamaStore


@dataclass(frozen=True)
class PublishedModels:
    """The versions in a folder in Ollama's format."""

    store: OllamaStore

    def names(self) -> list[str]:
        """`stock-llm:TAG` of each version and of `:latest`, sorted."""
        return [name for name in self.store.list_models(MODEL) if name.startswith(f"{MODEL}:")]

    def manifest(self, model: str, reference: str) -> bytes | None:
        """The bytes of a manifest; None where there is none.

        Args:
            model: name without namespace and tag.
            reference: a tag, or `sha256:` and the digest of a manifest.
        """
        if model != MODEL:
            return None
        if reference.startswith("sha256:"):
            wanted = reference.removeprefix("sha256:")
            found = (text for text in self._manifests() if digest_of_bytes(text) == wanted)
            return next(found, None)
        try:
            name = str(ModelName.parse(f"{MODEL}:{reference}"))
        except InputError:
            return None
        try:
            return self.store.read_manifest(name)
        except PublishError:
            return None

    def blob(self, model: str, digest: str) -> Blob | None:
        """A blob that a version is made of; None where no version names it, or it is lost."""
        if model != MODEL:
            return None
        for content in self._manifests():
            try:
                blobs = parse_manifest(content).blobs
            except ValueError:  # damaged; the next publication writes it again
                continue
            if layer := next((blob for blob in blobs if blob.digest == digest), None):
                blob = self.store.blob(layer)
                return blob if blob.path.is_file() else None
        return None

    def _manifests(self) -> Iterator[bytes]:
        """The manifests of all versions, without one that is removed at this moment."""
        for name in self.names():
            with suppress(PublishError):
                yield self.store.read_manifest(name)
