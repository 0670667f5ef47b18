"""Statements of prompt version 1, in sentences that models are no longer taught.

The corpus of stock-tiny is made of them, and feedback on older answers quotes them. From version 2
on a sentence shows the sign first and says the side after it: of answers in these forms half held a
false side.
"""

from stock_llm.evaluation.answers import Language
from stock_llm.market.situation import Situation, format_percent, format_price

OTHERS = (
    "The portfolio has gained 1.0%.",
    "The portfolio has lost 1.0%.",
    "พอร์ตกำไร 1.0%",
    "พอร์ตขาดทุน 1.0%",
    "The trade gained 1.0% in 1 days.",
    "The trade lost 1.0% in 1 days.",
    "กำไร 1.0% ใน 1 วัน",
    "ขาดทุน 1.0% ใน 1 วัน",
)
"""Sentences about portfolios and trades, with numbers that stand for any."""


def sma50(s: Situation, language: Language) -> str:
    return _average("SMA50", s.sma50, s, language)


def sma20(s: Situation, language: Language) -> str:
    return _average("SMA20", s.sma20, s, language)


def _average(name: str, value: float, s: Situation, language: Language) -> str:
    away, above = format_percent(s.close, value).lstrip("+-"), s.close > value
    close, level = format_price(s.close), format_price(value)
    if language == "th":
        return f"ราคาปิด {close} {'สูงกว่า' if above else 'ต่ำกว่า'} {name} {level} อยู่ {away}"
    return f"Close {close} is {away} {'above' if above else 'below'} {name} {level}."


def macd(s: Situation, language: Language) -> str:
    above = s.macd > s.macd_signal
    if language == "th":
        return f"MACD {s.macd:.2f} {'สูงกว่า' if above else 'ต่ำกว่า'}เส้นสัญญาณ {s.macd_signal:.2f}"
    return f"MACD {s.macd:.2f} is {'above' if above else 'below'} its signal {s.macd_signal:.2f}."
