"""SHA-256 of values and files, and files that carry checksums to be checked when they are read."""

import hashlib
import json
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from stock_llm.storage.atomic import atomic_path, atomic_write

LARGE = 64 << 20
"""Bytes above which a file counts as unchanged while it has the size and the time that were
recorded.
"""


def digest_of(**parts: Any) -> str:
    """First 16 hex digits of the SHA-256 over `parts` as canonical JSON (64 bits: ample for one
    user's artifacts).
    """
    return _json_sha256(parts)[:16]


def _json_sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def model_sha256(gguf: Path, lora: Path | None = None) -> str:
    """What a model is told by, in hex: SHA-256 of its GGUF; where an adapter is served beside it,
    of both digests.
    """
    weights = file_sha256(gguf)
    return (
        hashlib.sha256(f"{weights} {file_sha256(lora)}".encode()).hexdigest() if lora else weights
    )


def cached_sha256(path: Path) -> str:
    """The same, computed once in a process while the file is not written to."""
    state = path.stat()
    return _sha256_of_state(path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@lru_cache(maxsize=256)
def _sha256_of_state(path: Path, *_state: int) -> str:
    return file_sha256(path)


def files_sha256(paths: Iterable[Path], root: Path) -> str:
    """One SHA-256 over the names (relative to `root`) and bytes of several files, whatever order
    they come in.
    """
    lines = (f"{path.relative_to(root).as_posix()}\0{file_sha256(path)}\n" for path in paths)
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def write_checksums(file: Path) -> None:
    """Records size, time and SHA-256 of all other files in the folder of `file` and below."""
    recorded = {}
    for path in sorted(file.parent.rglob("*")):
        if path.is_file() and path != file:
            state = path.stat()
            recorded[path.relative_to(file.parent).as_posix()] = {
                "sha256": file_sha256(path),
                "bytes": state.st_size,
                "modified_ns": state.st_mtime_ns,
            }
    atomic_write(file, json.dumps(recorded, indent=1))


def find_damage(file: Path, whole: bool = False) -> str:
    """What is wrong with the files that `write_checksums` recorded in `file`, in words; empty where
    nothing is.

    Args:
        whole: read large files too, though they have the size and the time that were recorded.
    """
    try:
        for name, known in json.loads(file.read_bytes()).items():
            path = file.parent / name
            if not path.is_file():
                return f"{name} is missing"
            state = path.stat()
            if state.st_size != known["bytes"]:
                return f"{name} has {state.st_size} bytes, not {known['bytes']}"
            untouched = (
                state.st_size > LARGE and state.st_mtime_ns == known["modified_ns"] and not whole
            )
            if not untouched and file_sha256(path) != known["sha256"]:
                return f"{name} has other bytes"
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return f"{file.name} cannot be read"
    return ""


def write_record(path: Path, values: dict[str, Any], *, durable: bool = True) -> None:
    """Write `values` as JSON that carries its own SHA-256.

    Args:
        durable: as for `atomic_path`.
    """
    record = {"sha256": _json_sha256(values), **values}
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False), "utf-8")


def read_record(path: Path) -> dict[str, Any] | None:
    """What `write_record` wrote; None where there is nothing, or where it is damaged, which is said
    in one line.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        if values.pop("sha256") == _json_sha256(values):
            return values
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    print(f"{path} is damaged: it is not used", file=sys.stderr)
    return None
