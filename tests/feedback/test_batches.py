"""Which feedback is ready for a retrain: what teaches, what was seen, what a refused candidate gave back."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from stock_llm.feedback.batches import teaches
from stock_llm.feedback.item import FeedbackItem
from stock_llm.feedback.store import LEASE, FeedbackStore
from stock_llm.feedback.tables import FEEDBACK, SCHEMA
from stock_llm.storage.database import read_transaction

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Clock:
    now = NOON

    def __call__(self):
        return self.now


def item(number, **changes):
    values = {
        "id": f"i{number}", "instruction": f"Analyze ACME {number}", "response": "Trend: UP",
        "thumb": "up", "created_at": NOON,
    }  # fmt: skip
    return FeedbackItem(**values | changes)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(store_url, clock):
    made = FeedbackStore(store_url, clock)
    made.add(item(number) for number in range(10))
    return made


def ids(*numbers):
    return [f"i{number}" for number in numbers]


def test_the_database_and_the_item_agree_on_what_teaches(store_url):
    store = FeedbackStore(store_url, daily_limit=1000)
    corrections = (None, "", "  ", "Trend: UP", " Trend: UP ", "Trend: DOWN")
    opinions = itertools.product((None, "up", "down"), (None, 1, 2, 3, 4, 5), corrections)
    items = [
        item(number, thumb=thumb, rating=rating, correction=correction)
        for number, (thumb, rating, correction) in enumerate(opinions)
    ]
    store.add(items)
    with read_transaction(store._engine, SCHEMA) as connection:
        chosen = sa.select(FEEDBACK.c.id).where(teaches())
        found = set(connection.execute(chosen).scalars())
    assert found == {i.id for i in items if i.edit is not None or i.liked is not None}
    assert store.unused(sample=True) == len(found) < len(items)


def test_what_a_judged_candidate_left_out_is_not_ready_and_is_told_apart(store):
    store.claim("b", ids(0, 1, 2), left_out=ids(2, 3, 4))
    counts = store.counts(sample=True)
    assert (counts.ready, counts.training, counts.passed_over) == (5, 3, 0)
    store.settle("b", "keep")
    counts = store.counts(sample=True)
    assert (counts.ready, counts.training, counts.passed_over) == (5, 0, 2)
    assert counts.refusal is None
    store.claim("next", ids(*range(10)))  # the holdout has moved on
    store.settle("next", "promote")
    assert store.counts(sample=True).passed_over == store.unused(sample=True) == 0


@pytest.mark.parametrize("verdict", ["reject", "blocked"])
def test_a_refused_candidate_gives_its_items_back_with_the_reason(store, clock, verdict):
    store.claim("b", ids(0, 1, 2), left_out=ids(3))
    store.settle("b", verdict, "worse: -0.1")
    clock.now += timedelta(minutes=1)
    store.add([item(number, created_at=clock.now) for number in (10, 11)])
    counts = store.counts(sample=True)
    assert counts.ready == 12
    assert (counts.refusal.verdict, counts.refusal.reason) == (verdict, "worse: -0.1")
    assert counts.refusal.fresh == 8, "six that it did not have, and two that came since"
    store.claim("better", ids(0, 1))
    store.settle("better", "keep")
    assert store.counts(sample=True).refusal is None


def test_a_batch_that_was_refused_may_learn_later_what_it_left_out(store):
    store.claim("b", [], left_out=ids(0, 1, 2))
    store.settle("b", "blocked", "a question is in the holdout too")
    store.claim("b", ids(0, 1), left_out=ids(2))
    assert store.counts(sample=True).training == 2
    store.settle("b", "keep")
    assert store.counts(sample=True).passed_over == 1


def test_a_failed_run_is_no_refusal(store):
    store.claim("b", ids(0, 1))
    store.settle("b", "failed", "the disk is full")
    counts = store.counts(sample=True)
    assert counts.ready == 10 and counts.refusal is None


def test_a_lease_is_renewed_as_long_as_its_run_lives_and_ends_soon_after(store, clock):
    assert timedelta(minutes=15) == LEASE
    store.claim("b", ids(0, 1))
    for _ in range(10):
        clock.now += LEASE - timedelta(minutes=1)
        store.renew("b")
        assert store.unused(sample=True) == 8
    clock.now += LEASE + timedelta(seconds=1)
    assert store.unused(sample=True) == 10
    store.settle("b", "reject", "late")
    store.renew("b")
    assert store.counts(sample=True).refusal.reason == "late", "a settled batch stays settled"
