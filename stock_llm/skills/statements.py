"""True sentences about a situation, and the check that a sentence of a model is true.

A rationale is built from these sentences only; every number in them stands in the situation's block
or is computed from it. The check works on any wording: `grounded` looks the numbers of a text up
(stock_llm/evaluation/numbers_in_text.py), `truth` holds what it claims about known indicators
against their values (stock_llm/skills/claims.py). Does not know which answer is right.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from stock_llm.evaluation.answers import Language
from stock_llm.evaluation.numbers_in_text import find_numbers
from stock_llm.evaluation.numbers_in_text import grounded as grounded
from stock_llm.market.situation import Situation, format_percent, format_price, format_ratio
from stock_llm.skills.claims import Claim, find_claims


@dataclass(frozen=True)
class Statement:
    """A true sentence, and the quantities that it tells of."""

    text: str
    about: frozenset[str]


def sma50(s: Situation, language: Language) -> str:
    return _distance("SMA50", s.sma50, s, language)


def sma20(s: Situation, language: Language) -> str:
    return _distance("SMA20", s.sma20, s, language)


def _distance(name: str, value: float, s: Situation, language: Language) -> str:
    """The block's line first, as in `macd` and `bands`: the side follows from a sign just read."""
    line = f"{name} {format_price(value)} ({format_percent(s.close, value)})"
    side, close = _side(s.close, value, language), format_price(s.close)
    if language == "th":
        return f"{line}: ราคาปิด {close} {side} {name}"
    return f"{line}: the close {close} is {side} {name}."


def _side(value: float, other: float, language: Language) -> str:
    place = (value > other) - (value < other)
    words: dict[Language, tuple[str, str, str]] = {
        "en": ("at", "above", "below"),
        "th": ("เท่ากับ", "สูงกว่า", "ต่ำกว่า"),
    }
    return words[language][place]


def rsi(s: Situation, language: Language) -> str:
    if language == "th":
        zone = {
            "overbought": "ซื้อมากเกินไป สูงกว่า 70",
            "oversold": "ขายมากเกินไป ต่ำกว่า 30",
            "neutral": "เป็นกลาง ระหว่าง 30 ถึง 70",
        }
        return f"RSI14 {s.rsi14:.1f} {zone[s.rsi_zone]}"
    zone = {
        "overbought": "overbought, above 70",
        "oversold": "oversold, below 30",
        "neutral": "neutral, between 30 and 70",
    }
    return f"RSI14 {s.rsi14:.1f} is {zone[s.rsi_zone]}."


def macd(s: Situation, language: Language) -> str:
    line, side = f"MACD {s.lines()['MACD']}", _side(s.macd, s.macd_signal, language)
    return (
        f"{line}: MACD {side}เส้นสัญญาณ"
        if language == "th"
        else f"{line}: MACD is {side} its signal."
    )


def bands(s: Situation, language: Language) -> str:
    line, close = f"Bands {s.lines()['Bands']}", format_price(s.close)
    if language == "th":
        place = {"above": "สูงกว่าแถบ", "below": "ต่ำกว่าแถบ", "inside": "อยู่ในแถบ"}[s.band_place]
        return f"{line}: ราคาปิด {close} {place}"
    return f"{line}: the close {close} is {s.band_place} the bands."


def volume(s: Situation, language: Language) -> str:
    if language == "th":
        return f"ปริมาณซื้อขายเป็น {s.volume:.1f} เท่าของค่าเฉลี่ย"
    return f"Volume is {s.volume:.1f} times its average."


def atr(s: Situation, language: Language) -> str:
    share = format_ratio(s.atr14, s.close)
    return (
        f"ATR14 {format_price(s.atr14)} คิดเป็น {share} ของราคาปิด"
        if language == "th"
        else f"ATR14 {format_price(s.atr14)} is {share} of the close."
    )


def resistance(s: Situation, language: Language) -> str:
    away = format_percent(s.resistance, s.close).lstrip("+-")
    if language == "th":
        return f"แนวต้าน {format_price(s.resistance)} ห่างจากราคาปิด {away}"
    return f"Resistance {format_price(s.resistance)} is {away} from the close."


def support(s: Situation, language: Language) -> str:
    away = format_percent(s.support, s.close).lstrip("+-")
    return (
        f"แนวรับ {format_price(s.support)} ห่างจากราคาปิด {away}"
        if language == "th"
        else f"Support {format_price(s.support)} is {away} from the close."
    )


def stop(s: Situation, language: Language) -> str:
    """Where a careful investor would get out: a copy of the support."""
    return (
        f"ตัดขาดทุนเมื่อต่ำกว่าแนวรับ {format_price(s.support)}"
        if language == "th"
        else f"Stop below support {format_price(s.support)}."
    )


_BUILDERS: dict[Callable[[Situation, Language], str], tuple[str, ...]] = {
    sma50: ("close", "sma50"),
    sma20: ("close", "sma20"),
    rsi: ("rsi14",),
    macd: ("macd", "macd_signal"),
    bands: ("close", "band_low", "band_high"),
    volume: ("volume",),
    resistance: ("resistance", "close"),
    support: ("support", "close"),
    stop: ("support",),
    atr: ("atr14", "close"),
}
"""Builder of a sentence → the attributes that it needs."""


def true_statements(s: Situation, language: Language) -> list[Statement]:
    """All sentences above, apart from those that need what is NaN."""
    return [
        Statement(build(s, language), frozenset(names) | ({"bands"} if build is bands else set()))
        for build, names in _BUILDERS.items()
        if not any(math.isnan(getattr(s, name)) for name in names)
    ]


_PIECE = re.compile(r"(?<=[.;!?])\s+|\n")


_DOT = "\u2024"
"""Stands for a full stop that ends no sentence while a text is split."""


def pieces(text: str, names: Iterable[str] = ()) -> list[str]:
    """The sentences of a text; a semicolon ends one too.

    Args:
        names: those that end in a full stop, such as BP., which ends no sentence.
    """
    for name in names:
        text = text.replace(f"{name} ", f"{name[:-1]}{_DOT} ")
    return [piece.replace(_DOT, ".") for piece in _PIECE.split(text) if piece]


def numbers(text: str) -> list[str]:
    """The numbers of a text with sign and unit, names such as SMA50 left out; a date counts as
    one."""
    return [str(number) for number in find_numbers(text)]


def all_claims_hold(claims: Sequence[Claim]) -> bool:
    """Whether something was checked, and nothing of it is false."""
    return bool(claims) and all(claim.holds for claim in claims)


def truth(sentences: Iterable[str], s: Situation) -> float:
    """Share of the sentences in which something could be checked and nothing is false; 0.0 for no
    sentences."""
    sentence_list = [piece for sentence in sentences for piece in pieces(sentence)]
    return (
        sum(all_claims_hold(find_claims(piece, s)) for piece in sentence_list) / len(sentence_list)
        if sentence_list
        else 0.0
    )
