"""What must not leave this machine in clear, and the keys that make it so: the salt of account ids, the key of signatures.

In: an account id. Out: 16 hex digits that are the same on this machine only. Salt and key lie outside the project, readable by
their owner alone. Does not know what is done with a hash, nor what is signed.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

from stock_llm.settings import Settings

_SALT = "salt"
_SIGNING_KEY = "signing-key"


def account_hash(account: str, settings: Settings) -> str:
    """HMAC-SHA256 of an account id under this machine's salt, 64 bits of it in hex; empty for an empty id."""
    if not account:
        return ""
    return hmac.new(
        _secret(settings.secrets / _SALT), account.encode(), hashlib.sha256
    ).hexdigest()[:16]


def signing_key(settings: Settings) -> bytes:
    """The key with which this machine signs what it will be shown again."""
    return _secret(settings.secrets / _SIGNING_KEY)


def _secret(path: Path) -> bytes:
    if not path.exists():
        _create(path)
    return path.read_bytes()


def _create(path: Path) -> None:
    """Whole or not at all, and once: of two that do this together, the first to link wins and both read its bytes."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    handle, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
    with os.fdopen(handle, "wb") as stream:
        stream.write(secrets.token_bytes(32))
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        Path(name).unlink()
