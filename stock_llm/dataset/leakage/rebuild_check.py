"""Builds rows of the market again and compares them with what was written.

A row may only be what its builder makes of the close, the position held then, the trade or the
portfolio that it names; its label may only be what came after. That the indicators themselves read
nothing later is proved on some rows, from candles that end at the close.
"""

import math
from collections.abc import Iterator
from dataclasses import fields
from datetime import date, timedelta
from typing import Any

import numpy as np

from stock_llm.dataset.decisions import Market
from stock_llm.evaluation.answers import LANGUAGES, Language
from stock_llm.market.situation import (
    WARM_UP,
    Candles,
    IndicatorSeries,
    Position,
    Situation,
    compute_indicators,
)
from stock_llm.portfolio.holdings import Fill
from stock_llm.skills import (
    SKILLS,
    analyse,
    code,
    decision_point,
    explain,
    portfolio,
    review,
    signal,
)
from stock_llm.skills.decision_point import BaseRates
from stock_llm.skills.review import ClosedTrade
from stock_llm.skills.row import Row

OUTCOMES = (analyse.NAME, signal.NAME)
"""Skills whose label is what the market did after the close."""

DECISIONS = (*OUTCOMES, explain.NAME)
"""Skills that are about one close."""

KNOWS = "rows do not show what was known at their close"
LABEL = "labels are not what came of it"
ANSWER = "rows ask or answer what their builder does not"


class RebuildCheck:
    """Builds rows again from a market and compares them."""

    def __init__(self, market: Market, base_rates: BaseRates):
        """`odds`: how often each outcome followed, among what is learnt."""
        self._market, self._base_rates = market, base_rates
        self._scores: dict[str, np.ndarray] = {}
        self._days: dict[str, set[date]] = {}
        self._decided: dict[tuple[str, int], list[Fill]] = {}
        for fill in market.fills:
            self._days.setdefault(fill.ref, set()).add(fill.day)
            if fill.decided and (series := market.series_of(fill.symbol)):
                self._decided.setdefault((fill.symbol, series.last_before(fill.day)), []).append(
                    fill
                )
        self._trades: dict[str, list[ClosedTrade]] = {}
        for trade in market.closed_trades:
            self._trades.setdefault(trade.ref, []).append(trade)

    def faults(self, row: Row, closely: bool) -> Iterator[str]:
        """What is wrong with a row of the market; `closely`: its indicators are computed again from
        candles that end there."""
        if row.skill in OUTCOMES and row.label_from <= row.as_of:
            yield "labels begin before the close is over"
        if row.skill in OUTCOMES and row.source["kind"] == "trade":
            days = self._days.get(row.source["ref"], ())
            if not any(row.as_of < day.isoformat() for day in days):
                yield "decisions know the day of their fill"
        made = list(self._made_again(row))
        if row in made:
            if closely and row.skill in (*DECISIONS, review.NAME) and not self._causal(row):
                yield "indicators know what came later"
            return
        if not made:
            yield KNOWS
            return
        like = next(
            (
                rebuilt
                for rebuilt in made
                if rebuilt.input == row.input and rebuilt.facts == row.facts
            ),
            made[0],
        )
        if (row.input, row.facts, row.as_of, row.symbol, row.source) != (
            like.input,
            like.facts,
            like.as_of,
            like.symbol,
            like.source,
        ):
            yield KNOWS
        if (row.label, row.label_from, row.label_until) != (
            like.label,
            like.label_from,
            like.label_until,
        ):
            yield LABEL
        if (row.instruction, row.output, row.language, row.weight) != (
            like.instruction,
            like.output,
            like.language,
            like.weight,
        ):
            yield ANSWER

    def _made_again(self, row: Row) -> Iterator[Row]:
        """The rows that may stand where the row stands; none where the market has nothing of the
        kind."""
        language = next((known for known in LANGUAGES if known == row.language), LANGUAGES[0])
        if row.skill == code.NAME:
            if rules := row.facts.get("strategy"):
                strategy = code.Strategy(tuple(rules["buy"]), tuple(rules["sell"]))
                for phrasing in range(len(code.INSTRUCTIONS[language])):
                    yield code.row(strategy, row.as_of, language, phrasing)
            return
        phrasing = _phrasing(row)
        if row.skill in DECISIONS:
            yield from self._decisions(row, language, phrasing)
        elif row.skill == review.NAME:
            for trade in self._trades.get(row.source["ref"], ()):
                yield review.row(trade, language, phrasing)
        elif row.skill == portfolio.NAME and (
            held := self._market.portfolio(date.fromisoformat(row.as_of))
        ):
            yield portfolio.row(held, language, phrasing)

    def _decisions(self, row: Row, language: Language, phrasing: int) -> Iterator[Row]:
        series = self._market.series_of(row.symbol)
        index = (
            series.last_before(date.fromisoformat(row.as_of) + timedelta(days=1)) if series else -1
        )
        if series is None or index < 0 or str(series.candles.day[index]) != row.as_of:
            return
        for position, source in self._held(row, index):
            situation = _seen(row, series, index, position)
            if situation is None:
                continue
            if row.skill == explain.NAME:
                if (indicator := row.facts.get("indicator")) in explain.TEXTBOOK:
                    yield explain.row(situation, indicator, language, phrasing)
            elif decision := decision_point.decision_point_at(
                series, self._scores_of(series), index, situation, source
            ):
                yield SKILLS[row.skill].row(decision, self._base_rates, language, phrasing)

    def _held(self, row: Row, index: int) -> Iterator[tuple[Position | None, dict[str, str]]]:
        """What may have been held at a close: before the fill that was decided there, or after all
        fills of the day."""
        holding = self._market.held.get(row.symbol)
        if row.source["kind"] != "trade":
            day = {"kind": "day", "ref": f"{row.symbol} {row.as_of}"}
            yield holding.after(date.fromisoformat(row.as_of)) if holding else None, day
        # A reading of an indicator does not say which decision it is about.
        if row.source["kind"] != "day":
            for fill in self._decided.get((row.symbol, index), ()):
                if row.source["kind"] == "rule" or fill.ref == row.source["ref"]:
                    yield (
                        holding.before(fill.day) if holding else None,
                        {"kind": "trade", "ref": fill.ref},
                    )

    def _scores_of(self, series: IndicatorSeries) -> np.ndarray:
        symbol = series.candles.symbol
        if symbol not in self._scores:
            self._scores[symbol] = decision_point.outcomes(series)
        return self._scores[symbol]

    def _causal(self, row: Row) -> bool:
        """Whether the situation is the one that candles up to its close give."""
        shown = row.facts["situation"]
        series = self._market.series_of(shown["symbol"])
        if series is None:
            return False
        size = series.last_before(date.fromisoformat(shown["as_of"]) + timedelta(days=1)) + 1
        full = series.candles
        columns = (full.day, full.open, full.high, full.low, full.close, full.volume)
        then = compute_indicators(Candles(full.symbol, *(column[:size] for column in columns))).at(
            size - 1
        )
        return then is not None and vars(then) == shown | {"position": None}


def _seen(
    row: Row, series: IndicatorSeries, index: int, position: Position | None
) -> Situation | None:
    """The situation at a close. The row's own where it is that one as printed: to print the
    indicators again takes longer."""
    shown = row.facts.get("situation", {})
    if index < WARM_UP or shown.keys() != _FIELDS or not _as_printed(shown, series, index):
        return series.at(index, position)
    return Situation(**shown | {"position": position})


_FIELDS = {field.name for field in fields(Situation)}


def _as_printed(shown: dict[str, Any], series: IndicatorSeries, index: int) -> bool:
    """Whether each value is an indicator's, no further away than half its last printed digit."""
    for name in _PRICES:
        value = (
            series.candles.close.item(index)
            if name == "close"
            else getattr(series, name).item(index)
        )
        if not abs(value - shown[name]) <= (_HALF_CENT if abs(value) >= 1 else _HALF_CENT / 100):
            return False
    for name, half in _OTHERS.items():
        value = getattr(series, name).item(index)
        # no volume is printed as 0
        if not abs((value if math.isfinite(value) else 0.0) - shown[name]) <= half:
            return False
    return True


_HALF_CENT = 0.005 + 1e-9
_PRICES = ("close", "sma20", "sma50", "atr14", "band_low", "band_high", "support", "resistance")
_OTHERS = {
    "macd": _HALF_CENT,
    "macd_signal": _HALF_CENT,
    "rsi14": 0.05 + 1e-9,
    "volume": 0.05 + 1e-9,
}


def _phrasing(row: Row) -> int:
    """Which of the skill's wordings the instruction is; the first where it is none of them."""
    choices = SKILLS[row.skill].INSTRUCTIONS.get(row.language, ())
    named = {"symbol": row.symbol, "indicator": row.facts.get("indicator", "")}
    return next(
        (
            number
            for number, words in enumerate(choices)
            if words.format_map(named) == row.instruction
        ),
        0,
    )
