"""The numbers of a text, as they are meant: with sign and unit, whatever letters touch them.

In: any text, English or Thai. Out: its figures, and which of them a source does not have. A figure is compared to the digit:
`104.2` is not `104.20`, `104.20%` is not `104.20`, `-5.1%` is not `+5.1%`. Does not know what a number is about.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

THRESHOLDS = ("30", "70")
"""Numbers that a text may use without their being in its source: RSI's textbook limits."""

NAMES = r"sma-?\(?(?:20|50)\)?(?!\d|\.\d)|ema-?\(?(?:9|12|26)\)?(?!\d|\.\d)|(?:rsi|atr)(?:-?14|\s?\(14\))(?!\d|\.\d)"
"""Indicators with the lengths that they have here, in small letters; any other length is a number like others."""

DATE = r"\d{4}-\d{2}-\d{2}(?!\d)"

NUMBER = (
    r"[+\-−–]?(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?:\s?(?:[%\uff05]|percent|per cent|เปอร์เซ็นต์)|[\s-]?(?:days?(?![a-z])|วัน)|(?:bn|[kmb])(?![a-z\d])"
    r"|\s(?:thousand|million|billion)|\s?(?:พัน|หมื่น|แสน|ล้าน))?"
)
"""A number in small letters, thousands separated or not, with its sign and unit."""

_WINDOWS = r"(?:9|12|14|20|26|50)-(?:day|session|period)(?![a-z])"
_FIGURES = re.compile(f"(?P<skip>{NAMES}|{_WINDOWS})|(?P<date>{DATE})|(?P<number>{NUMBER})")
_PARTS = re.compile(r"([+\-−–]?)([\d.,]+)[\s-]?(.*)", re.DOTALL)
_UNITS = {"": "", "percent": "%", "per cent": "%", "เปอร์เซ็นต์": "%", "\uff05": "%", "days": "day", "วัน": "day"}


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        digits: as written, without thousands separators; a date whole.
        sign: "+", "-" or empty. A hyphen after a digit, as in a range, is none.
        unit: "%", "day", a magnitude such as "million", or empty; the many ways to write one are one.
    """

    digits: str
    sign: str = ""
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.sign}{self.digits}{' ' * (len(self.unit) > 1)}{self.unit}"

    @property
    def value(self) -> float:
        return float(self.sign + self.digits)


def figure(text: str, before: str) -> Figure:
    """The figure of a match of `NUMBER`; `before` is the character in front of it, or empty."""
    sign, digits, unit = _PARTS.fullmatch(text).groups()  # type: ignore[union-attr]  # it has matched
    if before.isdigit() or before in ("%", ")"):
        sign = ""
    return Figure(digits.replace(",", ""), "-" if sign in ("−", "–") else sign, _UNITS.get(unit, unit))


def figures(text: str) -> list[Figure]:
    """All figures in their order; names of indicators such as SMA50 are none."""
    found, text = [], text.lower()
    for match in _FIGURES.finditer(text):
        if match.lastgroup == "number":
            found.append(figure(match[0], text[match.start() - 1 : match.start()]))
        elif match.lastgroup == "date":
            found.append(Figure(match[0]))
    return found


def invented(text: str, source: str) -> list[str]:
    """The figures of `text` that do not stand in `source` and are not RSI's limits, in their order.

    A percentage, or a number in brackets, may lose its sign, because words such as "below" tell it; any other number may not.
    """
    known = _known(source)
    return [str(one) for one in figures(text) if one not in known]


def grounded(text: str, source: str) -> float:
    """Share of the figures in `text` that stand in `source`, to the digit (or are RSI's limits); 1.0 for none at all."""
    found, known = figures(text), _known(source)
    return sum(one in known for one in found) / len(found) if found else 1.0


@lru_cache(maxsize=256)
def _known(source: str) -> frozenset[Figure]:
    known = {Figure(limit) for limit in THRESHOLDS}
    bracketed = {figure(match, "") for match in re.findall(r"\(([+-][\d.]+)(?=\))", source)}
    for one in figures(source):
        known.add(one)
        if one.unit == "%" or one in bracketed:
            known.add(Figure(one.digits, "", one.unit))
        elif not one.sign:
            known.add(Figure(one.digits, "+", one.unit))
        if one.unit == "day":
            known.add(Figure(one.digits))
    return frozenset(known)
