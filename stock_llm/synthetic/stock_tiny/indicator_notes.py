"""Documents that show the block of a situation and say true things about it, in English or Thai.

In: a `random.Random`. Out: one text. This is where the base learns to read `Name: value` lines and
to copy their numbers to the digit. Says what the numbers say, never what to do about them, nor the
names of the answer format.
"""

from collections.abc import Callable
from random import Random

from stock_llm.evaluation.answers import Language
from stock_llm.market.situation import Situation, format_percent, format_price, format_ratio
from stock_llm.skills import statements
from stock_llm.synthetic.stock_tiny import random_situations
from stock_llm.synthetic.stock_tiny.grammar import expand

LINES = {
    statements.sma50: "SMA50",
    statements.sma20: "SMA20",
    statements.rsi: "RSI14",
    statements.macd: "MACD",
    statements.bands: "Bands",
    statements.volume: "Volume",
    statements.atr: "ATR14",
    statements.resistance: "Resistance",
    statements.support: "Support",
    statements.stop: "Support",
}
"""Statement → the line of the block that it reads, beside the close."""

_HEADS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Notes on {symbol}, {day}",
        "{symbol} at the close of {day}",
        "What the numbers of {symbol} say:",
        "Reading the table of {symbol}",
        "{symbol}: facts only",
        "In words:",
        "From these lines one can read:",
    ),
    "th": (
        "บันทึกของ {symbol} วันที่ {day}",
        "{symbol} เมื่อปิดตลาดวันที่ {day}",
        "ตัวเลขของ {symbol} บอกว่า",
        "อ่านตาราง {symbol}",
        "สรุปเป็นคำพูด",
        "จากข้อมูลข้างต้น",
    ),
}


def note(chance: Random, language: Language) -> str:
    """A block, whole or in part, and sentences about it."""
    seen = random_situations.situation(chance)
    facts = chance.sample(tuple(LINES), chance.randint(4, 10))
    whole = chance.random() < 0.85
    statements_drawn = [
        fact(seen, language)
        if not whole or chance.random() < 0.75
        else chance.choice(_OTHERS[language])(seen)
        for fact in facts
    ]
    head = expand(chance, {}, chance.choice(_HEADS[language]), symbol=seen.symbol, day=seen.as_of)
    mark = chance.choice(("- ", "- ", "", "* "))
    sentences = "\n".join(mark + sentence for sentence in statements_drawn)
    needed = {"Symbol", "Date", "Close", *(LINES[fact] for fact in facts)}
    block = (
        seen.block()
        if whole
        else seen.block(*(name for name in seen.lines() if name in needed or chance.random() < 0.5))
    )
    if chance.random() < 0.2:
        return f"{head}\n{block}\n\n{sentences}"
    return f"{block}\n\n{head}\n{sentences}"


def _side(value: float, other: float, above: str, below: str) -> str:
    return above if value > other else below


_OTHERS: dict[Language, tuple[Callable[[Situation], str], ...]] = {
    "en": (
        lambda s: f"The last close of {s.symbol} was {format_price(s.close)}.",
        lambda s: f"RSI14 stands at {s.rsi14:.1f}.",
        lambda s: f"SMA20 is {format_price(s.sma20)} and SMA50 is {format_price(s.sma50)}.",
        lambda s: (
            f"SMA20 lies {_side(s.sma20, s.sma50, 'above', 'below')} SMA50: "
            f"{format_percent(s.sma20, s.sma50)}."
        ),
        lambda s: f"From SMA20 the price is {format_percent(s.close, s.sma20)} away.",
        lambda s: (
            f"The nearest support is {format_price(s.support)}, the nearest resistance "
            f"{format_price(s.resistance)}."
        ),
        lambda s: (
            f"A normal day moves the price by {format_price(s.atr14)}, or "
            f"{format_ratio(s.atr14, s.close)}."
        ),
        lambda s: (
            f"The bands reach from {format_price(s.band_low)} to {format_price(s.band_high)}."
        ),
        lambda s: f"MACD minus its signal is {s.macd - s.macd_signal:+.2f}.",
        lambda s: f"The date is {s.as_of}.",
        lambda s: (
            f"The holder paid {format_price(s.position.cost)} for each of {s.position.quantity:g} "
            f"shares and is "
            f"{_side(s.close, s.position.cost, 'ahead', 'behind')}."
            if s.position
            else "No position is held."
        ),
    ),
    "th": (
        lambda s: f"ราคาปิดล่าสุดของ {s.symbol} คือ {format_price(s.close)}",
        lambda s: f"RSI14 อยู่ที่ {s.rsi14:.1f}",
        lambda s: f"SMA20 เท่ากับ {format_price(s.sma20)} และ SMA50 เท่ากับ {format_price(s.sma50)}",
        lambda s: (
            f"SMA20 {_side(s.sma20, s.sma50, 'สูงกว่า', 'ต่ำกว่า')} SMA50 อยู่ "
            f"{format_percent(s.sma20, s.sma50).lstrip('+-')}"
        ),
        lambda s: (
            f"แนวรับใกล้สุดคือ {format_price(s.support)} แนวต้านใกล้สุดคือ {format_price(s.resistance)}"
        ),
        lambda s: (
            f"ราคาแกว่งวันละประมาณ {format_price(s.atr14)} หรือ {format_ratio(s.atr14, s.close)}"
        ),
        lambda s: f"แถบราคาอยู่ระหว่าง {format_price(s.band_low)} ถึง {format_price(s.band_high)}",
        lambda s: f"MACD ต่างจากเส้นสัญญาณ {s.macd - s.macd_signal:+.2f}",
        lambda s: f"ข้อมูล ณ วันที่ {s.as_of}",
        lambda s: (
            f"ถืออยู่ {s.position.quantity:g} หุ้น ต้นทุน {format_price(s.position.cost)}"
            if s.position
            else "ไม่ได้ถือหุ้นนี้อยู่"
        ),
    ),
}
