"""The user's own numbers at one state of their files: situations, positions, trades, portfolio.

`stock-llm ask`, the gateway and the tools take them from here, so that all give the same. Nothing
is computed before it is asked for; `prepare` computes what questions need ahead of them.
"""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stock_llm.artifacts import History
from stock_llm.dataset.decisions import STALE_DAYS, Market
from stock_llm.errors import InputError
from stock_llm.grounding.questions import NamedNumbers, read_question
from stock_llm.market.calendars import WEEKDAYS, Exchanges, sessions
from stock_llm.market.candles import candle_table
from stock_llm.market.situation import WARM_UP, Situation, compute_indicators
from stock_llm.portfolio import holdings
from stock_llm.skills.explain import TEXTBOOK
from stock_llm.skills.portfolio import Portfolio
from stock_llm.skills.review import ClosedTrade
from stock_llm.truth.blocks import ComputedBlock

OLD_SESSIONS = 3
"""Sessions after which candles are said to be old."""

_SURELY_OLD = 20
"""Weekdays after which no calendar needs to be asked."""


@dataclass(frozen=True)
class _Reviews:
    """What reviews need of a market, which itself is large.

    Attributes:
        last_trades: symbol → the last closed trade in it; "" → the last of all.
    """

    portfolio: Portfolio | None
    last_day: date | None
    last_trades: dict[str, ClosedTrade]


class OwnData:
    """What is known of the user's candles and ledger.

    Args:
        symbols: those with candles.
        history: gives the collected history; called when a number is needed.
        exchanges: which exchange a symbol is of.
        candles: the folder or file of candles, which errors name.
        today: the date now; tests pass their own.
    """

    def __init__(
        self,
        symbols: Collection[str],
        history: Callable[[], History],
        exchanges: Exchanges,
        candles: Path,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ):
        self.symbols = frozenset(symbols)
        self.candles, self.exchanges, self.today = candles, exchanges, today
        self._load, self._lock = history, threading.RLock()
        self._situations: dict[str, Situation | InputError] = {}

    @cached_property
    def history(self) -> History:
        """The collected history.

        Raises:
            InputError: there is none to collect, or a file of it cannot be read.
        """
        return self._load()

    def block_for(self, question: str) -> ComputedBlock | None:
        """The numbers that a question needs; None where it names nothing of the user's.

        Those of the first symbol that is named, at its last close; of the last closed trade, in
        that symbol if one is named, where it asks about a trade; of the portfolio where it names
        that and no symbol. A question that names one indicator gets the lines that explaining it
        was trained with.

        Raises:
            InputError: the symbol's history is too short, or the portfolio or the trade is none
                that can be reviewed.
        """
        named = read_question(question, self.symbols)
        return self.block(named) if named else None

    def block(self, named: NamedNumbers) -> ComputedBlock:
        """The block of numbers for what a question names. Raises: as `block_for`."""
        if named.about == "portfolio":
            view = self.portfolio().view
            note = self._age_note("the portfolio's stocks", WEEKDAYS, view.as_of)
            return ComputedBlock(view.block(), "portfolio", "", view.as_of, note)
        if named.about == "trade":
            trade = self.last_trade(named.symbol)
            return ComputedBlock(trade.block(), "trade", trade.entry.symbol, trade.closed)
        situation = self.situation(named.symbol)
        note = self._age_note(named.symbol, self.exchanges.of(named.symbol), situation.as_of)
        lines: tuple[str, ...] = ()
        if named.indicator:
            lines = ("Symbol", "Date", "Close", TEXTBOOK[named.indicator].line)
        kind = "indicator" if named.indicator else "situation"
        text = situation.block(*lines)
        return ComputedBlock(text, kind, named.symbol, situation.as_of, note)  # type: ignore[arg-type]

    def situation(self, symbol: str) -> Situation:
        """A symbol at its last close, with the position in it.

        Raises:
            InputError: it has too few candles.
        """
        with self._lock:
            if symbol not in self._situations:
                self._situations[symbol] = self._read_situation(symbol)
            found = self._situations[symbol]
        if isinstance(found, InputError):
            raise found
        return found

    @cached_property
    def accounts(self) -> frozenset[str]:
        """Hashes of the accounts of the ledger."""
        column = pq.read_table(self.history.trades, columns=["account"])["account"]
        return frozenset(pc.unique(column).to_pylist()) - {""}

    @cached_property
    def traded(self) -> frozenset[str]:
        """Symbols that are or were held."""
        column = pq.read_table(self.history.positions, columns=["instrument"])["instrument"]
        return frozenset(column.to_pylist())

    def portfolio(self) -> Portfolio:
        """What is held at the last close.

        Raises:
            InputError: it is nothing that can be reviewed.
        """
        if (portfolio := self._reviews.portfolio) is None:
            raise InputError(
                f"there is no portfolio to review on {self._reviews.last_day}: that takes a stock "
                f"or fund, all in one currency, with candles of the last {STALE_DAYS} days",
                remedy="stock-llm positions shows what is held",
            )
        return portfolio

    def last_trade(self, symbol: str = "") -> ClosedTrade:
        """The last closed trade, of all or in one symbol.

        Raises:
            InputError: there is none that can be reviewed.
        """
        if (trade := self._reviews.last_trades.get(symbol)) is None:
            raise InputError(
                f"there is no closed trade{f' in {symbol}' if symbol else ''} to review: that "
                f"takes a sale at a gain or loss, and {WARM_UP} candles before the purchase",
                remedy="stock-llm positions shows what was bought and sold",
            )
        return trade

    def prepare(self) -> None:
        """Computes what questions need of every symbol.

        Raises:
            InputError: there is no history.
        """
        market = Market.of(self.history)
        found: dict[str, Situation | InputError] = {}
        for series in market.series:
            symbol = series.candles.symbol
            held = market.held.get(symbol)
            situation = series.at(len(series.candles) - 1, held.positions[-1] if held else None)
            if situation:
                found[symbol] = situation
                self._age_note(symbol, self.exchanges.of(symbol), situation.as_of)
        assert self.traded is not None and self.accounts is not None  # read now, not at a question
        with self._lock:
            self._situations |= found
            vars(self)["_reviews"] = _reviews_of(market)

    def _read_situation(self, symbol: str) -> Situation | InputError:
        known = self.history
        table = pq.read_table(known.candles, filters=[("symbol", "=", symbol)])
        (series,) = candle_table.candles_by_symbol(table)
        situation = compute_indicators(series).at(len(series) - 1)
        if situation is None:
            folder = self.candles if self.candles.is_dir() else self.candles.parent
            return InputError(
                f"{symbol} has {len(series)} candles, its indicators need {WARM_UP + 1}",
                file=folder / table["source_file"][-1].as_py(),
            )
        held = holdings.holdings_by_symbol(
            holdings.read_fills(pq.read_table(known.steps, filters=[("symbol", "=", symbol)]))
        ).get(symbol)
        return replace(situation, position=held.positions[-1] if held else None)

    @cached_property
    def _reviews(self) -> "_Reviews":
        return _reviews_of(Market.of(self.history))

    def _age_note(self, name: str, exchange: str, as_of: str) -> str:
        if not is_old(exchange, date.fromisoformat(as_of), self.today()):
            return ""
        return (
            f"the candles of {name} are old: they end on {as_of}, over {OLD_SESSIONS} sessions ago"
        )


def _reviews_of(market: Market) -> _Reviews:
    last: dict[str, ClosedTrade] = {}
    for trade in market.closed_trades:
        for symbol in ("", trade.entry.symbol):
            known = last.get(symbol)
            if known is None or (trade.closed, trade.opened) > (known.closed, known.opened):
                last[symbol] = trade
    day = market.days[-1] if market.days else None
    return _Reviews(market.portfolio(day) if day else None, day, last)


def is_old(exchange: str, as_of: date, today: date) -> bool:
    """Whether an exchange has had more than `OLD_SESSIONS` sessions since a close, today's apart.

    Weekdays count where there is no calendar for these years.
    """
    first, end = np.datetime64(as_of + timedelta(days=1)), np.datetime64(today)
    if end <= first:
        return False
    weekdays = int(np.busday_count(first, end))
    if (end - first).astype(int) <= OLD_SESSIONS or weekdays > _SURELY_OLD:
        return weekdays > _SURELY_OLD
    known = sessions(exchange, first, end - 1)
    return (weekdays if known is None else len(known)) > OLD_SESSIONS
