"""What the user held when: positions at average cost, and every sale seen against what was paid.

In: BUY and SELL entries of the ledger. Out: per symbol, the holding after each day, and the sales. Money is turned into
floats here: these numbers are shown to a model, not booked. Splits, shorts and transfers are the ledger's business.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa

from stock_llm.ledger import Kind
from stock_llm.situation import Position


@dataclass(frozen=True)
class Fill:
    """A purchase (quantity > 0) or a sale (quantity < 0)."""

    ref: str
    symbol: str
    day: date
    quantity: float
    price: float


@dataclass(frozen=True)
class Sale:
    """A sale against the position that it reduces.

    Attributes:
        bought: average cost per unit of the position, fees left out.
        opened: day on which the position began.
    """

    fill: Fill
    bought: float
    opened: date


@dataclass
class Holding:
    """One symbol's history: the position after the fills of each day on which there were some."""

    days: list[date] = field(default_factory=list)
    positions: list[Position | None] = field(default_factory=list)
    sales: list[Sale] = field(default_factory=list)

    def before(self, day: date) -> Position | None:
        """The position at the last close strictly before `day`."""
        return self._at(bisect_left(self.days, day))

    def after(self, day: date) -> Position | None:
        """The position at the close of `day`."""
        return self._at(bisect_right(self.days, day))

    def _at(self, index: int) -> Position | None:
        return self.positions[index - 1] if index else None


def fills(ledger: pa.Table) -> list[Fill]:
    """The purchases and sales of a ledger, in the order in which they happened."""
    columns = ledger.select(["entry_id", "symbol", "kind", "quantity", "price", "executed_at"]).to_pylist()
    traded = [entry for entry in columns if entry["kind"] in (Kind.BUY, Kind.SELL) and entry["quantity"] and entry["price"]]
    traded.sort(key=lambda entry: (entry["executed_at"], entry["entry_id"]))
    return [
        Fill(
            ref=entry["entry_id"],
            symbol=entry["symbol"],
            day=entry["executed_at"].date(),
            quantity=float(entry["quantity"]) * (1 if entry["kind"] == Kind.BUY else -1),
            price=float(entry["price"]),
        )
        for entry in traded
    ]


def follow(ordered: Iterable[Fill]) -> dict[str, Holding]:
    """Holdings by symbol. A sale of more than is held closes the position; the rest is a short sale and left out."""
    holdings: dict[str, Holding] = {}
    opened: dict[str, date] = {}
    for fill in ordered:
        holding = holdings.setdefault(fill.symbol, Holding())
        held = holding.positions[-1] if holding.positions else None
        after = held
        if fill.quantity > 0:
            quantity = (held.quantity if held else 0.0) + fill.quantity
            paid = (held.quantity * held.cost if held else 0.0) + fill.quantity * fill.price
            after = Position(round(quantity, 8), paid / quantity)
            if held is None:
                opened[fill.symbol] = fill.day
        elif held is not None:
            holding.sales.append(Sale(fill, held.cost, opened[fill.symbol]))
            left = round(held.quantity + fill.quantity, 8)
            after = Position(left, held.cost) if left > 0 else None
        if holding.days and holding.days[-1] == fill.day:
            holding.positions[-1] = after
        else:
            holding.days.append(fill.day)
            holding.positions.append(after)
    return holdings
