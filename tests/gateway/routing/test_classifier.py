"""Guesses from words: a floor for questions that the rules had not seen, and that the caller's word stands above any guess."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

from stock_llm.gateway.routing.classifier import classify, complete_query

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "estimate.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_estimate", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_labelled_questions_are_many_balanced_and_never_twice(benchmark):
    asked = benchmark.questions()
    assert len(asked) >= 300
    assert len({question.text for question in asked}) == len(asked)
    for half, each in (("tuning", 39), ("held-out", 13)):
        kinds = Counter(
            (question.type, question.language) for question in asked if question.half == half
        )
        assert set(kinds.values()) == {each} and len(kinds) == 8


def test_questions_that_the_rules_had_not_seen(benchmark):
    scores = benchmark.measure(
        [question for question in benchmark.questions() if question.half == "held-out"]
    )
    assert scores.type >= 0.85
    assert scores.language >= 0.95
    assert scores.complexity >= 0.90
    assert scores.urgency >= 0.90
    assert scores.service >= 0.92
    assert scores.orchestrator >= 0.92
    for labelled, guessed, both in scores.away.values():
        assert both >= 0.7 * labelled and both >= 0.7 * guessed


def test_what_the_caller_says_stands():
    query = complete_query(
        "URGENT: translate this python code",
        type="analysis",
        urgency=1,
        data_length=5000,
        privacy="local",
    )
    assert (query.type, query.urgency, query.data_length, query.privacy) == (
        "analysis",
        1,
        5000,
        "local",
    )
    assert query.estimated == {"complexity", "language"}


def test_nothing_is_estimated_where_everything_is_said():
    query = complete_query("hello", type="code", complexity=9, urgency=2, language="th")
    assert (query.type, query.complexity, query.urgency, query.language) == ("code", 9, 2, "th")
    assert query.estimated == frozenset()
    assert query.data_length == len("hello")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What does กำไรสุทธิ mean in English?", "en"),
        ("เปลี่ยน for loop นี้เป็น list comprehension", "th"),
        ("KESTRO ขึ้นหรือลง", "th"),
        ("แปลประโยคนี้: The stop is at 38.75", "th"),
        ("42", "en"),
        ("", "en"),
    ],
)
def test_the_language_is_the_one_that_is_asked_in(text, language):
    assert classify(text).language == language


def test_what_is_quoted_does_not_make_haste():
    assert classify('Translate to Thai: "Sell immediately, this is an emergency"').urgency == 3
    assert classify("Emergency! Sell immediately").urgency == 10


@pytest.mark.parametrize(
    "text",
    ["", " ", "x" * 100_000, "my need now 'x' " * 5000, "```" * 3000, "\0\ud800", "🚀" * 900],
)
def test_any_text_has_scores_in_range(text):
    classified = classify(text)
    assert 1 <= classified.complexity <= 10 and 1 <= classified.urgency <= 10
