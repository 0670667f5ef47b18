"""The keys of those who may pull published versions from other machines.

A text file with the secrets, a line for each as in SSH's authorized_keys: `ssh-ed25519 AAAA… NAME`.
A key is that of an Ollama server: the content of ~/.ollama/id_ed25519.pub of the user that runs it.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stock_llm.errors import InputError, MissingExtra
from stock_llm.storage.atomic import atomic_path, make_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FILE = "consumers"
_TYPE = "ssh-ed25519"
_NAME = re.compile(r"[\w.@-]{1,80}")


@dataclass(frozen=True)
class Consumer:
    """Somebody who may pull: `blob` is their public key as SSH writes it, in base64."""

    name: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it, without `SHA256:`."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return base64.b64encode(digest).decode().rstrip("=")

    def verifies(self, signature: bytes, text: bytes) -> bool:
        """Whether the key signed a text."""
        from cryptography.exceptions import InvalidSignature

        try:
            _load(self.blob).verify(signature, text)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class ConsumerKeys:
    """The file of keys.

    Args:
        file: need not be there.
    """

    file: Path

    def all(self) -> list[Consumer]:
        """Everybody, in the order of the file.

        Raises:
            InputError: a line is no key.
        """
        return [
            self._parse(line, row)
            for row, line in enumerate(self._lines(), start=1)
            if _names_a_key(line)
        ]

    def add(self, name: str, key: str) -> Consumer:
        """Let somebody in.

        Args:
            key: `ssh-ed25519 AAAA…`, with or without a comment.

        Raises:
            InputError: no such key, or name or key are there already.
        """
        known = self.all()
        consumer = self._parse(" ".join([*key.split()[:2], name]), None)
        for other in known:
            if other == consumer:
                return other
            if other.name == name or other.blob == consumer.blob:
                raise InputError(
                    f"{other.name} has the key {other.fingerprint}",
                    file=self.file,
                    remedy=f"Remove it first: stock-llm consumers remove {other.name}",
                )
        self._write([*self._lines(), f"{_TYPE} {consumer.blob} {consumer.name}"])
        return consumer

    def remove(self, name: str) -> None:
        """Let somebody in no more; what they pulled stays theirs.

        Raises:
            InputError: there is nobody of this name.
        """
        known = self.all()
        if name not in {item.name for item in known}:
            names = ", ".join(item.name for item in known) or "nobody"
            raise InputError(
                f"there is no consumer {name!r}", file=self.file, remedy=f"There is: {names}"
            )
        self._write(
            line
            for row, line in enumerate(self._lines(), start=1)
            if not _names_a_key(line) or self._parse(line, row).name != name
        )

    def _lines(self) -> list[str]:
        """The lines of the file, comments too."""
        try:
            return self.file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []

    def _write(self, lines: Iterable[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        make_private(self.file.parent)
        with atomic_path(self.file) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(text, encoding="utf-8")

    def _parse(self, line: str, row: int | None) -> Consumer:
        kind, _, rest = line.strip().partition(" ")
        blob, _, name = rest.strip().partition(" ")
        remedy = "Write the content of ~/.ollama/id_ed25519.pub of the user that runs that Ollama"
        where = {"file": self.file, "row": row} if row else {}
        if kind != _TYPE:
            raise InputError(f"{line[:40]!r} is no {_TYPE} key", remedy=remedy, **where)  # type: ignore[arg-type]
        if not _NAME.fullmatch(name := name.strip()):
            problem = f"{name[:40]!r} is no name: letters, digits and . @ _ - make one"
            raise InputError(problem, **where)  # type: ignore[arg-type]
        try:
            _load(blob)
        except ValueError:
            raise InputError(f"{blob[:40]!r} is no {_TYPE} key", remedy=remedy, **where) from None  # type: ignore[arg-type]
        return Consumer(name, blob)


def _names_a_key(line: str) -> bool:
    """Whether a line is neither empty nor a comment."""
    return bool(line.strip()) and not line.startswith("#")


def _load(blob: str) -> "Ed25519PublicKey":
    """
    Raises:
        ValueError: no ed25519 key.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_ssh_public_key
    except ImportError:
        raise MissingExtra("cryptography", "gateway") from None
    try:
        key = load_ssh_public_key(f"{_TYPE} {blob}".encode())
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"not {_TYPE}")
    return key
