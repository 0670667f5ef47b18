"""Samples the rows of a dataset: a plan with each skill's share first, then one row at a time.

A plan is a few numbers per row and can be shuffled; the row of an entry is built on request. The
same seed and market give the same plan.
"""

import random
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import zip_longest

import numpy as np

from stock_llm.dataset.decisions import Market
from stock_llm.dataset.splits import TimeSplit
from stock_llm.evaluation.answers import Language
from stock_llm.skills import analyse, code, explain, portfolio, review, sentiment, signal
from stock_llm.skills.decision_point import BaseRates
from stock_llm.skills.row import Row
from stock_llm.storage.checksums import digest_of

SHARES = {
    signal.NAME: 0.22,
    analyse.NAME: 0.25,
    explain.NAME: 0.20,
    review.NAME: 0.12,
    code.NAME: 0.13,
    portfolio.NAME: 0.08,
}
"""Skill → its share of the rows, feedback and foreign data apart. People mostly correct signals, so
analyses get more here."""

SENTIMENT_SHARE = 0.1
"""Rows about other people's texts for each of the others in the holdout, where a source has such
texts."""

JUDGING_TEXTS = 4
"""One text in so many may judge."""

THAI_SHARE = 0.3

EXPLAINED_IN_THAI = 0.5
"""Share of Thai among explanations: what a reading means is learnt in each language by itself."""

READ_PER_ROW = 4
"""Situations that are looked at for one row about an indicator, so that rare readings are found."""

STRATEGIES = 3000
"""Code tasks that are made at most: there are 6,561 different ones."""


@dataclass(frozen=True)
class SplitSide:
    """The decisions, trades and days on one side of the split.

    Attributes:
        decisions: numbers of decisions in `Market.decisions`.
        trades: places of closed trades in `Market.closed_trades`.
        days: market days.
    """

    decisions: np.ndarray
    trades: list[int]
    days: list[date]


def split_sides(market: Market, split: TimeSplit) -> tuple[SplitSide, SplitSide]:
    """Splits a market into train and holdout; what is on neither side is purged."""
    decisions = market.decisions
    trades = [
        (date.fromisoformat(trade.opened), date.fromisoformat(trade.closed))
        for trade in market.closed_trades
    ]
    train = SplitSide(
        np.flatnonzero(split.learnt(decisions.until)),
        [place for place, (_, closed) in enumerate(trades) if closed < split.train_before],
        [day for day in market.days if day < split.train_before],
    )
    holdout = SplitSide(
        np.flatnonzero(split.judged(decisions.as_of, decisions.until)),
        [place for place, (opened, closed) in enumerate(trades) if split.has(opened, closed)],
        [day for day in market.days if split.has(day, day)],
    )
    return train, holdout


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """A row to be built.

    Attributes:
        what: number of the decision, place of the closed trade or of the day.
        detail: the indicator, or the seed of the strategy.
    """

    skill: str
    what: int
    detail: str
    language: Language
    phrasing: int


def strategies(plan: Iterable[PlannedRow]) -> set[str]:
    """Returns the strategies of a plan's code rows."""
    return {code.draw(planned.detail).ref for planned in plan if planned.skill == code.NAME}


def holdout_texts(rows: list[Row], size: int) -> tuple[list[Row], list[Row]]:
    """Splits other people's rows into those of a holdout of `size` rows and those to train on.

    Sentiment alone judges, because it alone has a right answer; its texts are not of the user's
    time, so a hash parts them.
    """
    judging: list[Row] = []
    learnt: list[Row] = []
    for row in rows:
        drawn = (
            row.skill == sentiment.NAME and int(digest_of(text=row.input), 16) % JUDGING_TEXTS == 0
        )
        (judging if drawn and len(judging) < round(SENTIMENT_SHARE * size) else learnt).append(row)
    return judging, learnt


class Sampler:
    """Plans the rows of one side and builds them."""

    def __init__(
        self, market: Market, side: SplitSide, base_rates: BaseRates, seed: str, size: int
    ):
        self._market, self._side, self._base_rates = market, side, base_rates
        self._chance = random.Random(seed)
        self._size = size

    def plan(self, known: Collection[str] = ()) -> list[PlannedRow]:
        """Plans about `size` rows, without the strategies in `known`."""
        made = [
            self._planned(review.NAME, place)
            for place in self._sample(self._side.trades, self._count(review.NAME))
        ]
        made += [self._planned(portfolio.NAME, place) for place in self._portfolios()]
        made += [
            self._planned(code.NAME, place, seed) for place, seed in self._strategies(set(known))
        ]
        made += [
            self._planned(explain.NAME, number, indicator) for number, indicator in self._readings()
        ]
        signals = self._count(signal.NAME)
        left = self._size - len(made)  # where there are too few trades, more decisions are made
        decisions = self._sample(self._side.decisions, left)
        cut = round(len(decisions) * signals / (signals + self._count(analyse.NAME)))
        made += [self._planned(signal.NAME, number) for number in decisions[:cut]]
        made += [self._planned(analyse.NAME, number) for number in decisions[cut:]]
        return made

    def row(self, planned: PlannedRow) -> Row:
        """Builds the row of an entry of the plan."""
        market, language, phrasing = self._market, planned.language, planned.phrasing
        match planned.skill:
            case signal.NAME:
                return signal.row(
                    market.decision_point(planned.what), self._base_rates, language, phrasing
                )
            case analyse.NAME:
                return analyse.row(
                    market.decision_point(planned.what), self._base_rates, language, phrasing
                )
            case explain.NAME:
                return explain.row(
                    market.decision_point(planned.what).situation,
                    planned.detail,
                    language,
                    phrasing,
                )
            case review.NAME:
                return review.row(market.closed_trades[planned.what], language, phrasing)
            case portfolio.NAME:
                held = market.portfolio(self._side.days[planned.what])
                assert held is not None
                return portfolio.row(held, language, phrasing)
            case _:
                day = self._side.days[planned.what].isoformat()
                return code.row(code.draw(planned.detail), day, language, phrasing)

    def _planned(self, skill: str, what: int, detail: str = "") -> PlannedRow:
        thai = EXPLAINED_IN_THAI if skill == explain.NAME else THAI_SHARE
        language: Language = "th" if self._chance.random() < thai else "en"
        return PlannedRow(skill, int(what), detail, language, self._chance.randrange(1 << 16))

    def _count(self, skill: str) -> int:
        return round(SHARES[skill] * self._size)

    def _sample(self, choices: "np.ndarray | list[int]", count: int) -> list[int]:
        places = self._chance.sample(range(len(choices)), min(len(choices), count))
        return [int(choices[place]) for place in places]

    def _readings(self) -> list[tuple[int, str]]:
        """Indicators of drawn situations, each reading of each indicator as often as there are any:
        most closes are NEUTRAL."""
        wanted = self._count(explain.NAME)
        groups: dict[tuple[str, str], list[int]] = {}
        for number in self._sample(self._side.decisions, READ_PER_ROW * wanted):
            seen = self._market.decision_point(number).situation
            for indicator, book in explain.TEXTBOOK.items():
                group = groups.setdefault((indicator, book.reading(seen)), [])
                if len(group) < wanted:
                    group.append(number)
        turns = zip_longest(
            *([(number, key[0]) for number in groups[key]] for key in sorted(groups))
        )
        return [pick for turn in turns for pick in turn if pick][:wanted]

    def _portfolios(self) -> Iterator[int]:
        """Places of days whose portfolio can be reviewed."""
        wanted = self._count(portfolio.NAME)
        for place in self._chance.sample(range(len(self._side.days)), len(self._side.days)):
            if wanted and self._market.portfolio(self._side.days[place]):
                wanted -= 1
                yield place

    def _strategies(self, known: set[str]) -> Iterator[tuple[int, str]]:
        """Place of a day and seed of a strategy, no strategy twice."""
        wanted = self._count(code.NAME)
        while wanted and len(known) < STRATEGIES:
            seed = str(self._chance.random())
            place = self._chance.randrange(len(self._side.days))
            if (ref := code.draw(seed).ref) not in known:
                known.add(ref)
                wanted -= 1
                yield place, seed
