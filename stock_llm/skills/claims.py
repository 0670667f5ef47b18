"""Finds what a sentence claims about a situation, and checks each claim.

The sentence may be English or Thai, in any wording. A claim is a value ("RSI14 58.3"), a side ("the
close is not above SMA50", "RSI14 exceeds 70"), a distance or share ("2.0% of the close", "3.4%
below SMA50"), a zone, inside or between bounds. Whatever is claimed of an indicator that a
situation does not have, such as SMA54, and each number that nobody writes ("5.%") is false. A
sentence without any claim is neither true nor false here; what would be ("may fall below support")
is no claim. A quantity behind "above" belongs to it, any other is the subject of what follows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from stock_llm.evaluation.numbers_in_text import TextNumber, number_at
from stock_llm.market.situation import Situation, format_percent, format_ratio
from stock_llm.skills import claim_words as words


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


@dataclass(frozen=True)
class _Measure:
    """A number that is tied to the quantity behind it, as in "5.1% above"."""

    number: TextNumber
    subject: str
    link: str
    end: int
    in_place: bool
    """Whether it stands where the subject's value would."""


_TO_VALUE = 16
"""Characters that may stand between a name and its value, such as "is currently at"."""


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
        """Percentages that nothing is tied to, and whether they come where a value would."""
        self.subject, self.base = "", ""
        """The quantity that is spoken about, and what it was held against last."""
        self.measure: _Measure | None = None
        self.valued, self.valued_at, self.bound = "", 0, 0
        """The quantity whose value may follow, where its name ends, and how many values it has
        had."""
        self.verb, self.verb_at, self.denied, self.no = "", 0, False, False
        """What puts subject and object in relation, where it ends, whether it is denied; whether a
        "not" waits for its word."""
        self.low: float | None = None
        self.unsure = words.is_condition(text)
        self.at = 0
        """Where the last quantity or number ends."""

    def read(self) -> list[Claim]:
        for match in words.TOKENS.finditer(self.text):
            word, start, end = match[0], match.start(), match.end()
            if word[0].isdigit() and "average" not in word and "sma" not in word:
                if (number := number_at(self.text, match)) and "-" not in number.digits:
                    self._number(number, start, end)
                    self.at = end
                continue
            if words.is_whole(self.text, word, start, end):
                self._word(words.kind_of(word), start, end)
        self._drop_measure()
        for share, in_place in self.shares:
            self._share(share, in_place)
        return self.claims

    def _word(self, kind: str, start: int, end: int) -> None:
        if kind == "no":
            self.no = True
        elif kind == "would":
            self.unsure = True
        elif kind in words.VERBS:
            self.verb, self.verb_at, self.denied = kind, end, self.no
            self.no, self.low = False, None
            if kind != "level":
                self.valued = ""
        elif kind in words.ZONES:
            if self.subject in ("rsi14", ""):
                self._say("rsi14", self.s.rsi_zone.upper() == kind, self.no)
            self.no = False
        elif kind == "average":
            self._average(start)
        elif kind != "pair":
            self._quantity(kind, start, end)
            self.at = end

    def _quantity(self, name: str, start: int, end: int) -> None:
        related = bool(self.verb) and self._reaches(start) and self._relate(name)
        if measured := self._measure(name, start):
            self.measure = None
        if (related or measured) or (
            self.subject and words.is_measured_from(self.text, self.at, start)
        ):
            self.verb, self.base = "", name
        else:
            self._drop_measure()
            self.subject, self.base, self.verb, self.no = name, "", "", False
        if self.text.startswith("%", end):
            self._deny(name)
        self.named.append(name)
        self.valued, self.valued_at, self.bound = name, end, 0

    def _relate(self, other: str) -> bool:
        """A claim about the subject and another quantity; False where the words between them make
        none."""
        if self.verb in ("up", "down") and other == "bands" != self.subject:
            subject = self.subject or "close"
            value, up = self._value(subject), self.verb == "up"
            outside = value > self.s.band_high if up else value < self.s.band_low
            self._say("bands", outside, self.denied, subject)
            return True
        if self.verb in ("up", "down", "level"):
            if other == self.subject:
                if other != "close":  # the price may be above an earlier one
                    self._say(other, False, self.denied)
            elif self.subject and "bands" not in (self.subject, other):
                self._compare(self._value(other), other)
            return True
        if other == "bands" != self.subject:
            subject = self.subject or "close"
            inside = self.s.band_low <= self._value(subject) <= self.s.band_high
            self._say("bands", inside == (self.verb != "outside"), self.denied, subject)
            return True
        return False

    def _average(self, start: int) -> None:
        """What volume is printed against; nothing else is measured from just an average."""
        if self.subject == "volume" and self.verb in ("up", "down") and self._reaches(start):
            self._compare(1.0)
            self.verb = ""
        elif self.measure and words.is_linked(self.text, self.measure.end, start):
            self._say(self.measure.subject, False, False)
            self.measure = None
        elif self.subject and words.is_measured_from(self.text, self.at, start):
            self.base = "average"
        elif not self.subject:
            self.subject = "average"

    def _number(self, number: TextNumber, start: int, end: int) -> None:
        in_place = bool(self.valued) and start - self.valued_at <= _TO_VALUE
        first = start - len(number.sign) - number.digits.startswith(".")
        self._drop_measure()
        if words.is_malformed(self.text, start, end):
            self._deny(self.valued or self.subject)
            self.valued = ""
        elif number.unit == "%":
            self._percentage(number, first, end, in_place)
        elif number.unit:
            if in_place and number.unit != "day":
                self._deny(self.valued)
            self.valued = ""
        elif self.verb == "between" and self.subject and self.subject != "bands":
            self._bound(number)
        elif self._is_limit(number, first, in_place):
            self._compare(number.value)
            self.verb = ""
        elif in_place:
            self._place(number, end)
        elif link := words.link_at(self.text, end):
            self.measure = _Measure(number, self.subject, link, end, in_place)
        elif self.text[:first].endswith("(") and self.named[-1:] == ["macd_signal"]:
            difference = self._value("macd") - self._value("macd_signal")
            self._say("macd", number.sign != "" and _same(number, difference), False, "macd_signal")
        elif self.base and self.text[self.at : first].strip() in ("by", "อยู่", "อยู่ที่"):
            self._say(self.subject, self._is_distance(number), False, self.base)

    def _is_limit(self, number: TextNumber, start: int, in_place: bool) -> bool:
        """Whether a number is what the subject is held against."""
        held = self.verb in ("up", "down") or (self.verb == "level" and not in_place)
        if not held or self.subject in ("", "bands"):
            return False
        return self._reaches(start) or (
            "." in number.digits and words.is_phrase(self.text[self.verb_at : start])
        )

    def _bound(self, number: TextNumber) -> None:
        if self.low is None:
            self.low = number.value
        else:
            inside = self.low <= self._value(self.subject) <= number.value
            self._say(self.subject, inside, self.denied)
            self.verb = ""

    def _place(self, number: TextNumber, end: int) -> None:
        """A number where a value would stand: it is one, or a distance from what follows."""
        name, link = self.valued, words.link_at(self.text, end)
        expected = (
            (self.s.band_low, self.s.band_high)[self.bound]
            if name == "bands"
            else self._value(name)
        )
        if link and number.value != expected and not self.no:
            self.measure = _Measure(number, name, link, end, in_place=True)
        elif name in words.TAKEN_FOR:
            self._deny(name)
        elif self._is_known(name):
            holds = (number.value == expected) != self.no
            self.claims.append(Claim(name, holds, value=not self.no))
        self.bound, self.valued_at, self.no = self.bound + 1, end, False
        if name != "bands" or self.bound > 1:
            self.valued = ""

    def _percentage(self, number: TextNumber, start: int, end: int, in_place: bool) -> None:
        valued, self.valued = self.valued, ""
        last = self.named[-1] if self.named else ""
        if self.subject and (
            self.verb == "between" or (self.verb in ("up", "down") and self._reaches(start))
        ):
            self._deny(self.subject)  # limits are no percentages
            self.verb = ""
        elif self.subject and (link := words.link_at(self.text, end)):
            self.measure = _Measure(number, self.subject, link, end, in_place)
        elif self.text[:start].endswith("(") and last in ("macd", "macd_signal", "rsi14", "volume"):
            self._deny(last)
        elif self.text[:start].endswith("(") and last in _BLOCK:
            if self._is_known(last) and self._is_known("close"):
                self._say(last, _reads(number, _BLOCK[last](self.s)), False, "close")
        elif in_place and valued == self.base and not self.subject:
            self._deny(valued)
        elif self.base and self.subject:
            self._say(self.subject, self._is_distance(number), False, self.base)
        else:
            self.shares.append((number, in_place))

    def _measure(self, base: str, start: int) -> bool:
        """A number that is a distance of its subject from `base`, or a share of it."""
        measure = self.measure
        if not measure or not words.is_linked(self.text, measure.end, start):
            return False
        if measure.link == "of":
            holds = self._is_share(measure.number, measure.subject, base)
        elif measure.link == "from":
            holds = self._is_distance(measure.number, measure.subject, base) or (
                not measure.number.sign and self._is_distance(measure.number, base, measure.subject)
            )
        else:
            holds = self._is_distance(measure.number, measure.subject, base)
        if measure.subject:
            self._say(measure.subject, holds, False, base)
        return True

    def _drop_measure(self) -> None:
        """Nothing follows that the number is a distance from: it is what it would be without."""
        measure, self.measure = self.measure, None
        if measure and measure.number.unit == "%":
            self.shares.append((measure.number, measure.in_place))
        elif measure and measure.in_place:
            self._deny(measure.subject)

    def _is_distance(self, number: TextNumber, subject: str = "", base: str = "") -> bool:
        mine, other = self._known(subject or self.subject), self._known(base or self.base)
        if mine is None or other is None:
            return False
        if number.unit == "%":
            return other != 0 and _reads(number, format_percent(mine, other))
        return _same(number, mine - other)

    def _is_share(self, number: TextNumber, subject: str, base: str) -> bool:
        mine, other = self._known(subject), self._known(base)
        return bool(mine and other) and str(number) == format_ratio(mine or 0.0, other or 1.0)

    def _known(self, name: str) -> float | None:
        """The value of what is a single quantity of the situation."""
        return None if name in ("", "bands", *words.TAKEN_FOR) else self._value(name)

    def _reaches(self, start: int) -> bool:
        return words.TO_OBJECT.fullmatch(self.text, self.verb_at, start) is not None

    def _compare(self, other: float, name: str = "") -> None:
        """A side; equality is on both."""
        mine = self._value(self.subject)
        if self.verb == "level":
            self._say(self.subject, mine == other, self.denied, name)
        elif mine == other:
            self._say(self.subject, True, False, name)
        else:
            self._say(self.subject, (mine > other) == (self.verb == "up"), self.denied, name)

    def _share(self, share: TextNumber, in_place: bool) -> None:
        """A percentage that nothing is tied to is the distance or share of one of the pairs that
        are named, else of a quantity from the close."""
        named = set(self.named) | ({"close"} if len(set(self.named)) == 1 else set())
        pairs = [pair for pair in _SHARES if named.issuperset(pair)]
        known = {pair: _SHARES[pair](self.s) for pair in pairs if all(map(self._is_known, pair))}
        if known:
            holds = any(_reads(share, text) for text in known.values())
            about, other = next(iter(known))
            self._say(about, holds, False, other)
        elif in_place and not pairs:
            self._deny(self.named[-1])

    def _say(self, about: str, holds: bool, denied: bool, other: str = "") -> None:
        if self.unsure:
            return
        if about in words.TAKEN_FOR or other in words.TAKEN_FOR:
            self._deny(about if about in words.TAKEN_FOR else other)
        elif self._is_known(about) and self._is_known(other):
            self.claims.append(Claim(about, holds != denied, other=other))

    def _deny(self, about: str) -> None:
        """A value that is wrong, whatever would be."""
        if about in words.TAKEN_FOR:
            self.claims.append(Claim(words.TAKEN_FOR[about], False))
        elif about and self._is_known(about):
            self.claims.append(Claim(about, False))

    def _is_known(self, name: str) -> bool:
        names = ("band_low", "band_high") if name == "bands" else (name,) if name else ()
        return not any(math.isnan(self._value(known)) for known in names)

    def _value(self, name: str) -> float:
        return math.nan if name in words.TAKEN_FOR else float(getattr(self.s, name))


def _reads(number: TextNumber, text: str) -> bool:
    """Whether a percentage is the printed one, whose sign may be left to the words."""
    return str(number) in (text, text.lstrip("+-"))


def _same(number: TextNumber, difference: float) -> bool:
    """Whether a number is that difference, whose sign may be left to the words."""
    value = number.value if number.sign else abs(number.value)
    return math.isclose(value, difference if number.sign else abs(difference), abs_tol=5e-5)


_BLOCK: dict[str, Callable[[Situation], str]] = {
    "sma20": lambda s: format_percent(s.close, s.sma20),
    "sma50": lambda s: format_percent(s.close, s.sma50),
    "atr14": lambda s: format_ratio(s.atr14, s.close),
    "support": lambda s: format_percent(s.support, s.close),
    "resistance": lambda s: format_percent(s.resistance, s.close),
}
"""The percentage that a situation's block shows in brackets behind the value of each."""
_SHARES: dict[tuple[str, str], Callable[[Situation], str]] = {
    ("close", "sma20"): _BLOCK["sma20"],
    ("close", "sma50"): _BLOCK["sma50"],
    ("sma20", "sma50"): lambda s: format_percent(s.sma20, s.sma50),
    ("atr14", "close"): _BLOCK["atr14"],
    ("support", "close"): _BLOCK["support"],
    ("resistance", "close"): _BLOCK["resistance"],
}
"""The percentages that a situation's block shows, by what they relate."""
