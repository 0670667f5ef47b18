"""Lots of one position: first in, first out, and average cost side by side. Exact.

A lot of unknown cost (units that came in without a price) is held like any other; what it brings
when it is sold is no gain. Charges are not part of a lot's worth, which is quantity times price.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

ZERO = Decimal(0)


@dataclass(slots=True)
class Lot:
    """Units bought together, or sold short together.

    Attributes:
        worth: what was paid for them, or got for the short sale; None where it is unknown.
    """

    quantity: Decimal
    worth: Decimal | None


@dataclass(slots=True)
class Parcel:
    """Units that move from one book to another, with their cost by either method."""

    lots: list[Lot]
    average: Decimal
    unknown: Decimal

    @property
    def quantity(self) -> Decimal:
        return sum((lot.quantity for lot in self.lots), ZERO)


@dataclass(slots=True)
class LotBook:
    """One position.

    Attributes:
        held: units, positive; of what `side` says.
        side: 1 for units that are owned, -1 for units that are owed.
        average: worth of the units of known cost, by average cost.
        unknown: units of unknown cost, by average cost: each sale takes its share of them.
        realised_fifo, realised_average: gains of what was closed, before charges.
        closed_fifo, closed_average: what that had cost.
        unknown_sold: units of unknown cost that were sold, first in, first out.
    """

    lots: deque[Lot] = field(default_factory=deque)
    held: Decimal = ZERO
    side: int = 1
    average: Decimal = ZERO
    unknown: Decimal = ZERO
    realised_fifo: Decimal = ZERO
    realised_average: Decimal = ZERO
    closed_fifo: Decimal = ZERO
    closed_average: Decimal = ZERO
    unknown_sold: Decimal = ZERO

    @property
    def quantity(self) -> Decimal:
        """Units, negative when they are owed."""
        return self.held if self.side > 0 else -self.held

    @property
    def owned(self) -> Decimal:
        """Units that can be sold."""
        return self.held if self.side > 0 else ZERO

    @property
    def fifo(self) -> Decimal:
        """Worth of the lots of known cost."""
        return sum((lot.worth for lot in self.lots if lot.worth is not None), ZERO)

    @property
    def unknown_fifo(self) -> Decimal:
        """Units of the lots of unknown cost."""
        return sum((lot.quantity for lot in self.lots if lot.worth is None), ZERO)

    def trade(self, quantity: Decimal, side: int, worth: Decimal) -> Decimal:
        """Buy (`side` 1) or sell (-1) units; return how many closed a position the other way."""
        if not self.lots or side == self.side:
            self._open(quantity, side, worth)
            return ZERO
        closing = min(quantity, self.held)
        value = worth if closing == quantity else worth * closing / quantity
        parcel = self.take(closing)
        known = sum((lot.quantity for lot in parcel.lots if lot.worth is not None), ZERO)
        if self.side > 0:
            self.unknown_sold += closing - known
        if known:
            cost = sum((lot.worth for lot in parcel.lots if lot.worth is not None), ZERO)
            gain = (value if known == closing else value * known / closing) - cost
            self.realised_fifo += gain if self.side > 0 else -gain
            self.closed_fifo += cost
        if parcel.unknown < closing:
            gain = (
                value * (closing - parcel.unknown) / closing if parcel.unknown else value
            ) - parcel.average
            self.realised_average += gain if self.side > 0 else -gain
            self.closed_average += parcel.average
        if closing < quantity:
            self._open(quantity - closing, side, worth - value)
        return closing

    def _open(self, quantity: Decimal, side: int, worth: Decimal | None) -> None:
        self.side = side
        self.lots.append(Lot(quantity, worth))
        self.held += quantity
        if worth is None:
            self.unknown += quantity
        else:
            self.average += worth

    def take(self, quantity: Decimal) -> Parcel:
        """Remove units, at most those held, without realising anything."""
        if quantity == self.held:
            parcel = Parcel(list(self.lots), self.average, self.unknown)
            self.lots.clear()
            self.held = self.average = self.unknown = ZERO
            return parcel
        lots, left = [], quantity
        while left > 0:
            lot = self.lots[0]
            if lot.quantity <= left:
                lots.append(self.lots.popleft())
                left -= lot.quantity
                continue
            part = None if lot.worth is None else lot.worth * left / lot.quantity
            lots.append(Lot(left, part))
            lot.quantity -= left
            if lot.worth is not None and part is not None:
                lot.worth -= part
            left = ZERO
        average = self.average * quantity / self.held
        unknown = self.unknown * quantity / self.held if self.unknown else ZERO
        self.average -= average
        self.unknown -= unknown
        self.held -= quantity
        return Parcel(lots, average, unknown)

    def put(self, parcel: Parcel) -> None:
        """Add units that come from another book."""
        self.side = 1
        self.lots.extend(parcel.lots)
        self.held += parcel.quantity
        self.average += parcel.average
        self.unknown += parcel.unknown

    def receive(self, quantity: Decimal, worth: Decimal | None) -> None:
        """Add units without a purchase."""
        self._open(quantity, 1, worth)

    def split(self, ratio: Decimal) -> None:
        """Replace each unit by `ratio` units, at the same cost."""
        for lot in self.lots:
            lot.quantity *= ratio
        self.held = sum((lot.quantity for lot in self.lots), ZERO)
        self.unknown *= ratio


def scale_lots(lots: Iterable[Lot], ratio: Decimal) -> list[Lot]:
    """Return the lots with `ratio` units for each old one, at the same cost."""
    return [Lot(lot.quantity * ratio, lot.worth) for lot in lots]
