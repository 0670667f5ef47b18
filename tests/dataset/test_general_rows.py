"""The replay slice: general, the same every time, short, and without a word on what to buy."""

import ast
import itertools

import pytest

from stock_llm.dataset.privacy import injections
from stock_llm.dataset.privacy.redaction import Redactor
from stock_llm.dataset.sources import general_rows
from stock_llm.evaluation.answers import AnswerError, parse_answer


@pytest.fixture(scope="module")
def slice_():
    return list(general_rows.rows(7, 300))


def test_the_seed_decides_and_a_shorter_slice_begins_a_longer_one(slice_):
    assert list(general_rows.rows(7, 300)) == slice_
    assert list(general_rows.rows(7, 20)) == slice_[:20]
    assert list(itertools.islice(general_rows.rows(8, 300), 20)) != slice_[:20]
    assert list(general_rows.rows(7, 0)) == []


def test_no_two_ask_the_same_and_both_languages_are_there(slice_):
    assert (
        len({(row.instruction, row.input) for row in slice_})
        == len({row.id for row in slice_})
        == 300
    )
    assert 30 < sum(row.language == "th" for row in slice_) < 90


def test_no_answer_has_a_label(slice_):
    for row in slice_:
        with pytest.raises(AnswerError):
            parse_answer(row.output)
        assert "language model" not in row.output and "แบบจำลองภาษา" not in row.output


def test_code_is_python_and_texts_are_clean(slice_):
    code = [
        row.output.removeprefix("```python\n").removesuffix("\n```")
        for row in slice_
        if row.output.startswith("```")
    ]
    assert len(code) > 50
    for source in code:
        ast.parse(source)
    redactor = Redactor()
    for row in slice_:
        for text in (row.instruction, row.input, row.output):
            assert redactor.text(text) == injections.neutralize(text) == text
            assert injections.detect(text) == []
