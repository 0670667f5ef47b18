"""Atomic writes: a reader sees the old file or the new one, whatever ends the writer."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def atomic_write(path: Path, content: bytes | str) -> None:
    """Replace the content of `path`, text as UTF-8; missing folders are made."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; at the end of the block it becomes `path`.

    After an error, nothing was replaced and the temporary file is gone. A killed process leaves
    `.NAME.….tmp`.

    Args:
        durable: False does not wait for the disk, for files that are checked when they are read and
            can be made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}.tmp")
    try:
        yield temporary
        if durable:
            move_into_place(temporary, path)
        else:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_abandoned(temporary: Path) -> bool:
    """Whether the process that wrote to a path of `atomic_path` is gone."""
    found = re.search(r"\.(\d+)-[0-9a-f]+\.tmp$", temporary.name)
    if not found:
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except (OverflowError, PermissionError):  # another user's, which lives
        return False
    return False


def make_private(folder: Path) -> None:
    """Make a folder that its owner alone can read; one that is there becomes so."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def move_into_place(temporary: Path, path: Path) -> None:
    """Flush a finished file or folder to the disk, rename it to `path`, then flush its parent."""
    for inner in sorted(temporary.rglob("*"), reverse=True):
        _flush(inner)
    _flush(temporary)
    temporary.replace(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    """Wait until a file's bytes, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
