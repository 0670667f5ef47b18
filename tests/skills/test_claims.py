"""Sentences held against a situation: numbers are seen wherever they stand; what is claimed is true, false, or not checked."""

import random
from dataclasses import replace

import pytest
from factories.garbled import garbled_sentences
from factories.rows import situation
from fakes.second_checker import false_sentences
from hypothesis import given
from hypothesis import strategies as st

from stock_llm.evaluation.answers import LANGUAGES
from stock_llm.evaluation.numbers_in_text import ungrounded_numbers
from stock_llm.market.situation import Situation
from stock_llm.skills import statements
from stock_llm.skills.claims import find_claims

SEEN = Situation(
    "ORCA", "2025-03-14", 104.2, 101.35, 99.1, 55.3, 0.84, 0.61, 2.1, 97.2, 105.5, 1.2, 98.4, 106.0
)
FALLEN = replace(SEEN, close=90.0, rsi14=25.0, macd=-0.84)
SOURCE = SEEN.block()
SENTENCES = (
    statements.sma20,
    statements.sma50,
    statements.rsi,
    statements.macd,
    statements.bands,
    statements.volume,
    statements.atr,
    statements.resistance,
    statements.support,
    statements.stop,
)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("ราคาปิด999.99 สูงกว่า SMA50", ["999.99"]),
        ("Close USD999.99", ["999.99"]),
        ("target 999-day", ["999 day"]),
        ("the 50-day average", []),
        ("SMA999 is near", ["999"]),
        ("SMA50, EMA(12), RSI14 and ATR (14)", []),
        ("Close -104.20", ["-104.20"]),
        ("Close −104.20 or –3", ["-104.20", "-3"]),
        ("104.20% and 5 percent, ร้อยละ 5 เปอร์เซ็นต์", ["104.20%", "5%", "5%"]),
        ("1,104.20 of 1,000,000", ["1104.20", "1000000"]),
        ("97.20-105.50 since 2025-03-14", ["97.20", "105.50", "2025-03-14"]),
        ("2.1k, 3 million, 4ล้าน", ["2.1k", "3 million", "4 ล้าน"]),
        ("๙๙", ["๙๙"]),
    ],
)
def test_numbers_are_seen_with_sign_and_unit(text, seen):
    assert statements.numbers(text) == seen


@pytest.mark.parametrize(
    "text",
    [
        "Close -104.20",
        "Close 104.20%",
        "ราคาปิด999.99",
        "Close USD999.99",
        "target 999-day",
        "SMA999",
        "Close 104.2",
        "ราคา ๑๐๔.๒๐",
        "Close 104.20k",
        "104.20 million",
        "-5.1%",
        "Support +5.6%",
        "70%",
    ],
)
def test_a_number_is_known_to_the_digit_with_its_sign_and_unit(text):
    assert statements.grounded(text, SOURCE) == 0.0
    assert len(ungrounded_numbers(text, SOURCE)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "ราคาปิด104.20",
        "5.1%",
        "+5.1%",
        "5.1 percent",
        "5.6%",
        "+0.84",
        "0.23",
        "70",
        "2025-03-14",
        "ORCA",
    ],
)
def test_what_stands_in_the_source_is_known(text):
    assert statements.grounded(text, SOURCE) == 1.0
    assert ungrounded_numbers(text, SOURCE) == []


def test_thousands_may_be_separated():
    assert statements.grounded("Close 1,104.20", "Close: 1104.20") == 1.0
    assert statements.grounded("Close 1,104.20", "Close: 104.20, 1") == 0.0


def test_a_negative_number_keeps_its_sign():
    assert statements.grounded("MACD 0.84", FALLEN.block()) == 0.0
    assert statements.grounded("MACD -0.84", FALLEN.block()) == 1.0


@pytest.mark.parametrize("seen", [SEEN, FALLEN])
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_taught_is_checked_and_true(seen, language):
    for sentence in SENTENCES:
        text = sentence(seen, language)
        assert statements.truth((text,), seen) == 1.0, text
        assert any(claim.value for claim in find_claims(text, seen)), text


@pytest.mark.parametrize(
    "text",
    [
        "The close is not above SMA50.",
        "The close isn't above SMA50",
        "ราคาปิดไม่สูงกว่า SMA50",
        "ราคาปิดต่ำกว่าSMA50",
        "SMA50 is above the close.",
        "Close is beneath SMA50",
        "The close broke under its SMA50",
        "Support 98.40 is above the close",
        "RSI14 is oversold, below 30.",
        "RSI14 does not exceed 70.",
        "The close is never above the 50-day moving average.",
        "MACD is lower than its signal.",
        "Resistance is not below the close.",
        "The close is not inside the bands.",
        "The close is outside the bands.",
        "Close 90.00 is 9.2% below SMA50 99.10 and under SMA20.",
        "RSI14 25.0 is not neutral.",
    ],
)
def test_a_true_sentence_is_true_and_its_opposite_false(text):
    assert statements.truth((text,), FALLEN) == 1.0
    opposites = {
        "isn't": "is",
        " not ": " ",
        " never ": " ",
        "ไม่": "",
        "does not exceed": "exceeds",
        "under": "over",
        "beneath": "above",
        "ต่ำกว่า": "สูงกว่า",
        "above": "below",
        "below": "above",
        "lower": "higher",
        "outside": "inside",
    }
    word = next(word for word in opposites if word in text)
    assert statements.truth((text.replace(word, opposites[word]),), FALLEN) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "The close is not above SMA50.",
        "ราคาปิดไม่สูงกว่า SMA50",
        "SMA50 is above the close.",
        "Close is beneath SMA50",
        "The close broke under its SMA50",
        "Support 98.40 is above the close",
        "RSI14 exceeds 70.",
        "RSI14 is overbought.",
        "RSI14 58.3 is neutral.",
        "The ATR is 104.20.",
        "Close 104.20 is 2.0% above SMA50.",
        "Close 104.20% is above SMA50.",
        "Close -104.20",
        "RSI14 is between 60 and 70.",
        "MACD 0.84 is below its signal 0.61.",
        "Resistance 98.40",
        "แนวรับ 106.00",
        "The bands are 97.20 to 106.00.",
        "SELL.",
        "OWL will lose ninety percent.",
        "x",
        ".",
        "104.20",
        "70",
        "",
    ],
)
def test_what_is_false_or_says_nothing_is_not_true(text):
    assert statements.truth((text,), SEEN) == 0.0


WRONG = {
    "the base of a share": [
        "ATR14 2.10 is 2.0% of its signal.",
        "ATR14 2.10 is 2.0% of the lower band.",
        "ATR14 2.10 คิดเป็น 2.0% ของแถบล่าง",
    ],
    "the base of a distance": [
        "Resistance 106.00 is 1.7% from its signal.",
        "Support 98.40 is 5.6% from SMA50.",
        "Support 98.40 is 5.6% from support.",
        "แนวรับ 98.40 ห่างจากค่าเฉลี่ย 5.6%",
        "Close 104.20 is 2.8% above SMA20 101.35 and 2.8% above SMA50 99.10.",
        "Close 104.20 is above SMA50 99.10 by 2.8%.",
        "SMA50 99.10 (+2.8%): the close 104.20 is above SMA50.",
    ],
    "a lost percent sign": [
        "Close 104.20 is 5.1 below SMA50.",
        "Close 104.20 is 5.0 above SMA50.",
        "Support 98.40 is 5.6 from the close.",
        "ATR14 2.10 is 2.0 of the close.",
    ],
    "a percent sign too many": [
        "RSI14 55.3% is neutral, between 30 and 70.",
        "RSI14 55.3 is neutral, between 30 and 70%.",
        "RSI14% 55.3 is neutral.",
        "Volume is 1.2% times its average.",
        "MACD 0.84, signal 0.61 (+0.23%): MACD is above its signal.",
        "Stop below support 98.40%.",
        "ตัดขาดทุนเมื่อต่ำกว่าแนวรับ 98.40%",
    ],
    "a sign": [
        "RSI14 55.3 is neutral, below -30.",
        "RSI14 55.3 เป็นกลาง ต่ำกว่า -30",
        "MACD 0.84, signal 0.61 (-0.23): MACD is above its signal.",
        "MACD 0.84, signal 0.61 (0.23): MACD is above its signal.",
    ],
    "a difference": [
        "MACD 0.84, signal 0.61 (+0.32): MACD is above its signal.",
        "MACD 0.84 is 0.32 above its signal 0.61.",
    ],
    "a number that nobody writes": [
        "Resistance 106.00 is 1.% from the close.",
        "Resistance 106.00 is 1.7%% from the close.",
        "Close 104.20.1 is above SMA50.",
        "Stop below support 098.40.",
    ],
    "an average that there is not": [
        "SMA54 99.10 (+5.1%): the close 104.20 is above SMA50.",
        "The close 104.20 is above SMA200.",
        "SMA200 is not below the close.",
        "The close is above its 200-day moving average.",
        "RSI16 55.3 is neutral.",
        "ATR10 2.10 is 2.0% of the close.",
        "ตัดขาดทุนเมื่อต่ำกว่า SMA54 98.40",
    ],
    "equality": ["The close 104.20 is at SMA50 99.10.", "ราคาปิด 104.20 เท่ากับ SMA50"],
    "the bands": ["The close is above the bands 97.20 to 105.50.", "MACD is between the bands."],
    "a quantity and itself": ["The upper band is above the upper band 105.50."],
    "volume": ["Volume is below its average.", "Support is 1.2 times its average."],
    "a name that is misspelt": ["The close is below the uppr band 99.20."],
}


@pytest.mark.parametrize(
    "text", [pytest.param(text, id=f"{kind}: {text}") for kind in WRONG for text in WRONG[kind]]
)
def test_a_garbled_sentence_is_false(text):
    claims = find_claims(text, SEEN)
    assert not all(claim.holds for claim in claims), claims


@pytest.mark.parametrize(
    "text",
    [
        "ATR14 2.10 is 2.0% of the close.",
        "Resistance 106.00 is 1.7% above the close 104.20.",
        "The close is 1.7% from resistance.",
        "Support 98.40 is -5.6% from the close.",
        "Support 98.40 is 5.6% away.",
        "Close 104.20 is 2.8% above SMA20 101.35 and 5.1% above SMA50 99.10.",
        "Close 104.20 is above SMA50 99.10 by 5.1%.",
        "SMA50 99.10 is 4.9% below the close.",
        "ราคาปิด 104.20 สูงกว่า SMA50 99.10 อยู่ 5.1%",
        "แนวรับ 98.40 อยู่ต่ำกว่าราคาปิด 5.6%",
        "MACD 0.84, signal 0.61 (+0.23): MACD is above its signal.",
        "MACD is 0.23 above its signal.",
        "RSI14 is at 55.3.",
        "The close is above SMA 50 for 10 days.",
        "Volume is above its average.",
        "The close is above its 50-day moving average.",
        "The close 104.20 is below the level of 105.50.",
    ],
)
def test_the_right_words_for_it_are_true(text):
    assert statements.truth((text,), SEEN) == 1.0, find_claims(text, SEEN)


def test_a_close_above_something_is_no_claim_about_the_close():
    assert all(claim.holds for claim in find_claims("A close above 106.00 ends it.", SEEN))


def test_what_is_said_of_an_unknown_average_needs_a_claim():
    assert find_claims("SMA200 is a slow average.", SEEN) == []


def test_both_checkers_agree_on_garbled_sentences():
    """They differ by rule in roundings, which the first finds false, and on words that are none."""
    verdicts = [
        all(claim.holds for claim in find_claims(text, seen)) == (false_sentences(text, seen) == [])
        for text, seen in garbled_sentences(2000)
    ]
    assert len(verdicts) > 1900
    assert sum(verdicts) / len(verdicts) >= 0.965


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_of_the_builders_is_true(language):
    chance = random.Random(5)
    for _ in range(300):
        seen = situation(chance)
        for statement in statements.true_statements(seen, language):
            assert statements.truth((statement.text,), seen) == 1.0, (statement.text, seen)


def test_each_sentence_of_a_bullet_counts():
    assert statements.truth(
        ("Close 104.20 is above SMA50. It will lose ninety percent; sell.",), SEEN
    ) == pytest.approx(1 / 3)
    assert statements.truth((), SEEN) == 0.0


def test_what_would_be_is_no_claim():
    assert find_claims("It may fall below support.", SEEN) == []
    assert find_claims("If the close is below SMA50", SEEN) == []


WORDS = st.sampled_from(
    [
        "close",
        "SMA20",
        "SMA50",
        "SMA20/SMA50",
        "RSI14",
        "MACD",
        "signal",
        "ATR14",
        "bands",
        "support",
        "volume",
        "above",
        "below",
        "not",
        "isn't",
        "between",
        "inside",
        "outside",
        "neutral",
        "overbought",
        "70",
        "5.1%",
        "104.20",
        "-3",
        "9",
        "days",
        "2025-03-14",
        "if",
        "and",
        "the",
        "its",
        ".",
        ";",
        "แถบ",
        "แถบบน",
        "ไม่",
        "ต่ำกว่า",
        "ราคาปิด",
        "ระหว่าง",
    ]
)


@given(st.lists(WORDS, max_size=12).map(" ".join))
def test_any_words_can_be_read(text):
    assert 0.0 <= statements.truth((text,), SEEN) <= 1.0
