"""One user other than the owner, and one ticker, have at most their share of feedback's weight."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from stock_llm.dataset.feedback_rows import feedback_rows
from stock_llm.dataset.feedback_shares import largest_shares, limit_shares
from stock_llm.dataset.leakage.overlap import OverlapIndex
from stock_llm.dataset.privacy.redaction import Redactor
from stock_llm.feedback.item import OWNER, FeedbackItem
from stock_llm.feedback.store import FeedbackStore
from stock_llm.skills import follow

_CHANCE = random.Random(3)
WORDS = ["".join(_CHANCE.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(200)]


def rows(count, user=OWNER, ticker="ORCA"):
    """Corrections, each with its item."""
    item = FeedbackItem(instruction="q", response="a", correction="b", user=user, symbol=ticker)
    items = [replace(item, id=f"{user} {ticker} {number}") for number in range(count)]
    return [(follow.row(row_item, "b"), row_item) for row_item in items]


def limited(given, user_share=0.3, ticker_share=0.3):
    return limit_shares(*zip(*given, strict=True), user_share, ticker_share)


def owners(count, tickers=12):
    whole = [rows(count, ticker=f"OWN{number}") for number in range(tickers)]
    return [whole[number % tickers][number] for number in range(count)]


def shares(given, by, user_share=0.3, ticker_share=0.3):
    sums = Counter()
    for (before, item), row in zip(given, limited(given, user_share, ticker_share), strict=True):
        assert 0 < row.weight <= before.weight
        sums[getattr(item, by)] += row.weight
    return {group: round(size / sums.total(), 6) for group, size in sums.items()}


def test_weights_within_the_limits_stay():
    given = [*owners(60), *rows(20, "ann", "KITE")]
    assert limited(given) == [row for row, _ in given]
    assert limit_shares([], [], 0.3, 0.3) == []


def test_300_corrections_of_one_user_on_one_ticker_weigh_30_percent():
    given = [*rows(300, "mallory", "KESTRO"), *owners(130)]
    assert shares(given, "user")["mallory"] == 0.3
    assert max(shares(given, "ticker").values()) <= 0.3
    assert {row.weight for row in limited(given)[300:]} == {3.0}


@pytest.mark.parametrize("own", [4, 10, 300])
def test_many_users_on_one_ticker_weigh_30_percent(own):
    crowd = [row for number in range(10) for row in rows(100, f"user {number}", "KESTRO")]
    assert shares([*crowd, *owners(own)], "ticker")["KESTRO"] <= 0.3


def test_one_of_few_tickers_weighs_no_more_than_the_others():
    crowd = [row for number in range(10) for row in rows(100, f"user {number}", "KESTRO")]
    assert shares([*crowd, *owners(2)], "ticker")["KESTRO"] == pytest.approx(1 / 3, abs=1e-5)


def test_several_users_are_limited_each():
    given = [*rows(300, "a", "A"), *rows(250, "b", "B"), *rows(20, "c", "C"), *owners(100)]
    limited_shares = shares(given, "user")
    assert limited_shares["a"] == limited_shares["b"] == 0.3 and limited_shares["c"] < 0.3
    assert max(shares(given, "ticker").values()) <= 0.3


def test_the_owner_may_have_all_but_not_on_one_ticker():
    assert shares(owners(100), "user") == {OWNER: 1.0}
    given = [*rows(200, ticker="KESTRO"), *owners(100)]
    assert shares(given, "ticker")["KESTRO"] == 0.3


def test_feedback_on_no_ticker_is_not_limited_by_ticker():
    assert {row.weight for row in limited(rows(50, ticker=""))} == {3.0}


def test_where_there_are_no_others_the_limit_is_of_what_all_would_weigh():
    alone = limited(rows(100, "mallory", ""))
    assert sum(row.weight for row in alone) == pytest.approx(0.3 * 300)
    one_stock = limited(rows(100))
    assert sum(row.weight for row in one_stock) == pytest.approx(0.3 * 300)


def test_the_owners_feedback_on_few_tickers_does_not_vanish():
    given = [
        *rows(200, ticker="A"),
        *rows(100, ticker="B"),
        *rows(1, ticker="C"),
        *rows(1, ticker="D"),
    ]
    assert sum(row.weight for row in limited(given)) > 0.3 * 900


def test_the_shares_are_settings():
    given = [*rows(300, "mallory", "KESTRO"), *owners(130)]
    assert shares(given, "user", user_share=0.1)["mallory"] == 0.1
    assert limited(given, 1.0, 1.0) == [row for row, _ in given]


def test_a_flood_through_the_store_changes_the_training_weight_little(tmp_path):
    """300 corrections of one user on one ticker took 693 of 1,084 of the weight."""
    store = FeedbackStore(f"sqlite:///{tmp_path}/f.db")
    honest = [
        FeedbackItem(
            id=f"own-{number}",
            instruction=f"What about OWN{number % 12}, case {WORDS[number]}?",
            response="Trend: UP",
            correction=f"Think of {WORDS[number]} first, then of {WORDS[-1 - number]}, and wait.",
            symbol=f"OWN{number % 12}",
        )
        for number in range(60)
    ]
    flood = [
        FeedbackItem(
            id=f"flood-{number}",
            instruction=f"KESTRO, {WORDS[number % 120]} and {WORDS[number // 120]}?",
            response="Trend: UP",
            correction=f"Sell KESTRO for {WORDS[number % 120]}, {WORDS[-1 - number // 120]}, now.",
            symbol="KESTRO",
            user="mallory",
        )
        for number in range(300)
    ]
    store.add(honest)
    assert store.add(flood).waiting == 250
    assert store.unused(sample=True) == 110
    for accepted in (False, True):
        if accepted:
            store.accept(item.id for group in store.waiting() for item in group.items)
        feedback = feedback_rows(store.all(sample=True), OverlapIndex(), Redactor())
        users = {item.id: item.user for item in feedback.preferred}
        weights = Counter()
        for row in limit_shares(feedback.learnt, feedback.preferred, 0.3, 0.3):
            weights[users[row.source["ref"]]] += row.weight
        assert 0 < weights["mallory"] <= 0.3 * weights.total()


def test_other_rows_keep_their_weights():
    (row, item) = rows(1)[0]
    other = replace(row, source={"kind": "replay", "ref": "replay 7 1"})
    alone = limit_shares([other, row, other], [item], 0.3, 0.3)
    assert [row.weight for row in alone] == pytest.approx([3.0, 0.9, 3.0])


def test_shares_that_stay_above_the_limit_are_known():
    given = [*rows(300, "mallory", "KESTRO"), *owners(130)]
    items = [item for _, item in given]
    assert largest_shares(limited(given), items) == pytest.approx((0.3, 0.3))
    few = [*rows(100, "ann", "A"), *rows(100, "bob", "A"), *rows(10, ticker="A")]
    user, ticker = largest_shares(limited(few), [item for _, item in few])
    assert ticker == pytest.approx(1.0) and user > 0.0
    assert largest_shares(
        limited(rows(5, ticker="")), [item for _, item in rows(5, ticker="")]
    ) == (0.0, 0.0)
    assert largest_shares([], []) == (0.0, 0.0)
