"""Trading signal: BUY, HOLD or SELL with confidence, the rationale and a risk."""

from stock_llm.evaluation.answers import AnswerError, Language, SkillAnswer, parse_answer
from stock_llm.market.situation import Situation
from stock_llm.skills import statements
from stock_llm.skills.claims import find_claims
from stock_llm.skills.decision_point import BaseRates, DecisionPoint
from stock_llm.skills.decision_rows import (
    brier,
    check_sentences,
    decision_row,
    grounded,
    pick_wording,
    situation_of,
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
    """The answer that is taught; the rationale is two true sentences."""
    return SkillAnswer(
        language=language,
        recommendation=recommendation,
        confidence=confidence,
        insights=(statements.sma50(situation, language), statements.macd(situation, language)),
        risks=(statements.atr(situation, language),),
    )


def row(moment: DecisionPoint, odds: BaseRates, language: Language, phrasing: int) -> Row:
    """One row; `phrasing` picks the wording of the question."""
    situation = moment.situation
    confidence = odds.confidence(situation, moment.outcome)
    taught = answer(situation, moment.outcome, confidence, language)
    return decision_row(
        NAME,
        pick_wording(INSTRUCTIONS[language], phrasing, symbol=situation.symbol),
        taught,
        moment,
    )


def score(row: Row, text: str) -> Score:
    """Marks: the outcome's recommendation, a named value told, grounded numbers, true sentences,
    the language of the question.

    The confidence has its own score, `Score.brier`.
    """
    try:
        given = parse_answer(text)
    except AnswerError:
        return UNPARSED
    if not (given.recommendation and given.confidence is not None and given.insights):
        return UNPARSED
    situation = situation_of(row)
    sentences = check_sentences(given.bullets, row, lambda piece: find_claims(piece, situation))
    right = given.recommendation == row.label
    return mean_of(
        given.recommendation,
        brier(given, right),
        recommendation=float(right),
        told=float(bool(sentences.told)),
        grounded=grounded(given, row.input, sentences),
        truth=sentences.truth,
        language=float(given.language == row.language),
    )
