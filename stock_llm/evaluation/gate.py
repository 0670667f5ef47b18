"""Decides whether one model is better than another on the same questions.

The difference of paired scores gets a percentile bootstrap interval over clusters (Cameron, Gelbach
and Miller 2008): rows of one stock in one month are resampled together, since they share their
fate. "Not enough evidence" is a verdict. What has to be shown is a policy, gate.toml.

Whether a skill is worse is asked of all skills at once: a one-sided t-test of each difference with
the error of its bootstrap, and Holm's step-down correction (Holm 1979, Scandinavian Journal of
Statistics 6(2)) over their p-values.

What such a comparison can see at all is its smallest detectable difference (z(1 − α/2) + z(power))
times the standard error, after Bloom (1995), "Minimum Detectable Effects", Evaluation Review 19(5);
the error is that of the same bootstrap. Miller (2024), arXiv:2411.00640, section 5, uses it for
evaluations of language models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np

from stock_llm.evaluation.gate_policy import GatePolicy, load_policy

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95
"""Of every interval, two-sided: equal models look better by chance once in forty times."""

POWER = 0.80
"""Share of the true differences of the detectable size that a comparison finds."""

RESAMPLES = 4000


@dataclass(frozen=True)
class Interval:
    """A mean difference, of scores (−1 to 1) or losses (nats per token), and its 95 % interval."""

    mean: float
    low: float
    high: float
    rows: int
    detectable: float
    """The smallest true difference that a comparison with these rows and this spread finds with a
    chance of `POWER`; 1 where the rows tell nothing.
    """
    clusters: int = 0
    """How many groups of rows were resampled; 0: not known, as many as rows."""

    def p_below(self, value: float) -> float:
        """The chance of a mean as low as this, or lower, if the true difference were `value`:
        one-sided, after Student's t with one degree of freedom less than there are clusters.
        """
        from scipy.special import stdtr

        error, freedom = self.detectable / detectable(1), (self.clusters or self.rows) - 1
        if freedom < 1:
            return 1.0
        if error == 0:
            return float(self.mean >= value)
        return float(stdtr(freedom, (self.mean - value) / error))

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True)
class Verdict:
    """`promote`, `keep` (the champion, for lack of evidence), `reject` (the challenger is worse) or
    `blocked` (it lost what no score can make up for).
    """

    word: Literal["promote", "keep", "reject", "blocked"]
    reasons: list[str]


def difference(
    challenger: Sequence[float], other: Sequence[float], clusters: Sequence[str], seed: int = 7
) -> Interval:
    """Mean of the paired differences with its bootstrap interval.

    Args:
        challenger, other: scores of the two models on the same rows, in the same order.
        clusters: for each row, the name of the group that is drawn with it.

    Raises:
        ValueError: the three differ in length or are empty.
    """
    if not challenger or not len(challenger) == len(other) == len(clusters):
        raise ValueError(
            f"{len(challenger)}, {len(other)} and {len(clusters)} values cannot be paired"
        )
    gaps = np.asarray(challenger, dtype=float) - np.asarray(other, dtype=float)
    return differences(gaps[None, :], clusters, seed)[0]


def differences(
    gaps: "NDArray[np.float64]", clusters: Sequence[str], seed: int = 7
) -> list[Interval]:
    """As `difference`, for many comparisons on the same rows at once.

    Args:
        gaps: comparison × row, the paired differences.
    """
    _, group = np.unique(np.asarray(clusters), return_inverse=True)
    count, rows = int(group.max()) + 1, gaps.shape[1]
    means = gaps.mean(axis=1)
    if count < 2:  # one cluster tells nothing about another
        return [
            Interval(mean, max(-1.0, mean - 1), min(1.0, mean + 1), rows, 1.0, count)
            for mean in map(float, means)
        ]
    sums = np.zeros((count, len(gaps)))
    np.add.at(sums, group, gaps.T)
    drawn = _draws(count, seed)
    totals = drawn @ np.bincount(group, minlength=count)
    resampled = (drawn @ sums) / totals[:, None]
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    errors = resampled.std(axis=0, ddof=1)
    equal = np.ptp(gaps, axis=1) == 0
    return [
        Interval(mean, mean, mean, rows, 0.0, count)
        if same
        else Interval(mean, float(below), float(above), rows, detectable(float(error)), count)
        for mean, below, above, error, same in zip(
            map(float, means), low, high, errors, equal, strict=True
        )
    ]


@lru_cache(maxsize=16)
def _draws(count: int, seed: int) -> "NDArray[np.float64]":
    """Resample × cluster: how often each of `count` clusters is drawn, with replacement."""
    chance = np.random.default_rng(seed)
    return chance.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(float)


def detectable(error: float) -> float:
    """The smallest true difference that is found with a chance of `POWER` by a two-sided test at
    `LEVEL`, 2.80 times the standard error `error` (see the module's docstring).
    """
    normal = NormalDist()
    return (normal.inv_cdf((1 + LEVEL) / 2) + normal.inv_cdf(POWER)) * error


def judge(
    overall: Interval,
    slices: Mapping[str, Interval],
    reference: str,
    forgotten: Interval | None = None,
    false: Interval | None = None,
    policy: GatePolicy | None = None,
) -> Verdict:
    """Decides about a challenger. Only what is proven worse stops it.

    Args:
        overall: its difference from the reference over the whole holdout.
        slices: the same per skill.
        reference: what it was compared with, for the reasons: "champion v3" or "the untuned base".
        forgotten: the rise of its loss above the base's on what the base knows.
        false: the difference in the share of answers with a false sentence.
        policy: by default that of the package.
    """
    policy = policy or load_policy()
    against = f"difference from {reference}: {overall}"
    worse = [f"{name} is worse: {slices[name]}" for name in worse_skills(slices, policy)]
    rules, may_rise = policy.false_answers, policy.forgetting.may_rise
    if false and false.rows >= rules.minimum_rows and false.low > rules.margin:
        worse.append(f"more answers have a false sentence: {false}")
    if forgotten and forgotten.low > may_rise:
        forgets = (
            f"it forgets: the loss on general questions rose by {forgotten} nats per token, more "
            f"than {may_rise:g}"
        )
        return Verdict("blocked", [forgets, against, *worse])
    if overall.high < 0:
        return Verdict("reject", [f"worse, {against}", *worse])
    if overall.rows < policy.overall.minimum_rows or overall.low <= policy.overall.margin:
        return Verdict("keep", [f"not enough evidence, {against}", *worse])
    if worse:
        return Verdict("keep", [f"better overall, {against}", *worse])
    return Verdict("promote", [f"better, {against}", "no skill is worse"])


def worse_skills(slices: Mapping[str, Interval], policy: GatePolicy) -> list[str]:
    """The skills that are proven to have lost more than they may, in the order given."""
    rules = policy.skills
    asked = {name: gap for name, gap in slices.items() if gap.rows >= rules.minimum_rows}
    chances = {
        name: gap.p_below(-rules.margins.get(name, rules.margin)) for name, gap in asked.items()
    }
    found: set[str] = set()
    for place, (name, chance) in enumerate(sorted(chances.items(), key=lambda pair: pair[1])):
        alpha = (1 - LEVEL) / 2 / (len(chances) - place if rules.holm else 1)
        if chance >= alpha and rules.holm:
            break
        if chance < alpha:
            found.add(name)
    return [name for name in slices if name in found]
