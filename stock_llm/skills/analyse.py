"""Analyse a stock: trend, recommendation with confidence, what speaks for it, the risks, support
and resistance."""

from stock_llm.evaluation.answers import Language, SkillAnswer
from stock_llm.market.situation import Situation, format_price
from stock_llm.skills import statements
from stock_llm.skills.decision_point import BaseRates, DecisionPoint
from stock_llm.skills.decision_rows import (
    Subject,
    brier,
    check_sentences,
    grounded,
    parse_complete,
    recommendation_row,
    situation_of,
    situation_subject,
)
from stock_llm.skills.row import UNPARSED, Row, Score, mean_of

NAME = "analyse"

INSTRUCTIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Analyze {symbol}.",
        "Analyze {symbol}: trend, risks, support and resistance.",
        "How does {symbol} look?",
    ),
    "th": ("วิเคราะห์หุ้น {symbol}", "ช่วยวิเคราะห์ {symbol} พร้อมแนวรับและแนวต้าน", "หุ้น {symbol} เป็นอย่างไร"),
}


def answer(
    situation: Situation, recommendation: str, confidence: int, language: Language
) -> SkillAnswer:
    """The answer to train on: true sentences about the situation and the given
    recommendation."""
    insights = (statements.sma50, statements.rsi, statements.macd)
    return SkillAnswer(
        language=language,
        trend=situation.trend,
        recommendation=recommendation,
        confidence=confidence,
        insights=tuple(sentence(situation, language) for sentence in insights),
        risks=(statements.resistance(situation, language), statements.atr(situation, language)),
        support=format_price(situation.support),
        resistance=format_price(situation.resistance),
    )


def row(decision: DecisionPoint, base_rates: BaseRates, language: Language, phrasing: int) -> Row:
    """Builds one row; `phrasing` picks the wording of the question."""
    return recommendation_row(
        NAME, INSTRUCTIONS[language], answer, decision, base_rates, language, phrasing
    )


def subject(row: Row) -> Subject:
    """What the row's question is about."""
    return situation_subject(situation_of(row), row.input, answer)


def score(row: Row, text: str) -> Score:
    """Scores an answer by the outcome's recommendation, trend, both levels, a named value stated,
    grounded numbers, true sentences, language.

    The confidence has its own score, `Score.brier`.
    """
    given = parse_complete(text, "recommendation", "trend", "confidence", "insights", "risks")
    if given is None:
        return UNPARSED
    situation = situation_of(row)
    sentences = check_sentences(given.bullets, subject(row))
    right = given.recommendation == row.label
    return mean_of(
        given.recommendation,
        brier(given, right),
        recommendation=float(right),
        trend=float(given.trend == situation.trend),
        levels=float(
            (given.support, given.resistance)
            == (format_price(situation.support), format_price(situation.resistance))
        ),
        told=float(bool(sentences.stated)),
        grounded=grounded(given, row.input, sentences),
        truth=sentences.truth,
        language=float(given.language == row.language),
    )
