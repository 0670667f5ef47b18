"""One event each time that feedback makes a retrain due, to a real HTTP server; a server that is away is no error."""

import logging

import pytest
from fakes.event_server import EventServer

from stock_llm.feedback.event import FRESH_AFTER_REFUSAL, ThresholdWatch, is_due, post_event
from stock_llm.feedback.item import FeedbackItem
from stock_llm.feedback.store import FeedbackStore


@pytest.fixture
def server():
    with EventServer() as server:
        yield server


def item(number):
    return FeedbackItem(
        id=f"i{number}", instruction=f"q {number}", response=f"a {number}", thumb="up"
    )


def watched(server, tmp_path, retrain_after):
    watch = ThresholdWatch(server.url, sample=False, retrain_after=retrain_after)
    return FeedbackStore(f"sqlite:///{tmp_path}/f.db", after_add=watch.after_write)


def test_the_write_that_crosses_the_threshold_posts_one_event(server, tmp_path):
    store = watched(server, tmp_path, retrain_after=2)
    store.add([item(1)])
    store.add([item(2)])
    assert not server.arrived.wait(0.2)
    store.add([item(3)])
    assert server.arrived.wait(20)
    (event,) = server.events
    assert event["event"] == "stock-llm.feedback.threshold"
    assert event["resource"]["prefect.resource.id"] == "stock-llm.feedback"
    assert event["payload"] == {"ready": 3}

    server.arrived.clear()
    store.add([item(4)])
    assert not server.arrived.wait(0.2), "the server knows"
    store.claim("b", ["i1", "i2", "i3", "i4"])
    store.settle("b", "keep")
    store.add([item(5)])
    store.add([item(6), item(7)])
    assert server.arrived.wait(20), "three that no judged candidate has seen"


def test_what_a_rejected_candidate_had_posts_no_event_without_new_items(server, tmp_path):
    store = watched(server, tmp_path, retrain_after=2)
    store.add([item(number) for number in range(3)])
    assert server.arrived.wait(20)
    server.arrived.clear()
    store.claim("b", ["i0", "i1", "i2"])
    store.settle("b", "reject", "worse")
    store.add([item(number) for number in range(3, 2 + FRESH_AFTER_REFUSAL)])
    assert not is_due(store, False, 2) and not server.arrived.wait(0.2)
    store.add([item(99)])
    assert is_due(store, False, 2) and server.arrived.wait(20)


def test_a_server_that_is_away_is_logged_and_no_error(caplog):
    with caplog.at_level(logging.WARNING):
        assert not post_event("http://127.0.0.1:1/api", 101)
    assert "the hourly check will find it" in caplog.text
    assert ThresholdWatch("", False, 0).after_write(None) is False, "no server is set"
