"""A key of this machine that was emptied or cut short is refused, not used."""

import pytest

from stock_llm.errors import InputError
from stock_llm.secrets import account_hash, signing_key


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 31, b"\0" * 32, b"a" * 64])
@pytest.mark.parametrize("name", ["salt", "signing-key"])
def test_a_damaged_key_is_refused_with_the_way_out(tmp_path, name, content):
    use = (
        (lambda: account_hash("U1", tmp_path)) if name == "salt" else lambda: signing_key(tmp_path)
    )
    before = use()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"is damaged: it has {len(content)}") as refused:
        use()
    assert str(tmp_path / name) in str(refused.value) and "backup" in str(refused.value)
    (tmp_path / name).unlink()
    assert use() != before == before


def test_the_hash_of_no_account_is_empty_and_makes_no_salt(tmp_path):
    assert account_hash("", tmp_path) == ""
    assert list(tmp_path.iterdir()) == []
