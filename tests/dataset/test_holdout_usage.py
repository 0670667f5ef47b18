from concurrent.futures import ThreadPoolExecutor

import pytest

from stock_llm.dataset.holdout_usage import CANDIDATES_PER_SAMPLE, HoldoutUsage


@pytest.fixture
def usage(tmp_path):
    return HoldoutUsage(tmp_path / "data" / "looks.db")


def test_a_candidate_counts_once_however_often_it_is_judged(usage):
    usage.freeze("Q3", "h1")
    usage.freeze("Q3", "h1")
    assert usage.count_candidate("Q3", "h1", "candidate 1") == 1
    assert usage.count_candidate("Q3", "h1", "candidate 1") == 1
    assert usage.count_candidate("Q3", "h1", "candidate 2") == 2
    (holdout,) = usage.all()
    assert (holdout.digest, holdout.period, holdout.looks) == ("h1", "Q3", 2)


def test_a_period_that_was_used_often_gets_other_rows(usage):
    assert usage.draw("Q3") == 0
    for number in range(CANDIDATES_PER_SAMPLE - 1):
        usage.count_candidate("Q3", "h1", f"candidate {number}")
    assert usage.draw("Q3") == 0
    usage.count_candidate("Q3", "h1", "the last")
    assert usage.draw("Q3") == 1
    assert usage.draw("Q4") == 0


def test_concurrent_uses_are_all_counted(usage):
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda number: usage.count_candidate("Q3", "h1", f"candidate {number}"), range(40)
            )
        )
    assert usage.count_candidate("Q3", "h1", "one more") == 41
