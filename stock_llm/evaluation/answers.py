"""The one answer format: people read it, code parses it.

An answer is a few labelled lines in a fixed order, in English or Thai, each at most once. Which
lines depends on the skill:

    Trend: UP
    Recommendation: BUY
    Confidence: 55%
    Insights:
    - Close 104.20 is 5.1% above SMA50 99.10.
    Risks:
    - ATR14 2.10 is 2.0% of the close.
    Levels: support 98.40, resistance 106.00
    Not investment advice.

The parser is strict: an unknown line, a word outside a label's vocabulary, a repeated or misplaced
label make an answer fail. It never searches for a word inside other words: "upside limited,
decline" is not an UP. Numbers are written in the digits 0 to 9 without leading zeros, lines end
with a line feed, and the support is not above the resistance. Whether an answer is right is not
checked.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

Language = Literal["en", "th"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

VERDICTS: dict[str, tuple[str, ...]] = {
    "trend": ("UP", "DOWN", "SIDEWAYS"),
    "recommendation": ("BUY", "HOLD", "SELL"),
    "reading": ("OVERBOUGHT", "OVERSOLD", "NEUTRAL", "BULLISH", "BEARISH", "HIGH", "LOW"),
    "outcome": ("GAIN", "LOSS"),
    "concentration": ("HIGH", "MODERATE", "LOW"),
    "sentiment": ("POSITIVE", "NEGATIVE", "NEUTRAL"),
}
"""Label → its vocabulary, the same capital words in both languages. The order is that of the
lines."""

LABELS: dict[Language, dict[str, str]] = {
    "en": {
        "trend": "Trend",
        "recommendation": "Recommendation",
        "reading": "Reading",
        "outcome": "Outcome",
        "concentration": "Concentration",
        "sentiment": "Sentiment",
        "confidence": "Confidence",
        "insights": "Insights",
        "risks": "Risks",
        "levels": "Levels",
        "support": "support",
        "resistance": "resistance",
    },
    "th": {
        "trend": "แนวโน้ม",
        "recommendation": "คำแนะนำ",
        "reading": "สัญญาณ",
        "outcome": "ผลลัพธ์",
        "concentration": "การกระจุกตัว",
        "sentiment": "ทิศทางข่าว",
        "confidence": "ความมั่นใจ",
        "insights": "ข้อสังเกต",
        "risks": "ความเสี่ยง",
        "levels": "ระดับราคา",
        "support": "แนวรับ",
        "resistance": "แนวต้าน",
    },
}

DISCLAIMER: dict[Language, str] = {"en": "Not investment advice.", "th": "ไม่ใช่คำแนะนำการลงทุน"}

_ORDER = (*VERDICTS, "confidence", "insights", "risks", "levels", "disclaimer")
_PRICE = r"((?:0|[1-9][0-9]*)(?:\.[0-9]+)?)"
_CONFIDENCE = re.compile(r"(0|[1-9][0-9]?|100)%")
_BREAKS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
"""Characters that some programs show as the end of a line, and others do not show at all."""


class AnswerError(ValueError):
    """A text that is not in the answer format; the message says what is wrong with which line."""


@dataclass(frozen=True)
class SkillAnswer:
    """The fields of an answer; None or empty where it has no such line.

    Attributes:
        confidence: percent, 0 to 100, that the recommendation turns out right.
        support, resistance: prices in the instrument's currency.
    """

    language: Language = "en"
    trend: str | None = None
    recommendation: str | None = None
    reading: str | None = None
    outcome: str | None = None
    concentration: str | None = None
    sentiment: str | None = None
    confidence: int | None = None
    insights: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()
    support: str | None = None
    resistance: str | None = None

    def text(self) -> str:
        """The answer as the model is taught to write it."""
        labels = LABELS[self.language]
        lines = [f"{labels[name]}: {word}" for name in VERDICTS if (word := getattr(self, name))]
        if self.confidence is not None:
            lines.append(f"{labels['confidence']}: {self.confidence}%")
        for name in ("insights", "risks"):
            if bullets := getattr(self, name):
                lines += [f"{labels[name]}:", *(f"- {bullet}" for bullet in bullets)]
        if self.support and self.resistance:
            levels = f"{labels['support']} {self.support}, {labels['resistance']} {self.resistance}"
            lines.append(f"{labels['levels']}: {levels}")
        return "\n".join([*lines, DISCLAIMER[self.language]])

    @property
    def bullets(self) -> tuple[str, ...]:
        """All sentences of the answer."""
        return self.insights + self.risks


def parse_answer(text: str) -> SkillAnswer:
    """Parses an answer in any of the languages.

    Raises:
        AnswerError: the text is not exactly in the format above.
    """
    text = text.replace("\r\n", "\n")
    if broken := _BREAKS.search(text):
        raise AnswerError(f"the answer has the control character {broken[0]!r}")
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines:
        raise AnswerError("the answer is empty")
    language = next((known for known in LANGUAGES if lines[-1] == DISCLAIMER[known]), None)
    if language is None:
        raise AnswerError(f"the last line is not the disclaimer: {lines[-1]!r}")
    if len(lines) == 1:
        raise AnswerError("the answer says nothing but the disclaimer")
    names = {label: name for name, label in LABELS[language].items()}
    fields: dict[str, object] = {}
    bullets: list[str] | None = None
    for line in lines[:-1]:
        if line.startswith("- ") and bullets is not None:
            if line[2:].strip() in DISCLAIMER.values():
                raise AnswerError(f"the disclaimer among the lines of a list: {line!r}")
            bullets.append(line[2:].strip())
            continue
        label, colon, value = line.partition(":")
        name = names.get(label.strip(), "")
        if not colon or name not in _ORDER:
            raise AnswerError(f"not a line of an answer: {line!r}")
        if name in fields or any(_ORDER.index(done) > _ORDER.index(name) for done in fields):
            raise AnswerError(f"repeated or out of order: {line!r}")
        bullets = [] if name in ("insights", "risks") else None
        fields[name] = bullets if bullets is not None else _value(name, value.strip(), language)
        if bullets is not None and value.strip():
            raise AnswerError(f"text after the label of a list: {line!r}")
    for name in ("insights", "risks"):
        if name in fields and not fields[name]:
            raise AnswerError(f"'{LABELS[language][name]}' has no lines")
        fields[name] = tuple(fields.get(name, ()))  # type: ignore[arg-type]
    fields["support"], fields["resistance"] = fields.pop("levels", (None, None))  # type: ignore[misc]
    return SkillAnswer(language=language, **fields)  # type: ignore[arg-type]


def _value(name: str, value: str, language: Language) -> object:
    if name in VERDICTS:
        if value not in VERDICTS[name]:
            raise AnswerError(f"{name} is {value!r}, not one of {', '.join(VERDICTS[name])}")
        return value
    if name == "confidence":
        match = _CONFIDENCE.fullmatch(value)
        if not match:
            raise AnswerError(f"confidence is {value!r}, not a percentage")
        return int(match[1])
    labels = LABELS[language]
    match = re.fullmatch(rf"{labels['support']} {_PRICE}, {labels['resistance']} {_PRICE}", value)
    if not match:
        raise AnswerError(f"levels are {value!r}, not two prices")
    if float(match[1]) > float(match[2]):
        raise AnswerError(f"the support is above the resistance: {value!r}")
    return match[1], match[2]
