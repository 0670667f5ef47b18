"""All decisions that a history offers, kept as arrays of numbers.

A million decisions fit into memory as numbers; their situations would not, so these are computed
when a row is built. In: candles and the user's fills. Out: `Decisions`, and on request the decision
point, closed trade or portfolio behind an entry.
"""

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property

import numpy as np
import pyarrow.parquet as pq

from stock_llm.artifacts import History
from stock_llm.evaluation.answers import VERDICTS
from stock_llm.market import situation
from stock_llm.market.candles import candle_table
from stock_llm.market.situation import IndicatorSeries, format_percent, round_as_printed
from stock_llm.portfolio import holdings
from stock_llm.skills import decision_point
from stock_llm.skills.decision_point import BaseRates, DecisionPoint
from stock_llm.skills.portfolio import Portfolio, PortfolioHolding, portfolio_of
from stock_llm.skills.review import ClosedTrade

OUTCOMES = VERDICTS["recommendation"]
TRENDS = VERDICTS["trend"]

STALE_DAYS = 7
"""Calendar days after which a last close no longer values a position."""


@dataclass(frozen=True)
class Decisions:
    """Arrays of one length, an entry per decision: the user's own first, as they happened, then
    every other market day.

    Attributes:
        series: place of the symbol in `Market.series`.
        index: session whose close is the last thing known.
        fill: place of the fill in `Market.fills`; -1 for a market day.
        as_of, until: datetime64[D], that close and the last one that the label looks at.
        outcome: place of the label in `OUTCOMES`.
        kind: 2 · place of the trend in `TRENDS` + whether MACD is above its signal.
    """

    series: np.ndarray
    index: np.ndarray
    fill: np.ndarray
    as_of: np.ndarray
    until: np.ndarray
    outcome: np.ndarray
    kind: np.ndarray

    def __len__(self) -> int:
        return len(self.series)


class Market:
    """Candles with their indicators, and what the user held."""

    def __init__(
        self,
        series: list[IndicatorSeries],
        fills: list[holdings.Fill],
        currencies: Mapping[str, Set[str]] | None = None,
    ):
        """`currencies`: symbol → those that it was traded in; what is left out is taken to be one
        currency."""
        self.series = series
        self.fills = fills
        self._currencies = currencies or {}
        self.held = holdings.holdings_by_symbol(fills)
        self._scores = list(map(decision_point.outcomes, series))
        self._place = {indicators.candles.symbol: place for place, indicators in enumerate(series)}

    @classmethod
    def of(
        cls, history: History, amount_scale: float = 1.0, ref: Callable[[str], str] = str
    ) -> "Market":
        """Loads the market of a collected history.

        Args:
            amount_scale: what quantities are multiplied by, so that they need not show how large
                they are.
            ref: a trade's id to what may stand for it in rows.
        """
        series = [
            situation.compute_indicators(candles)
            for candles in candle_table.candles_by_symbol(pq.read_table(history.candles))
        ]
        fills = holdings.read_fills(pq.read_table(history.steps))
        fills = [replace(fill, ref=ref(fill.ref)) for fill in fills]
        if amount_scale != 1.0:
            fills = [
                replace(fill, quantity=round(fill.quantity * amount_scale, 8)) for fill in fills
            ]
        traded = pq.read_table(history.positions, columns=["instrument", "currency"]).group_by(
            "instrument"
        )
        currencies = traded.aggregate([("currency", "distinct")]).to_pylist()
        return cls(
            series, fills, {row["instrument"]: set(row["currency_distinct"]) for row in currencies}
        )

    def series_of(self, symbol: str) -> IndicatorSeries | None:
        """The series of a symbol, None where it has no candles."""
        place = self._place.get(symbol)
        return None if place is None else self.series[place]

    @cached_property
    def decisions(self) -> Decisions:
        """All decisions whose outcome is known."""
        own = list(self._own())
        taken: dict[int, list[int]] = {}
        for place, index, _ in own:
            taken.setdefault(place, []).append(index)
        parts = [np.array(own, np.int32).reshape(-1, 3)]
        for place, scores in enumerate(self._scores):
            known = np.isfinite(scores)
            known[: situation.WARM_UP] = False
            known[taken.get(place, [])] = False
            days = np.flatnonzero(known).astype(np.int32)
            parts.append(np.column_stack([np.full_like(days, place), days, np.full_like(days, -1)]))
        return self._with_facts(*np.concatenate(parts).T)

    def _own(self) -> Iterator[tuple[int, int, int]]:
        """Place, session and fill of the user's own decisions, each at the last close strictly
        before its fill."""
        seen: set[tuple[int, int]] = set()
        for number, fill in enumerate(self.fills):
            place = self._place.get(fill.symbol)
            if place is None or not fill.decided:
                continue
            index = self.series[place].last_before(fill.day)
            if (
                (place, index) not in seen
                and index >= situation.WARM_UP
                and np.isfinite(self._scores[place][index])
            ):
                seen.add((place, index))
                yield place, index, number

    def _with_facts(self, place: np.ndarray, index: np.ndarray, fill: np.ndarray) -> Decisions:
        size = len(place)
        as_of, until = np.empty(size, "datetime64[D]"), np.empty(size, "datetime64[D]")
        outcome, kind = np.empty(size, np.int8), np.empty(size, np.int8)
        order = np.argsort(place, kind="stable")
        edges = np.searchsorted(place[order], np.arange(len(self.series) + 1))
        for number, series in enumerate(self.series):
            mine = order[edges[number] : edges[number + 1]]
            at = index[mine]
            as_of[mine], until[mine] = (
                series.candles.day[at],
                series.candles.day[at + decision_point.HORIZON],
            )
            words = np.array(
                [
                    OUTCOMES.index(decision_point.outcome_of(score))
                    for score in self._scores[number][at]
                ],
                np.int8,
            )
            outcome[mine], kind[mine] = words, _kinds(series)[at]
        return Decisions(place, index, fill, as_of, until, outcome, kind)

    def base_rates(self, learnt: np.ndarray) -> BaseRates:
        """Counts how often each outcome followed each kind of situation, among these decisions."""
        counted = BaseRates()
        pairs = (
            self.decisions.kind[learnt].astype(int) * len(OUTCOMES) + self.decisions.outcome[learnt]
        )
        for pair, times in zip(*np.unique(pairs, return_counts=True), strict=True):
            kind, outcome = divmod(int(pair), len(OUTCOMES))
            counted.count((TRENDS[kind // 2], bool(kind % 2)), OUTCOMES[outcome], int(times))
        return counted

    def decision_point(self, number: int) -> DecisionPoint:
        """The decision point of an entry: what was known, and the outcome."""
        decisions = self.decisions
        place, index, fill = (
            int(column[number]) for column in (decisions.series, decisions.index, decisions.fill)
        )
        series = self.series[place]
        symbol, day = series.candles.symbol, series.candles.day[index]
        holding = self.held.get(symbol)
        if fill >= 0:
            position = holding.before(self.fills[fill].day) if holding else None
            source = {"kind": "trade", "ref": self.fills[fill].ref}
        else:
            position = holding.after(day.item()) if holding else None
            source = {"kind": "day", "ref": f"{symbol} {day}"}
        seen = series.at(index, position)
        decision = (
            decision_point.decision_point_at(series, self._scores[place], index, seen, source)
            if seen
            else None
        )
        assert decision is not None
        return decision

    @cached_property
    def closed_trades(self) -> list[ClosedTrade]:
        """The user's sales that gained or lost something, of stocks that had warmed up before the
        purchase.

        An order that was filled in parts at one price is one sale: the reviews of its parts would
        be the same.
        """
        trades: dict[tuple[object, ...], ClosedTrade] = {}
        for symbol, holding in self.held.items():
            if (series := self.series_of(symbol)) is None:
                continue
            for sale in holding.sales:
                entry = series.at(series.last_before(sale.opened))
                if entry and format_percent(sale.fill.price, sale.bought) != "+0.0%":
                    trade = ClosedTrade(
                        entry=entry,
                        bought=round_as_printed(sale.bought),
                        sold=round_as_printed(sale.fill.price),
                        opened=sale.opened.isoformat(),
                        closed=sale.fill.day.isoformat(),
                        days=(sale.fill.day - sale.opened).days,
                        ref=sale.fill.ref,
                    )
                    trades.setdefault(
                        (symbol, trade.opened, trade.closed, trade.bought, trade.sold), trade
                    )
        return list(trades.values())

    @cached_property
    def days(self) -> list[date]:
        """Every day with a candle."""
        return (
            np.unique(np.concatenate([series.candles.day for series in self.series])).tolist()
            if self.series
            else []
        )

    def portfolio(self, day: date) -> Portfolio | None:
        """What was held at the close of `day`; None where it is nothing to review, or cannot be
        valued in one currency."""
        held = []
        for symbol, holding in self.held.items():
            if (position := holding.after(day)) is None:
                continue
            series = self.series_of(symbol)
            index = series.last_before(day + timedelta(days=1)) if series else -1
            if (
                series is None
                or index < 0
                or (day - series.candles.day[index].item()).days > STALE_DAYS
            ):
                return None
            close = round_as_printed(series.candles.close[index])
            held.append(
                PortfolioHolding(symbol, position.quantity, round_as_printed(position.cost), close)
            )
        currencies = {name for holding in held for name in self._currencies.get(holding.symbol, ())}
        if len(currencies) > 1:
            return None
        return portfolio_of(day.isoformat(), held)


def _kinds(series: IndicatorSeries) -> np.ndarray:
    """`Decisions.kind` of every session."""
    close, sma20, sma50 = (
        _printed(values) for values in (series.candles.close, series.sma20, series.sma50)
    )
    up, down = (close > sma50) & (sma20 > sma50), (close < sma50) & (sma20 < sma50)
    trend = np.select(
        [up, down], [TRENDS.index("UP"), TRENDS.index("DOWN")], TRENDS.index("SIDEWAYS")
    )
    return (2 * trend + (np.round(series.macd, 2) > np.round(series.macd_signal, 2))).astype(
        np.int8
    )


def _printed(values: np.ndarray) -> np.ndarray:
    """As `situation.as_printed` rounds them."""
    return np.where(np.abs(values) < 1, np.round(values, 4), np.round(values, 2))
