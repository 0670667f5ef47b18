"""Explain an indicator's reading. These are the textbook's rules, and the row says so (source kind
"rule")."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from stock_llm.evaluation.answers import VERDICTS, Language, SkillAnswer
from stock_llm.market.situation import Situation
from stock_llm.skills import statements
from stock_llm.skills.claims import Claim, find_claims
from stock_llm.skills.decision_rows import (
    Subject,
    check_sentences,
    facts,
    grounded,
    parse_complete,
    pick_wording,
    situation_of,
)
from stock_llm.skills.row import UNPARSED, Row, Score, mean_of
from stock_llm.skills.statements import Statement

NAME = "explain"

INSTRUCTIONS: dict[Language, tuple[str, ...]] = {
    "en": ("Explain {indicator} of {symbol}.", "What does {indicator} say about {symbol}?"),
    "th": ("อธิบาย {indicator} ของ {symbol}", "{indicator} ของ {symbol} บอกอะไร"),
}


@dataclass(frozen=True)
class Textbook:
    """How the textbook reads one indicator.

    Attributes:
        line: the line of the situation's block that it reads.
        values: the situation's attributes one of which an explanation has to tell.
        reading: situation → word of the answer.
        sentence: situation → true sentence.
        meaning: reading → what it means, without numbers.
    """

    line: str
    values: tuple[str, ...]
    reading: Callable[[Situation], str]
    sentence: Callable[[Situation, Language], str]
    meaning: dict[str, dict[Language, str]]

    def explained(self, reading: str, language: Language) -> str:
        """The sentence of an answer: the reading, repeated right before what it means."""
        return f"{reading}: {self.meaning[reading][language]}"


_MOMENTUM: dict[str, dict[Language, str]] = {
    "OVERBOUGHT": {"en": "Buyers may be exhausted.", "th": "แรงซื้ออาจเริ่มหมด"},
    "OVERSOLD": {"en": "Sellers may be exhausted.", "th": "แรงขายอาจเริ่มหมด"},
    "NEUTRAL": {"en": "It points neither way.", "th": "ยังไม่บอกทิศทาง"},
}
_DIRECTION: dict[str, dict[Language, str]] = {
    "BULLISH": {"en": "The textbook reads this as upward momentum.", "th": "ตามตำราถือว่าเป็นแรงขึ้น"},
    "BEARISH": {"en": "The textbook reads this as downward momentum.", "th": "ตามตำราถือว่าเป็นแรงลง"},
}
_ACTIVITY: dict[str, dict[Language, str]] = {
    "HIGH": {"en": "Many more shares than usual changed hands.", "th": "มีการซื้อขายมากกว่าปกติมาก"},
    "LOW": {"en": "Far fewer shares than usual changed hands.", "th": "มีการซื้อขายน้อยกว่าปกติมาก"},
    "NEUTRAL": {"en": "Trading was about as busy as usual.", "th": "มีการซื้อขายตามปกติ"},
}


_BAND_READINGS = {"above": "OVERBOUGHT", "below": "OVERSOLD", "inside": "NEUTRAL"}
_VOLUME_READINGS = {"high": "HIGH", "low": "LOW", "normal": "NEUTRAL"}


_MEANT = re.compile(
    r"(?P<OVERBOUGHT>buyers (?:may|might|could) be exhausted|แรงซื้ออาจเริ่มหมด)"
    r"|(?P<OVERSOLD>sellers (?:may|might|could) be exhausted|แรงขายอาจเริ่มหมด)"
    r"|(?P<BULLISH>upward momentum|แรงขึ้น)|(?P<BEARISH>downward momentum|แรงลง)"
    r"|(?P<HIGH>more shares than usual|มากกว่าปกติ)|(?P<LOW>fewer shares than usual|น้อยกว่าปกติ)"
    r"|(?P<NEUTRAL>points neither way|ยังไม่บอกทิศทาง|as busy as usual|ซื้อขายตามปกติ)",
    re.IGNORECASE,
)
"""Reading → the words that tell what it means, of whichever indicator."""
_DENIED = re.compile(
    r"(?:\b(?:can)?not|\bno|\bnever|\bneither|n['’]t)\b[^,;:.]*$|ไม่[^\s,;:.]*$", re.IGNORECASE
)
"""What turns what follows in the same clause into its opposite."""
_NAMES = {
    "RSI14": re.compile(r"\brsi", re.IGNORECASE),
    "MACD": re.compile(r"\bmacd|signal line|เส้นสัญญาณ", re.IGNORECASE),
    "SMA50": re.compile(r"\bsma|average|ค่าเฉลี่ย", re.IGNORECASE),
    "Bands": re.compile(r"\bbands?\b|bollinger|แถบ", re.IGNORECASE),
    "Volume": re.compile(r"\bvolume|ปริมาณ", re.IGNORECASE),
}
"""Indicator → what it is called in a sentence."""


TEXTBOOK: dict[str, Textbook] = {
    "RSI14": Textbook("RSI14", ("rsi14",), lambda s: s.rsi_zone.upper(), statements.rsi, _MOMENTUM),
    "MACD": Textbook(
        "MACD",
        ("macd",),
        lambda s: "BULLISH" if s.macd > s.macd_signal else "BEARISH",
        statements.macd,
        _DIRECTION,
    ),
    "SMA50": Textbook(
        "SMA50",
        ("sma50",),
        lambda s: "BULLISH" if s.close > s.sma50 else "BEARISH",
        statements.sma50,
        _DIRECTION,
    ),
    "Bands": Textbook(
        "Bands",
        ("bands", "band_low", "band_high"),
        lambda s: _BAND_READINGS[s.band_place],
        statements.bands,
        _MOMENTUM,
    ),
    "Volume": Textbook(
        "Volume",
        ("volume",),
        lambda s: _VOLUME_READINGS[s.volume_level],
        statements.volume,
        _ACTIVITY,
    ),
}


def answer(situation: Situation, indicator: str, language: Language) -> SkillAnswer:
    """The textbook's reading, the numbers behind it, and what it means."""
    book = TEXTBOOK[indicator]
    reading = book.reading(situation)
    return SkillAnswer(
        language=language,
        reading=reading,
        insights=(book.sentence(situation, language), book.explained(reading, language)),
    )


def row(situation: Situation, indicator: str, language: Language, phrasing: int) -> Row:
    """Builds one row about one indicator of a situation; it looks at nothing after the close."""
    taught = answer(situation, indicator, language)
    return Row(
        skill=NAME,
        language=language,
        symbol=situation.symbol,
        as_of=situation.as_of,
        instruction=pick_wording(
            INSTRUCTIONS[language], phrasing, symbol=situation.symbol, indicator=indicator
        ),
        input=situation.block("Symbol", "Date", "Close", TEXTBOOK[indicator].line),
        output=taught.text(),
        source={"kind": "rule", "ref": f"{indicator} {situation.symbol} {situation.as_of}"},
        label=taught.reading or "",
        label_from=situation.as_of,
        label_until=situation.as_of,
        facts=facts(situation) | {"indicator": indicator},
    )


def subject(row: Row) -> Subject:
    """What the row's question is about."""
    return subject_of(situation_of(row), row.facts["indicator"], row.input)


def subject_of(situation: Situation, indicator: str, source: str) -> Subject:
    """One indicator of a stock.

    What the reading means can only be checked in the textbook's own words, and only in a sentence
    that names no other indicator and does not deny them. A sentence may begin with a reading's
    word, as in "OVERSOLD: …", which then has to be this one.
    """
    book = TEXTBOOK[indicator]
    others = [name for about, name in _NAMES.items() if about != indicator]
    reading = book.reading(situation)

    def claims(piece: str) -> list[Claim]:
        told, colon, _ = piece.partition(":")
        claimed: list[Claim] = []
        if not any(name.search(piece) for name in others):
            claimed = [
                Claim("meaning", match.lastgroup == reading)
                for match in _MEANT.finditer(piece)
                if not _DENIED.search(piece[: match.start()])
            ]
        if colon and told in VERDICTS["reading"]:
            if told != reading:
                return [*claimed, Claim("meaning", False)]
            piece = piece[len(told) + 1 :]
        return claimed + find_claims(piece, situation)

    def true(language: Language) -> list[Statement]:
        told = statements.true_statements(situation, language)
        return [*told, Statement(book.explained(reading, language), frozenset({"meaning"}))]

    return Subject(source, claims, true, lambda language: [answer(situation, indicator, language)])


def score(row: Row, text: str) -> Score:
    """Scores an answer by the textbook's reading, grounded numbers, true sentences, the indicator's
    value stated, the language."""
    given = parse_complete(text, "reading", "insights")
    if given is None:
        return UNPARSED
    book = TEXTBOOK[row.facts["indicator"]]
    sentences = check_sentences(given.bullets, subject(row))
    return mean_of(
        given.reading,
        reading=float(given.reading == row.label),
        grounded=grounded(given, row.input, sentences),
        truth=sentences.truth,
        value=float(not sentences.stated.isdisjoint(book.values)),
        language=float(given.language == row.language),
    )
