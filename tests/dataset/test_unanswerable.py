"""Questions without numbers: the same every time, in both languages, of all kinds, and judged in wordings that are not taught."""

import re
from collections import Counter

import pytest

from stock_llm.dataset.sources import unanswerable
from stock_llm.evaluation.answers import LANGUAGES
from stock_llm.skills import abstain

SYMBOLS = ["ORCA", "WREN"]


@pytest.fixture(scope="module")
def taught():
    return list(unanswerable.rows(7, 800, SYMBOLS))


@pytest.fixture(scope="module")
def judging():
    return list(unanswerable.rows(7, 200, judging=True))


def test_the_seed_decides_and_fewer_rows_are_the_first_of_more(taught):
    assert list(unanswerable.rows(7, 800, SYMBOLS)) == taught
    assert list(unanswerable.rows(7, 20, SYMBOLS)) == taught[:20]
    assert list(unanswerable.rows(8, 20, SYMBOLS)) != taught[:20]


def test_all_kinds_and_languages_are_there_and_nothing_is_asked_twice(taught):
    assert len({row.instruction for row in taught}) == len({row.id for row in taught}) == 800
    counts = Counter((row.language, row.label) for row in taught)
    assert set(counts) == {
        (language, missing) for language in LANGUAGES for missing in abstain.ANSWERS
    }
    assert min(counts.values()) >= 10
    asked = " ".join(row.instruction for row in taught)
    assert all(name in asked for name in SYMBOLS) and not re.search(r"\{\w*\}", asked)


def test_every_taught_answer_abstains_in_the_language_of_its_question(taught, judging):
    for row in (*taught, *judging):
        assert row.input == ""
        assert abstain.score(row, row.output).value == 1.0, row


def test_no_frame_that_judges_is_taught():
    for kinds in unanswerable._FRAMES.values():
        for frames in kinds.values():
            plain = [re.sub(r"[\s?!.,:]", "", frame.casefold()) for frame in frames]
            assert len(set(plain)) == len(plain), Counter(plain).most_common(3)
            assert len(plain) >= 2 * unanswerable._JUDGING


def test_rows_that_judge_ask_what_no_taught_row_asks(taught, judging):
    assert not {row.instruction for row in taught} & {row.instruction for row in judging}
