import numpy as np
import pytest

from stock_llm.evaluation.gate import Interval, detectable, difference, judge


def test_a_clear_gain_has_an_interval_above_zero():
    chance = np.random.default_rng(1)
    champion = chance.uniform(0, 1, 200)
    candidate = champion + 0.1 + chance.normal(0, 0.05, 200)
    gap = difference(list(candidate), list(champion), [f"c{index % 40}" for index in range(200)])
    assert 0 < gap.low < gap.mean < gap.high
    assert gap.mean == pytest.approx(0.1, abs=0.02)


def test_the_interval_holds_what_it_promises():
    """Of many comparisons of equals about one in twenty may exclude zero; four in a hundred more would be a broken interval."""
    chance = np.random.default_rng(2)
    excluded = 0
    for _ in range(150):
        candidate, champion = chance.normal(0, 1, (2, 80))
        gap = difference(list(candidate), list(champion), [f"c{index // 2}" for index in range(80)])
        excluded += gap.low > 0 or gap.high < 0
    assert excluded / 150 < 0.12


def test_rows_that_share_their_fate_widen_the_interval():
    chance = np.random.default_rng(3)
    gaps = np.repeat(chance.normal(0.1, 0.5, 20), 10)
    alone = difference(list(gaps), [0.0] * 200, [str(index) for index in range(200)])
    together = difference(list(gaps), [0.0] * 200, [str(index // 10) for index in range(200)])
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_one_cluster_is_no_evidence():
    gap = difference([1.0, 1.0, 1.0], [0.0, 0.0, 0.5], ["a", "a", "a"])
    assert gap.low < 0 < gap.high


def test_a_difference_of_the_detectable_size_is_found_four_times_in_five():
    """Not only computed: the interval is taken of many draws with that true difference. It errs to the lenient side, since the
    percentile bootstrap of 80 clusters is a little narrow."""
    chance = np.random.default_rng(4)
    clusters = [f"c{index // 2}" for index in range(160)]
    size = detectable((1 / 160) ** 0.5)  # rows of spread 1 that share nothing
    assert size == pytest.approx(2.8016 * (1 / 160) ** 0.5, rel=1e-4)
    significant = 0
    for _ in range(200):
        gap = difference(list(chance.normal(size, 1, 160)), [0.0] * 160, clusters)
        assert gap.detectable == pytest.approx(size, rel=0.35)
        significant += gap.low > 0
    assert 0.72 < significant / 200 < 0.92


def test_unpaired_scores_are_refused():
    with pytest.raises(ValueError, match="cannot be paired"):
        difference([1.0], [1.0, 0.0], ["a"])


BETTER, EVEN, WORSE = (
    Interval(0.2, 0.1, 0.3, 100, 0.14),
    Interval(0.01, -0.1, 0.1, 100, 0.14),
    Interval(-0.2, -0.3, -0.1, 100, 0.14),
)


@pytest.mark.parametrize(
    ("overall", "slices", "word"),
    [
        (BETTER, {"signal": BETTER, "code": EVEN}, "promote"),
        (BETTER, {"signal": BETTER, "code": WORSE}, "keep"),
        (BETTER, {"code": Interval(-0.2, -0.3, -0.1, 5, 0.14)}, "promote"),
        (EVEN, {"signal": EVEN}, "keep"),
        (WORSE, {"signal": EVEN}, "reject"),
    ],
)
def test_the_champion_stays_unless_proven_otherwise(overall, slices, word):
    verdict = judge(overall, slices, "champion v1")
    assert verdict.word == word
    assert "champion v1" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("forgotten", "word"),
    [
        (Interval(0.61, 0.51, 0.71, 40, 0.14), "keep"),
        (Interval(0.61, 0.49, 0.73, 40, 0.16), "promote"),
        (Interval(-0.3, -0.4, -0.2, 40, 0.14), "promote"),
    ],
)
def test_forgetting_stops_a_model_where_it_is_proven_to_exceed_the_margin(forgotten, word):
    assert judge(BETTER, {}, "champion v1", forgotten=forgotten).word == word


@pytest.mark.parametrize(
    ("false", "word"),
    [
        (BETTER, "keep"),
        (EVEN, "promote"),
        (WORSE, "promote"),
        (Interval(0.2, 0.1, 0.3, 5, 0.1), "promote"),
        (None, "promote"),
    ],
)
def test_more_false_answers_stop_a_model_only_where_they_are_proven(false, word):
    assert judge(BETTER, {}, "champion v1", false=false).word == word


def test_lack_of_evidence_is_a_verdict():
    assert "not enough evidence" in judge(EVEN, {}, "champion v1").reasons[0]
