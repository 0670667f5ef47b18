"""The corpus of stock-tiny: documents made from a seed, the same bytes on every machine.

Any document can be made at any time from its number, so that an interrupted training goes on.
Documents below `HELD_OUT` are never trained on; the stated loss is measured on them.
"""

import hashlib
from collections.abc import Callable, Iterator
from random import Random

from stock_llm.evaluation.answers import Language
from stock_llm.synthetic.stock_tiny import (
    arithmetic,
    dialogue,
    glossary,
    holding_notes,
    indicator_notes,
    prose,
    python_snippets,
)

HELD_OUT = 400
"""Documents numbered below this measure the loss; training begins at this number."""

SEED = 20

THAI_SHARE = 0.28

SHARES: dict[Callable[[Random, Language], str], float] = {
    indicator_notes.note: 0.16,
    holding_notes.note: 0.08,
    arithmetic.drill: 0.13,
    arithmetic.signed_table: 0.13,
    arithmetic.repeats: 0.11,
    prose.story: 0.02,
    glossary.entry: 0.07,
    python_snippets.script: 0.07,
    dialogue.chat: 0.04,
    dialogue.instruct: 0.19,
}
"""Kind of document → its share of them."""


COPYING_FIRST = 4000
"""Of so many documents at the beginning of the training half are repeats: a model that has learnt
to copy learns the rest faster."""


def document(seed: int, number: int) -> str:
    """The document of that number."""
    chance = Random(f"stock-tiny {seed} {number}")
    make = chance.choices(tuple(SHARES), weights=tuple(SHARES.values()))[0]
    if HELD_OUT <= number < HELD_OUT + COPYING_FIRST and chance.random() < 0.5:
        make = arithmetic.repeats
    language: Language = "th" if chance.random() < THAI_SHARE else "en"
    return make(chance, language)


def documents(seed: int, first: int, count: int | None = None) -> Iterator[str]:
    """`count` documents from number `first` on; None: without end."""
    number = first
    while count is None or number < first + count:
        yield document(seed, number)
        number += 1


def fingerprint(seed: int, count: int = 2000) -> str:
    """SHA-256 over the first `count` documents, in hex: what the card states and a rebuild is held
    against."""
    digest = hashlib.sha256()
    for text in documents(seed, 0, count):
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()
