"""Finds what a sentence claims about a situation, and checks each claim.

The sentence may be English or Thai, in any wording. A claim is a value ("RSI14 58.3"), a side ("the
close is not above SMA50", "RSI14 exceeds 70"), a distance or share in percent, a zone, inside or
between bounds. A sentence without any is neither true nor false here; what would be ("may fall
below support") is no claim. A quantity behind "above" belongs to it, any other is the subject of
what follows.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from stock_llm.evaluation.numbers_in_text import NUMBER, TextNumber, number_at
from stock_llm.market.situation import Situation, format_percent, format_ratio


@dataclass(frozen=True)
class Claim:
    """A claim that a sentence makes.

    Attributes:
        about: the situation's attribute, "bands" for both of them.
        holds: whether it is so.
        value: whether it states the attribute's value.
        other: what it is held against, where that is another quantity.
    """

    about: str
    holds: bool
    value: bool = False
    other: str = ""


_LENGTH = r"(?!\d|\.\d)"
_WORDS = {
    "pair": r"sma20/sma50",
    "sma20": rf"sma-?(?:20{_LENGTH}|\(20\))|20-day (?:simple )?(?:moving average|sma)",
    "sma50": rf"sma-?(?:50{_LENGTH}|\(50\))|50-day (?:simple )?(?:moving average|sma)",
    "rsi14": rf"rsi(?:-?14{_LENGTH}|\s?\(14\))?",
    "macd_signal": r"macd(?:'s|’s)? signal(?: line)?|signal(?: line)?|เส้นสัญญาณ",
    "macd": r"macd",
    "atr14": rf"atr(?:-?14{_LENGTH}|\s?\(14\))?",
    "band_high": r"upper (?:bollinger )?band|แถบบน",
    "band_low": r"lower (?:bollinger )?band|แถบล่าง",
    "bands": r"bollinger bands|bands|แถบ",
    "volume": r"volume|ปริมาณ(?:การ)?ซื้อขาย|ปริมาณ",
    "support": r"support|แนวรับ",
    "resistance": r"resistance|แนวต้าน",
    "close": r"price|clos(?:e(?! to )[ds]?|ing price)|ราคาปิด|ราคา",
    "OVERBOUGHT": r"overbought|ซื้อมากเกินไป",
    "OVERSOLD": r"oversold|ขายมากเกินไป",
    "NEUTRAL": r"neutral|เป็นกลาง",
    "up": r"above|over|higher than|greater than|more than|exceed(?:s|ed|ing)?|beyond|atop|tops"
    r"|สูงกว่า|มากกว่า|เหนือ|เกิน",
    "down": r"below|beneath|under(?:neath)?|lower than|less than|smaller than|ต่ำกว่า|น้อยกว่า|ใต้",
    "inside": r"inside|within|อยู่ใน|ภายใน",
    "outside": r"outside|นอก",
    "between": r"between|ระหว่าง",
    "no": r"not|cannot|n't|n’t|never|neither|nor|no longer|ไม่",
    "would": r"if|when|would|could|may|might|should|until|unless|หาก|ถ้า|เมื่อ|อาจ",
}
"""What a word is → how it is written, in small letters. Every choice begins with a letter: that is
what makes the search fast."""
_TOKENS = re.compile("|".join([*_WORDS.values(), NUMBER]))


@lru_cache(maxsize=1024)
def _kind(word: str) -> str:
    return next(kind for kind, written in _WORDS.items() if re.fullmatch(written, word))


_ZONES = frozenset({"OVERBOUGHT", "OVERSOLD", "NEUTRAL"})
_VERBS = frozenset({"up", "down", "inside", "outside", "between"})
_TO_VALUE = 16
"""Characters that may stand between a name and its value, such as "is currently at"."""
_TO_OBJECT = re.compile(
    r"[\s:(]*(?:(?:its|the|their|a|an|both|own|current|level|of|at|moving|average|line|last|recent|"
    r"nearest|แนว|เส้น|ระดับ|ที่)"
    r"(?![a-z])[\s:(]*)*"
)


def find_claims(sentence: str, s: Situation) -> list[Claim]:
    """Finds the claims of one sentence, in no order; none about what is NaN in the situation."""
    return _Reader(sentence.lower(), s).read()


class _Reader:
    """Reads the words of a sentence once, from left to right."""

    def __init__(self, text: str, s: Situation):
        self.text, self.s = text, s
        self.claims: list[Claim] = []
        self.named: list[str] = []
        self.shares: list[tuple[TextNumber, bool]] = []
        """Percentages, and whether they come where a value would."""
        self.subject = ""
        """The quantity that is spoken about."""
        self.valued, self.valued_at, self.bound = "", 0, 0
        """The quantity whose value may follow, where its name ends, and how many values it has
        had."""
        self.verb, self.verb_at, self.denied, self.no = "", 0, False, False
        """What puts subject and object in relation, where it ends, whether it is denied; whether a
        "not" waits for its word."""
        self.low: float | None = None
        self.unsure = False

    def read(self) -> list[Claim]:
        for match in _TOKENS.finditer(self.text):
            word, start, end = match[0], match.start(), match.end()
            if word[0].isdigit() and "average" not in word and "sma" not in word:
                if (number := number_at(self.text, match)) and "-" not in number.digits:
                    self._number(number, start, end)
                continue
            if not self._whole(word, start, end):
                continue
            kind = _kind(word)
            if kind == "no":
                self.no = True
            elif kind == "would":
                self.unsure = True
            elif kind in _VERBS:
                self.verb, self.verb_at, self.denied, self.no, self.low = (
                    kind,
                    end,
                    self.no,
                    False,
                    None,
                )
                self.valued = ""
            elif kind in _ZONES:
                if self.subject in ("rsi14", ""):
                    self._say("rsi14", rsi_reading(self.s) == kind, self.no)
                self.no = False
            elif kind != "pair":
                self._quantity(kind, start, end)
        for share, in_place in self.shares:
            self._share(share, in_place)
        return self.claims

    def _whole(self, word: str, start: int, end: int) -> bool:
        """Whether a Latin word stands alone; Thai is written without spaces."""
        if not word[0].isascii():
            return True
        before, after = self.text[start - 1 : start], self.text[end : end + 1]
        return (
            "n'" in word or "n’" in word or not "a" <= before <= "z"
        ) and not "a" <= after <= "z"

    def _quantity(self, name: str, start: int, end: int) -> None:
        if self.verb and self._reaches(start) and self._relate(name):
            self.verb = ""
        else:
            self.subject, self.verb, self.no = name, "", False
        self.named.append(name)
        self.valued, self.valued_at, self.bound = name, end, 0

    def _relate(self, other: str) -> bool:
        """A claim about the subject and another quantity; False where the words between them make
        none."""
        if self.verb in ("up", "down"):
            if self.subject and "bands" not in (self.subject, other) and other != self.subject:
                self._compare(self._value(other), other)
            return True
        if self.verb in ("inside", "outside") and other == "bands" != self.subject:
            subject = self.subject or "close"
            inside = self.s.band_low <= self._value(subject) <= self.s.band_high
            self._say("bands", inside == (self.verb == "inside"), self.denied, subject)
            return True
        return False

    def _number(self, number: TextNumber, start: int, end: int) -> None:
        in_place = bool(self.valued) and start - self.valued_at <= _TO_VALUE
        if number.unit == "%":
            self.shares.append((number, in_place))
            self.valued = ""
        elif number.unit:
            self.valued = ""
        elif (
            self.verb in ("up", "down")
            and self._reaches(start)
            and self.subject
            and self.subject != "bands"
        ):
            self._compare(number.value)
            self.verb = ""
        elif self.verb == "between" and self.subject and self.subject != "bands":
            if self.low is None:
                self.low = number.value
            else:
                self._say(
                    self.subject, self.low <= self._value(self.subject) <= number.value, self.denied
                )
                self.verb = ""
        elif in_place:
            expected = (
                (self.s.band_low, self.s.band_high)[self.bound]
                if self.valued == "bands"
                else self._value(self.valued)
            )
            holds = (number.value == expected) != self.no
            if self._is_known(self.valued):
                self.claims.append(Claim(self.valued, holds, value=not self.no))
            self.bound, self.valued_at, self.no = self.bound + 1, end, False
            if self.valued != "bands" or self.bound > 1:
                self.valued = ""

    def _reaches(self, start: int) -> bool:
        return _TO_OBJECT.fullmatch(self.text, self.verb_at, start) is not None

    def _compare(self, other: float, name: str = "") -> None:
        """A side; equality is on both."""
        mine = self._value(self.subject)
        if mine == other:
            self._say(self.subject, True, False, name)
        else:
            self._say(self.subject, (mine > other) == (self.verb == "up"), self.denied, name)

    def _share(self, share: TextNumber, in_place: bool) -> None:
        """A percentage is the distance or share of one of the pairs that are named, else of a
        quantity from the close."""
        named = set(self.named) | ({"close"} if len(set(self.named)) == 1 else set())
        pairs = [pair for pair in _SHARES if named.issuperset(pair)]
        known = {pair: _SHARES[pair](self.s) for pair in pairs if all(map(self._is_known, pair))}
        if known:
            written = str(share)
            holds = any(written in (text, text.lstrip("+-")) for text in known.values())
            about, other = next(iter(known))
            self._say(about, holds, False, other)
        elif in_place and not pairs:
            self._say(self.named[-1], False, False)

    def _say(self, about: str, holds: bool, denied: bool, other: str = "") -> None:
        if not self.unsure and self._is_known(about) and self._is_known(other):
            self.claims.append(Claim(about, holds != denied, other=other))

    def _is_known(self, name: str) -> bool:
        names = ("band_low", "band_high") if name == "bands" else (name,) if name else ()
        return not any(math.isnan(self._value(known)) for known in names)

    def _value(self, name: str) -> float:
        return float(getattr(self.s, name))


def rsi_reading(s: Situation) -> str:
    """The textbook zone of RSI14 (Wilder 1978)."""
    return "OVERBOUGHT" if s.rsi14 > 70 else "OVERSOLD" if s.rsi14 < 30 else "NEUTRAL"


_SHARES: dict[tuple[str, str], Callable[[Situation], str]] = {
    ("close", "sma20"): lambda s: format_percent(s.close, s.sma20),
    ("close", "sma50"): lambda s: format_percent(s.close, s.sma50),
    ("sma20", "sma50"): lambda s: format_percent(s.sma20, s.sma50),
    ("atr14", "close"): lambda s: format_ratio(s.atr14, s.close),
    ("support", "close"): lambda s: format_percent(s.support, s.close),
    ("resistance", "close"): lambda s: format_percent(s.resistance, s.close),
}
"""The percentages that a situation's block shows, by what they relate."""
