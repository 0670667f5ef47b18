"""Holdings over time: the position after each day at average cost, and every sale against its cost.

The numbers are floats on the candles' scale: they are shown to a model, not booked.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa

from stock_llm.market.situation import Position


@dataclass(frozen=True)
class Fill:
    """A purchase (quantity > 0) or a sale (quantity < 0).

    Attributes:
        decided: False for units that only moved: a transfer, a merger.
    """

    ref: str
    symbol: str
    day: date
    quantity: float
    price: float
    decided: bool = True


@dataclass(frozen=True)
class Sale:
    """A sale and the position that it reduced.

    Attributes:
        bought: average cost per unit of the position, fees left out.
        opened: day on which the position began.
    """

    fill: Fill
    bought: float
    opened: date


@dataclass
class HoldingHistory:
    """One symbol's position after the fills of each day on which there were some."""

    days: list[date] = field(default_factory=list)
    positions: list[Position | None] = field(default_factory=list)
    sales: list[Sale] = field(default_factory=list)

    def before(self, day: date) -> Position | None:
        """Return the position at the last close strictly before `day`."""
        return self._at(bisect_left(self.days, day))

    def after(self, day: date) -> Position | None:
        """Return the position at the close of `day`."""
        return self._at(bisect_right(self.days, day))

    def _at(self, index: int) -> Position | None:
        return self.positions[index - 1] if index else None


def read_fills(steps: pa.Table) -> list[Fill]:
    """Return the rows of steps.parquet in the order in which they happened."""
    ordered = steps.sort_by([("at", "ascending"), ("rank", "ascending"), ("ref", "ascending")])
    names = ("ref", "symbol", "day", "quantity", "price", "decided")
    return [Fill(*row) for row in zip(*(ordered[name].to_pylist() for name in names), strict=True)]


def holdings_by_symbol(fills: Iterable[Fill]) -> dict[str, HoldingHistory]:
    """Follow fills in the order in which they happened.

    A sale of more than is held closes the position; the rest, a short sale, is left out.
    """
    holdings: dict[str, HoldingHistory] = {}
    opened: dict[str, date] = {}
    for fill in fills:
        history = holdings.setdefault(fill.symbol, HoldingHistory())
        held = history.positions[-1] if history.positions else None
        after = held
        if fill.quantity > 0:
            quantity = (held.quantity if held else 0.0) + fill.quantity
            paid = (held.quantity * held.cost if held else 0.0) + fill.quantity * fill.price
            after = Position(round(quantity, 8), paid / quantity)
            if held is None:
                opened[fill.symbol] = fill.day
        elif held is not None:
            if fill.decided:
                history.sales.append(Sale(fill, held.cost, opened[fill.symbol]))
            left = round(held.quantity + fill.quantity, 8)
            after = Position(left, held.cost) if left > 0 else None
        if history.days and history.days[-1] == fill.day:
            history.positions[-1] = after
        else:
            history.days.append(fill.day)
            history.positions.append(after)
    return holdings
