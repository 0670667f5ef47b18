"""Finds texts that repeat an earlier text, exactly or nearly.

Texts are the same if they differ only in what `normalised` removes. They are nearly the same from a
threshold of shared runs of five characters on (Jaccard), estimated by MinHash (Broder 1997) and
found by locality-sensitive hashing (datasketch). Characters, not words: Thai has no spaces. A text
takes about 1 KiB of memory. Not for rows from templates, which are alike by design.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from stock_llm.unicode import fold

if TYPE_CHECKING:
    from datasketch import MinHash

THRESHOLD = 0.8
"""Share of common shingles from which on two texts are one."""

ACROSS = 0.5
"""The same across the split, where a text too many costs a row and a text too few the measurement:
reworded is not enough."""

PERMUTATIONS = 128
"""The estimate's standard error is then 0.035 at 0.8, and 0.044 at 0.5."""

_BANDS = {THRESHOLD: (16, 8), ACROSS: (42, 3)}
"""Groups of hash values, and values in each: 95 % of two texts that share 0.8 meet in a group of
the first, and more than 99 % of those that share 0.5 in one of the second."""

SHINGLE = 5


@dataclass(frozen=True)
class Duplicate:
    """The earlier text that a text repeats.

    Attributes:
        name: of the earlier text.
        exact: whether only case, spaces and numbers differ; else they are nearly the same.
    """

    name: str
    exact: bool


class DuplicateIndex:
    """The texts seen so far, alike from `THRESHOLD` or `ACROSS` on; the same texts in the same
    order give the same answers."""

    def __init__(self, threshold: float = THRESHOLD):
        from datasketch import MinHashLSH

        self._threshold = threshold
        self._exact: dict[bytes, str] = {}
        self._near = MinHashLSH(num_perm=PERMUTATIONS, params=_BANDS[threshold])
        self._values: dict[str, np.ndarray] = {}

    def find(self, text: str) -> Duplicate | None:
        """Finds the earlier text that this one repeats; remembers nothing."""
        plain = normalised(text)
        if (name := self._exact.get(_key(plain))) is not None:
            return Duplicate(name, exact=True)
        return self._like(_min_hash(plain))

    def add(self, name: str, text: str) -> Duplicate | None:
        """Finds the earlier text that this one repeats; if there is none, remembers it by name.

        Raises:
            ValueError: another text has the name.
        """
        if (known := self.find(text)) is None:
            self.remember(name, text)
        return known

    def remember(self, name: str, text: str) -> None:
        """Remembers the text, whatever it is like; of texts that are the same the first.

        Raises:
            ValueError: another text has the name.
        """
        plain = normalised(text)
        if (key := _key(plain)) in self._exact:
            return
        if name in self._values:
            raise ValueError(f"two texts are named {name!r}")
        signature = _min_hash(plain)
        self._exact[key] = name
        self._near.insert(name, signature, check_duplication=False)
        self._values[name] = signature.hashvalues.astype(np.uint32)

    def _like(self, signature: "MinHash") -> Duplicate | None:
        names = sorted(self._near.query(signature))
        if not names:
            return None
        shares = np.mean(
            [self._values[name] for name in names] == signature.hashvalues.astype(np.uint32), axis=1
        )
        best = int(np.argmax(shares))
        return Duplicate(names[best], exact=False) if shares[best] >= self._threshold else None


def normalised(text: str) -> str:
    """The text without what makes no difference: as `visible`, without punctuation; every number is
    0."""
    plain = _NUMBER.sub("0", re.sub("['\u2019`]", "", visible(text)))
    return " ".join(_BETWEEN_WORDS.sub(" ", plain).split())


def visible(text: str) -> str:
    """What a reader sees, whatever characters it is written with.

    Compatibility forms, case, accents, invisible characters and look-alikes of Latin letters (the
    common ones of Unicode TS 39's confusables) make no difference. Thai keeps its vowels and tone
    marks.
    """
    words = text.casefold().split()
    return " ".join(
        words
        if text.isascii()
        else " ".join(word if word.isascii() else _latin(word) for word in words).split()
    )


def _latin(word: str) -> str:
    seen = unicodedata.normalize("NFKD", fold(word)).translate(_WITHOUT_MARKS)
    return unicodedata.normalize("NFKC", seen).casefold().translate(_LOOK_ALIKES)


class _WithoutMarks(dict[int, int | None]):
    """For `str.translate`: without format characters, and without marks on letters but Thai
    ones."""

    def __missing__(self, code: int) -> int | None:
        thai = 0x0E00 <= code <= 0x0E7F
        mark = unicodedata.category(chr(code)) in ("Cf", "Mn", "Me")
        self[code] = None if mark and not thai else code
        return self[code]


_WITHOUT_MARKS = _WithoutMarks()

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_BETWEEN_WORDS = re.compile(r"[^\w\s+=<>|~^$*/%&#@\\\u0e00-\u0e7f]+|_+")
"""Punctuation; operators stay, because they tell programs and sums apart."""

_LOOK_ALIKES = str.maketrans(
    "авсԁеһіјкмнопрԛѕтгухѡԝαβεηικνορτυχωγɡı",
    "abcdehijkmhonpqstryxwwabenikvoptuxwygi",
)


def _key(plain: str) -> bytes:
    return hashlib.blake2b(plain.encode(), digest_size=16).digest()


@lru_cache(maxsize=64)
def _min_hash(plain: str) -> "MinHash":
    """The signature; kept for a moment, because a text is looked for on one side and then on the
    other."""
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
