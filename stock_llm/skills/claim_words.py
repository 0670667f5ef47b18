"""The words of which claims about a situation are made, in English and Thai.

`TOKENS` finds them and the numbers between them; `kind_of` says what a word is, `link_at` how a
number that stands there is tied to the quantity behind it.
"""

import re
from functools import lru_cache

from stock_llm.evaluation.numbers_in_text import NUMBER

_LENGTH = r"(?!\d|\.\d)"
_DAYS = r"(?:-|\s)(?:day|session|period) (?:simple |exponential |weighted )?"
_UP = (
    r"above|over|higher than|greater than|more than|exceed(?:s|ed|ing)?|beyond|atop|tops"
    r"|สูงกว่า|มากกว่า|เหนือ|เกิน"
)
_DOWN = r"below|beneath|under(?:neath)?|lower than|less than|smaller than|ต่ำกว่า|น้อยกว่า|ใต้"
_WORDS = {
    "pair": r"sma20/sma50",
    "sma20": rf"sma[\s-]?(?:20{_LENGTH}|\(20\))|20{_DAYS}(?:moving average|sma)",
    "sma50": rf"sma[\s-]?(?:50{_LENGTH}|\(50\))|50{_DAYS}(?:moving average|sma)",
    "other_sma": r"(?:sma|wma|ema(?![\s-]?\(?(?:9|12|26)(?!\.?\d)))(?:[\s-]?\(?\d+\)?(?!\.?\d)"
    rf"|-?\d+(?:\.\d+)?)|sma[+-]\d[\d.]*|[1-9]\d*{_DAYS}(?:moving average|sma)",
    "rsi14": rf"rsi(?:-?14{_LENGTH}|\s?\(14\)|(?!-?\d))",
    "other_rsi": r"rsi-?\d+(?:\.\d+)?",
    "macd_signal": r"macd(?:'s|’s)? signal(?: line)?|signal(?: line)?|เส้นสัญญาณ",
    "macd": r"macd",
    "atr14": rf"atr(?:-?14{_LENGTH}|\s?\(14\)|(?!-?\d))",
    "other_atr": r"atr-?\d+(?:\.\d+)?",
    "band_high": r"upper (?:bollinger )?band|แถบบน",
    "band_low": r"lower (?:bollinger )?band|แถบล่าง",
    "bands": r"bollinger bands|bands|แถบ",
    "volume": r"volume|ปริมาณ(?:การ)?ซื้อขาย|ปริมาณ",
    "support": r"support|แนวรับ",
    "resistance": r"resistance|แนวต้าน",
    "close": r"price|clos(?:e(?! to )[ds]?|ing price)|ราคาปิด|ราคา",
    "average": r"(?:moving )?averages?|ค่าเฉลี่ย",
    "OVERBOUGHT": r"overbought|ซื้อมากเกินไป",
    "OVERSOLD": r"oversold|ขายมากเกินไป",
    "NEUTRAL": r"neutral|เป็นกลาง",
    "up": _UP,
    "down": _DOWN,
    "level": r"(?:is|are|stands|trades) (?:at|equal to)|equals|เท่ากับ",
    "inside": r"inside|within|อยู่ใน|ภายใน",
    "outside": r"outside|นอก",
    "between": r"between|ระหว่าง",
    "no": r"not|cannot|n't|n’t|never|neither|nor|no longer|ไม่",
    "would": r"if|when|would|could|may|might|should|until|unless|หาก|ถ้า|เมื่อ|อาจ",
}
"""What a word is → how it is written, in small letters. Every choice begins with a letter or a
digit: that is what makes the search fast."""
TOKENS = re.compile("|".join([*_WORDS.values(), NUMBER]))
ZONES = frozenset({"OVERBOUGHT", "OVERSOLD", "NEUTRAL"})
VERBS = frozenset({"up", "down", "level", "inside", "outside", "between"})
TAKEN_FOR = {"other_sma": "sma50", "other_rsi": "rsi14", "other_atr": "atr14", "average": "sma20"}
"""What no situation has, such as an indicator of another length → what it is taken for."""

_FILLER = (
    r"[\s:(]*(?:(?:its|the|their|a|an|both|own|current|level|of|at|moving|average|line|last|recent|"
    r"nearest|แนว|เส้น|ระดับ|ที่)"
    r"(?![a-z])[\s:(]*)*"
)
TO_OBJECT = re.compile(rf"(?!:){_FILLER}")
"""What may stand between a verb and its object: a colon ends what a block's line says."""
_LINKS = {
    "of": r"of(?![a-z])|ของ",
    "from": r"(?:away )?(?:from|off)(?![a-z])|(?:ห่าง)?จาก",
    "side": rf"(?:{_UP})(?![a-z])|(?:{_DOWN})(?![a-z])",
}
_LINK = re.compile(
    r"\s*(?:points? |away )?(?:" + "|".join(f"(?P<{k}>{v})" for k, v in _LINKS.items()) + ")"
)
_LINKED = re.compile(rf".*?(?:{_LINKS['from']}){_FILLER}", re.DOTALL)
_MALFORMED = re.compile(r"\.(?:\d|\s?%)|\s?%")
"""What may not follow a number: "5.%", "93.67.1", "5%%"."""

_CONDITION = re.compile(r"(?:a|any) (?:daily |weekly )?(?:close|move) (?:above|below|over|under)")
_PHRASE = re.compile(r"(?:\s*[a-z\u0e00-\u0e7f]+){1,3}\s*")


@lru_cache(maxsize=1024)
def kind_of(word: str) -> str:
    """The kind of a word that `TOKENS` has found."""
    return next(kind for kind, written in _WORDS.items() if re.fullmatch(written, word))


def is_whole(text: str, word: str, start: int, end: int) -> bool:
    """Whether a Latin word stands alone; Thai is written without spaces."""
    if not word[0].isascii():
        return True
    before, after = text[start - 1 : start], text[end : end + 1]
    return ("n'" in word or "n’" in word or not "a" <= before <= "z") and not "a" <= after <= "z"


def link_at(text: str, end: int) -> str:
    """How the number that ends there is tied to what follows: "of", "from", "side" or not."""
    link = _LINK.match(text, end)
    return link.lastgroup or "" if link else ""


def is_linked(text: str, start: int, end: int) -> bool:
    """Whether the words between are one of the links, and what may stand before an object."""
    link = _LINK.match(text, start, end)
    return link is not None and TO_OBJECT.fullmatch(text, link.end(), end) is not None


def is_measured_from(text: str, start: int, end: int) -> bool:
    """Whether the words between end in "from", which makes what follows a base."""
    return _LINKED.fullmatch(text, start, end) is not None


def is_condition(text: str) -> bool:
    """Whether a text tells from its first word what would be, as "A close above 106.00 ends it"."""
    return _CONDITION.match(text) is not None


def is_malformed(text: str, start: int, end: int) -> bool:
    """Whether what stands there is no number that anybody writes: "5.%", "04.20", "93.67.1"."""
    digits = text[start:end]
    padded = digits[0] == "0" and digits[1:2].isdigit() and text[start - 1 : start] != "."
    return padded or _MALFORMED.match(text, end) is not None


def is_phrase(text: str) -> bool:
    """Whether a text is one to three words without a number or a mark."""
    return _PHRASE.fullmatch(text) is not None
