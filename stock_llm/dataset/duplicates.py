"""Texts that say the same, exactly or nearly, among free texts and other people's data.

In: texts one by one, each with a name. Out: the name of an earlier text that this one repeats. Two texts are the same where they
differ in case, spaces or numbers only; nearly the same from `THRESHOLD` of shared runs of five characters on (Jaccard),
estimated by MinHash (Broder 1997) and found by locality-sensitive hashing (datasketch). Characters, not words: Thai has no
spaces. A text costs about 1 KiB, however long it is. Not for rows that are built from templates: those are alike by design.
Does not know which side of a split a text is on; whoever asks adds the side that must not be repeated first.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from datasketch import MinHash

THRESHOLD = 0.8
"""Share of common shingles from which on two texts are one."""

PERMUTATIONS = 128
"""The estimate's standard error at the threshold is then 0.035."""

_BANDS = (16, 8)
"""Groups of hash values, and values in each: of two texts that share 0.8, 95 % meet in a group, of those that share 0.9 all."""

SHINGLE = 5


@dataclass(frozen=True)
class Repeats:
    """That a text repeats another.

    Attributes:
        name: of the earlier text.
        exact: whether only case, spaces and numbers differ; else they are nearly the same.
    """

    name: str
    exact: bool


class Seen:
    """The texts seen so far; the same texts in the same order give the same answers on any machine."""

    def __init__(self, threshold: float = THRESHOLD):
        from datasketch import MinHashLSH

        self._threshold = threshold
        self._exact: dict[bytes, str] = {}
        self._near = MinHashLSH(num_perm=PERMUTATIONS, params=_BANDS)
        self._values: dict[str, np.ndarray] = {}

    def look(self, text: str) -> Repeats | None:
        """What the text repeats, if anything; nothing is remembered."""
        plain = normalised(text)
        if (name := self._exact.get(_key(plain))) is not None:
            return Repeats(name, exact=True)
        return self._like(_min_hash(plain))

    def add(self, name: str, text: str) -> Repeats | None:
        """What the text repeats; where it repeats nothing, it is remembered under its name.

        Raises:
            ValueError: another text has the name.
        """
        plain = normalised(text)
        if (known := self._exact.get(key := _key(plain))) is not None:
            return Repeats(known, exact=True)
        signature = _min_hash(plain)
        if (like := self._like(signature)) is not None:
            return like
        if name in self._values:
            raise ValueError(f"two texts are named {name!r}")
        self._exact[key] = name
        self._near.insert(name, signature, check_duplication=False)
        self._values[name] = signature.hashvalues.astype(np.uint32)
        return None

    def _like(self, signature: "MinHash") -> Repeats | None:
        shares = {name: float(np.mean(self._values[name] == signature.hashvalues)) for name in self._near.query(signature)}
        near = [name for name, share in shares.items() if share >= self._threshold]
        return Repeats(max(sorted(near), key=shares.__getitem__), exact=False) if near else None


def normalised(text: str) -> str:
    """The text without what makes no difference: compatibility forms, case, spaces; every number is 0."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"\s+", " ", re.sub(r"\d+(?:[.,]\d+)*", "0", plain)).strip()


def _key(plain: str) -> bytes:
    return hashlib.blake2b(plain.encode(), digest_size=16).digest()


@lru_cache(maxsize=64)
def _min_hash(plain: str) -> "MinHash":
    """The signature; kept for a moment, because a text is looked for on one side and then on the other."""
    data = plain.encode("utf-32-le", "surrogatepass")
    width = 4 * SHINGLE
    shingles = {data[at : at + width] for at in range(0, max(1, len(data) - width + 4), 4)}
    made = _empty().copy()
    made.update_batch(shingles)
    return made


@cache
def _empty() -> "MinHash":
    """No text; a copy of it is quicker than a new one, which draws its permutations again."""
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=crc32)
