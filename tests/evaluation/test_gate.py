from collections import Counter
from importlib import resources

import numpy as np
import pytest

from stock_llm.errors import InputError
from stock_llm.evaluation.gate import (
    Interval,
    detectable,
    difference,
    differences,
    judge,
    worse_skills,
)
from stock_llm.evaluation.gate_policy import load_policy
from stock_llm.skills import SKILLS


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
        (Interval(0.61, 0.51, 0.71, 40, 0.14), "blocked"),
        (Interval(0.61, 0.49, 0.73, 40, 0.16), "promote"),
        (Interval(-0.3, -0.4, -0.2, 40, 0.14), "promote"),
    ],
)
def test_forgetting_blocks_a_model_where_it_is_proven_to_exceed_the_margin(forgotten, word):
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


def test_many_comparisons_at_once_are_those_one_by_one():
    chance = np.random.default_rng(5)
    gaps = chance.normal(0.05, 0.3, (4, 60))
    clusters = [f"c{index // 3}" for index in range(60)]
    alone = [difference(list(row), [0.0] * 60, clusters, seed=3) for row in gaps]
    together = differences(gaps, clusters, seed=3)
    for one, other in zip(alone, together, strict=True):
        assert one.clusters == other.clusters == 20
        assert (one.low, one.high) == pytest.approx((other.low, other.high))


def policy(**skills):
    standard = load_policy()
    return standard.model_copy(update={"skills": standard.skills.model_copy(update=skills)})


def test_a_skill_may_lose_its_margin():
    gap = Interval(-0.05, -0.07, -0.03, 200, 0.028, 100)
    assert worse_skills({"code": gap}, policy()) == ["code"]
    assert worse_skills({"code": gap}, policy(margins={"code": 0.06})) == []
    assert worse_skills({"code": gap}, policy(margins={"signal": 0.06})) == ["code"]
    assert worse_skills({"code": gap}, policy(margin=0.06)) == []
    assert worse_skills({"code": gap}, policy(minimum_rows=201)) == []


def test_one_bad_skill_of_many_needs_stronger_evidence_than_one_alone():
    """Holm: the first of eight is compared with an eighth of the error that one alone may have."""
    weak = Interval(-0.105, -0.2, -0.01, 100, 2.8016 * 0.05, 100)  # p = 0.019
    even = {f"skill {number}": EVEN for number in range(7)}
    assert worse_skills({"code": weak}, policy()) == ["code"]
    assert worse_skills({"code": weak} | even, policy()) == []
    assert worse_skills({"code": weak} | even, policy(holm=False)) == ["code"]
    strong = Interval(-0.2, -0.3, -0.1, 100, 2.8016 * 0.05, 100)
    assert worse_skills(even | {"signal": strong, "code": weak}, policy()) == ["signal"]


def test_few_questions_decide_nothing():
    gap = Interval(0.5, 0.3, 0.7, 9, 0.3, 9)
    assert judge(gap, {}, "champion v1").word == "keep"


def test_a_policy_of_the_project_folder_is_read_and_a_wrong_one_named(tmp_path):
    assert load_policy(tmp_path) == load_policy()
    file = tmp_path / "gate.toml"
    file.write_text("[overall]\nmargin = 2\n")
    with pytest.raises(InputError, match=r"gate.toml: overall.margin: .* less than 1"):
        load_policy(tmp_path)
    standard = resources.files("stock_llm.evaluation").joinpath("gate.toml").read_text()
    file.write_text(standard.replace("[skills.margins]", "[skills.margins]\ncode = -0.5"))
    with pytest.raises(InputError, match=r"gate.toml: skills.margins.code: .* equal to 0"):
        load_policy(tmp_path)
    file.write_bytes(b"# \xff")
    with pytest.raises(InputError, match=r"gate.toml: not TOML"):
        load_policy(tmp_path)
    file.write_text("[overall\n")
    with pytest.raises(InputError, match=r"gate.toml: not TOML"):
        load_policy(tmp_path)


TRIALS = 1000


def verdicts(rows, gain, seed):
    """What the whole gate says of so many pairs of models; `gain` is the true difference of their scores.

    Answers are right or wrong, which spreads more than scores of parts do. Each question has a difficulty of its own; the questions
    of one stock and month, two on average, share a part of their fate. There are as many questions of each skill.
    """
    chance, standard = np.random.default_rng(seed), load_policy()
    assert standard.skills.holm
    skills = np.arange(rows) % len(SKILLS)
    clusters = np.array([f"c{number}" for number in chance.integers(rows // 2, size=rows)])
    _, group = np.unique(clusters, return_inverse=True)
    easy = chance.uniform(0, 1 - gain, (TRIALS, rows))

    def right(share):
        fate = chance.uniform(size=(TRIALS, group.max() + 1))[:, group]
        own = chance.uniform(size=(TRIALS, rows))
        shared = chance.uniform(size=(TRIALS, rows)) < 0.2
        return (np.where(shared, fate, own) < share).astype(float)

    gaps = right(easy + gain) - right(easy)
    overall = differences(gaps, list(clusters))
    by_skill = [
        differences(gaps[:, skills == skill], list(clusters[skills == skill]))
        for skill in range(len(SKILLS))
    ]
    return Counter(
        judge(
            overall[trial],
            {str(skill): gap[trial] for skill, gap in enumerate(by_skill)},
            "champion v1",
            policy=standard,
        ).word
        for trial in range(TRIALS)
    )


def test_of_equal_models_at_most_one_in_twenty_is_promoted():
    words = verdicts(300, 0.0, seed=6)
    assert words["promote"] <= 0.05 * TRIALS, words
    assert words["reject"] <= 0.05 * TRIALS, words


def test_ten_points_more_are_seen_at_300_rows_four_times_in_five():
    words = verdicts(300, 0.1, seed=7)
    assert words["promote"] >= 0.8 * TRIALS, words


def test_40_rows_mostly_decide_nothing():
    assert verdicts(40, 0.1, seed=8)["keep"] > 0.5 * TRIALS, '"keep" is "not enough evidence"'
    assert verdicts(40, 0.0, seed=9)["keep"] > 0.9 * TRIALS


def test_equal_models_seldom_have_a_skill_that_is_found_worse():
    chance = np.random.default_rng(10)
    clusters = [str(index // 2) for index in range(40)]
    found, holm, each = Counter(), policy(), policy(holm=False)
    gaps = [differences(chance.normal(0, 0.5, (TRIALS, 40)), clusters) for _ in range(8)]
    for trial in range(TRIALS):
        slices = {str(skill): gap[trial] for skill, gap in enumerate(gaps)}
        found["holm"] += bool(worse_skills(slices, holm))
        found["each"] += bool(worse_skills(slices, each))
    assert found["holm"] <= 0.05 * TRIALS < found["each"], found
