"""A whole answer checked against the numbers of its question, and repaired while it comes."""

import random

import pytest
from factories.rows import situation

from stock_llm.market.situation import Situation
from stock_llm.skills import analyse, portfolio, review
from stock_llm.skills.portfolio import PortfolioView, ShownHolding
from stock_llm.skills.review import ClosedTrade
from stock_llm.truth.answer_check import MAX_CHARACTERS, AnswerChecker, AnswerRepair, marked

SEEN: Situation = situation(random.Random(3))
VIEW = PortfolioView("2026-01-30", 2, (ShownHolding("BP.", "64.0%", 24.0, 26.4), ShownHolding("ORCA", "36.0%", 50.0, 40.0)), "", "-1.2%", "100.0%", "1.9")  # fmt: skip
TRADE = ClosedTrade(SEEN, 100.0, 112.5, "2026-01-05", "2026-01-30", 25, "t")
CASES = {
    f"{name} {language}": (f"{question}\n\n{block}", answer(language).text())
    for language, question in (("en", "How is it?"), ("th", "เป็นอย่างไร"))
    for name, block, answer in (
        ("stock", SEEN.block(), lambda lang: analyse.answer(SEEN, "HOLD", 50, lang)),
        ("portfolio", VIEW.block(), lambda lang: portfolio.answer(VIEW, lang)),
        ("trade", TRADE.block(), lambda lang: review.answer(TRADE, lang)),
    )
}
SWAPS = (("UP", "DOWN"), ("SIDEWAYS", "UP"), ("above", "below"), ("สูงกว่า", "ต่ำกว่า"), ("GAIN", "LOSS"), ("a gain", "a loss"), ("กำไร", "ขาดทุน"), ("HIGH", "LOW"))  # fmt: skip


def falsified(text):
    """The answer with words that make some of it false."""
    for word, other in SWAPS:
        text = text.replace(word, "\0").replace(other, word).replace("\0", other)
    return text


@pytest.mark.parametrize("case", CASES)
def test_a_taught_answer_is_true_and_stays_as_it_is(case):
    question, text = CASES[case]
    checker = AnswerChecker.of(question)
    check = checker.check(text)
    assert check.false == () and check.count("true") >= 3 and check.parses and check.invented == ()
    assert checker.repair(text) == (text, check)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_a_false_answer_is_repaired_alike_in_pieces_of_any_size(case, size):
    question, _text = CASES[case]
    checker, false = AnswerChecker.of(question), falsified(CASES[case][1])
    check = checker.check(false)
    assert check.false and all(verdict.correction for verdict in check.false)
    repair = AnswerRepair(checker)
    pieces = [repair.feed(false[at : at + size]) for at in range(0, len(false), size)]
    repaired = "".join(pieces) + repair.finish()
    assert checker.check(repaired).false == ()
    assert repair.replaced == len(check.false)
    assert repaired == checker.repair(false)[0]
    if size == 1:
        assert max(map(len, pieces)) < len(false) / 2  # sentences come as they are complete


def test_words_that_a_rule_decides_are_judged_with_their_line():
    checker = AnswerChecker.of(CASES["stock en"][0])
    wrong = next(word for word in ("UP", "DOWN") if word != SEEN.trend)
    (verdict,) = checker.check(f"Trend: {wrong}").false
    assert verdict.correction == f"Trend: {SEEN.trend}"
    (levels,) = checker.check("Levels: support 1.00, resistance 2.00").false
    assert levels.correction.startswith("Levels: support ")
    assert checker.check("Recommendation: SELL\nConfidence: 3%").false == ()


def test_numbers_that_the_question_does_not_show_are_told_the_confidence_apart():
    check = AnswerChecker.of(CASES["stock en"][0]).check("Confidence: 41%\nIt will be worth 987654.32.")  # fmt: skip
    assert check.invented == ("987654.32",) and not check.parses


def test_a_question_without_numbers_has_no_checker():
    assert AnswerChecker.of("What is RSI14?") is None
    assert AnswerChecker.of(CASES["stock en"][0].replace("SMA50", "SMA55")) is None


def test_a_very_long_answer_is_checked_up_to_a_length():
    question, text = CASES["stock en"]
    checker = AnswerChecker.of(question)
    long = text + "\n" + "x" * MAX_CHARACTERS + "\n" + falsified(text)
    assert checker.check(long).false == ()
    assert checker.repair(long)[0] == long
    repair, piece = AnswerRepair(checker), "x" * (MAX_CHARACTERS // 2 + 1)
    assert [repair.feed(piece) for _ in range(4)] == ["", "", piece * 3, piece]  # not held back


def test_marks_stand_around_false_sentences_and_the_true_ones_below():
    question, text = CASES["stock en"]
    false = falsified(text)
    check = AnswerChecker.of(question).check(false)
    shown = marked(false, check, "<", ">")
    for verdict in check.false:
        assert f"<{verdict.sentence}>" in shown
        assert f"  ^ not true; true is: {verdict.correction}" in shown.splitlines()
    assert marked(text, AnswerChecker.of(question).check(text)) == text
