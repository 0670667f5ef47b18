"""Questions about what a term means, as many about each term of the glossary in each language.

"What does RSI14 mean?" shows no numbers and wants none: it is to be told from "What does RSI14 say
about ORCA?", of which abstaining is taught many more rows. General rows (`general_rows.py`) draw
such questions at random, which leaves a small dataset with none about many terms. The names that
a block has for indicators are always asked about in the words of the help.
"""

import random
from collections import Counter
from collections.abc import Iterator

from stock_llm.dataset.sources.general_rows import KIND
from stock_llm.dataset.sources.mixing import general_row
from stock_llm.evaluation.answers import LANGUAGES, Language
from stock_llm.skills.row import Row
from stock_llm.synthetic.stock_tiny import glossary

SHARE = 0.1
"""Rows of it for each of the user's own train rows, as far as there are wordings."""

MOST = 6
"""Questions about a term in a language: a term with one Thai name has no more wordings."""

_TEXTS = len(LANGUAGES) * (len(glossary.TERMS) + 1)
"""Definitions in the glossary: one for each term, and one for being overbought."""

INDICATORS = {
    "RSI14": "RSI",
    "MACD": "MACD",
    "SMA20": "SMA",
    "SMA50": "SMA",
    "ATR14": "ATR",
    "Bands": "Bollinger bands",
    "Volume": "volume",
}
"""What a block calls an indicator → the glossary's term."""

_WORDING: dict[Language, str] = {"en": "What does {} mean?", "th": "{} หมายถึงอะไร"}


def each(train_rows: int) -> int:
    """How many questions about each term in each language go with so many train rows."""
    return min(MOST, max(1, round(SHARE * train_rows / _TEXTS)))


def rows(seed: int, count: int) -> list[Row]:
    """`count` different questions, `MOST` at most, about each term in each language, and one about
    each indicator by its name; the same ones for the same seed."""
    questions = dict(_about_indicators())
    by_answer = Counter(answer for _, answer in questions.values())
    chance = random.Random(f"{seed} definitions")
    while sum(max(0, min(count, MOST) - made) for made in _made(by_answer)) > 0:
        language = chance.choice(LANGUAGES)
        question, answer = glossary.question(chance, language)
        if question not in questions and by_answer[answer] < min(count, MOST):
            questions[question] = language, answer
            by_answer[answer] += 1
    return [
        general_row(language, question, "", answer, KIND, f"{KIND} definitions {seed} {number}")
        for number, (question, (language, answer)) in enumerate(questions.items(), start=1)
    ]


def _made(by_answer: Counter[str]) -> list[int]:
    """How many questions each definition has, also those that have none."""
    return [*by_answer.values(), *[0] * (_TEXTS - len(by_answer))]


def _about_indicators() -> Iterator[tuple[str, tuple[Language, str]]]:
    terms = {term.name: term for term in glossary.TERMS}
    for name, term in INDICATORS.items():
        for language in LANGUAGES:
            sentences = terms[term].english if language == "en" else terms[term].thai
            yield _WORDING[language].format(name), (language, " ".join(sentences[:2]))
