"""True sentences about a situation, and the check that a sentence of a model is true.

A rationale is built from these sentences only; every number in them stands in the situation's block or is computed from it.
The check works on any wording: it takes the numbers of a text and looks them up, and it takes "X above Y" claims about
known indicators and holds them against the values. Does not know which answer is right.
"""

import re

from stock_llm.answers import Language
from stock_llm.situation import Situation, percent, price, ratio

THRESHOLDS = ("30", "70")
"""Numbers that a text may use without their being in the block: RSI's textbook limits."""


def sma50(s: Situation, language: Language) -> str:
    return _distance("SMA50", s.sma50, s, language)


def sma20(s: Situation, language: Language) -> str:
    return _distance("SMA20", s.sma20, s, language)


def _distance(name: str, value: float, s: Situation, language: Language) -> str:
    away = percent(s.close, value).lstrip("+-")
    if language == "th":
        return f"ราคาปิด {price(s.close)} {'สูงกว่า' if s.close > value else 'ต่ำกว่า'} {name} {price(value)} อยู่ {away}"
    return f"Close {price(s.close)} is {away} {'above' if s.close > value else 'below'} {name} {price(value)}."


def rsi(s: Situation, language: Language) -> str:
    if language == "th":
        zone = {
            "OVERBOUGHT": "ซื้อมากเกินไป สูงกว่า 70",
            "OVERSOLD": "ขายมากเกินไป ต่ำกว่า 30",
            "NEUTRAL": "เป็นกลาง ระหว่าง 30 ถึง 70",
        }
        return f"RSI14 {s.rsi14:.1f} {zone[rsi_reading(s)]}"
    zone = {
        "OVERBOUGHT": "overbought, above 70",
        "OVERSOLD": "oversold, below 30",
        "NEUTRAL": "neutral, between 30 and 70",
    }
    return f"RSI14 {s.rsi14:.1f} is {zone[rsi_reading(s)]}."


def rsi_reading(s: Situation) -> str:
    """The textbook zone of RSI14 (Wilder 1978)."""
    return "OVERBOUGHT" if s.rsi14 > 70 else "OVERSOLD" if s.rsi14 < 30 else "NEUTRAL"


def macd(s: Situation, language: Language) -> str:
    above = s.macd > s.macd_signal
    if language == "th":
        return f"MACD {s.macd:.2f} {'สูงกว่า' if above else 'ต่ำกว่า'}เส้นสัญญาณ {s.macd_signal:.2f}"
    return f"MACD {s.macd:.2f} is {'above' if above else 'below'} its signal {s.macd_signal:.2f}."


def bands(s: Situation, language: Language) -> str:
    low, high = price(s.band_low), price(s.band_high)
    if s.band_low <= s.close <= s.band_high:
        return f"ราคาปิดอยู่ในแถบ {low} ถึง {high}" if language == "th" else f"The close is inside the bands {low} to {high}."
    above = s.close > s.band_high
    if language == "th":
        return f"ราคาปิด{'สูงกว่าแถบบน ' + high if above else 'ต่ำกว่าแถบล่าง ' + low}"
    return f"The close is {'above the upper band ' + high if above else 'below the lower band ' + low}."


def volume(s: Situation, language: Language) -> str:
    if language == "th":
        return f"ปริมาณซื้อขายเป็น {s.volume:.1f} เท่าของค่าเฉลี่ย"
    return f"Volume is {s.volume:.1f} times its average."


def atr(s: Situation, language: Language) -> str:
    share = ratio(s.atr14, s.close)
    return (
        f"ATR14 {price(s.atr14)} คิดเป็น {share} ของราคาปิด"
        if language == "th"
        else f"ATR14 {price(s.atr14)} is {share} of the close."
    )


def resistance(s: Situation, language: Language) -> str:
    away = percent(s.resistance, s.close).lstrip("+-")
    if language == "th":
        return f"แนวต้าน {price(s.resistance)} ห่างจากราคาปิด {away}"
    return f"Resistance {price(s.resistance)} is {away} from the close."


def support(s: Situation, language: Language) -> str:
    away = percent(s.support, s.close).lstrip("+-")
    return (
        f"แนวรับ {price(s.support)} ห่างจากราคาปิด {away}"
        if language == "th"
        else f"Support {price(s.support)} is {away} from the close."
    )


def stop(s: Situation, language: Language) -> str:
    """Where a careful investor would get out: a copy of the support."""
    return f"ตัดขาดทุนเมื่อต่ำกว่าแนวรับ {price(s.support)}" if language == "th" else f"Stop below support {price(s.support)}."


_NAMES = re.compile(r"\b(?:SMA|EMA|RSI|ATR)-?\(?\d+\)?|\b\d+-(?:day|session)\b")
_NUMBER = re.compile(r"(?<![\w.])[+-]?\d+(?:\.\d+)?")


def numbers(text: str) -> list[str]:
    """The numbers of a text without sign, names such as SMA50 left out; dates count as one number each."""
    dates = re.findall(r"\d{4}-\d{2}-\d{2}", text)
    rest = _NAMES.sub(" ", re.sub(r"\d{4}-\d{2}-\d{2}", " ", text))
    return dates + [number.lstrip("+-") for number in _NUMBER.findall(rest)]


def grounded(text: str, source: str) -> float:
    """Share of the numbers in `text` that stand in `source` (or are RSI's limits), to the digit; 1.0 for none at all."""
    found = numbers(text)
    known = {*numbers(source), *THRESHOLDS}
    return sum(number in known for number in found) / len(found) if found else 1.0


_UP = r"(above|over|higher than|greater than|สูงกว่า|เหนือ)"
_DOWN = r"(below|under|lower than|less than|ต่ำกว่า|ใต้)"
_CLAIMS = (
    (r"(?:close|price|ราคาปิด|ราคา)", r"SMA20(?!/)", lambda s: s.close - s.sma20),
    (r"(?:close|price|ราคาปิด|ราคา)", r"SMA50", lambda s: s.close - s.sma50),
    (r"MACD", r"(?:its |the )?(?:signal|เส้นสัญญาณ)", lambda s: s.macd - s.macd_signal),
    (r"RSI(?:14)?", r"70", lambda s: s.rsi14 - 70),
    (r"RSI(?:14)?", r"30", lambda s: s.rsi14 - 30),
    (r"(?:close|price|ราคาปิด|ราคา)", r"(?:the )?(?:upper band|แถบบน)", lambda s: s.close - s.band_high),
    (r"(?:close|price|ราคาปิด|ราคา)", r"(?:the )?(?:lower band|แถบล่าง)", lambda s: s.close - s.band_low),
)
_BETWEEN = r"[^.;\n]{0,40}?(?:\d\.\d[^.;\n]{0,40}?){0,2}?"
_COMPILED = tuple(
    (re.compile(left + _BETWEEN + sign + r"\s*" + right, re.IGNORECASE), difference, upward)
    for left, right, difference in _CLAIMS
    for sign, upward in ((_UP, True), (_DOWN, False))
)


def truth(sentences: tuple[str, ...], s: Situation) -> float:
    """Share of the sentences with no false "above" or "below" about the situation; 0.0 for no sentences."""
    if not sentences:
        return 0.0
    return sum(not _contradicts(sentence, s) for sentence in sentences) / len(sentences)


def _contradicts(sentence: str, s: Situation) -> bool:
    return any(
        pattern.search(sentence) and (difference(s) < 0 if upward else difference(s) > 0)
        for pattern, difference, upward in _COMPILED
    )
