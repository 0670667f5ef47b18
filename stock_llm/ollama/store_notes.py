"""What this program notes about a folder in Ollama's format, in a file that Ollama ignores.

Which blobs it wrote, so that it removes no others; which manifests are not to be changed any more,
with their digests; and the times that large blobs had when they were read whole.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from stock_llm.storage.checksums import read_record, write_record

FILE = "stock-llm.json"
_MANIFESTS, _BLOBS, _TIMES = "manifests", "blobs", "modified_ns"


@dataclass(frozen=True)
class StoreNotes:
    """The notes about the folder `root`."""

    root: Path

    def manifest(self, path: Path) -> str | None:
        """Digest of a manifest that is not to be changed any more (hex); None where it may be."""
        return self._read(_MANIFESTS).get(_name(path))

    def set_manifest(self, path: Path, digest: str | None) -> None:
        """Note the digest of a manifest for good, or that it may be changed.

        A manifest's own digest stands nowhere else, and its annotations are in no blob.
        """
        name, own = _name(path), {_name(path): digest} if digest else {}
        if self.manifest(path) != digest:
            self._change(
                _MANIFESTS, lambda known: {key: known[key] for key in known if key != name} | own
            )

    def blobs(self) -> list[str]:
        """Names of the blobs that this program wrote."""
        return list(self._read(_BLOBS))

    def add_blob(self, path: Path) -> None:
        """Note that this program writes a blob; before it does."""
        if path.name not in self._read(_BLOBS):
            self._change(
                _BLOBS,
                lambda known: (
                    {name: 1 for name in known if path.with_name(name).exists()} | {path.name: 1}
                ),
            )

    def time_read(self, path: Path) -> int | None:
        """Time of modification (ns) that a blob had when it was read whole."""
        return self._read(_TIMES).get(path.name)

    def set_time_read(self, path: Path) -> None:
        """Note that a blob was read whole, where the folder may be written to."""
        with suppress(OSError):
            time = path.stat().st_mtime_ns
            self._change(
                _TIMES,
                lambda known: (
                    {name: old for name, old in known.items() if path.with_name(name).exists()}
                    | {path.name: time}
                ),
                durable=False,
            )

    def _read(self, part: str) -> dict[str, Any]:
        return (read_record(self.root / FILE) or {}).get(part, {})

    def _change(
        self,
        part: str,
        change: Callable[[dict[str, Any]], dict[str, Any]],
        durable: bool = True,
    ) -> None:
        """Write a part anew; the gateway may note a time while a version is published."""
        with FileLock(self.root / f".{FILE}.lock"):
            notes = read_record(self.root / FILE) or {}
            notes[part] = change(notes.get(part, {}))
            write_record(self.root / FILE, notes, durable=durable)


def _name(manifest: Path) -> str:
    return "/".join(manifest.parts[-4:])
