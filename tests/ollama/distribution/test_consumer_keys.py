"""The file of keys: one line each, readable by its owner alone, and every refusal with what to do."""

import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from stock_llm.errors import InputError
from stock_llm.ollama.distribution.consumer_keys import ConsumerKeys


def public(key) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@pytest.fixture
def keys(tmp_path):
    return ConsumerKeys(tmp_path / "secrets" / "consumers")


def test_keys_are_added_listed_found_and_removed(keys):
    assert keys.all() == []
    first, second = (Ed25519PrivateKey.generate() for _ in range(2))
    office = keys.add("office", f"{public(first)} root@gpu")
    keys.add("laptop", public(second))
    assert keys.add("office", public(first)) == office  # again: nothing changes
    assert [item.name for item in keys.all()] == ["office", "laptop"]
    assert keys.file.read_text() == f"{public(first)} office\n{public(second)} laptop\n"
    assert stat.S_IMODE(keys.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.file.parent.stat().st_mode) == 0o700
    assert office.verifies(first.sign(b"text"), b"text")
    assert not office.verifies(second.sign(b"text"), b"text")
    assert not office.verifies(b"", b"text")
    keys.remove("office")
    assert [item.name for item in keys.all()] == ["laptop"]


def test_what_is_no_key_is_refused_with_what_to_write(keys):
    good = public(Ed25519PrivateKey.generate())
    rsa = public(generate_private_key(65537, 2048))
    for bad in (
        "",
        "hello",
        rsa,
        good[:40],
        f"ssh-ed25519 {rsa.split()[1]}",
        "ssh-ed25519 AAAA\nx",
    ):
        with pytest.raises(InputError, match=r"id_ed25519\.pub"):
            keys.add("office", bad)
    for name in ("", "a b", "x\nssh-ed25519", "n" * 81):
        with pytest.raises(InputError, match="is no name"):
            keys.add(name, good)
    assert not keys.file.exists()


def test_a_name_or_a_key_is_there_once(keys):
    first, second = (public(Ed25519PrivateKey.generate()) for _ in range(2))
    keys.add("office", first)
    for name, key in (("office", second), ("home", first)):
        with pytest.raises(InputError, match="Remove it first: stock-llm consumers remove office"):
            keys.add(name, key)
    with pytest.raises(InputError, match="There is: office"):
        keys.remove("home")


def test_a_line_that_was_damaged_is_named(keys):
    keys.add("office", public(Ed25519PrivateKey.generate()))
    keys.file.write_text(keys.file.read_text() + "\n# a comment\nssh-ed25519 AAAA x\n")
    with pytest.raises(InputError, match="consumers, row 4: 'AAAA' is no ssh-ed25519 key"):
        keys.all()


def test_comments_stay(keys):
    first, second = (public(Ed25519PrivateKey.generate()) for _ in range(2))
    keys.add("office", first)
    keys.file.write_text(f"# who asked for it: Ann\n{first} office\n\n")
    keys.add("home", second)
    keys.remove("office")
    assert keys.file.read_text() == f"# who asked for it: Ann\n\n{second} home\n"
