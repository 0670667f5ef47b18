"""What people wrote in a row: their own words, and the stocks and days that these name.

Sentences of the project's own templates are left out: two people who correct such answers have
them in common.
"""

import re
from collections.abc import Iterator
from datetime import date
from functools import cache

from stock_llm.dataset.leakage.duplicates import normalised, visible
from stock_llm.evaluation.answers import LANGUAGES, AnswerError, parse_answer
from stock_llm.market.situation import Situation
from stock_llm.skills import (
    SKILLS,
    analyse,
    code,
    earlier_statements,
    explain,
    follow,
    portfolio,
    review,
    signal,
    statements,
)
from stock_llm.skills.row import Row

TEMPLATED = (analyse.NAME, signal.NAME, explain.NAME, review.NAME, portfolio.NAME, code.NAME)
"""Skills whose rows come from templates."""

LONG_ENOUGH = 20
"""Normalised characters from which on a sentence is somebody's own: shorter ones are common
property."""


def free_text(row: Row) -> str:
    """The text of the row that somebody wrote; empty where it comes from templates."""
    if row.skill in TEMPLATED or (row.skill == follow.NAME and row.label != follow.TEXT):
        return ""
    return (
        row.output
        if row.skill == follow.NAME
        else f"{row.instruction}\n{row.input}"
        if row.skill not in SKILLS
        else row.input
    )


def own_words(row: Row) -> list[str]:
    """`free_text`, and what else somebody wrote in the row: each sentence of a wish, in the answer
    format or not."""
    whole = [text] if (text := free_text(row)) else []
    if row.skill == follow.NAME:
        return [
            *whole,
            *(sentence for sentence in _sentences(row.output) if not _templated(sentence, row)),
        ]
    return (
        [*whole, row.output]
        if row.skill not in SKILLS and len(normalised(row.output)) >= LONG_ENOUGH
        else whole
    )


def _sentences(answer: str) -> list[str]:
    """The bullets of an answer, the sentences of anything else."""
    try:
        sentences: tuple[str, ...] | list[str] = parse_answer(answer).bullets
    except AnswerError:
        sentences = re.split(r"\n+(?:\s*[-*•]\s+)?|(?<=[.!?])\s+", answer)
    return [sentence for sentence in sentences if len(normalised(sentence)) >= LONG_ENOUGH]


def _templated(sentence: str, row: Row) -> bool:
    # A portfolio's sentences name its holdings.
    for name in re.findall(r"^(\S+): \d[\d.]*%, ", row.input, re.MULTILINE):
        sentence = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "X", sentence)
    return normalised(sentence) in _templates()


@cache
def _templates() -> frozenset[str]:
    """Every sentence that an answer of the project's own can have, its numbers and names aside."""
    low, mid, high = (
        Situation(
            "X",
            "2025-01-01",
            100.0,
            base,
            base,
            rsi,
            macd,
            0.0,
            1.0,
            base,
            base + 10,
            1.0,
            90.0,
            110.0,
        )
        for base, rsi, macd in ((120.0, 20.0, -1.0), (95.0, 50.0, 1.0), (80.0, 80.0, 1.0))
    )
    builders = (
        statements.sma50, statements.sma20, statements.rsi, statements.macd, statements.bands,
        statements.volume, statements.atr, statements.resistance, statements.support,
        statements.stop,
        earlier_statements.sma50, earlier_statements.sma20, earlier_statements.macd,
        earlier_statements.bands,
    )  # fmt: skip
    sentences = {
        sentence(seen, language)
        for sentence in builders
        for seen in (low, mid, high)
        for language in LANGUAGES
    }
    sentences |= {
        text
        for book in explain.TEXTBOOK.values()
        for reading in book.meaning
        for language in LANGUAGES
        for text in (book.meaning[reading][language], book.explained(reading, language))
    }
    for language in LANGUAGES:
        for price in (90.0, 110.0):
            for entry in (low, high):
                trade = review.ClosedTrade(entry, 100.0, price, "2025-01-02", "2025-01-03", 1, "")
                sentences.update(review.answer(trade, language).bullets)
            held = (
                portfolio.PortfolioHolding("X", 1.0, 100.0, price),
                portfolio.PortfolioHolding("X", 1.0, 100.0, price),
            )
            sentences.update(
                portfolio.answer(portfolio.Portfolio("2025-01-01", held).view, language).bullets
            )
    return frozenset(map(normalised, [*sentences, *earlier_statements.OTHERS]))


def question(row: Row) -> str:
    """The words of a question that somebody put in their own way; empty for the project's wordings,
    and for a few words.

    The block of a stock or a portfolio is none of them: `subject` says what it is about.
    """
    if row.skill != follow.NAME and row.skill in SKILLS:
        return ""
    if _wordings().fullmatch(" ".join(row.instruction.split())):
        return ""
    text = row.instruction if subject(row) else f"{row.instruction}\n{row.input}"
    return text if len(normalised(text)) >= LONG_ENOUGH else ""


@cache
def _wordings() -> re.Pattern[str]:
    """The project's own questions, whatever they name."""
    wordings = {
        words
        for skill in SKILLS.values()
        for choices in getattr(skill, "INSTRUCTIONS", {}).values()
        for words in choices
    }
    return re.compile(
        "|".join(
            ".+?".join(map(re.escape, re.split(r"\{\w+\}", words))) for words in sorted(wordings)
        )
    )


def subject(row: Row) -> tuple[str, ...]:
    """What the block in the row is about: the stock, or the portfolio, and the days; nothing where
    there is no block."""
    named = sorted(_block_names(row))
    return (*named, *sorted(days(row.input))) if named else ()


def names(row: Row) -> Iterator[str]:
    """The stocks that a row names, in the case of `visible`: in its field and in its block;
    "portfolio" for a portfolio's."""
    if row.symbol:
        yield visible(row.symbol)
    yield from _block_names(row)


def _block_names(row: Row) -> set[str]:
    labelled = _BLOCK.findall(f"{row.instruction}\n{row.input}")
    return {
        visible(name) if label.casefold() == "symbol" else PORTFOLIO for label, name in labelled
    }


PORTFOLIO = "portfolio "
"""Name of what a portfolio's block is about; no symbol ends with a space."""

_BLOCK = re.compile(r"^\W*(Symbol|Portfolio)\s*[:：]\s*(\S+)", re.MULTILINE | re.IGNORECASE)


def words(row: Row) -> set[str]:
    """Every word of the question and its input that may be a stock's symbol, as it is written."""
    return set(_SYMBOL.findall(f"{row.instruction}\n{row.input}"))


_SYMBOL = re.compile(r"[A-Za-z0-9]+(?:[.^=-][A-Za-z0-9]+)*")


def days(text: str) -> set[str]:
    """The days that a text names, year first, as ISO dates; years of the Buddhist era are
    understood."""
    days_named = set()
    for year, month, day in _DAY.findall(text):
        try:
            days_named.add(
                date(int(year) - (543 if int(year) > 2400 else 0), int(month), int(day)).isoformat()
            )
        except ValueError:
            continue  # such as a version number
    return days_named


_DAY = re.compile(r"(?<!\d)(\d{4})[-/.‐-―](\d{1,2})[-/.‐-―](\d{1,2})(?!\d)")


def shows_later_day(row: Row) -> bool:
    """Whether what a row shows is of a later day than its own; people may well ask about days to
    come."""
    if row.skill in TEMPLATED:
        texts = (row.instruction, row.input, row.output) if row.skill != code.NAME else ()
        return any(
            _day_until(text, month.end()) > row.as_of
            for text in texts
            for month in _MONTH.finditer(text)
        )
    return row.skill == follow.NAME and any(day > row.as_of for day in days(row.input))


_MONTH = re.compile(r"-\d\d-\d\d(?!\d)")
"""An ISO date from its month on: found much faster than one that begins with any digit."""


def _day_until(text: str, end: int) -> str:
    day = text[max(0, end - len("2025-01-01")) : end]
    return day if day[:4].isdigit() else ""
