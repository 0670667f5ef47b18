"""Finds the numbers of a text with their sign and unit, and those that a source does not have.

The text may be English or Thai, letters may touch the numbers. Numbers are compared to the digit:
`104.2` is not `104.20`, `104.20%` is not `104.20`, `-5.1%` is not `+5.1%`.
"""

import re
from functools import lru_cache
from typing import NamedTuple

THRESHOLDS = ("30", "70")
"""Numbers that a text may use without their being in its source: RSI's textbook limits."""

NUMBER = (
    r"\d(?:\d{3}-\d{2}-\d{2}(?!\d)|\d{0,2}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d*(?:\.\d+)?)"
    r"(?:\s?(?:[%\uff05]|percent|per cent|เปอร์เซ็นต์)|[\s-]?(?:days?(?![a-z])|วัน)|(?:bn|"
    r"[kmb])(?![a-z\d])"
    r"|\s(?:thousand|million|billion)|\s?(?:พัน|หมื่น|แสน|ล้าน))?"
)
"""A number or a date in small letters, from its first digit on, thousands separated or not, with
its unit."""

_FIGURES = re.compile(NUMBER)
_PARTS = re.compile(r"([\d.,]+)[\s-]?(.*)", re.DOTALL)
_UNITS = {
    "": "",
    "percent": "%",
    "per cent": "%",
    "เปอร์เซ็นต์": "%",
    "\uff05": "%",
    "days": "day",
    "วัน": "day",
}
_LENGTHS = {"sma": ("20", "50"), "ema": ("9", "12", "26"), "rsi": ("14",), "atr": ("14",)}
"""Indicators with the lengths that they have here; any other length is a number like others."""
_WINDOWS = frozenset(length for lengths in _LENGTHS.values() for length in lengths)
_BRACKETED = re.compile(r"\(([+-])([\d.]+)\)")


class TextNumber(NamedTuple):
    """A number in a text.

    Attributes:
        digits: as written, without thousands separators; a date whole.
        sign: "+", "-" or empty. A hyphen after a digit, as in a range, is none.
        unit: "%", "day", a magnitude such as "million", or empty; the many ways to write one are
            one.
    """

    digits: str
    sign: str = ""
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.sign}{self.digits}{' ' * (len(self.unit) > 1)}{self.unit}"

    @property
    def value(self) -> float:
        return float(self.sign + self.digits)


def number_at(text: str, match: re.Match[str]) -> TextNumber | None:
    """The figure of a match of `NUMBER` in a text in small letters; None for the length in a name
    such as SMA50 or 50-day."""
    word, start = match[0], match.start()
    before = text[start - 1] if start else ""
    if len(word) == 10 and word[4] == word[7] == "-":
        return TextNumber(word)
    if word[-1].isdigit():
        digits, unit = word.replace(",", ""), ""
    elif word[-1] == "%":
        digits, unit = word[:-1].rstrip().replace(",", ""), "%"
    else:
        digits, unit = _PARTS.fullmatch(word).groups()  # type: ignore[union-attr]  # it has matched
        digits, unit = digits.replace(",", ""), _UNITS.get(unit, unit)
    if digits in _WINDOWS and (
        _names(text, start, digits)
        or "-day" in word
        or text.startswith(("-session", "-period"), match.end())
    ):
        return None
    if before == "." and not text[max(0, start - 2) : start - 1].isdigit():
        digits, start = f".{digits}", start - 1
        before = text[start - 1] if start else ""
    sign = ""
    if before in ("+", "-", "−", "–"):
        further = text[start - 2] if start > 1 else ""
        if not further.isdigit() and further not in ("%", ")"):
            sign = "+" if before == "+" else "-"
    return TextNumber(digits, sign, unit)


def _names(text: str, start: int, digits: str) -> bool:
    """Whether what stands before `start` is a name that has such a length."""
    head = text[max(0, start - 5) : start]
    name = head[:-1].removesuffix(" ") if head.endswith("(") else head.removesuffix("-")
    return digits in _LENGTHS.get(name[-3:], ())


def find_numbers(text: str) -> list[TextNumber]:
    """Finds all numbers in their order, without names of indicators such as SMA50."""
    text = text.lower()
    return [number for match in _FIGURES.finditer(text) if (number := number_at(text, match))]


def ungrounded_numbers(text: str, source: str) -> list[str]:
    """Numbers of `text` that are not in `source` and not RSI's limits, in their order.

    A percentage, or a number in brackets, may lose its sign, because words such as "below" tell it;
    any other number may not.
    """
    known = _known(source)
    return [str(number) for number in find_numbers(text) if number not in known]


def grounded(text: str, source: str) -> float:
    """Share of the figures in `text` that stand in `source`, to the digit (or are RSI's limits);
    1.0 for none at all."""
    numbers, known = find_numbers(text), _known(source)
    return sum(number in known for number in numbers) / len(numbers) if numbers else 1.0


@lru_cache(maxsize=256)
def _known(source: str) -> frozenset[TextNumber]:
    known = {TextNumber(limit) for limit in THRESHOLDS}
    bracketed = {TextNumber(digits, sign) for sign, digits in _BRACKETED.findall(source)}
    for number in find_numbers(source):
        known.add(number)
        if number.unit == "%" or number in bracketed:
            known.add(TextNumber(number.digits, "", number.unit))
        elif not number.sign:
            known.add(TextNumber(number.digits, "+", number.unit))
        if number.unit == "day":
            known.add(TextNumber(number.digits))
    return frozenset(known)
