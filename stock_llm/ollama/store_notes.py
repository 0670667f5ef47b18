"""What this program notes about a folder in Ollama's format, in a file that Ollama ignores.

Which blobs it wrote, so that it removes no others; which manifests are not to be changed any more,
with their digests; and the times that large blobs had when they were read whole.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        if self.manifest(path) != digest:
            known = {
                name: old for name, old in self._read(_MANIFESTS).items() if name != _name(path)
            }
            self._write(_MANIFESTS, known | ({_name(path): digest} if digest else {}))

    def blobs(self) -> list[str]:
        """Names of the blobs that this program wrote."""
        return list(self._read(_BLOBS))

    def add_blob(self, path: Path) -> None:
        """Note that this program writes a blob; before it does."""
        known = self._read(_BLOBS)
        if path.name not in known:
            there = {name: 1 for name in known if path.with_name(name).exists()}
            self._write(_BLOBS, there | {path.name: 1})

    def time_read(self, path: Path) -> int | None:
        """Time of modification (ns) that a blob had when it was read whole."""
        return self._read(_TIMES).get(path.name)

    def set_time_read(self, path: Path) -> None:
        """Note that a blob was read whole, where the folder may be written to."""
        with suppress(OSError):
            there = {
                name: time
                for name, time in self._read(_TIMES).items()
                if path.with_name(name).exists()
            }
            self._write(_TIMES, there | {path.name: path.stat().st_mtime_ns}, durable=False)

    def _read(self, part: str) -> dict[str, Any]:
        return (read_record(self.root / FILE) or {}).get(part, {})

    def _write(self, part: str, values: dict[str, Any], durable: bool = True) -> None:
        notes = read_record(self.root / FILE) or {}
        write_record(self.root / FILE, notes | {part: values}, durable=durable)


def _name(manifest: Path) -> str:
    return "/".join(manifest.parts[-4:])
