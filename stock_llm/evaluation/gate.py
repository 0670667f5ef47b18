"""Decides whether one model is better than another on the same questions.

The difference of paired scores gets a percentile bootstrap interval over clusters (Cameron, Gelbach
and Miller 2008): rows of one stock in one month are resampled together, since they share their
fate. "Not enough evidence" is a verdict. scipy.stats.bootstrap does the resampling.

What such a comparison can see at all is its smallest detectable difference (z(1 − α/2) + z(power))
times the standard error, after Bloom (1995), "Minimum Detectable Effects", Evaluation Review 19(5);
the error is that of the same bootstrap. Miller (2024), arXiv:2411.00640, section 5, uses it for
evaluations of language models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
POWER = 0.80
"""Share of the true differences of the detectable size that a comparison finds."""

RESAMPLES = 4000
MIN_ROWS = 10
"""A slice with fewer rows is shown but cannot stop a model: its interval would mean nothing."""


KNOWN = 2.0
"""Loss in nats per token below which the base is taken to know the answer to a general question: a
guess among seven. What it does not know cannot be forgotten.
"""

MAY_FORGET = 0.5
"""Nats per token by which the loss on what the base knows may rise: a token of an answer is then
e^-0.5 = 0.61 times as likely. Only a rise proven to be larger blocks a challenger.
"""


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

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True)
class Verdict:
    """`promote`, `keep` (the champion, for lack of evidence) or `reject` (the challenger is
    worse)."""

    word: str
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
    from scipy.stats import bootstrap

    if not challenger or not len(challenger) == len(other) == len(clusters):
        raise ValueError(
            f"{len(challenger)}, {len(other)} and {len(clusters)} values cannot be paired"
        )
    gaps = np.asarray(challenger, dtype=float) - np.asarray(other, dtype=float)
    _, group = np.unique(np.asarray(clusters), return_inverse=True)
    sums, sizes = np.bincount(group, weights=gaps), np.bincount(group).astype(float)
    mean = float(gaps.mean())
    if len(sums) < 2 or np.ptp(gaps) == 0:
        spread = 0.0 if len(sums) > 1 else 1.0  # one cluster tells nothing about another
        low, high = max(-1.0, mean - spread), min(1.0, mean + spread)
        return Interval(mean, low, high, len(gaps), spread)
    drawn = bootstrap(
        (sums, sizes),
        lambda total, size, axis: total.sum(axis=axis) / size.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = map(float, drawn.confidence_interval)
    return Interval(mean, low, high, len(gaps), detectable(float(drawn.standard_error)))


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
) -> Verdict:
    """Decides about a challenger. Only what is proven worse blocks it: an interval beyond zero, or
    beyond what it may forget.

    Args:
        overall: its difference from the reference over the whole holdout.
        slices: the same per skill.
        reference: what it was compared with, for the reasons: "champion v3" or "the untuned base".
        forgotten: the rise of its loss above the base's on what the base knows.
        false: the difference in the share of answers with a false sentence.
    """
    worse = [
        f"{name} is worse: {gap}"
        for name, gap in slices.items()
        if gap.rows >= MIN_ROWS and gap.high < 0
    ]
    if forgotten and forgotten.low > MAY_FORGET:
        worse.append(
            f"it forgets: the loss on general questions rose by {forgotten} nats per token, more "
            f"than {MAY_FORGET}"
        )
    if false and false.rows >= MIN_ROWS and false.low > 0:
        worse.append(f"more answers have a false sentence: {false}")
    against = f"difference from {reference}: {overall}"
    if overall.high < 0:
        return Verdict("reject", [f"worse, {against}", *worse])
    if overall.low > 0 and not worse:
        return Verdict("promote", [f"better, {against}", "no skill is worse"])
    if overall.low > 0:
        return Verdict("keep", [f"better overall, {against}", *worse])
    return Verdict("keep", [f"not enough evidence, {against}", *worse])
