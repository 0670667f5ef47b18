"""General requests that are always mixed in, so that a model does not forget what no skill teaches.

They come from the code that made the corpus of stock-tiny: what terms mean, comparisons, plain
sentences, small functions. Nothing is downloaded. Their answers have no labels and teach nothing
about what to buy. A larger base forgets more than these can hold: add a `[[dataset.source]]`.
"""

import random
from collections.abc import Iterator

from stock_llm.dataset.sources.mixing import general_row
from stock_llm.evaluation.answers import Language
from stock_llm.skills.row import Row
from stock_llm.synthetic.stock_tiny import dialogue

KIND = "replay"

SHARE = 0.1
"""Rows of it for each of the user's own train rows."""

_THAI_SHARE = 0.2


def rows(seed: int, count: int) -> Iterator[Row]:
    """`count` different requests; the same ones for the same seed, the first of a longer slice
    those of a shorter one."""
    chance = random.Random(f"{seed} {KIND}")
    asked: set[tuple[str, str]] = set()
    while len(asked) < count:
        language: Language = "th" if chance.random() < _THAI_SHARE else "en"
        request, context, reply = dialogue.general(chance, language)
        if (request, context) in asked:
            continue
        asked.add((request, context))
        yield general_row(language, request, context, reply, KIND, f"{KIND} {seed} {len(asked)}")
