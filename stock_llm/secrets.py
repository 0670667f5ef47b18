"""Keys of this machine: the salt of account ids and the key of signatures.

Both lie outside the project in a folder of their own (`settings.secrets`), readable by their owner
alone, and are made at the first use.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

from stock_llm.errors import InputError

_SALT = "salt"
_SIGNING_KEY = "signing-key"
_BYTES = 32

_LOST = {
    _SALT: "rows that hide an account or an id then stand for none of yours",
    _SIGNING_KEY: "response ids that were signed before are then refused",
}
"""What a new key means for what was made with the old one."""


def account_hash(account: str, folder: Path) -> str:
    """64 bits in hex of the HMAC-SHA256 of an account id under the salt; empty for an empty id.

    Raises:
        InputError: the salt in `folder` is damaged.
    """
    if not account:
        return ""
    return hmac.new(_key(folder / _SALT), account.encode(), hashlib.sha256).hexdigest()[:16]


def signing_key(folder: Path) -> bytes:
    """The key with which this machine signs what it has to recognize later.

    Raises:
        InputError: the key in `folder` is damaged.
    """
    return _key(folder / _SIGNING_KEY)


def _key(path: Path) -> bytes:
    if not path.exists():
        _create(path)
    key = path.read_bytes()
    if len(key) != _BYTES or len(set(key)) < _BYTES // 4:
        raise InputError(
            f"the {path.name} is damaged: {len(key)} bytes, not {_BYTES} random ones",
            file=path,
            remedy=f"Restore it from a backup, or delete it for a new one ({_LOST[path.name]})",
        )
    return key


def _create(path: Path) -> None:
    """Makes a key, whole or not at all; of two processes the first to link wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    handle, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
    with os.fdopen(handle, "wb") as stream:
        stream.write(secrets.token_bytes(_BYTES))
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        Path(name).unlink()
