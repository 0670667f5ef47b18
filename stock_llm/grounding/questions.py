"""Reads from a question which of the user's own numbers it needs: a stock's, a trade's, or those of
the portfolio.

Knows the symbols that there are, and nothing about them.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Literal

MAX_CHARACTERS = 10_000
"""Characters of a question that are read; symbols after them are not looked for."""

_PORTFOLIO = re.compile(
    r"\bmy (?:whole |entire |current )?(?:portfolio|holdings|positions|stocks|investments)\b|พอร์ต",
    re.IGNORECASE,
)
"""A question about all that the user holds."""

_TRADE = re.compile(
    r"\bmy (?:\S+ ){0,2}(?:trades?|sale)\b|(?:ซื้อขาย|เทรด).*(?:ของฉัน|ของผม)|ไม้ล่าสุด",
    re.IGNORECASE,
)
"""A question about what the user bought and sold again."""

_OTHER_WORK = re.compile(
    r"\s*(?:(?:please |can you |could you )?translate\b|(?:write|create|implement)\b.{0,40}"
    r"\b(?:code|function|script|class|program|strategy in)\b|python function\b|def \w+\("
    r"|ช่วยแปล|แปล|เขียน(?:ฟังก์ชัน|โค้ด))",
    re.IGNORECASE,
)
"""What asks for a translation or for code: numbers below it would not be in the form that was
taught."""

_WORDS = re.compile(r"\$?[A-Za-z0-9.\-=^]+")
_AMBIGUOUS = frozenset(
    """
    ABLE ALLY BEST CARE CASH CHAT CORN COST DASH DUOL EDIT EVER FAST FIVE FORD FORM FOUR FUND
    GAIN GAME GLAD GOLD GOOD GROW HEAR HOPE HUGE KEEP KEYS KIDS LAND LEAD LIFE LINE LIVE LOAN
    LOVE MAIN MARK MEAN MIND MORE MOVE NEXT NICE NOTE OPEN PATH PLAY PLUS POST RARE REAL RIDE
    ROAD ROCK ROOT SAFE SAVE SELF SITE SNOW SPOT STAY STEM STEP TALK TASK TEAM TELL TRUE TURN
    UNIT VERY WAVE WELL WORK
    """.split()  # noqa: SIM905
)
"""Symbols that are also words: only in capitals they are meant as symbols."""
_ONE_LETTER_WORDS = frozenset("AI")

About = Literal["stock", "trade", "portfolio"]


@dataclass(frozen=True, slots=True)
class NamedNumbers:
    """What a question needs.

    Attributes:
        symbol: empty for the portfolio, and for the last trade in any stock.
        indicator: the only indicator that is named, as the textbook of `skills/explain.py` has it;
            else empty.
    """

    about: About
    symbol: str = ""
    indicator: str = ""


def read_question(text: str, symbols: Collection[str]) -> NamedNumbers | None:
    """What a question needs; None where it names nothing that is known.

    Args:
        symbols: those with candles, in capitals.
    """
    from stock_llm.skills.explain import TEXTBOOK  # brings NumPy

    text = text[:MAX_CHARACTERS]
    if _OTHER_WORK.match(text) or text.lstrip().startswith(_about_a_text()):
        return None
    symbol = find_symbol(text, symbols)
    if _TRADE.search(text):
        return NamedNumbers("trade", symbol)
    if symbol:
        named = [name for name in TEXTBOOK if re.search(rf"\b{name}\b", text, re.IGNORECASE)]
        return NamedNumbers("stock", symbol, named[0] if len(named) == 1 else "")
    return NamedNumbers("portfolio") if _PORTFOLIO.search(text) else None


def find_symbol(text: str, symbols: Collection[str]) -> str:
    """The first symbol that a text names; empty where there is none.

    Symbols may be written small, except those that are also words or shorter than four letters: a
    stock called ON or COST is not meant by every "on" and "cost".
    """
    for match in _WORDS.finditer(text):
        word = match[0].strip(".-")
        name = word.lstrip("$").upper()
        if name not in symbols:
            continue
        if word.startswith("$"):
            return name
        if word in _ONE_LETTER_WORDS:
            continue
        if word == name or (len(name) > 3 and name not in _AMBIGUOUS):
            return name
    return ""


@cache
def _about_a_text() -> tuple[str, ...]:
    """Questions about the sentiment of a text, which stands below them."""
    from stock_llm.skills import sentiment  # brings NumPy

    return tuple(wording for wordings in sentiment.INSTRUCTIONS.values() for wording in wordings)


def may_name_ledger(text: str) -> bool:
    """Whether a question asks about the portfolio or a trade, whatever symbols there are."""
    text = text[:MAX_CHARACTERS]
    return bool(_TRADE.search(text) or _PORTFOLIO.search(text))
