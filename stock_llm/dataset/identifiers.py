"""Ids and file names that say who somebody is: in rows a hash stands for them, and is led back to what it stands for.

In: an id, the hash of this machine (`secrets.account_hash`). Out: "id:" and 16 hex digits, the same for the same id; without
this machine's salt nobody can try telephone numbers until one fits. Does not know which ids have to be hidden.
"""

from collections.abc import Callable, Iterable

from stock_llm.artifacts import digest_of

Hash = Callable[[str], str]

_MARK = "id:"


def hidden(name: str, hashed: Hash | None) -> str:
    """What stands for an id in rows; without a salted hash it is a plain digest."""
    return f"{_MARK}{hashed(name) if hashed else digest_of(id=name)}"


def stands_for(ref: str, name: str, hashed: Hash | None) -> bool:
    """Whether a row that names `ref` means `name`."""
    return ref == name or (ref.startswith(_MARK) and ref == hidden(name, hashed))


def shown(ref: str, names: Iterable[str], hashed: Hash | None) -> str:
    """The one of these names that `ref` stands for; `ref` itself where it is an id, or stands for none of them."""
    return next((name for name in names if stands_for(ref, name, hashed)), ref) if ref.startswith(_MARK) else ref
