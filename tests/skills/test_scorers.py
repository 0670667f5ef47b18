"""Answers made to please a scorer without saying anything, or by saying what is false: none gets the mark of a true one."""

from dataclasses import replace

import pytest
from skills.test_skills import HELD, SITUATION, decision, item

from stock_llm.evaluation.answers import LANGUAGES, SkillAnswer, parse_answer
from stock_llm.skills import analyse, explain, follow, portfolio, review, sentiment, signal
from stock_llm.skills.decision_point import BaseRates

SIGNAL = signal.row(decision(SITUATION), BaseRates([]), "en", 0)
RATIONALE = "SELL. ORCA will lose ninety percent; the ATR is 104.20, support is above the close."


def signals(bullet, word="BUY", confidence=60):
    return signal.score(
        SIGNAL, SkillAnswer(recommendation=word, confidence=confidence, insights=(bullet,)).text()
    )


@pytest.mark.parametrize(
    "bullet",
    ["x", ".", "104.20", "It closed at 104.20%.", RATIONALE, *SITUATION.block().splitlines()[:5]],
)
def test_a_signal_without_a_true_reason_earns_its_word_alone(bullet):
    marked = signals(bullet)
    assert (marked.checks["told"], marked.checks["grounded"], marked.checks["truth"]) == (0, 0, 0)
    assert signals(bullet, word="HOLD").value == pytest.approx(0.2), "the language"


def test_the_confidence_is_scored_by_brier_beside_the_mark():
    taught = signal.score(SIGNAL, SIGNAL.output)
    assert taught.value == 1.0
    assert [signals("x", "BUY", said).brier for said in (0, 60, 100)] == pytest.approx(
        [1.0, 0.16, 0.0]
    )
    assert [signals("x", "SELL", said).brier for said in (0, 60, 100)] == pytest.approx(
        [0.0, 0.36, 1.0]
    )
    assert signals("x", "BUY", 0).value == signals("x", "BUY", 100).value
    row = analyse.row(decision(SITUATION), BaseRates([]), "en", 0)
    sure = replace(parse_answer(row.output), confidence=100)
    assert analyse.score(row, sure.text()).brier == 0.0


def test_an_analysis_without_sentences_earns_no_sentence_marks():
    row = analyse.row(decision(SITUATION), BaseRates([]), "en", 0)
    empty = analyse.score(
        row,
        replace(
            parse_answer(row.output), recommendation="SELL", insights=(".",), risks=(".",)
        ).text(),
    )
    assert (empty.checks["told"], empty.checks["grounded"], empty.checks["truth"]) == (0, 0, 0)
    assert empty.value < 0.5


@pytest.mark.parametrize(
    "bullet",
    [
        "between 30 and 70",
        "70",
        "30",
        "RSI14 is neutral, between 30 and 70.",
        "Close 104.20",
        "RSI14: 58.3, neutral",
    ],
)
def test_an_explanation_has_to_tell_the_value_in_a_sentence(bullet):
    row = explain.row(SITUATION, "RSI14", "en", 0)
    marked = explain.score(row, SkillAnswer(reading="NEUTRAL", insights=(bullet,)).text())
    assert marked.checks["value"] == 0
    assert marked.value < 1
    told = explain.score(
        row, SkillAnswer(reading="NEUTRAL", insights=("RSI14 is at 58.3.",)).text()
    )
    assert told.value == 1.0


def test_the_meaning_of_another_reading_is_false():
    row = explain.row(SITUATION, "RSI14", "en", 0)
    wrong = row.output.replace("NEUTRAL: It points neither way.", "Buyers may be exhausted.")
    assert explain.score(row, wrong).checks["truth"] == 0.5


TRADE = review.ClosedTrade(SITUATION, 100.0, 95.0, "2025-03-17", "2025-03-31", 14, "t1")


def reviewed(*bullets):
    row = review.row(TRADE, "en", 0)
    return review.score(row, SkillAnswer(outcome="LOSS", insights=bullets).text())


def test_lines_of_the_input_are_no_review():
    marked = reviewed(*review.row(TRADE, "en", 0).input.splitlines())
    assert (marked.checks["told"], marked.checks["truth"], marked.checks["grounded"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("bullet", "told"),
    [
        ("The trade lost 5.0% in 14 days.", 1.0),
        ("Its return was -5.0% after 14 days.", 1.0),
        ("ขาดทุน5.0%ใน14วัน", 1.0),
        ("The trade lost 5.0%.", 0.5),
        ("The trade gained +5.0% in 14 days.", 0),
        ("The trade gained 5.0% in 14 days.", 0),
        ("The trade did not lose 5.0% in 14 days.", 0),
        ("It lost +5.0% in 14 days.", 0),
        ("It lost 14% in 5.0 days.", 0),
        ("5.0% and 14 days", 0.5),
    ],
)
def test_a_review_tells_the_result_with_its_sign_and_unit(bullet, told):
    marked = reviewed(bullet)
    assert marked.checks["told"] == told
    assert (marked.checks["truth"] == 1.0) is (told > 0)


def test_a_number_without_its_unit_tells_nothing():
    marked = reviewed("It lost 5.0 in 14.")
    assert (marked.checks["told"], marked.checks["grounded"]) == (0, 0)


def test_a_review_knows_how_the_trade_was_entered():
    assert reviewed("It was bought with the trend.").checks["truth"] == 1.0
    assert reviewed("It was bought against the trend.").checks["truth"] == 0.0
    assert reviewed("It was not bought with the trend.").checks["truth"] == 0.0
    assert reviewed("ซื้อสวนแนวโน้ม").checks["truth"] == 0.0


LOST = [replace(one, close=one.close * 0.8) for one in HELD]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("held", [HELD, LOST])
def test_every_changed_sentence_about_a_portfolio_costs(held, language):
    row = portfolio.row(portfolio.portfolio_of("2025-03-14", held), language, 0)
    assert portfolio.score(row, row.output).value == 1.0
    said = parse_answer(row.output)
    moved = {"gain": "loss", "loss": "gain", "กำไร": "ขาดทุน", "ขาดทุน": "กำไร"}
    word = next(word for word in moved if word in said.insights[1])
    best = said.insights[2]
    swapped = best.translate(str.maketrans("+-", "-+"))
    for before, after, check in (
        (said.insights[1], "Nothing to say.", "told"),
        (said.insights[1], said.insights[1].replace(word, moved[word]), "told"),
        (said.insights[0], said.insights[0].replace("ORCA", "WREN"), "told"),
        (best, swapped, "truth"),
        (best, best.replace("WREN", "#").replace("AB1", "WREN").replace("#", "AB1"), "truth"),
        (said.risks[0], said.risks[0].replace("1.3", "3"), "truth"),
    ):
        assert before != after
        assert portfolio.score(row, row.output.replace(before, after)).checks[check] < 1, after


def test_a_return_is_not_found_inside_another_number():
    """+2.0% and 12.0% stand in the bullets, 2.0% is the return."""
    held = [
        portfolio.PortfolioHolding("ORCA", 88.0, 100.0, 102.0),
        portfolio.PortfolioHolding("WREN", 12.0, 100.0, 102.0),
    ]
    row = portfolio.row(portfolio.portfolio_of("2025-03-14", held), "en", 0)
    assert "12.0%" in row.input
    silent = row.output.replace("The return is +2.0%, a gain.", "Nothing to say.")
    assert silent != row.output
    assert portfolio.score(row, silent).checks["told"] == 0.5


def test_a_symbol_may_end_with_a_full_stop():
    held = [
        portfolio.PortfolioHolding("BP.", 88.0, 100.0, 102.0),
        portfolio.PortfolioHolding("RR.", 12.0, 100.0, 101.0),
    ]
    for language in LANGUAGES:
        row = portfolio.row(portfolio.portfolio_of("2025-03-14", held), language, 0)
        assert portfolio.score(row, row.output).value == 1.0


def corrected(wish, answer):
    return follow.score(follow.row(item(correction=wish), wish), answer)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [("sentiment", "POSITIVE", "NEGATIVE"), ("concentration", "HIGH", "LOW")],
)
def test_the_opposite_class_does_not_follow_a_correction(name, right, wrong):
    wish, other = (SkillAnswer(**{name: word}).text() for word in (right, wrong))
    assert follow.row(item(correction=wish), wish).label == right
    assert corrected(wish, wish).value == 1.0
    assert corrected(wish, other).checks["recommendation"] == 0


def test_confidence_levels_and_every_word_of_a_correction_count():
    wish = analyse.answer(SITUATION, "BUY", 60, "en")
    assert corrected(wish.text(), wish.text()).value == 1.0
    for change, check in (
        ({"confidence": 5}, "confidence"),
        ({"confidence": None}, "confidence"),
        ({"support": "9", "resistance": "9"}, "levels"),
        ({"support": None, "resistance": None}, "levels"),
        ({"trend": "DOWN"}, "verdicts"),
        ({"risks": (*wish.risks, "Sell it all.")}, "lines"),
        ({"risks": wish.risks[:1]}, "lines"),
    ):
        marked = corrected(wish.text(), replace(wish, **change).text())
        assert marked.checks[check] < 1, change
        assert marked.value < 1


def test_sentiment_has_one_word_to_mark():
    row = sentiment.row(
        sentiment.LabeledText("ORCA beats 3 forecasts", "POSITIVE", "news.csv", "2"), "en", 0
    )
    assert sentiment.score(row, SkillAnswer(sentiment="NEUTRAL").text()).checks["sentiment"] == 0
