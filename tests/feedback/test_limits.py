"""One person or one answer cannot fill the store: the newest opinion counts, and floods wait."""

from datetime import UTC, datetime, timedelta

import pytest

from stock_llm.feedback.item import OWNER, FeedbackItem
from stock_llm.feedback.store import FeedbackStore

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def item(number, **changes):
    values = {
        "id": f"i{number}",
        "instruction": f"Analyze KESTRO, question {number}.",
        "response": "Trend: UP",
        "correction": "Trend: DOWN",
        "symbol": "KESTRO",
        "created_at": NOON + timedelta(seconds=number),
    }
    return FeedbackItem(**values | changes)


@pytest.fixture
def store(store_url):
    return FeedbackStore(store_url, lambda: NOON)


def ids(store):
    return [item.id for item in store.all(sample=True)]


def test_an_item_without_a_user_is_the_owners():
    assert item(1).user == item(1, user="").user == item(1, user=" \u200b").user == OWNER
    assert item(1).digest == item(1, user=OWNER).digest != item(1, user="mallory").digest
    assert FeedbackItem.from_json(item(1, user="Ann").to_json()).user == "ann"


@pytest.mark.parametrize(
    "name", ["Mallory", " mallory", "MALLORY\u3164", "mal\u200blory", "ｍallory", "mallory\u034f"]
)
def test_a_name_written_otherwise_is_the_same_user(name):
    assert item(1, user=name).user == "mallory"


def test_300_corrections_of_one_answer_are_one_opinion(store):
    store.add([item(900), item(901)])
    for number in range(300):
        same = {"instruction": "Analyze KESTRO.", "correction": f"Wish {number}."}
        store.add([item(number, user="mallory", response_id="r1", **same)])
    assert ids(store) == ["i299", "i900", "i901"]
    assert store.unused(sample=True) == 3
    assert store.waiting() == []


@pytest.mark.parametrize(
    "other",
    [
        {"response_id": "another"},
        {"response": " trend:  up\n"},
        {"response": "Trend:\u00a0UP\u3164"},
        {"instruction": "analyze KESTRO, question 1.\u200b"},
        {"response_id": "r1", "response": "Trend: SIDEWAYS"},
    ],
)
def test_the_same_answer_in_another_form_is_the_same_answer(store, other):
    first = item(1, response_id="r1")
    later = {"instruction": first.instruction, "response_id": "", "created_at": NOON.replace(day=3)}
    store.add([first, item(2, **later | other)])
    assert ids(store) == ["i2"]


def test_the_newest_opinion_counts_in_whatever_order_they_arrive(store):
    same = {"instruction": "Analyze KESTRO."}
    store.add([item(2, **same), item(1, **same), item(3, **same, user="ann")])
    assert ids(store) == ["i2", "i3"]


def test_of_opinions_of_the_same_time_the_last_to_arrive_counts(store):
    same = {"instruction": "Analyze KESTRO.", "created_at": NOON, "source": "gateway"}
    up, down = item(1, **same, thumb="up"), item(0, **same, thumb="down")
    store.add([up])
    store.add([down])
    assert ids(store) == ["i0"]
    store.add([up])
    assert ids(store) == ["i1"]


def test_a_revised_opinion_has_to_be_learnt_again(store):
    store.add([item(1)])
    store.claim("b", ["i1"])
    store.settle("b", "promote")
    assert store.unused(sample=True) == 0
    store.add([item(2, instruction=item(1).instruction)])
    assert ids(store) == ["i2"] and store.unused(sample=True) == 1


def test_items_beyond_the_daily_limit_wait(store):
    counts = store.add(item(number, user="mallory") for number in range(300))
    assert (counts.new, counts.waiting) == (300, 250)
    store.add([item(400, user="mallory", symbol="ORCA"), item(401, user="ann"), item(402)])
    store.add([item(403, user="mallory", created_at=NOON + timedelta(days=1))])
    assert ids(store) == [*(f"i{number}" for number in range(50)), "i400", "i401", "i402", "i403"]
    assert store.unused(sample=True) == 54
    (group,) = store.waiting()
    assert (group.user, group.ticker, group.day) == ("mallory", "KESTRO", "2026-03-02")
    assert len(group.items) == 250


@pytest.mark.parametrize(
    "form",
    [
        {"symbol": "kestro"},
        {"symbol": "KESTRO\u2060"},
        {"symbol": "", "input": "Symbol: KESTRO\nDate: 2026-02-27"},
        {"symbol": "ORCA", "input": "Symbol: KESTRO\nDate: 2026-02-27"},
    ],
)
def test_a_ticker_written_otherwise_counts_against_the_same_limit(store, form):
    store.add(item(number) for number in range(50))
    assert store.add([item(60, **form)]).waiting == 1


def test_the_gateways_items_count_on_the_day_on_which_they_arrive(store):
    spread = (
        item(number, source="gateway", created_at=NOON - timedelta(days=number))
        for number in range(60)
    )
    assert store.add(spread).waiting == 10


def test_revisions_do_not_fill_the_limit(store):
    store.add(item(number, instruction="Analyze KESTRO.") for number in range(60))
    assert store.add([item(61)]).waiting == 0
    store.add(item(100 + number) for number in range(60))
    waiting = {item.id for item in store.waiting()[0].items}
    assert len(waiting) == 12 and "i159" in waiting
    store.add([item(200, instruction=item(159).instruction)])
    assert "i200" in {item.id for item in store.waiting()[0].items}


def test_a_person_decides_about_what_waits(store):
    store.add(item(number) for number in range(53))
    before = store.watermark(sample=True)
    assert store.accept(["i50", "i1", "gone"]) == 1
    assert store.drop(["i51"]) == 1 == store.drop(["i51", "i52"])
    assert store.waiting() == [] and len(ids(store)) == 51 and "i50" in ids(store)
    assert store.watermark(sample=True) != before
    assert store.add([item(51)]).known == 1
    assert "i51" not in ids(store)


def test_the_limit_is_a_setting(store_url):
    store = FeedbackStore(store_url, daily_limit=2)
    assert store.add(item(number) for number in range(5)).waiting == 3


def test_what_was_dropped_stays_out_however_it_is_rated_again(store):
    store.add(item(number) for number in range(51))
    assert store.drop(["i50"]) == 1
    again = {"instruction": item(50).instruction}
    later = NOON + timedelta(days=3)
    counts = store.add([item(60, **again, comment="No."), item(61, **again, created_at=later)])
    assert (counts.new, counts.waiting) == (2, 0) and store.waiting() == []
    assert not {"i50", "i60", "i61"} & set(ids(store))
    store.add([item(62, **again, user="ann")])
    assert "i62" in ids(store)
