"""Zip files with a manifest: the same content gives the same bytes, and they are read as a
stranger's.

The manifest says what the archive is, and size and SHA-256 of every file in it. A reader names the
files that it expects, unpacks one file at a time to a path of its own choice, and refuses an
archive with any other file, with links or folders, or with bytes that are not those of the
manifest. It reads no more of a file than the manifest states.
"""

import json
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stock_llm.errors import InputError
from stock_llm.storage.atomic import atomic_path
from stock_llm.storage.checksums import file_sha256

MANIFEST = "manifest.json"

LARGEST_MANIFEST = 16 << 20
"""Bytes; the loss curve of 100,000 steps needs 11 million."""

FORMAT = 1
"""Raised whenever an archive is written that an older version would read wrongly."""

CHUNK = 1 << 20


M = TypeVar("M", bound=BaseModel)


class FileEntry(BaseModel):
    """Size in bytes and SHA-256 of a file in an archive."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What an archive says of itself: `content` is what its kind needs beside the files."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int
    kind: str
    content: dict[str, Any]
    files: dict[str, FileEntry]


def write_archive(
    path: Path, kind: str, content: Mapping[str, Any], files: Mapping[str, Path]
) -> None:
    """Writes an archive beside `path` and puts it in place by one rename; the same content and
    files give the same bytes.

    Args:
        kind: what it is, such as "bundle".
        content: as JSON.
        files: name in the archive → the file.

    Raises:
        InputError: `path` is a folder.
    """
    if path.is_dir():
        raise InputError("this is a folder", file=path, remedy="Name a file to write")
    entries = {
        name: FileEntry(bytes=file.stat().st_size, sha256=file_sha256(file))
        for name, file in sorted(files.items())
    }
    manifest = Manifest(format=FORMAT, kind=kind, content=dict(content), files=entries)
    text = json.dumps(manifest.model_dump(), sort_keys=True, indent=1, ensure_ascii=False)
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(_entry(MANIFEST, len(text)), text.encode())
        for name in entries:
            with (
                files[name].open("rb") as source,
                archive.open(_entry(name, entries[name].bytes), "w") as target,
            ):
                while block := source.read(CHUNK):
                    target.write(block)


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    """A file without a date, readable by its owner; weights do not get smaller by compression."""
    entry = zipfile.ZipInfo(name)
    entry.file_size = size
    entry.external_attr = (stat.S_IFREG | 0o600) << 16
    entry.create_system = 3  # Unix
    weights = name.endswith(".safetensors")
    entry.compress_type = zipfile.ZIP_STORED if weights else zipfile.ZIP_DEFLATED
    return entry


@dataclass(frozen=True)
class Archive:
    """An open archive whose manifest fits its files; `extract` checks their bytes."""

    path: Path
    content: dict[str, Any]
    files: dict[str, FileEntry]
    _zip: zipfile.ZipFile

    def content_as(self, model: type[M], remedy: str = "") -> M:
        """The content of the manifest, checked.

        Args:
            remedy: what to do where it does not fit.

        Raises:
            InputError: it does not fit `model`.
        """
        try:
            return model.model_validate(self.content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(
                f"its manifest does not fit: {where}: {first['msg']}",
                file=self.path,
                remedy=remedy,
            ) from None

    def extract(self, name: str, target: Path) -> None:
        """Writes a file of the archive to `target`, whole and checked or not at all; one that is
        there and the same is left.

        Raises:
            InputError: its bytes are not those of the manifest.
        """
        if target.is_file() and file_sha256(target) == self.files[name].sha256:
            return
        with atomic_path(target) as temporary:
            with (
                _damage(self.path, name),
                self._zip.open(name) as source,
                temporary.open("wb") as out,
            ):
                _copy(source, out, self.files[name].bytes)
            if file_sha256(temporary) != self.files[name].sha256:
                raise InputError(f"{name} has other bytes than its manifest says", file=self.path)


def kind_of(path: Path) -> str:
    """What an archive says that it is.

    Raises:
        InputError: it is no archive of this program, or damaged.
    """
    with _opened(path) as archive:
        return _manifest(path, archive).kind


@contextmanager
def open_archive(path: Path, kind: str, expected: Callable[[str], bool]) -> Iterator[Archive]:
    """An archive of that kind.

    Args:
        expected: whether a file of this name may be in it.

    Raises:
        InputError: it is damaged, of another kind, or holds something that it may not.
    """
    with _opened(path) as archive:
        manifest = _manifest(path, archive)
        if manifest.kind != kind:
            raise InputError(f"this is no {kind} but {manifest.kind!r}", file=path)
        if manifest.format != FORMAT:
            raise InputError(
                f"it has format {manifest.format}, this program reads {FORMAT}",
                file=path,
                remedy="Install one version of this program on both machines",
            )
        for entry in archive.infolist():
            if entry.filename != MANIFEST and not expected(entry.filename):
                raise InputError(f"{entry.filename!r} does not belong into it", file=path)
        names = sorted(entry.filename for entry in archive.infolist())
        if names != sorted([MANIFEST, *manifest.files]):
            raise InputError("its files are not those of its manifest", file=path)
        for name, file in manifest.files.items():
            if archive.getinfo(name).file_size != file.bytes:
                raise InputError(f"{name} has another size than its manifest says", file=path)
        yield Archive(path, manifest.content, manifest.files, archive)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    if not path.is_file():
        raise InputError("there is no such file", file=path)
    with _damage(path, "the archive"):
        archive = zipfile.ZipFile(path)
    with archive:
        for entry in archive.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if not entry.filename or entry.is_dir() or kind not in (0, stat.S_IFREG):
                raise InputError(f"{entry.filename!r} is no plain file", file=path)
            if entry.flag_bits & 1:
                raise InputError(f"{entry.filename!r} is encrypted", file=path)
        yield archive


def _manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    if MANIFEST not in archive.namelist():
        raise InputError("this is no archive of `stock-llm finetune`", file=path)
    with _damage(path, MANIFEST):
        with archive.open(MANIFEST) as stream:
            text = stream.read(LARGEST_MANIFEST + 1)
        if len(text) > LARGEST_MANIFEST:
            raise InputError(f"{MANIFEST} is larger than {LARGEST_MANIFEST >> 20} MiB", file=path)
        return Manifest.model_validate_json(text)


def _copy(source: IO[bytes], out: IO[bytes], size: int) -> None:
    """Copies `size` bytes; one more is enough to know that there are too many."""
    left = size + 1
    while left and (block := source.read(min(CHUNK, left))):
        out.write(block)
        left -= len(block)


@contextmanager
def _damage(path: Path, what: str) -> Iterator[None]:
    """What Python says of a damaged archive, as one line."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{what} is damaged: {where}: {first['msg']}", file=path) from None
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,  # a compression that this Python does not know
        RuntimeError,
        UnicodeDecodeError,
        ValueError,
    ) as error:
        raise InputError(
            f"{what} is damaged: {error}", file=path, remedy="Copy or make it again"
        ) from None
