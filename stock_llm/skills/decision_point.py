"""Decision points: a situation at a close, and what the market did afterwards.

The label is an outcome, never a rule: the return from the next session's open to the close
`HORIZON` sessions later, measured in the stock's own daily volatility times the square root of the
horizon. Above +0.5 is BUY, below -0.5 SELL, else HOLD.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from stock_llm.evaluation.answers import VERDICTS
from stock_llm.market.situation import IndicatorSeries, Situation

HORIZON = 10
"""Sessions that a label looks ahead."""

THRESHOLD = 0.5
"""Standard deviations of the horizon's return that separate BUY and SELL from HOLD."""

_VOLATILITY_SESSIONS = 20


@dataclass(frozen=True)
class DecisionPoint:
    """A situation with its outcome.

    Attributes:
        outcome: BUY, HOLD or SELL in hindsight.
        outcome_from, outcome_until: ISO dates of the first and last session that the outcome looks
            at.
        source: `kind` (day or trade) and `ref`, "SYMBOL DATE" or a ledger entry's id.
    """

    situation: Situation
    outcome: str
    outcome_from: str
    outcome_until: str
    source: dict[str, str]


def outcomes(series: IndicatorSeries) -> np.ndarray:
    """The standardised forward return after each session, dimensionless; NaN where the horizon is
    not over yet."""
    close, opening = series.candles.close, series.candles.open
    size = len(close)
    returns = np.full(size, np.nan)
    volatility = np.full(size, np.nan)
    if size > HORIZON:
        returns[:-HORIZON] = np.log(close[HORIZON:] / opening[1 : size - HORIZON + 1])
    if size > _VOLATILITY_SESSIONS:
        daily = np.diff(np.log(close))
        windows = np.lib.stride_tricks.sliding_window_view(daily, _VOLATILITY_SESSIONS)
        volatility[_VOLATILITY_SESSIONS:] = windows.std(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = returns / (volatility * np.sqrt(HORIZON))
    return np.where(np.isfinite(scores), scores, np.nan)


def outcome_of(score: float) -> str:
    """The label of a standardised return."""
    return "BUY" if score > THRESHOLD else "SELL" if score < -THRESHOLD else "HOLD"


def decision_point_at(
    series: IndicatorSeries,
    scores: np.ndarray,
    index: int,
    situation: Situation,
    source: dict[str, str],
) -> DecisionPoint | None:
    """Builds the decision point of session `index`; None if its outcome is not known yet."""
    if not np.isfinite(scores[index]):
        return None
    day = series.candles.day
    return DecisionPoint(
        situation=situation,
        outcome=outcome_of(scores[index]),
        outcome_from=str(day[index + 1]),
        outcome_until=str(day[index + HORIZON]),
        source=source,
    )


SituationKind = tuple[str, bool]
"""Trend, and whether MACD is above its signal: six kinds, so that a year of a few stocks fills
each."""


class BaseRates:
    """How often each outcome followed a kind of situation, counted on training decisions only."""

    def __init__(self, moments: Iterable[DecisionPoint] = ()):
        self._counts: dict[SituationKind, Counter[str]] = {}
        self._all: Counter[str] = Counter()
        for decision in moments:
            self.count(_kind(decision.situation), decision.outcome, 1)

    def count(self, kind: SituationKind, outcome: str, times: int) -> None:
        """Adds `times` decisions of a kind with that outcome."""
        self._counts.setdefault(kind, Counter())[outcome] += times
        self._all[outcome] += times

    def confidence(self, situation: Situation, recommendation: str) -> int:
        """Percent, to the nearest five, of training moments of this kind with this outcome (add-one
        smoothed)."""
        counts = self._counts.get(_kind(situation), self._all)
        share = (counts[recommendation] + 1) / (counts.total() + len(VERDICTS["recommendation"]))
        return 5 * round(share * 20)


def _kind(situation: Situation) -> SituationKind:
    return situation.trend, situation.macd > situation.macd_signal
