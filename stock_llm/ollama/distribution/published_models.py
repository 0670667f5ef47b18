"""What a registry gives out of the folder of published models: the versions of `stock-llm` and the
blobs that their manifests name, and nothing else that may lie in that folder.
"""

from dataclasses import dataclass

from stock_llm.errors import InputError
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
            contents = map(self.store.read_manifest, self.names())
            return next((text for text in contents if digest_of_bytes(text) == wanted), None)
        try:
            name = str(ModelName.parse(f"{MODEL}:{reference}"))
        except InputError:
            return None
        return self.store.read_manifest(name) if self.store.digest(name) else None

    def blob(self, model: str, digest: str) -> Blob | None:
        """A blob that a version is made of; None where no version names it, or it is lost."""
        if model != MODEL:
            return None
        for name in self.names():
            try:
                blobs = parse_manifest(self.store.read_manifest(name)).blobs
            except ValueError:  # damaged; the next publication writes it again
                continue
            if layer := next((blob for blob in blobs if blob.digest == digest), None):
                blob = self.store.blob(layer)
                return blob if blob.path.is_file() else None
        return None
