"""Files of feedback: null values, and Open WebUI's export."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stock_llm.errors import InputError
from stock_llm.feedback.exports.open_webui import SOURCE as OPEN_WEBUI
from stock_llm.feedback.item import OWNER
from stock_llm.feedback.store import FeedbackStore

CASES = Path(__file__).parent / "cases"
USER = "00000000-0000-4000-8000-000000000099"


class Clock:
    now = datetime(2026, 11, 5, tzinfo=UTC)

    def __call__(self):
        self.now += timedelta(days=1)
        return self.now


@pytest.fixture
def store(store_url):
    return FeedbackStore(store_url, Clock())


def exported():
    return json.loads((CASES / "open_webui_export.json").read_text(encoding="utf-8"))


def written(path, records):
    path.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    return path


def test_a_null_response_is_quarantined_and_the_rest_taken(store):
    result = store.import_file(CASES / "feedback_null_response.jsonl", name="mine.jsonl")
    assert result.new == 2
    (row,) = result.rejected
    assert (row.file, row.row, row.reason) == ("mine.jsonl", 2, "response is null")
    assert result.summary() == (
        "3 items: 2 new, 1 quarantined\n  mine.jsonl, row 2: response is null"
    )


def test_an_item_without_a_time_has_the_same_time_at_every_import(store):
    path = CASES / "feedback_null_created_at.jsonl"
    assert store.import_file(path).new == 3
    first = store.all(sample=True)
    again = store.import_file(path)
    assert (again.new, again.known, again.rejected) == (0, 3, [])
    assert again.summary() == "3 items: 3 known already"
    assert store.all(sample=True) == first


@pytest.mark.parametrize("name", ["symbol", "comment", "input", "id", "user", "as_of"])
def test_a_null_field_is_a_missing_one(store, tmp_path, name):
    record = {"id": "a", "instruction": "q", "response": "a", "rating": 5, "created_at": None}
    path = written(tmp_path / "f.jsonl", record | {name: None})
    assert store.import_file(path).new == 1
    assert store.import_file(path).known == 1


@pytest.mark.parametrize("name", ["instruction", "response"])
def test_a_null_question_or_answer_is_no_item(store, tmp_path, name):
    record = {"id": "a", "instruction": "q", "response": "a", "rating": 5}
    other = json.dumps(record | {"id": "b"})
    path = tmp_path / "f.jsonl"
    path.write_text(f"{other}\n{json.dumps(record | {name: None})}\n", encoding="utf-8")
    assert [row.reason for row in store.import_file(path).rejected] == [f"{name} is null"]


def test_the_export_of_open_webui_is_read(store):
    result = store.import_file(CASES / "open_webui_export.json")
    assert (result.new, result.rejected) == (2, [])
    down, up = store.all(sample=True)
    assert (down.thumb, down.rating, down.user, down.source) == ("down", 2, USER, OPEN_WEBUI)
    assert down.comment == "not_factually_correct: The close is below SMA50, not above."
    assert (down.symbol, down.as_of) == ("KESTRO", "2025-12-31")
    assert down.instruction == "Analyze KESTRO."
    assert down.input.startswith("Symbol: KESTRO\nDate: 2025-12-31\n")
    assert down.response.startswith("Trend: UP\nRecommendation: BUY")
    assert (up.thumb, up.rating, up.comment) == ("up", None, "")
    assert store.import_file(CASES / "open_webui_export.json").known == 2


def test_a_rating_that_was_changed_later_takes_the_place_of_the_older(store, tmp_path):
    store.import_file(CASES / "open_webui_export.json")
    store.claim("b", [record["id"] for record in exported()])
    store.settle("b", "keep")
    changed = exported()
    changed[0]["data"] |= {"rating": 1, "details": {"rating": 9}, "reason": None, "comment": None}
    changed[0]["updated_at"] += 60
    result = store.import_file(written(tmp_path / "new.json", changed))
    assert (result.new, result.known, result.replaced) == (0, 1, 1)
    assert sorted(item.thumb for item in store.all(sample=True)) == ["up", "up"]
    assert store.unused(sample=True) == 1
    assert store.import_file(CASES / "open_webui_export.json").known == 2  # an older export
    assert sorted(item.thumb for item in store.all(sample=True)) == ["up", "up"]


def test_earlier_turns_of_the_chat_stand_before_the_question(store, tmp_path):
    record = exported()[0]
    messages = record["snapshot"]["chat"]["chat"]["history"]["messages"]
    question = messages[record["meta"]["message_id"]]["parentId"]
    messages[question] |= {"content": "And now?", "parentId": "t2"}
    messages["t2"] = {"id": "t2", "parentId": "t1", "role": "assistant", "content": "Hello."}
    messages["t1"] = {"id": "t1", "parentId": None, "role": "user", "content": "Hi."}
    store.import_file(written(tmp_path / "f.json", [record]))
    (item,) = store.all(sample=True)
    assert (item.instruction, item.input) == ("And now?", "user: Hi.\nassistant: Hello.")


def test_names_of_the_owner_in_other_programs_are_the_owners(store):
    store.import_file(CASES / "open_webui_export.json", owner_names=(USER,))
    assert {item.user for item in store.all(sample=True)} == {OWNER}


@pytest.mark.parametrize("first", ["named", "unnamed"])
@pytest.mark.parametrize("kind", ["open-webui", "dated", "undated", "without ids"])
def test_a_file_may_come_with_and_without_the_names_of_the_owner(store, tmp_path, kind, first):
    records = [
        {"id": f"i{number}", "instruction": "q", "response": str(number), "rating": 5, "user": USER}
        for number in range(2)
    ]
    for record in records:
        if kind == "dated":
            record["created_at"] = "2026-11-01T00:00:00Z"
        if kind == "without ids":
            del record["id"]
    path = CASES / "open_webui_export.json"
    if kind != "open-webui":
        path = written(tmp_path / "f.json", records)
    names = {"named": (USER,), "unnamed": ()}
    store.import_file(path, owner_names=names.pop(first))
    before = store.all(sample=True)
    store.claim("b", [before[0].id])
    store.settle("b", "keep")
    counts = store.import_file(path, owner_names=names.popitem()[1])
    after = store.all(sample=True)
    taken_over = 2 if first == "unnamed" else 0
    assert (counts.new, counts.known, counts.owned) == (0, 2 - taken_over, taken_over)
    assert {item.user for item in after} == {OWNER}
    assert [item.created_at for item in after] == [item.created_at for item in before]
    assert store.unused(sample=True) == 1
    assert store.import_file(path).summary() == "2 items: 2 known already"


@pytest.mark.parametrize(("stored", "given"), [(OWNER, "bob"), ("ann", "bob")])
def test_the_same_id_of_another_user_is_a_conflict(store, tmp_path, stored, given):
    record = {"instruction": "q", "response": "a", "rating": 5}
    records = [record | {"id": id} for id in ("a", "b", "c")]
    store.import_file(written(tmp_path / "stored.json", records[:1]), user=stored)
    path = written(tmp_path / "given.json", records)
    (rejected,) = store.import_file(path, user=given).rejected
    assert rejected.reason == "another item has the id 'a'"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"snapshot": None}, "not a rating of Open WebUI"),
        ({"snapshot": {"chat": {"chat": {"history": {"messages": {}}}}}}, "not a rating"),
        ({"data": {"rating": 0, "model_id": "m"}}, "rating is 0"),
        ({"updated_at": 1e300}, "not a rating of Open WebUI"),
        ({"user_id": None}, "user is None"),
    ],
)
def test_a_record_that_is_no_rating_is_quarantined(store, tmp_path, change, reason):
    records = [*exported(), exported()[0] | {"id": "other"} | change]
    result = store.import_file(written(tmp_path / "f.json", records))
    assert result.new == 2
    assert [(row.row, row.reason.startswith(reason)) for row in result.rejected] == [(3, True)]


def test_a_name_that_is_too_long_is_refused(store, tmp_path):
    path = written(tmp_path / "mine.json", [{"instruction": "q", "response": "a", "rating": 5}])
    with pytest.raises(InputError, match="user has 201 characters"):
        store.import_file(path, user="a" * 201)


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"id": ' * 100_000])
def test_a_record_that_is_nested_too_deeply_is_quarantined(store, tmp_path, deep):
    path = tmp_path / "deep.jsonl"
    good = '{"instruction": "q", "response": "a", "rating": 5}'
    path.write_text(f"{good}\n{deep}\n")
    result = store.import_file(path)
    assert result.new == 1 and "nested too deeply" in result.rejected[0].reason


def test_a_file_without_ids_may_be_the_opinion_of_two_people(store, tmp_path):
    record = {"instruction": "q", "response": "a", "rating": 5}
    path = written(tmp_path / "mine.json", [record])
    for user in ("ann", "bob", OWNER):
        assert store.import_file(path, user=user).new == 1
    for user in ("Ann", "bob", OWNER, ""):
        assert store.import_file(path, user=user).known == 1
    named = written(tmp_path / "named.json", [record | {"user": "carl"}])
    assert store.import_file(named).new == 1 == store.import_file(named, user="ann").known
    assert {item.user for item in store.all(sample=True)} == {"ann", "bob", "carl", OWNER}
