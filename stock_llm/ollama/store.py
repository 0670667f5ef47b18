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

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
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
from stock_llm.ollama.model_name import ModelName
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.storage.atomic import move_into_place
from stock_llm.storage.checksums import (
    LARGE,
    cached_sha256,
    file_sha256,
    read_record,
    write_record,
)

_LAYER_TYPE = "application/vnd.ollama.image."
_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_TEMPORARY = ".tmp-"
_LAST_READ = "stock-llm.json"
"""Large blobs and the times that they had when they were read whole; Ollama does not look at it."""
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
        blob = Blob(final, f"sha256:{digest}", size)
        self._note_read(blob)
        return blob

    def write_model(
        self, name: str, gguf: Path, modelfile: Modelfile, *, replace: bool = True
    ) -> str:
        """Publish a model under `name`; the digest of its manifest (hex). The same model again
        changes nothing.

        Args:
            gguf: the weights; `modelfile.from_` is not looked at.
            replace: False: refuse where `name` is another model.

        Raises:
            InputError: not a name; not a GGUF.
            PublishError: refused, see `replace`.
        """
        path = self._manifest_path(name)
        turns = [{"role": role, "content": content} for role, content in modelfile.messages]
        parameters = dict(sorted(modelfile.parameters.items()))
        parts: list[tuple[str, Path | bytes]] = [
            ("model", gguf),
            ("template", modelfile.template.encode()),
            ("system", modelfile.system.encode()),
            *(("license", text.encode()) for text in modelfile.license),
            ("params", _go_json(parameters) if parameters else b""),
            ("messages", _go_json(turns) if turns else b""),
        ]
        config = self.put_blob(_go_json(build_config_layer(gguf, modelfile.requires)))
        layers = [(kind, self.put_blob(source)) for kind, source in parts if source]
        manifest = manifest_of(config, layers)
        if not replace and path.exists() and path.read_bytes() != manifest:
            if not (damage := self.find_damage(name)):
                raise PublishError(
                    f"{name} exists in {self.root} and is another model; "
                    "a version is never overwritten. Train a new one"
                )
            print(f"{name} was damaged ({damage}): written again", file=sys.stderr)
        self._write_manifest(path, manifest)
        return hashlib.sha256(manifest).hexdigest()

    def read_model(self, name: str) -> StoredModel:
        """The model of this name.

        Raises:
            PublishError: there is no such model, it is damaged, or it has layers that are not
                supported (adapters, projectors).
        """
        path = self._existing(name)
        if damage := self.find_damage(name):
            raise PublishError(
                f"{name} in {self.root} is damaged: {damage}. Publish it again: stock-llm run"
            )
        config, layers = self._parse(path)
        gguf, fields = None, dict[str, Any](license=())
        for kind, blob in layers:
            if kind == "model":
                gguf = blob.path
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
        if gguf is None:
            raise PublishError(f"{name} in {self.root} has no weights")
        details = json.loads(config.path.read_bytes())
        return StoredModel(
            name=str(ModelName.parse(name)),
            digest=file_sha256(path),
            size=config.size + sum(blob.size for _, blob in layers),
            modified=datetime.fromtimestamp(path.stat().st_mtime, UTC),
            gguf=gguf,
            modelfile=Modelfile(from_=str(gguf), requires=details.get("requires", ""), **fields),
            config=details,
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
        self._write_manifest(self._manifest_path(target), self._existing(source).read_bytes())

    def delete(self, name: str) -> None:
        """Take a name away; its blobs go with the next `collect_garbage` that finds them an hour
        old.

        Raises:
            PublishError: there is no such model.
        """
        path = self._existing(name)
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
            config, layers = self._parse(path)
        except ValueError as error:
            yield str(error)
            return
        for blob in [config, *(blob for _, blob in layers)]:
            if not blob.path.is_file():
                yield f"{blob.path.name} is missing"
            elif not self._is_sound(blob, whole):
                yield f"{blob.path.name} has other bytes"

    def _is_sound(self, blob: Blob, whole: bool) -> bool:
        state = blob.path.stat()
        if state.st_size != blob.size:
            return False
        known = self._last_read().get(blob.digest) if blob.size > LARGE and not whole else None
        if known == state.st_mtime_ns:
            return True
        if f"sha256:{cached_sha256(blob.path)}" != blob.digest:
            return False
        self._note_read(blob)
        return True

    def _last_read(self) -> dict[str, int]:
        return (read_record(self.root / _LAST_READ) or {}).get("modified_ns", {})

    def _note_read(self, blob: Blob) -> None:
        """Note the time of a large blob that was read whole, where the store may be written to."""
        if blob.size <= LARGE:
            return
        known = {
            digest: modified
            for digest, modified in self._last_read().items()
            if self._blob_path(digest).exists()
        }
        values = {"modified_ns": known | {blob.digest: blob.path.stat().st_mtime_ns}}
        with suppress(OSError):
            write_record(self.root / _LAST_READ, values, durable=False)

    def collect_garbage(self, older_than: timedelta = timedelta(hours=1)) -> list[Path]:
        """Remove what an interrupted writer left, and blobs that no model needs; what was removed.

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
                config, layers = self._parse(manifest)
                needed |= {config.path, *(blob.path for _, blob in layers)}
            doomed += set((self.root / "blobs").glob("sha256-*")) - needed
        doomed = [path for path in doomed if path.stat().st_mtime < oldest]
        for path in doomed:
            path.unlink(missing_ok=True)
        return doomed

    def _manifests(self) -> Iterator[Path]:
        return (path for path in (self.root / "manifests").glob("*/*/*/*") if path.is_file())

    def _manifest_path(self, name: str) -> Path:
        parsed = ModelName.parse(name)
        return self.root / "manifests" / parsed.host / parsed.namespace / parsed.model / parsed.tag

    def _existing(self, name: str) -> Path:
        path = self._manifest_path(name)
        if not path.is_file():
            raise PublishError(f"there is no model {name} in {self.root}")
        return path

    def _parse(self, path: Path) -> tuple[Blob, list[tuple[str, Blob]]]:
        """Config and layers, (kind, blob), of a manifest.

        Raises:
            ValueError: it is not a manifest as Ollama writes them.
        """
        try:
            manifest = json.loads(path.read_bytes())
            config, *layers = (
                (
                    part["mediaType"],
                    Blob(self._blob_path(part["digest"]), part["digest"], part["size"]),
                )
                for part in [manifest["config"], *manifest["layers"]]
            )
            expected = (manifest["schemaVersion"], manifest["mediaType"], config[0])
            if expected != (2, _MANIFEST_TYPE, _CONFIG_TYPE):
                raise ValueError(expected)
            if not all(kind.startswith(_LAYER_TYPE) for kind, _ in layers):
                raise ValueError(layers)
        except (ValueError, LookupError, TypeError, AttributeError, OSError):
            raise ValueError(f"the manifest {path} is not readable") from None
        return config[1], [(kind.removeprefix(_LAYER_TYPE), blob) for kind, blob in layers]

    def _blob_path(self, digest: str) -> Path:
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise ValueError(digest)
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


def _go_json(value: Any) -> bytes:
    """JSON as Go's encoder writes it: compact, `< > &` escaped, whole numbers without a point, a
    newline at the end.
    """
    if isinstance(value, dict):
        value = {
            key: int(item) if isinstance(item, float) and item.is_integer() else item
            for key, item in value.items()
        }
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text.encode() + b"\n"
