"""Texts that say the same are found, exactly or nearly; texts that do not are left; fifty thousand take a minute, not ten."""

import random

import pytest

from stock_llm.dataset.leakage.duplicates import (
    ACROSS,
    Duplicate,
    DuplicateIndex,
    normalised,
    visible,
)

ENGLISH = (
    "The company raised its forecast for the year after strong sales in Asia, and said that it would buy back shares worth two "
    "billion dollars over the next eighteen months."
)
THAI = "บริษัทปรับเพิ่มประมาณการรายได้ทั้งปีหลังยอดขายในเอเชียแข็งแกร่ง และจะซื้อหุ้นคืนในอีกสิบแปดเดือนข้างหน้า"


@pytest.mark.parametrize(
    "again",
    [
        ENGLISH,
        ENGLISH.upper(),
        f"  {ENGLISH.replace(' ', '  ')}\n",
        ENGLISH.replace("company", "ｃｏｍｐａｎｙ"),
        ENGLISH.replace("a", "a\u200b").replace("e", "e\u0301\ufe0f"),
        ENGLISH.replace("a", "а").replace("o", "ο"),
        ENGLISH.replace(" ", ", ").replace("forecast", "fore\u00adcast"),
    ],
)
def test_case_spaces_and_how_it_is_written_make_no_difference(again):
    index = DuplicateIndex()
    assert index.add("a", ENGLISH) is None
    assert index.add("b", again) == index.find(again) == Duplicate("a", exact=True)


def test_numbers_make_no_difference():
    index = DuplicateIndex()
    index.add("a", "Revenue of 1,234.5 million, up 7% on 2024.")
    assert index.find("Revenue of 98 million, up 12.5% on 2025.") == Duplicate("a", exact=True)


def test_thai_keeps_its_marks():
    assert visible("กำ\u200bไร ๑๒  น้ำ") == visible("กำไร ๑๒ น้ำ") != visible("กาไร ๑๒ นา")
    assert normalised("ขาดทุน") != normalised("ขาดทน")


def test_programs_differ_by_their_operators():
    index = DuplicateIndex()
    index.add("a", "return a + b")
    assert index.find("return a * b") != Duplicate("a", exact=True)


CORRECTION = (
    "Never buy a stock the day before its earnings, however good the chart may look to you."
)


@pytest.mark.parametrize(
    "again",
    [
        "Never buy any stock on the day before earnings, however good charts may look to you.",
        "Do not buy a stock the day before earnings, however good its chart may look.",
        "Never ever buy any stock on the day before its earnings, however good the chart looks to you.",
    ],
)
def test_reworded_is_the_same_across_the_split_alone(again):
    inside, across = DuplicateIndex(), DuplicateIndex(ACROSS)
    for index in (inside, across):
        index.remember("a", CORRECTION)
        index.remember("b", THAI)
    assert inside.find(again) is None
    assert across.find(again) == Duplicate("a", exact=False)
    assert (
        across.find(
            "Sell a stock on the day after its earnings, unless the dividend is raised for the whole year."
        )
        is None
    )


def test_a_judging_text_is_added_although_it_is_like_another():
    """Else a copy of the second text would be found only as far as it is like the first."""
    index = DuplicateIndex(ACROSS)
    index.remember("a", CORRECTION)
    near = "Do not buy a stock the day before earnings, however good its chart may look."
    index.remember("b", near)
    assert index.find(near) == Duplicate("b", exact=True)


@pytest.mark.parametrize("text", [ENGLISH, THAI])
def test_a_word_more_or_less_is_nearly_the_same(text):
    index = DuplicateIndex()
    index.add("other", "Something else altogether, about the weather in spring.")
    index.add("a", text)
    assert index.find(f"Update: {text}") == Duplicate("a", exact=False)
    assert index.find(text[: -len(text) // 20]) == Duplicate("a", exact=False)
    assert index.add("b", f"{text} (Reuters)") == Duplicate("a", exact=False)


def test_texts_on_the_same_subject_are_two():
    index = DuplicateIndex()
    assert index.add("a", ENGLISH) is None
    assert index.add("b", THAI) is None
    assert (
        index.add(
            "c",
            "The company cut its forecast for the year because sales in Asia were weak, and stopped its dividend.",
        )
        is None
    )
    assert index.add("d", "") is None
    assert index.add("e", "hm") is None
    assert index.add("f", "  ") == Duplicate("d", exact=True)


def test_what_repeats_is_not_remembered_and_names_are_one():
    index = DuplicateIndex()
    index.add("a", ENGLISH)
    assert index.add("b", f"Update: {ENGLISH}") == Duplicate("a", exact=False)
    assert index.find(f"Update: {ENGLISH}").name == "a"
    with pytest.raises(ValueError, match="two texts are named 'a'"):
        index.add("a", THAI)


def test_normalised_is_idempotent():
    for text in (ENGLISH, THAI, "ＡＢＣ 1,234.5 ๑๒๓\n\tx", "1'2 a_b ´x İ"):
        assert normalised(normalised(text)) == normalised(text)


def test_many_planted_copies_are_found_among_many():
    """Of two thousand random texts, the hundred that are copied with a changed word are found, and no other."""
    chance = random.Random(3)
    words = [
        "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9)))
        for _ in range(3000)
    ]
    texts = [" ".join(chance.choices(words, k=60)) for _ in range(2000)]
    index = DuplicateIndex()
    for number, text in enumerate(texts):
        assert index.add(str(number), text) is None
    for number in range(0, 2000, 20):
        changed = texts[number].split(" ")
        changed[30] = "elsewhere"
        assert index.find(" ".join(changed)) == Duplicate(str(number), exact=False)
    assert index.find(" ".join(chance.choices(words, k=60))) is None
