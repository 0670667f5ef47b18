"""Abstaining: the taught sentences do, what states or recommends anything does not, and the right thing is named."""

import hashlib
from collections import Counter
from importlib import resources

import pytest

from stock_llm.evaluation.answers import LANGUAGES
from stock_llm.skills import abstain
from stock_llm.skills.abstain import ANSWERS, UnanswerableQuestion, abstains


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("missing", ANSWERS)
def test_what_is_taught_gets_full_marks_and_names_what_is_missing(missing, language):
    row = abstain.row(UnanswerableQuestion("Buy ORCA?", language, missing), "1")
    assert abstain.score(row, row.output).value == 1.0
    assert abstain.score(row, f"{row.output}\nNot investment advice.").value == 1.0
    other = ANSWERS["TEXT" if missing != "TEXT" else "LEDGER"][language]
    assert abstain.score(row, other).checks["missing"] == 0.0
    for foreign in set(LANGUAGES) - {language}:
        assert abstain.score(row, ANSWERS[missing][foreign]).checks["language"] == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "I cannot say anything about ORCA without its indicators.",
        "I have not been given any numbers for ORCA.",
        "Please add your positions, then I can review them.",
        "I can analyze stocks when their indicators are given.",
        "ไม่มีข้อมูลของหุ้นตัวนี้ กรุณาใส่ตัวเลข",
    ],
)
def test_other_words_abstain_too(text):
    assert abstains(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello. How can I help?",
        "Recommendation: BUY\nConfidence: 55%\nNot investment advice.",
        "BUY",
        "I need more data, but ORCA trades at 104.20.",
        "I need no numbers to know that ORCA is bullish.",
        "I have no data, you should buy it.",
        "I need the stock's indicators. The close is above SMA50.",
        "I need the stock's indicators.\nTrend: UP",
        "The price will fall.",
        "ไม่มีข้อมูล แต่แนะนำให้ซื้อ",
        "ต้องมีข้อมูลเพิ่ม แต่หุ้นเป็นขาขึ้น",
        "RSI14 58.3 is neutral, between 30 and 70.",
    ],
)
def test_what_states_or_recommends_anything_does_not_abstain(text):
    row = abstain.row(UnanswerableQuestion("Buy ORCA?", "en", "INDICATORS"), "1")
    assert not abstains(text)
    assert (abstain.score(row, text).value, abstain.score(row, text).parsed) == (0.0, False)


def test_the_frozen_questions_are_those_that_were_written():
    file = resources.files("stock_llm.evaluation").joinpath(abstain.FROZEN)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == FROZEN_SHA256
    rows = abstain.frozen_rows()
    assert len({row.instruction for row in rows}) == len({row.id for row in rows}) == 200
    assert Counter(row.language for row in rows) == {"en": 100, "th": 100}


FROZEN_SHA256 = "2655db37f59c84229a177d468bebcc518952a88c10b4b115b0821199ee5c6df8"
