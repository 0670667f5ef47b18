"""Texts from a table of phrases: `{name}` stands for one of the phrases under that name, which may
hold names again.

In: a `random.Random`, a table, a text. Out: the text with every name replaced. Braces mean names
and nothing else, so a table holds no code. Does not know any phrase.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from random import Random

Phrases = Mapping[str, Sequence[str] | Callable[[Random], str]]
"""Name → its phrases, or a function that makes one."""

_NAME = re.compile(r"\{(\w+)\}")


def expand(chance: Random, phrases: Phrases, text: str, **fixed: str) -> str:
    """`text` with its names replaced, `fixed` ones by the same phrase everywhere.

    Raises:
        KeyError: a name is in neither.
    """

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        if name in fixed:
            return fixed[name]
        source = phrases[name]
        return (
            source(chance)
            if callable(source)
            else expand(chance, phrases, chance.choice(source), **fixed)
        )

    return _NAME.sub(replaced, text)
