import pytest
from hypothesis import given
from hypothesis import strategies as st

from stock_llm.evaluation.answers import (
    DISCLAIMER,
    LANGUAGES,
    VERDICTS,
    AnswerError,
    SkillAnswer,
    parse_answer,
)

LINE = (
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=30)
    .map(str.strip)
    .filter(bool)
)
PRICE = st.decimals(min_value="0.01", max_value="99999", places=2).map(str)


@st.composite
def answers(draw):
    levels = sorted(draw(st.just([]) | st.lists(PRICE, min_size=2, max_size=2)), key=float) or (
        None,
        None,
    )
    return SkillAnswer(
        language=draw(st.sampled_from(LANGUAGES)),
        confidence=draw(st.none() | st.integers(0, 100)),
        insights=tuple(draw(st.lists(LINE, max_size=3))),
        risks=tuple(draw(st.lists(LINE, max_size=3))),
        support=levels[0],
        resistance=levels[1],
        **{name: draw(st.none() | st.sampled_from(words)) for name, words in VERDICTS.items()},
    )


@given(answers().filter(lambda answer: answer.text() not in DISCLAIMER.values()))
def test_what_is_written_is_read_back(answer):
    assert parse_answer(answer.text()) == answer


GOOD = "Recommendation: BUY\nConfidence: 60%\nInsights:\n- Close 1.00 is above SMA50 0.90.\nNot investment advice."


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("BUY", "disclaimer"),
        (GOOD.replace("BUY", "buy"), "not one of"),
        (GOOD.replace("BUY", "BUY now"), "not one of"),
        (GOOD.replace("BUY", "DO NOT BUY"), "not one of"),
        (GOOD.replace("60%", "160%"), "percentage"),
        (GOOD.replace("60%", "high"), "percentage"),
        (GOOD.replace("- Close", "Close"), "not a line"),
        (GOOD.replace("- Close 1.00 is above SMA50 0.90.\n", ""), "has no lines"),
        ("Confidence: 60%\nRecommendation: BUY\nNot investment advice.", "out of order"),
        ("Recommendation: BUY\nRecommendation: SELL\nNot investment advice.", "repeated"),
        ("Recommendation: BUY\nBecause I say so.\nNot investment advice.", "not a line"),
        ("Levels: 98.40 and 106.00\nNot investment advice.", "two prices"),
        ("Insights: up\nNot investment advice.", "text after the label"),
        ("disclaimer: x\nNot investment advice.", "not a line"),
        (GOOD.replace(DISCLAIMER["en"], DISCLAIMER["th"]), "not a line"),
        (DISCLAIMER["en"], "nothing but"),
        (GOOD.replace("Not", "- Not investment advice.\nNot"), "disclaimer among"),
        (GOOD.replace("Not", f"- {DISCLAIMER['th']}\nNot"), "disclaimer among"),
        (GOOD.replace("60%", "๕๕%"), "percentage"),
        (GOOD.replace("60%", "\uff15\uff15%"), "percentage"),
        (GOOD.replace("60%", "060%"), "percentage"),
        (GOOD.replace("60%", "00%"), "percentage"),
        (
            "Levels: support 106.00, resistance 98.40\nNot investment advice.",
            "above the resistance",
        ),
        ("Levels: support ๙๘, resistance 106.00\nNot investment advice.", "two prices"),
        ("Levels: support 098.40, resistance 106.00\nNot investment advice.", "two prices"),
        *(
            (GOOD.replace("\nConfidence", f"{end}Confidence"), "control character")
            for end in "\u2028\u2029\x0b\x0c\x1c\x1d\x1e\x85\r"
        ),
        (GOOD.replace("60%", "60%\u2028"), "control character"),
    ],
)
def test_anything_else_is_refused(text, problem):
    with pytest.raises(AnswerError, match=problem):
        parse_answer(text)


def test_a_word_inside_other_words_is_never_taken_for_a_verdict():
    with pytest.raises(AnswerError):
        parse_answer(
            "The upside is limited, expect a decline. SELL-side analysts say BUY.\nNot investment advice."
        )


def test_lines_may_end_as_on_windows():
    assert parse_answer(GOOD.replace("\n", "\r\n")) == parse_answer(GOOD)
