"""Pseudonyms for ids and file names that identify somebody.

A pseudonym is "id:" and 16 hex digits, the same for the same id. It is made with this machine's
salt (`secrets.account_hash`), so that nobody else can try telephone numbers until one fits.
"""

from collections.abc import Callable, Iterable, Sequence

from stock_llm.storage.checksums import digest_of

HashFunction = Callable[[str], str]

_MARK = "id:"


def pseudonym(name: str, hashed: HashFunction | None) -> str:
    """Makes the pseudonym of an id; without a salted hash it is a plain digest."""
    return f"{_MARK}{hashed(name) if hashed else digest_of(id=name)}"


def known_forms(name: str, hashed: HashFunction | None) -> frozenset[str]:
    """The id and its pseudonym: rows may have either."""
    return frozenset((name, pseudonym(name, hashed)))


def resolve(ref: str, names: Iterable[str], hashed: HashFunction | None) -> str:
    """The one of these names that `ref` stands for; `ref` itself where it is an id, or stands for
    none of them."""
    return resolve_all([ref], names, hashed)[0]


def resolve_all(
    refs: Sequence[str], names: Iterable[str], hashed: HashFunction | None
) -> list[str]:
    """`resolve` for each of them; every name is hashed once, and none where nothing is hidden."""
    if not any(ref.startswith(_MARK) for ref in refs):
        return list(refs)
    known = {pseudonym(name, hashed): name for name in names}
    return [known.get(ref, ref) for ref in refs]
