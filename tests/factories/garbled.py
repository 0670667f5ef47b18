"""Sentences about a situation with one or two words, figures or characters wrong, as a weak model writes them."""

import random
import re
from collections.abc import Iterator
from dataclasses import replace

from factories.rows import situation

from stock_llm.evaluation.answers import LANGUAGES
from stock_llm.market.situation import Situation, format_price
from stock_llm.skills.statements import pieces, true_statements

_FIGURE = re.compile(r"(?<![\d.])[+-]?\d+(?:\.\d+)?%?")
_SWAPS = {
    "en": (
        ("above", "below", "inside", "at", "between"),
        ("overbought", "oversold", "neutral"),
        ("SMA20", "SMA50", "SMA54", "SMA200", "SMA2", "MACD", "ATR14", "RSI14", "RSI19", "Support"),
        ("the close", "its signal", "SMA50", "the upper band", "the lower band", "support"),
        ("Volume", "Resistance", "Support", "MACD", "The close"),
        ("above 70", "below 30", "below -30", "between 30 and 70", "between 30 and 30", "above 30"),
    ),
    "th": (
        ("สูงกว่า", "ต่ำกว่า", "เท่ากับ"),
        ("ซื้อมากเกินไป", "ขายมากเกินไป", "เป็นกลาง"),
        ("SMA20", "SMA50", "SMA54", "MACD", "ATR14", "RSI14", "แนวรับ", "แนวต้าน"),
        ("ราคาปิด", "เส้นสัญญาณ", "แถบบน", "แถบล่าง", "ค่าเฉลี่ย"),
        ("สูงกว่า 70", "ต่ำกว่า 30", "ระหว่าง 30 ถึง 70", "ต่ำกว่า -30"),
    ),
}  # fmt: skip
"""Language → groups of words; one of a group is put in place of another."""


def garbled_sentences(count: int, seed: int = 1) -> Iterator[tuple[str, Situation]]:
    """Sentences of the builders, both languages in turn; one in ten is left as it is."""
    chance = random.Random(seed)
    for number in range(count):
        drawn = situation(chance)
        low, high = sorted((drawn.band_low, drawn.band_high))
        drawn = replace(drawn, band_low=low, band_high=high)
        if chance.random() < 0.1:
            drawn = _cheap(drawn)
        language = LANGUAGES[number % len(LANGUAGES)]
        text = chance.choice(true_statements(drawn, language)).text
        if chance.random() > 0.1:
            for _ in range(chance.choice((1, 1, 2))):
                text = _garble(text, language, drawn, chance)
        if len(pieces(text)) == 1:
            yield text.strip(), drawn


def _cheap(drawn: Situation) -> Situation:
    """The same at a hundredth of the price: figures with four decimals."""
    names = ("close", "sma20", "sma50", "atr14", "band_low", "band_high", "support", "resistance")
    values = vars(drawn) | {name: round(getattr(drawn, name) / 1000, 4) for name in names}
    return Situation(**values)


def _garble(text: str, language: str, drawn: Situation, chance: random.Random) -> str:
    kind = chance.randrange(7)
    if kind <= 1:
        return _swap_word(text, language, chance)
    figures = list(_FIGURE.finditer(text))
    if kind <= 5 and figures:
        figure = chance.choice(figures)
        written = _FIGURE_CHANGES[chance.randrange(len(_FIGURE_CHANGES))](figure[0], drawn, chance)
        return text[: figure.start()] + written + text[figure.end() :]
    place = chance.randrange(len(text))
    if kind == 6 and chance.random() < 0.5:
        return text[:place] + text[place + 1 :]
    words = text.split(" ")
    place = chance.randrange(len(words))
    return (
        " ".join(words[:place] + words[place + 1 :])
        if chance.random() < 0.5
        else " ".join([*words[:place], words[place], *words[place:]])
    )


def _swap_word(text: str, language: str, chance: random.Random) -> str:
    groups = [group for group in _SWAPS[language] if any(word in text for word in group)]
    if not groups:
        return text
    group = chance.choice(groups)
    old = chance.choice([word for word in group if word in text])
    return text.replace(old, chance.choice([word for word in group if word != old]), 1)


def _another_value(_figure: str, drawn: Situation, chance: random.Random) -> str:
    values = [part for line in drawn.lines().values() for part in _FIGURE.findall(line)]
    return chance.choice(values)


def _digits_swapped(figure: str, _drawn: Situation, chance: random.Random) -> str:
    place = chance.randrange(max(1, len(figure) - 1))
    return figure[:place] + figure[place + 1 : place + 2] + figure[place] + figure[place + 2 :]


def _digit_changed(figure: str, _drawn: Situation, chance: random.Random) -> str:
    place = chance.randrange(len(figure))
    return figure[:place] + chance.choice("0123456789") + figure[place + 1 :]


def _digit_lost(figure: str, _drawn: Situation, chance: random.Random) -> str:
    place = chance.randrange(len(figure))
    return figure[:place] + figure[place + 1 :]


def _sign_changed(figure: str, _drawn: Situation, chance: random.Random) -> str:
    return figure[1:] if figure[0] in "+-" else chance.choice("+-") + figure


def _percent_changed(figure: str, _drawn: Situation, _chance: random.Random) -> str:
    return figure[:-1] if figure.endswith("%") else figure + "%"


def _price(_figure: str, drawn: Situation, chance: random.Random) -> str:
    return format_price(drawn.close * (1 + chance.gauss(0, 0.05)))


_FIGURE_CHANGES = (
    _another_value,
    _digits_swapped,
    _digit_changed,
    _digit_lost,
    _sign_changed,
    _percent_changed,
    _price,
)
