"""Trading signal: BUY, HOLD or SELL with confidence, the rationale and a risk."""

from stock_llm.evaluation.answers import Language, SkillAnswer
from stock_llm.market.situation import Situation
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

NAME = "signal"

INSTRUCTIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Give a trading signal for {symbol}.",
        "Buy, hold or sell {symbol}?",
        "What is your signal on {symbol}, and why?",
    ),
    "th": (
        "ขอสัญญาณซื้อขายของ {symbol}",
        "ควรซื้อ ถือ หรือขาย {symbol}",
        "สัญญาณของ {symbol} คืออะไร เพราะอะไร",
    ),
}


def answer(
    situation: Situation, recommendation: str, confidence: int, language: Language
) -> SkillAnswer:
    """The answer to train on; the rationale is two true sentences."""
    return SkillAnswer(
        language=language,
        recommendation=recommendation,
        confidence=confidence,
        insights=(statements.sma50(situation, language), statements.macd(situation, language)),
        risks=(statements.atr(situation, language),),
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
    """Scores an answer by the outcome's recommendation, a named value stated, grounded numbers,
    true sentences, the language of the question.

    The confidence has its own score, `Score.brier`.
    """
    given = parse_complete(text, "recommendation", "confidence", "insights")
    if given is None:
        return UNPARSED
    sentences = check_sentences(given.bullets, subject(row))
    right = given.recommendation == row.label
    return mean_of(
        given.recommendation,
        brier(given, right),
        recommendation=float(right),
        told=float(bool(sentences.stated)),
        grounded=grounded(given, row.input, sentences),
        truth=sentences.truth,
        language=float(given.language == row.language),
    )
