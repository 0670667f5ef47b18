"""Ollama's on-disk store: models as content-addressed blobs and small manifests, written so that a
server may be running.

    blobs/sha256-<64 hex>                         every layer, under the SHA-256 of its bytes
    manifests/<host>/<namespace>/<model>/<tag>    JSON: which layers make up the model

In: a GGUF and a `Modelfile`. Out: the same files that `ollama create` writes, byte for byte, and
the model read back from them.
Format: ollama/ollama manifest/, server/create.go, types/model/name.go. Everything is written under
a temporary name, flushed and renamed; temporary manifests lie directly under manifests/, because in
a model's folder Ollama takes them for broken models and stops pruning. Does not know MLflow,
settings, or which version is the best.
"""

import hashlib
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stock_llm.errors import PublishError
from stock_llm.ollama.config_layer import build_config_layer
from stock_llm.ollama.manifest import (
    Layer,
    Manifest,
    blob_name,
    digest_of_bytes,
    go_json,
    parse_manifest,
)
from stock_llm.ollama.model_name import ModelName
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.store_notes import StoreNotes
from stock_llm.storage.atomic import move_into_place
from stock_llm.storage.checksums import (
    LARGE,
    cached_sha256,
    file_sha256,
)
from stock_llm.storage.links import link_or_copy

_TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class Blob:
    """A file of the store; `digest` is `sha256:` and 64 hex digits."""

    path: Path
    digest: str
    size: int


@dataclass(frozen=True)
class StoredModel:
    """A model as the store holds it.

    Attributes:
        digest: SHA-256 of the manifest's bytes in hex: what Ollama lists as the model's digest.
        size: bytes of all layers.
        gguf: the weights.
        lora: the LoRA adapter that is added to them; None: there is none.
        modelfile: what it was made with; FROM is the path of `gguf`, ADAPTER that of `lora`.
        config: what Ollama lists about the weights, see `build_config_layer`.
        annotations: what the manifest says of the model.
    """

    name: str
    digest: str
    size: int
    modified: datetime
    gguf: Path
    lora: Path | None
    modelfile: Modelfile
    config: Mapping[str, Any]
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class OllamaStore:
    """The folder that Ollama calls OLLAMA_MODELS."""

    root: Path

    @property
    def _notes(self) -> StoreNotes:
        return StoreNotes(self.root)

    def put_blob(self, source: Path | bytes) -> Blob:
        """Bring a file or bytes into the store; a blob that is there and sound is reused.

        A file is cloned where the file system can, else hard-linked, else copied: it must not be
        written to afterwards.
        """
        blobs = self.root / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            digest, size = hashlib.sha256(source).hexdigest(), len(source)
        else:
            digest, size = file_sha256(source), source.stat().st_size
        final = blobs / f"sha256-{digest}"
        if not (final.exists() and final.stat().st_size == size and file_sha256(final) == digest):
            if final.exists():
                print(f"{final} was damaged: written again", file=sys.stderr)
            temporary = blobs / f"{_TEMPORARY}{secrets.token_hex(8)}"
            if not final.exists():
                self._notes.add_blob(final)
            try:
                if isinstance(source, bytes):
                    temporary.write_bytes(source)
                else:
                    link_or_copy(source, temporary)
                    if file_sha256(temporary) != digest:
                        raise PublishError(
                            f"{source} changed while it was being published. Publish again"
                        )
                move_into_place(temporary, final)
            finally:
                temporary.unlink(missing_ok=True)
        os.utime(final)  # the prunings, Ollama's and ours, spare what is younger than an hour
        blob = Blob(final, f"sha256:{digest}", size)
        if size > LARGE:
            self._notes.set_time_read(final)
        return blob

    def write_model(
        self,
        name: str,
        gguf: Path,
        modelfile: Modelfile,
        *,
        replace: bool = True,
        annotations: Mapping[str, str] | None = None,
        layers: Sequence[Layer] = (),
    ) -> str:
        """Publish a model under `name`; the digest of its manifest (hex). The same model again
        changes nothing, whatever its annotations are: the first manifest stays.

        Args:
            gguf: the weights; `modelfile.from_` is not looked at, and its adapter is taken from the
                same folder.
            replace: False: refuse where `name` is another model.
            annotations: what the manifest says of the model.
            layers: those that the model had when it was published, where it is written again.

        Raises:
            InputError: not a name; not a GGUF.
            PublishError: refused, see `replace`; the adapter is gone; or it would have other layers
                than `layers`.
        """
        path = self._manifest_path(name)
        turns = [{"role": role, "content": content} for role, content in modelfile.messages]
        parameters = dict(sorted(modelfile.parameters.items()))
        parts: list[tuple[str, Path | bytes]] = [
            ("model", gguf),
            ("adapter", gguf.parent / modelfile.adapter if modelfile.adapter else b""),
            ("template", modelfile.template.encode()),
            ("system", modelfile.system.encode()),
            *(("license", text.encode()) for text in modelfile.license),
            ("params", go_json(parameters) if parameters else b""),
            ("messages", go_json(turns) if turns else b""),
        ]
        config = self.put_blob(go_json(build_config_layer(gguf, modelfile.requires)))
        try:
            blobs = [(kind, self.put_blob(source)) for kind, source in parts if source]
        except FileNotFoundError as error:
            raise PublishError(f"{name} cannot be written: {error.filename} is gone") from None
        manifest = Manifest(
            Layer("config", config.digest, config.size),
            tuple(Layer(kind, blob.digest, blob.size) for kind, blob in blobs),
            annotations or {},
        )
        if layers and manifest.layers != tuple(layers):
            changed = {layer.kind for layer in {*manifest.layers} ^ {*layers}} or {"order"}
            raise PublishError(
                f"{name} would not be what was published: {', '.join(sorted(changed))} changed "
                f"since, in {gguf.parent}"
            )
        if path.exists() and (known := self._kept(name, path, manifest, replace)):
            return known
        self._notes.set_manifest(path, None)
        self._write_manifest(path, manifest.encode())
        digest = digest_of_bytes(manifest.encode())
        if not replace:
            self._notes.set_manifest(path, digest)
        return digest

    def _kept(self, name: str, path: Path, manifest: Manifest, replace: bool) -> str | None:
        """The digest of what `name` is, where that is this model; None where it is to be written.

        Raises:
            PublishError: it is another model, which is not to be replaced.
        """
        content = path.read_bytes()
        try:
            noted, digest = self._notes.manifest(path), digest_of_bytes(content)
            if parse_manifest(content).is_same_model(manifest) and noted in (None, digest):
                if not replace:  # a kill may have come before it was noted
                    self._notes.set_manifest(path, digest)
                return digest
            damage = next(self._damages(path, whole=False), "")
        except ValueError as error:
            damage = str(error)
        if damage:
            print(f"{name} was damaged ({damage}): written again", file=sys.stderr)
        elif not replace:
            raise PublishError(
                f"{name} exists in {self.root} and is another model; "
                "a version is never overwritten. Train a new one"
            )
        return None

    def read_model(self, name: str) -> StoredModel:
        """The model of this name.

        Raises:
            PublishError: there is no such model, it is damaged, or it has layers that are not
                supported (a second adapter, projectors).
        """
        path = self._existing(name)
        if damage := self.find_damage(name):
            raise PublishError(
                f"{name} in {self.root} is damaged: {damage}. Publish it again: stock-llm publish"
            )
        manifest = self._parse(path)
        config, layers = (
            self.blob(manifest.config),
            [(layer.kind, self.blob(layer)) for layer in manifest.layers],
        )
        files: dict[str, Path] = {}
        fields = dict[str, Any](license=())
        for kind, blob in layers:
            if kind in ("model", "adapter") and kind not in files:
                files[kind] = blob.path
            elif kind in ("template", "system"):
                fields[kind] = blob.path.read_bytes().decode()
            elif kind == "license":
                fields[kind] += (blob.path.read_bytes().decode(),)
            elif kind == "params":
                fields["parameters"] = {
                    key: tuple(value) if isinstance(value, list) else value
                    for key, value in json.loads(blob.path.read_bytes()).items()
                }
            elif kind == "messages":
                turns = json.loads(blob.path.read_bytes())
                fields[kind] = tuple((turn["role"], turn["content"]) for turn in turns)
            else:
                raise PublishError(
                    f"{name} in {self.root} has a layer that is not supported: {kind}"
                )
        gguf, lora = files.get("model"), files.get("adapter")
        if gguf is None:
            raise PublishError(f"{name} in {self.root} has no weights")
        details = json.loads(config.path.read_bytes())
        return StoredModel(
            name=str(ModelName.parse(name)),
            digest=file_sha256(path),
            size=config.size + sum(blob.size for _, blob in layers),
            modified=datetime.fromtimestamp(path.stat().st_mtime, UTC),
            gguf=gguf,
            lora=lora,
            modelfile=Modelfile(
                from_=str(gguf),
                adapter=str(lora or ""),
                requires=details.get("requires", ""),
                **fields,
            ),
            config=details,
            annotations=manifest.annotations,
        )

    def read_manifest(self, name: str) -> bytes:
        """The bytes of a model's manifest.

        Raises:
            PublishError: there is no such model.
        """
        return self._existing(name).read_bytes()

    def annotations(self, name: str) -> Mapping[str, str]:
        """What the manifest of a model says of it; nothing where it is damaged.

        Raises:
            PublishError: there is no such model.
        """
        try:
            return self._parse(self._existing(name)).annotations
        except ValueError:
            return {}

    def list_models(self, model: str = "*") -> list[str]:
        """The names of all models, sorted.

        Args:
            model: only those whose name without tag is this.
        """
        return sorted(str(ModelName(*path.parts[-4:])) for path in self._manifests(model))

    def digest(self, name: str) -> str | None:
        """Digest of the manifest that `name` stands for (hex); None where there is none."""
        path = self._manifest_path(name)
        return file_sha256(path) if path.is_file() else None

    def tag(self, source: str, target: str) -> None:
        """Let `target` stand for the same model as `source`, in one rename.

        Raises:
            PublishError: there is no `source`.
        """
        self._write_manifest(self._manifest_path(target), self._existing(source).read_bytes())

    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(path.stat().st_size for path in (self.root / "blobs").glob("sha256-*"))

    def delete(self, name: str) -> None:
        """Take a name away; its blobs go with the next `collect_garbage` that finds them an hour
        old.

        Raises:
            PublishError: there is no such model.
        """
        path = self._existing(name)
        self._notes.set_manifest(path, None)
        path.unlink()
        for folder in path.parents[:3]:
            if any(folder.iterdir()):
                break
            folder.rmdir()

    def find_damage(self, name: str) -> str:
        """What is wrong with the manifest or a blob of a model, in words; empty where nothing is.

        A blob above 64 MiB is read when its time is another than when it was last read; `verify`
        reads all of them.
        """
        return next(self._damages(self._manifest_path(name), whole=False), "")

    def verify(self) -> list[str]:
        """What is wrong with the store, one sentence each: unreadable manifests, blobs missing or
        with other bytes.
        """
        return [
            f"{ModelName(*path.parts[-4:])}: {damage}"
            for path in self._manifests()
            for damage in self._damages(path, whole=True)
        ]

    def _damages(self, path: Path, whole: bool) -> Iterator[str]:
        try:
            manifest = self._parse(path)
        except ValueError as error:
            yield str(error)
            return
        noted = self._notes.manifest(path)
        if noted not in (None, file_sha256(path)):
            yield f"the manifest {path} has other bytes"
        for blob in map(self.blob, manifest.blobs):
            if not blob.path.is_file():
                yield f"{blob.path.name} is missing"
            elif not self._is_sound(blob, whole):
                yield f"{blob.path.name} has other bytes"

    def _is_sound(self, blob: Blob, whole: bool) -> bool:
        state = blob.path.stat()
        if state.st_size != blob.size:
            return False
        is_large = blob.size > LARGE
        if is_large and not whole and self._notes.time_read(blob.path) == state.st_mtime_ns:
            return True
        if f"sha256:{cached_sha256(blob.path)}" != blob.digest:
            return False
        if is_large:
            self._notes.set_time_read(blob.path)
        return True

    def collect_garbage(self, older_than: timedelta = timedelta(hours=1)) -> list[Path]:
        """Remove what an interrupted writer left, and blobs that this program wrote and no model
        needs; what was removed. The folder may be an Ollama's: other blobs and downloads stay.

        Younger files may belong to a writer at work. While a manifest is unreadable no blob is
        removed: it may be needed.
        """
        oldest = time.time() - older_than.total_seconds()
        doomed = [
            path
            for folder in ("blobs", "manifests")
            for path in (self.root / folder).glob(_TEMPORARY + "*")
        ]
        with suppress(ValueError):
            needed = set()
            for manifest in self._manifests():
                needed |= {self.blob(layer).path for layer in self._parse(manifest).blobs}
            ours = {self.root / "blobs" / name for name in self._notes.blobs()}
            doomed += [path for path in ours - needed if path.exists()]
        doomed = [path for path in doomed if path.stat().st_mtime < oldest]
        for path in doomed:
            path.unlink(missing_ok=True)
        return doomed

    def blob(self, layer: Layer) -> Blob:
        """Where a layer lies in this folder, if it is there."""
        return Blob(self._blob_path(layer.digest), layer.digest, layer.size)

    def _manifests(self, model: str = "*") -> Iterator[Path]:
        found = (self.root / "manifests").glob(f"*/*/{model}/*")
        return (path for path in found if path.is_file())

    def _manifest_path(self, name: str) -> Path:
        parsed = ModelName.parse(name)
        return self.root / "manifests" / parsed.host / parsed.namespace / parsed.model / parsed.tag

    def _existing(self, name: str) -> Path:
        path = self._manifest_path(name)
        if not path.is_file():
            raise PublishError(f"there is no model {name} in {self.root}")
        return path

    def _parse(self, path: Path) -> Manifest:
        """
        Raises:
            ValueError: it is not a manifest as Ollama writes them.
        """
        try:
            return parse_manifest(path.read_bytes())
        except (ValueError, OSError):
            raise ValueError(f"the manifest {path} is not readable") from None

    def _blob_path(self, digest: str) -> Path:
        return self.root / "blobs" / blob_name(digest)

    def _write_manifest(self, path: Path, manifest: bytes) -> None:
        if path.is_file() and path.read_bytes() == manifest:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.root / "manifests" / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            temporary.write_bytes(manifest)
            move_into_place(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
