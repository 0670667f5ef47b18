"""Exports of Label Studio and Argilla: what people said becomes items, the rest is told."""

import copy
import json

import pytest

from stock_llm.feedback.store import FeedbackStore

BLOCK = "Symbol: KESTRO\nDate: 2025-12-31\nClose: 133.78"
QUESTION = f"Analyze KESTRO.\n\n{BLOCK}"


def task(number=1, **changes):
    result = [
        {"from_name": "stars", "to_name": "a", "type": "rating", "value": {"rating": 2}},
        {"from_name": "verdict", "to_name": "a", "type": "choices", "value": {"choices": ["Bad"]}},
        {"from_name": "corrected_answer", "to_name": "a", "type": "textarea", "value": {"text": ["Trend: DOWN"]}},
        {"from_name": "why", "to_name": "a", "type": "textarea", "value": {"text": ["It is below."]}},
    ]  # fmt: skip
    annotation = {
        "id": 1000 + number,
        "completed_by": {"id": 7, "email": "ann@example.com"},
        "was_cancelled": False,
        "updated_at": "2026-03-09T22:16:08.728378Z",
        "result": result,
    } | changes
    data = {"prompt": QUESTION, "Answer": "Trend: UP", "model": "stock-llm:v3"}
    return {
        "id": number,
        "project": 83,
        "data": data,
        "annotations": [annotation],
        "predictions": [],
    }


def record(**responses):
    said = {
        name: [{"value": value, "user_id": user} for user, value in by_user.items()]
        for name, by_user in responses.items()
    }
    return {
        "id": "r1",
        "fields": {"instruction": "ควรซื้อ KESTRO ไหม", "input": BLOCK, "response": "ซื้อ"},
        "metadata": {"model_version": "stock-llm:v3"},
        "suggestions": {"rating": {"value": 5, "score": None, "agent": "gpt"}},
        "responses": said,
        "vectors": {},
        "_server_id": "x",
    }


@pytest.fixture
def store(tmp_path):
    return FeedbackStore(f"sqlite:///{tmp_path / 'feedback.db'}")


@pytest.fixture
def bring(store, tmp_path):
    def import_records(*records, **options):
        path = tmp_path / "export.json"
        path.write_text(json.dumps(records), encoding="utf-8")
        return store.import_file(path, **options)

    return import_records


def test_an_annotation_of_label_studio_is_an_item(store, bring):
    assert bring(task()).new == 1
    (item,) = store.all(sample=False)
    assert (item.instruction, item.input, item.response) == ("Analyze KESTRO.", BLOCK, "Trend: UP")
    assert (item.rating, item.thumb, item.correction) == (2, "down", "Trend: DOWN")
    assert (item.comment, item.user, item.source) == (
        "It is below.",
        "ann@example.com",
        "label-studio",
    )
    assert (item.symbol, item.as_of, item.model_version) == ("KESTRO", "2025-12-31", "stock-llm:v3")
    assert item.created_at.isoformat() == "2026-03-09T22:16:08.728378+00:00"


def test_a_newer_annotation_replaces_the_older_and_an_older_changes_nothing(store, bring):
    bring(task())
    newer = task(updated_at="2026-03-10T08:00:00Z", result=[task()["annotations"][0]["result"][0]])
    assert (bring(newer).replaced, bring(task()).known) == (1, 1)
    (item,) = store.all(sample=False)
    assert (item.rating, item.correction) == (2, None)


def test_what_nobody_said_is_no_item(bring):
    skipped, empty = task(1, was_cancelled=True), task(2, result=[])
    result = bring(skipped, empty, {**task(3), "annotations": []}, task(4))
    assert (result.new, result.rejected) == (1, [])


def test_a_scale_of_ten_is_seen_from_the_whole_file(store, bring):
    def rated(number, rating):
        result = [{"from_name": "s", "type": "rating", "value": {"rating": rating}}]
        data = {"prompt": f"question {number}", "answer": "x"}
        return task(number, result=result) | {"data": data}

    bring(rated(1, 9), rated(2, 4))
    assert sorted(item.rating for item in store.all(sample=False)) == [2, 5]


def test_a_task_that_does_not_fit_is_told_and_the_others_are_taken(bring):
    nameless = {**task(1), "data": {"text": "?"}}
    wrong = copy.deepcopy(task(2))
    wrong["annotations"][0]["result"][0]["value"] = {"rating": 0}
    odd = copy.deepcopy(task(3))
    odd["annotations"][0]["result"] = ["x"]
    result = bring(nameless, wrong, odd, task(4), task(5), task(6))
    reasons = [row.reason for row in result.rejected]
    assert [row.row for row in result.rejected] == [1, 2, 3] and result.new == 3
    assert "there is no question" in reasons[0] and "rating" in reasons[1]
    assert "not a result of Label Studio" in reasons[2]


def test_the_responses_of_each_argilla_user_are_an_item(store, bring):
    result = bring(
        record(
            rating={"ann": 4, "bob": 1},
            label={"ann": "good"},
            correction={"bob": "ถือ"},
            note={"bob": "เสี่ยง"},
        )
    )
    assert (result.new, result.rejected) == (2, [])
    ann, bob = sorted(store.all(sample=False), key=lambda item: item.user)
    assert (ann.rating, ann.thumb, ann.correction) == (4, "up", None)
    assert (bob.rating, bob.correction, bob.comment) == (1, "ถือ", "เสี่ยง")
    assert (bob.language, bob.symbol, bob.model_version) == ("th", "KESTRO", "stock-llm:v3")


def test_an_argilla_file_read_twice_adds_nothing(store, bring):
    assert bring(record(rating={"ann": 4})).new == 1
    assert bring(record(rating={"ann": 4})).known == 1
    assert bring(record(rating={"ann": 2})).new == 1
    assert [item.rating for item in store.all(sample=False)] == [2]


def test_a_record_without_responses_or_with_suggestions_alone_is_no_item(bring):
    assert bring(record(), record(rating={"ann": None}), record(rating={"ann": 4})).new == 1


def test_all_items_may_be_given_to_one_user(store, bring):
    bring(task(), user="owner")
    assert [item.user for item in store.all(sample=False)] == ["owner"]
