"""The secrets of this machine: the salt that ids are hashed with, and the key that signs
what the gateway hands out.

Both lie outside the project, in a folder that its owner alone can read, and are made when they are
first needed.
"""

import hmac
import os
import secrets
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from stock_llm.errors import InputError

_BYTES = 32


def account_hash(account: str, folder: Path) -> str:
    """HMAC-SHA256 of the id of an account or a trade under this machine's salt, 64 bits of it in
    hex; empty for an empty id.

    Args:
        folder: where the secrets are, `Settings.secrets`.

    Raises:
        InputError: the salt was emptied or cut off.
    """
    if not account:
        return ""
    return hmac.digest(_read(folder / "salt"), account.encode(), "sha256").hex()[:16]


def signing_key(folder: Path) -> bytes:
    """The key with which this machine signs texts that it will be shown again.

    Raises:
        InputError: the key was emptied or cut off.
    """
    return _read(folder / "signing-key")


def _read(path: Path) -> bytes:
    try:
        state = path.stat()
    except FileNotFoundError:
        _create(path)
        state = path.stat()
    return _read_once(path, state.st_ino, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _read_once(path: Path, *_state: int) -> bytes:
    secret = path.read_bytes()
    if len(secret) != _BYTES or not any(secret):
        raise InputError(
            f"a secret of {_BYTES} random bytes is damaged: it has {len(secret)}",
            file=path,
            remedy="Restore it from a backup; if there is none, delete the file: a new one is "
            "made, and account ids and signatures made with the old one are no longer recognized",
        )
    return secret


def _create(path: Path) -> None:
    """Makes a secret once: of two processes that do so together, the first to link wins and both
    read its bytes.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    handle, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
    with os.fdopen(handle, "wb") as stream:
        stream.write(secrets.token_bytes(_BYTES))
        stream.flush()
        os.fsync(stream.fileno())
    with suppress(FileExistsError):
        os.link(name, path)
    Path(name).unlink()
