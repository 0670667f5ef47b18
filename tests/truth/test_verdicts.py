"""Verdicts on sentences of anybody's answer, and the true sentence in the place of a false one."""

import pytest
from factories.rows import rows_of_all_skills

from stock_llm.evaluation.answers import LANGUAGES
from stock_llm.market.situation import Situation
from stock_llm.skills import portfolio, review, statements
from stock_llm.truth.subjects import read_subject
from stock_llm.truth.verdicts import false_sentences, repair, sentence_verdicts

SEEN = Situation(
    "ORCA", "2025-03-14", 104.2, 101.35, 99.1, 55.3, 0.84, 0.61, 2.1, 97.2, 105.5, 1.2, 98.4, 106.0
)
MACD, SMA20, SMA50 = (
    build(SEEN, "en") for build in (statements.macd, statements.sma20, statements.sma50)
)
LOST, GAINED = "The return is -5.0% in 14 days, a loss.", "The return is +7.3%, a gain."
STOCK = SEEN.block()
RSI = SEEN.block("Symbol", "Date", "Close", "RSI14")
TRADE = review.ClosedTrade(SEEN, 100.0, 95.0, "2025-03-17", "2025-03-31", 14, "t1").block()
PORTFOLIO = portfolio.Portfolio(
    "2025-03-14",
    (
        portfolio.PortfolioHolding("BP.", 40.0, 95.1, 104.2),
        portfolio.PortfolioHolding("WREN", 10.0, 50.0, 45.0),
    ),
).view.block()


def verdicts(block, text, language="en"):
    subject = read_subject(f"Whatever is asked\n\n{block}")
    return [(it.verdict, it.correction) for it in sentence_verdicts(text, subject, language)]


@pytest.mark.parametrize(
    ("block", "text", "correction"),
    [
        (STOCK, "MACD is under the signal line", MACD),
        (STOCK, "The price, 5.1% below its 50-day moving average, is weak.", SMA50),
        (STOCK, "RSI (55.3) is overbought!", "RSI14 55.3 is neutral, between 30 and 70."),
        (STOCK, "It closed outside the Bollinger bands.", "Bands 97.20 to 105.50, inside: the close 104.20 is inside the bands."),
        (STOCK, "Volume is 3.4 times the average.", "Volume is 1.2 times its average."),
        (STOCK, "Resistance at 107.00 is near.", "Resistance 106.00 is 1.7% from the close."),
        (STOCK, "Support 98.40 is 7.7% away from the close.", "Support 98.40 is 5.6% from the close."),
        (STOCK, "ATR14 is 9.9.", "ATR14 2.10 is 2.0% of the close."),
        (STOCK, "The close is below SMA20 and MACD is below its signal.",
         f"{SMA20} {MACD}"),
        (STOCK, "RSI14 55.3 is neutral while MACD is below its signal.",
         f"{MACD} RSI14 55.3 is neutral, between 30 and 70."),
        (RSI, "RSI14 55.3 exceeds 70.", "RSI14 55.3 is neutral, between 30 and 70."),
        (RSI, "Buyers may be exhausted.", "NEUTRAL: It points neither way."),
        (RSI, "OVERBOUGHT: It points neither way.", "NEUTRAL: It points neither way."),
        (RSI, "NEUTRAL: Buyers may be exhausted.", "NEUTRAL: It points neither way."),
        (TRADE, "You made 5.0% on it.", LOST),
        (TRADE, "The trade lost 5.0% in 20 days.", LOST),
        (TRADE, "You bought against the trend.", "It was bought with the trend."),
        (TRADE, "RSI14 was 70.1 then.", "RSI14 55.3 is neutral, between 30 and 70."),
        (PORTFOLIO, "WREN is the largest holding.", "BP. is the largest holding, 90.3% of the value."),
        (PORTFOLIO, "The portfolio has lost 6.8%.", GAINED),
        (PORTFOLIO, "The worst is BP. by far.", "Best is BP. +9.6%, worst is WREN -10.0%."),
        (PORTFOLIO, "It is like 4.0 equal holdings.",
         "The largest two make up 100.0%; it is spread like 1.2 equal holdings."),
        (PORTFOLIO, "WREN has gained 10.0%.", "WREN is 9.7% of the value, -10.0%."),
    ],
)  # fmt: skip
def test_a_false_sentence_gets_the_true_one_of_its_kind(block, text, correction):
    assert verdicts(block, text) == [("false", correction)]
    assert {verdict for verdict, _ in verdicts(block, correction)} == {"true"}


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (STOCK, "At 104.20 the close sits above the 50-day moving average."),
        (STOCK, "ราคาปิดอยู่เหนือแนวรับ 98.40"),
        (TRADE, "A loss of 5.0%: it was no good."),
        (PORTFOLIO, "BP. +9.6% did best; WREN lost 10.0%."),
    ],
)
def test_a_true_sentence_is_true_in_any_words(block, text):
    assert {verdict for verdict, _ in verdicts(block, text)} == {"true"}


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (STOCK, "Earnings come next week."),
        (STOCK, "It may fall below support."),
        (STOCK, "SMA50: 99.10 (+5.1%)"),
        (RSI, "MACD is above its signal, and Volume is 3.0 times its average."),
        (RSI, "The close is inside the bands, and 5.1% above SMA50."),
        (TRADE, "ATR14 was 9.00."),
    ],
)
def test_what_the_question_does_not_tell_is_not_checked(block, text):
    assert verdicts(block, text) == [("unchecked", "")]


def test_a_correction_is_in_the_language_that_is_asked_for():
    assert verdicts(STOCK, "MACD is below its signal.", "th") == [
        ("false", statements.macd(SEEN, "th"))
    ]
    assert verdicts(STOCK, "MACD 0.84 ต่ำกว่าเส้นสัญญาณ 0.61", "en") == [("false", MACD)]


def test_a_repair_changes_the_false_sentences_alone():
    text = "Well. MACD is below its signal. RSI14 55.3 is neutral!\n\n- Earnings are due.\n- ATR14 is 9.9."
    subject = read_subject(STOCK)
    assert repair(text, subject, "en") == (
        f"Well. {MACD} RSI14 55.3 is neutral!\n\n- Earnings are due.\n"
        "- ATR14 2.10 is 2.0% of the close."
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Analyze ORCA.",
        STOCK.replace("104.20", "104.2"),
        STOCK.replace("+5.1%", "+5.2%"),
        STOCK + "\nNews: good",
        STOCK + "\n\nThanks!",
        SEEN.block("Symbol", "Date", "Close", "SMA20", "MACD"),
        TRADE.replace("-5.0%", "+5.0%"),
        PORTFOLIO.replace("BP.: 90.3%", "BP.: about 90%"),
        "Symbol: X\nDate: 2025-01-01\nClose: 1.00\nSMA50: 0.00 (+0.0%)",
    ],
)
def test_numbers_that_are_not_a_block_to_the_letter_are_not_guessed_at(text):
    assert read_subject(text) is None


def test_every_block_of_the_skills_is_read_back():
    for row in rows_of_all_skills(40):
        subject = read_subject(f"{row.instruction}\n\n{row.input}")
        assert (subject is None) == (row.skill == "code")
        if subject:
            for language in LANGUAGES:
                for true in subject.statements(language):
                    (judged,) = sentence_verdicts(true.text, subject, language)
                    assert judged.verdict == "true", true.text


def test_what_is_taught_has_no_false_sentence():
    for row in rows_of_all_skills(40):
        assert false_sentences(row, row.output) == (None if row.skill == "code" else [])


def test_a_false_sentence_is_found_in_any_form_of_answer():
    row = next(row for row in rows_of_all_skills(5) if row.skill == "signal")
    atr = next(line for line in row.output.splitlines() if "ATR14" in line).removeprefix("- ")
    wrong = atr.replace("ATR14 ", "ATR14 9")
    assert false_sentences(row, row.output.replace(atr, wrong)) == [wrong]
    assert false_sentences(row, f"Well, I would hold it.\n\n{wrong} {atr}") == [wrong]


def test_nothing_checkable_is_not_false():
    row = next(row for row in rows_of_all_skills(5) if row.skill == "signal")
    assert false_sentences(row, "Buyers may be exhausted.\nConfidence: 55%") == []
    assert false_sentences(row, row.input) == [], "a line copied from the question states nothing"
