"""A slice of general requests that is always mixed in, so that a model that learns the skills does
not forget the rest.

In: a seed and how many rows. Out: rows from the code that made the embedded base's corpus: small
talk, terms, arithmetic, plain sentences, small functions; nothing is downloaded. Their answers have
no labels, so that they teach nothing about what to buy. A larger base forgets more than these can
hold: give it a `[[dataset.source]]` as well. Does not know the split.
"""

import random
from collections.abc import Iterator

from stock_llm.dataset.sources.mixing import GENERAL
from stock_llm.evaluation.answers import Language
from stock_llm.skills.row import Row
from stock_llm.synthetic.stock_tiny import dialogue

KIND = "replay"

SHARE = 0.05
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
        yield Row(
            skill=GENERAL,
            language=language,
            symbol="",
            as_of="",
            instruction=request,
            input=context,
            output=reply,
            source={"kind": KIND, "ref": f"{KIND} {seed} {len(asked)}"},
            label="TEXT",
            label_from="",
            label_until="",
        )
