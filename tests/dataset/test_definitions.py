"""Questions about terms: each term in each language, and none that abstaining answers or that judges."""

from collections import Counter

import pytest

from stock_llm.dataset.leakage.overlap import OverlapIndex
from stock_llm.dataset.sources import definitions, general_questions, general_rows
from stock_llm.skills.abstain import abstains
from stock_llm.skills.explain import TEXTBOOK
from stock_llm.synthetic.stock_tiny import glossary


def test_the_seed_decides():
    assert definitions.rows(7, 3) == definitions.rows(7, 3)
    assert definitions.rows(7, 3) != definitions.rows(8, 3)


@pytest.mark.parametrize("count", [1, 3, 6, 9])
def test_every_term_is_asked_about_in_both_languages(count):
    rows = definitions.rows(7, count)
    by_answer = Counter((row.language, row.output) for row in rows)
    assert len(by_answer) == 2 * (len(glossary.TERMS) + 1)
    assert min(by_answer.values()) == min(count, definitions.MOST)
    assert max(by_answer.values()) <= max(min(count, definitions.MOST), 2)
    assert len({row.instruction for row in rows}) == len({row.id for row in rows}) == len(rows)


def test_the_indicators_that_are_explained_are_asked_about_by_their_names():
    answers = {row.instruction: row.output for row in definitions.rows(7, 1)}
    assert set(TEXTBOOK) <= set(definitions.INDICATORS)
    for name in definitions.INDICATORS:
        assert f"What does {name} mean?" in answers and f"{name} หมายถึงอะไร" in answers
    assert answers["What does RSI14 mean?"].startswith("The relative strength index, RSI, compares")


def test_a_definition_is_no_abstention_and_gives_no_advice():
    for row in definitions.rows(7, 6):
        assert row.source["kind"] == general_rows.KIND
        assert not abstains(row.output)
        assert row.input == row.symbol == row.as_of == ""


def test_the_questions_that_measure_forgetting_take_no_indicator_away():
    """They take the Thai stop loss, whose definition they ask for in nearly the same words."""
    judging = OverlapIndex(list(general_questions.rows()))
    lost = [row for row in definitions.rows(7, 6) if judging.asks(row) or judging.says(row)]
    assert len({row.output for row in lost}) == 1
    assert all("จุดตัดขาดทุน" in row.instruction for row in lost)


@pytest.mark.parametrize(("train_rows", "count"), [(10, 1), (1000, 3), (50_000, 6)])
def test_a_larger_dataset_has_more_wordings(train_rows, count):
    assert definitions.each(train_rows) == count
