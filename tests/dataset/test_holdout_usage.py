from concurrent.futures import ThreadPoolExecutor

import pytest

from stock_llm.dataset.holdout_usage import CANDIDATES_PER_SAMPLE, HoldoutUsage


@pytest.fixture
def looks(tmp_path):
    return HoldoutUsage(tmp_path / "data" / "looks.db")


def test_a_candidate_looks_once_however_often_it_is_judged(looks):
    looks.freeze("Q3", "h1")
    looks.freeze("Q3", "h1")
    assert looks.count_candidate("Q3", "h1", "candidate 1") == 1
    assert looks.count_candidate("Q3", "h1", "candidate 1") == 1
    assert looks.count_candidate("Q3", "h1", "candidate 2") == 2
    (found,) = looks.all()
    assert (found.digest, found.period, found.looks) == ("h1", "Q3", 2)


def test_a_period_that_was_looked_at_often_gets_other_rows(looks):
    assert looks.draw("Q3") == 0
    for number in range(CANDIDATES_PER_SAMPLE - 1):
        looks.count_candidate("Q3", "h1", f"candidate {number}")
    assert looks.draw("Q3") == 0
    looks.count_candidate("Q3", "h1", "the last")
    assert looks.draw("Q3") == 1
    assert looks.draw("Q4") == 0


def test_looks_at_once_are_all_counted(looks):
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda number: looks.count_candidate("Q3", "h1", f"candidate {number}"), range(40)
            )
        )
    assert looks.count_candidate("Q3", "h1", "one more") == 41
