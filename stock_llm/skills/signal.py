"""Trading signal: BUY, HOLD or SELL with confidence, the rationale and a risk."""

from stock_llm import statements
from stock_llm.answers import Answer, AnswerError, Language, parse
from stock_llm.claims import claims
from stock_llm.dataset.moments import Moment, Odds
from stock_llm.dataset.rows import UNPARSED, Row, Score, mean_of
from stock_llm.situation import Situation
from stock_llm.skills.decision import brier, checked, decision_row, grounded, situation_of, worded

NAME = "signal"

INSTRUCTIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Give a trading signal for {symbol}.",
        "Buy, hold or sell {symbol}?",
        "What is your signal on {symbol}, and why?",
    ),
    "th": ("ขอสัญญาณซื้อขายของ {symbol}", "ควรซื้อ ถือ หรือขาย {symbol}", "สัญญาณของ {symbol} คืออะไร เพราะอะไร"),
}


def answer(situation: Situation, recommendation: str, confidence: int, language: Language) -> Answer:
    """The answer that is taught; the rationale is two true sentences."""
    return Answer(
        language=language,
        recommendation=recommendation,
        confidence=confidence,
        insights=(statements.sma50(situation, language), statements.macd(situation, language)),
        risks=(statements.atr(situation, language),),
    )


def row(moment: Moment, odds: Odds, language: Language, phrasing: int) -> Row:
    """One row; `phrasing` picks the wording of the question."""
    situation = moment.situation
    confidence = odds.confidence(situation, moment.outcome)
    taught = answer(situation, moment.outcome, confidence, language)
    return decision_row(NAME, worded(INSTRUCTIONS[language], phrasing, symbol=situation.symbol), taught, moment)


def score(row: Row, text: str) -> Score:
    """Marks: the outcome's recommendation, a named value told, grounded numbers, true sentences, the language of the question.

    The confidence has its own score, `Score.brier`.
    """
    try:
        given = parse(text)
    except AnswerError:
        return UNPARSED
    if not (given.recommendation and given.confidence is not None and given.insights):
        return UNPARSED
    situation = situation_of(row)
    sentences = checked(given.bullets, row, lambda piece: claims(piece, situation))
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
