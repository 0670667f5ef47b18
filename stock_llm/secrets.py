"""What must not leave this machine in clear: account ids become salted hashes.

In: an account id. Out: 16 hex digits that are the same on this machine only. The salt lies outside the project, readable by its
owner alone. Does not know what is done with a hash.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

from stock_llm.settings import Settings

_SALT = "salt"


def account_hash(account: str, settings: Settings) -> str:
    """HMAC-SHA256 of an account id under this machine's salt, 64 bits of it in hex; empty for an empty id."""
    if not account:
        return ""
    return hmac.new(_salt(settings.secrets), account.encode(), hashlib.sha256).hexdigest()[:16]


def _salt(folder: Path) -> bytes:
    path = folder / _SALT
    if not path.exists():
        _create(path)
    return path.read_bytes()


def _create(path: Path) -> None:
    """Whole or not at all, and once: of two that do this together, the first to link wins and both read its salt."""
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
