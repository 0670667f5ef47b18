"""Ollama's on-disk store: models as content-addressed blobs and small manifests, written so that a server may be running.

    blobs/sha256-<64 hex>                         every layer, under the SHA-256 of its bytes
    manifests/<host>/<namespace>/<model>/<tag>    JSON: which layers make up the model

In: a GGUF and a `Modelfile`. Out: the same files that `ollama create` writes, byte for byte, and the model read back from them.
Format: ollama/ollama manifest/, server/create.go, types/model/name.go. Everything is written under a temporary name, flushed
and renamed; temporary manifests lie directly under manifests/, because in a model's folder Ollama takes them for broken models
and stops pruning. Does not know MLflow, settings, or which version is the best.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stock_llm.errors import PublishError
from stock_llm.ollama.config_layer import build_config_layer
from stock_llm.ollama.model_name import ModelName
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.storage.atomic import move_into_place
from stock_llm.storage.checksums import file_sha256

_LAYER_TYPE = "application/vnd.ollama.image."
_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_TEMPORARY = ".tmp-"
_FICLONE = 0x40049409  # linux/fs.h: a copy that shares the blocks until one side is written


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
        modelfile: what it was made with; FROM is the path of `gguf`.
        config: what Ollama lists about the weights, see `ollama_config`.
    """

    name: str
    digest: str
    size: int
    modified: datetime
    gguf: Path
    modelfile: Modelfile
    config: Mapping[str, Any]


@dataclass(frozen=True)
class OllamaStore:
    """The folder that Ollama calls OLLAMA_MODELS."""

    root: Path

    def put_blob(self, source: Path | bytes) -> Blob:
        """Bring a file or bytes into the store; a blob that is there and sound is reused.

        A file is cloned where the file system can, else hard-linked, else copied: it must not be written to afterwards.
        """
        blobs = self.root / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            digest, size = hashlib.sha256(source).hexdigest(), len(source)
        else:
            digest, size = file_sha256(source), source.stat().st_size
        final = blobs / f"sha256-{digest}"
        if not (final.exists() and final.stat().st_size == size and file_sha256(final) == digest):
            temporary = blobs / f"{_TEMPORARY}{secrets.token_hex(8)}"
            try:
                if isinstance(source, bytes):
                    temporary.write_bytes(source)
                else:
                    _share(source, temporary)
                    if file_sha256(temporary) != digest:
                        raise PublishError(
                            f"{source} changed while it was being published. Publish again"
                        )
                move_into_place(temporary, final)
            finally:
                temporary.unlink(missing_ok=True)
        os.utime(final)  # the prunings, Ollama's and ours, spare what is younger than an hour
        return Blob(final, f"sha256:{digest}", size)

    def write_model(
        self, name: str, gguf: Path, modelfile: Modelfile, *, replace: bool = True
    ) -> str:
        """Publish a model under `name`; the digest of its manifest (hex). The same model again changes nothing.

        Args:
            gguf: the weights; `modelfile.from_` is not looked at.
            replace: False: refuse where `name` is another model.

        Raises:
            InputError: not a name; not a GGUF.
            PublishError: refused, see `replace`.
        """
        path = self._manifest_path(name)
        parts: list[tuple[str, Path | bytes]] = [("model", gguf)]
        parts += [("template", modelfile.template.encode())] if modelfile.template else []
        parts += [("system", modelfile.system.encode())] if modelfile.system else []
        parts += [("license", text.encode()) for text in modelfile.license]
        parts += (
            [("params", _go_json(dict(sorted(modelfile.parameters.items()))))]
            if modelfile.parameters
            else []
        )
        spoken = [{"role": role, "content": content} for role, content in modelfile.messages]
        parts += [("messages", _go_json(spoken))] if spoken else []
        config = self.put_blob(_go_json(build_config_layer(gguf, modelfile.requires)))
        manifest = manifest_of(config, [(kind, self.put_blob(source)) for kind, source in parts])
        if not replace and path.exists() and path.read_bytes() != manifest:
            raise PublishError(
                f"{name} exists in {self.root} and is another model; a version is never overwritten. Train a new one"
            )
        self._write_manifest(path, manifest)
        return hashlib.sha256(manifest).hexdigest()

    def read_model(self, name: str) -> StoredModel:
        """
        Raises:
            PublishError: there is no such model, or it has layers that are not known here (adapters, projectors).
        """
        path = self._manifest_path(name)
        if not path.is_file():
            raise PublishError(f"there is no model {name} in {self.root}")
        manifest = json.loads(path.read_bytes())
        gguf, fields = None, dict[str, Any](license=())
        for layer in manifest["layers"]:
            blob, kind = (
                self._blob_path(layer["digest"]),
                layer["mediaType"].removeprefix(_LAYER_TYPE),
            )
            if kind == "model":
                gguf = blob
            elif kind in ("template", "system"):
                fields[kind] = blob.read_bytes().decode()
            elif kind == "license":
                fields[kind] += (blob.read_bytes().decode(),)
            elif kind == "params":
                read = json.loads(blob.read_bytes())
                fields["parameters"] = {
                    key: tuple(one) if isinstance(one, list) else one for key, one in read.items()
                }
            elif kind == "messages":
                fields[kind] = tuple(
                    (one["role"], one["content"]) for one in json.loads(blob.read_bytes())
                )
            else:
                raise PublishError(
                    f"{name} in {self.root} has a layer that is not known here: {layer['mediaType']}"
                )
        if gguf is None:
            raise PublishError(f"{name} in {self.root} has no weights")
        config = json.loads(self._blob_path(manifest["config"]["digest"]).read_bytes())
        fields["requires"] = config.get("requires", "")
        return StoredModel(
            name=str(ModelName.parse(name)),
            digest=file_sha256(path),
            size=sum(layer["size"] for layer in [manifest["config"], *manifest["layers"]]),
            modified=datetime.fromtimestamp(path.stat().st_mtime, UTC),
            gguf=gguf,
            modelfile=Modelfile(from_=str(gguf), **fields),
            config=config,
        )

    def list_models(self) -> list[str]:
        """The names of all models, sorted."""
        return sorted(str(ModelName(*path.parts[-4:])) for path in self._manifests())

    def digest(self, name: str) -> str | None:
        """Digest of the manifest that `name` stands for (hex); None where there is none."""
        path = self._manifest_path(name)
        return file_sha256(path) if path.is_file() else None

    def tag(self, source: str, target: str) -> None:
        """Let `target` stand for the same model as `source`, in one rename.

        Raises:
            PublishError: there is no `source`.
        """
        path = self._manifest_path(source)
        if not path.is_file():
            raise PublishError(f"there is no model {source} in {self.root}")
        self._write_manifest(self._manifest_path(target), path.read_bytes())

    def delete(self, name: str) -> None:
        """Take a name away; its blobs go with the next `collect_garbage` that finds them an hour old.

        Raises:
            PublishError: there is no such model.
        """
        path = self._manifest_path(name)
        if not path.is_file():
            raise PublishError(f"there is no model {name} in {self.root}")
        path.unlink()
        for folder in path.parents[:3]:
            if any(folder.iterdir()):
                break
            folder.rmdir()

    def verify(self) -> list[str]:
        """What is wrong with the store, one sentence each: unreadable manifests, blobs missing or with other bytes."""
        problems = []
        sound: dict[str, str] = {}
        for path in self._manifests():
            name = ModelName(*path.parts[-4:])
            try:
                digests = _digests(path)
            except (ValueError, KeyError, TypeError):
                problems.append(f"{name}: the manifest {path} is not readable")
                continue
            for digest in digests:
                blob = self._blob_path(digest)
                if digest not in sound:
                    sound[digest] = file_sha256(blob) if blob.is_file() else ""
                if f"sha256:{sound[digest]}" != digest:
                    problems.append(
                        f"{name}: {blob.name} {'has other bytes' if sound[digest] else 'is missing'}"
                    )
        return problems

    def collect_garbage(self, older_than: timedelta = timedelta(hours=1)) -> list[Path]:
        """Remove what an interrupted writer left, and blobs that no model needs; what was removed.

        Younger files may belong to a writer at work. While a manifest is unreadable no blob is removed: it may be needed.
        """
        oldest = time.time() - older_than.total_seconds()
        doomed = [
            path
            for folder in ("blobs", "manifests")
            for path in (self.root / folder).glob(_TEMPORARY + "*")
        ]
        try:
            needed = {
                digest.replace(":", "-") for path in self._manifests() for digest in _digests(path)
            }
        except (ValueError, KeyError, TypeError):
            needed = None
        if needed is not None:
            doomed += [
                path for path in (self.root / "blobs").glob("sha256-*") if path.name not in needed
            ]
        doomed = [path for path in doomed if path.stat().st_mtime < oldest]
        for path in doomed:
            path.unlink(missing_ok=True)
        return doomed

    def _manifests(self) -> Iterator[Path]:
        return (path for path in (self.root / "manifests").glob("*/*/*/*") if path.is_file())

    def _manifest_path(self, name: str) -> Path:
        parsed = ModelName.parse(name)
        return self.root / "manifests" / parsed.host / parsed.namespace / parsed.model / parsed.tag

    def _blob_path(self, digest: str) -> Path:
        return self.root / "blobs" / digest.replace(":", "-")

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


def manifest_of(config: Blob, layers: Sequence[tuple[str, Blob]]) -> bytes:
    """The manifest of a model: its config and its layers, (kind, blob) in Ollama's order."""
    return _go_json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST_TYPE,
            "config": {"mediaType": _CONFIG_TYPE, "digest": config.digest, "size": config.size},
            "layers": [
                {"mediaType": _LAYER_TYPE + kind, "digest": blob.digest, "size": blob.size}
                for kind, blob in layers
            ],
        }
    )


def _share(source: Path, target: Path) -> None:
    """The same bytes under another name, in the cheapest way that the file system has."""
    with source.open("rb") as old, target.open("xb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
            return
        except OSError:
            pass  # another file system, or one that cannot clone
    target.unlink()
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _digests(manifest: Path) -> list[str]:
    read = json.loads(manifest.read_bytes())
    return [layer["digest"] for layer in [read["config"], *read["layers"]]]


def _go_json(value: Any) -> bytes:
    """JSON as Go's encoder writes it: compact, `< > &` escaped, whole numbers without a point, a newline at the end."""
    if isinstance(value, dict):
        value = {
            key: int(one) if isinstance(one, float) and one.is_integer() else one
            for key, one in value.items()
        }
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text.encode() + b"\n"
