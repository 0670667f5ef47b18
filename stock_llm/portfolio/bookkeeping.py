"""Turns the events of one instrument, or of several that mergers join, into positions.

A position has its lots by both methods. Purchases, sales and moves of owned units are recorded as
changes, which skills learn from. Splits and mergers that the ledger books itself, as an entry or as
units that leave and come, are not counted twice.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal

from stock_llm.ledger.entries import AssetClass, EntryKind
from stock_llm.ledger.instruments import InstrumentLine
from stock_llm.market.candles.closes import (
    SPLIT_WINDOW_DAYS,
    StockSplit,
    is_same_split,
    merge_splits,
)
from stock_llm.portfolio.lots import ZERO, LotBook, Parcel, scale_lots

EventOrder = tuple[datetime, int, str]
"""When; at one time splits come first and sales last; then by id."""

_TINY = Decimal("0.000001")
_TRADES = (EntryKind.BUY, EntryKind.SELL)


@dataclass(slots=True)
class ChangeSource:
    """What changed a position.

    Attributes:
        ref: id of the ledger entry, or name of a merger or delisting.
    """

    ref: str
    instrument: str
    day: date
    order: EventOrder


@dataclass(slots=True)
class Event(ChangeSource):
    """An entry of the ledger.

    Attributes:
        quantity: as the ledger has it.
        price: per unit.
        worth: what the units were traded for, or what was paid; without charges.
    """

    kind: str
    asset_class: str
    quantity: Decimal | None
    price: Decimal | None
    worth: Decimal | None
    charges: Decimal
    tax: Decimal
    ratio: Decimal | None
    currency: str


@dataclass(slots=True)
class PositionChange:
    """Owned units that were bought (+), sold (-) or moved at `price`.

    Attributes:
        decided: False for a move that nobody decided on, such as a transfer or a merger.
    """

    ref: str
    instrument: str
    day: date
    order: EventOrder
    quantity: Decimal
    price: Decimal
    decided: bool


@dataclass(slots=True)
class InstrumentPosition:
    """The position in one instrument.

    Attributes:
        moved: units that left without a sale and did not come back.
        oversold, oversold_on: units sold that were not held, and when first.
    """

    instrument: str
    asset_class: str = ""
    book: LotBook = field(default_factory=LotBook)
    moved: LotBook = field(default_factory=LotBook)
    dividends: Decimal = ZERO
    interest: Decimal = ZERO
    fees: Decimal = ZERO
    taxes: Decimal = ZERO
    trades: int = 0
    first_day: date = date.max
    last_day: date = date.min
    oversold: Decimal = ZERO
    oversold_on: date | None = None


@dataclass
class Portfolio:
    """Positions by instrument, and what changed them."""

    positions: dict[str, InstrumentPosition] = field(default_factory=dict)
    changes: list[PositionChange] = field(default_factory=list)

    def position(self, instrument: str) -> InstrumentPosition:
        """Return the position in an instrument, opened if there is none."""
        if (position := self.positions.get(instrument)) is None:
            position = self.positions[instrument] = InstrumentPosition(instrument)
        return position

    def record(
        self,
        source: ChangeSource,
        quantity: Decimal,
        price: Decimal = ZERO,
        *,
        decided: bool = False,
    ) -> None:
        """Add a change."""
        self.changes.append(
            PositionChange(
                source.ref, source.instrument, source.day, source.order, quantity, price, decided
            )
        )

    def record_arrival(self, source: ChangeSource, parcel: Parcel) -> None:
        """Add the arrival of those units of a parcel whose cost is known."""
        if (units := parcel.quantity - parcel.unknown) > 0:
            self.record(source, units, parcel.average / units)


def book_events(
    events: list[Event],
    splits: Mapping[str, Sequence[StockSplit]],
    lines: Iterable[InstrumentLine] = (),
) -> Portfolio:
    """Book events in the order in which they happened.

    Args:
        splits: those that are known apart from the ledger, by instrument.
        lines: mergers and delistings of these instruments in the table of instruments.
    """
    lines = [line for line in lines if line.day]
    events = _without_booked_mergers(events, lines)
    splits = dict(splits)
    if any(event.kind in (EntryKind.SPLIT, EntryKind.TRANSFER) for event in events):
        events = _without_booked_splits(events, splits)
    due: list[tuple[date, str, StockSplit | InstrumentLine]]
    due = [(split.day, instrument, split) for instrument, own in splits.items() for split in own]
    due += [
        (line.day or date.max, line.match.upper() if line.kind == "merger" else line.symbol, line)
        for line in lines
    ]
    due.sort(key=lambda item: item[:2])
    portfolio = Portfolio()
    index = 0
    for event in events:
        while index < len(due) and due[index][0] <= event.day:
            _book_action(*due[index][1:], portfolio)
            index += 1
        _book(event, portfolio)
    for _, instrument, action in due[index:]:
        _book_action(instrument, action, portfolio)
    return portfolio


def _is_near(day: date, other: date | None) -> bool:
    """Return whether two sources may mean the same event."""
    return other is not None and abs((day - other).days) <= SPLIT_WINDOW_DAYS


def _without_booked_mergers(events: list[Event], lines: Iterable[InstrumentLine]) -> list[Event]:
    """Leave out the units that leave and come because of a listed merger."""
    mergers = [line for line in lines if line.kind == "merger"]

    def is_booked(event: Event) -> bool:
        quantity = event.quantity or ZERO
        return event.kind == EntryKind.TRANSFER and any(
            _is_near(event.day, line.day)
            and (
                (quantity < 0 and event.instrument == line.match.upper())
                or (quantity > 0 and event.worth is None and event.instrument == line.symbol)
            )
            for line in mergers
        )

    return [event for event in events if not is_booked(event)] if mergers else events


def _without_booked_splits(
    events: list[Event], splits: dict[str, Sequence[StockSplit]]
) -> list[Event]:
    """Leave out the events that book a split; splits that only the ledger has are added."""
    dropped: set[int] = set()
    for instrument in {event.instrument for event in events}:
        own = [event for event in events if event.instrument == instrument]
        transfers = [event for event in own if event.kind == EntryKind.TRANSFER]
        known = splits.get(instrument, ())
        for split in known:
            near = [event for event in transfers if _is_near(event.day, split.day)]
            if not near:
                continue
            held = _held_before(own, min(event.day for event in near), known)
            moved = _total(near)
            if held and abs(moved - held * (split.ratio - 1)) < 1:
                dropped |= {id(event) for event in near}
        booked: list[StockSplit] = []
        for event in own:
            if event.kind != EntryKind.SPLIT:
                continue
            ratio = event.ratio or _ratio(event, own, known)
            if (not ratio or ratio <= 0) and event.quantity:
                # The other units have another name: these leave or come like any others.
                event.kind = EntryKind.TRANSFER
                continue
            dropped.add(id(event))
            if not ratio or ratio <= 0:
                continue
            split = StockSplit(event.day, ratio)
            near_splits = (other for other in known if _is_near(split.day, other.day))
            if not any(event.ratio is None or is_same_split(split, other) for other in near_splits):
                booked.append(split)
        exchanged = _exchanges(own, known, dropped)
        for day, moves in exchanged.items():
            came = _total(event for event in moves if (event.quantity or ZERO) > 0)
            booked.append(StockSplit(day, came / (came - _total(moves))))
            dropped |= {id(event) for event in moves}
        splits[instrument] = merge_splits(known, booked)
    return [event for event in events if id(event) not in dropped]


def _exchanges(
    own: Sequence[Event], known: Sequence[StockSplit], dropped: set[int]
) -> dict[date, list[Event]]:
    """Return, by day, the moves that book a split: all units leave, and another number comes."""
    moves: dict[date, list[Event]] = defaultdict(list)
    for event in own:
        is_move = event.kind == EntryKind.TRANSFER and event.worth is None and event.quantity
        if is_move and id(event) not in dropped:
            moves[event.day].append(event)
    exchanges = {}
    for day, events in moves.items():
        left = -_total(event for event in events if (event.quantity or ZERO) < 0)
        added = _total(events)
        if left and added and left + added and abs(left - _held_before(own, day, known)) < _TINY:
            exchanges[day] = events
    return exchanges


def _ratio(event: Event, own: Sequence[Event], known: Sequence[StockSplit]) -> Decimal | None:
    """Return new units per old one of a split that states only how many units it added.

    The units of all accounts that booked it count.
    """
    splits = (other for other in own if other.kind == EntryKind.SPLIT)
    added = _total(other for other in splits if _is_near(other.day, event.day))
    held = _held_before(own, event.day, known)
    return (held + added) / held if held > 0 else None


def _total(events: Iterable[Event]) -> Decimal:
    return sum((event.quantity or ZERO for event in events), ZERO)


def _held_before(own: Sequence[Event], day: date, known: Sequence[StockSplit]) -> Decimal:
    held = ZERO
    last = date.min
    for event in own:
        if event.day >= day:
            break
        for split in known:
            if last < split.day <= event.day:
                held *= split.ratio
        last = event.day
        quantity = event.quantity or ZERO
        if event.kind == EntryKind.SPLIT and event.ratio:
            held *= event.ratio
        elif event.kind in (EntryKind.BUY, EntryKind.TRANSFER, EntryKind.SPLIT):
            held += quantity
        elif event.kind == EntryKind.SELL:
            held -= quantity
    return held


def _book(event: Event, portfolio: Portfolio) -> None:
    position = portfolio.position(event.instrument)
    if position.asset_class in ("", AssetClass.CASH):  # a charge in another currency is cash
        position.asset_class = event.asset_class
    if event.day < position.first_day:
        position.first_day = event.day
    position.last_day = event.day
    position.fees += event.charges
    position.taxes += event.tax
    worth, quantity = event.worth, event.quantity
    if event.kind in _TRADES:
        if quantity and worth is not None:
            _trade(event, quantity, worth, position, portfolio)
    elif event.kind == EntryKind.TRANSFER:
        if quantity:
            _move(event, quantity, worth, position, portfolio)
    elif event.kind == EntryKind.DIVIDEND:
        position.dividends += worth or ZERO
    elif event.kind == EntryKind.INTEREST:
        position.interest += worth or ZERO
        if quantity:  # paid in units, at what they were worth
            position.book.receive(quantity, worth)
    elif event.kind == EntryKind.FEE:
        position.fees += worth or ZERO
    elif event.kind == EntryKind.TAX:
        position.taxes += worth or ZERO


def _trade(
    event: Event,
    quantity: Decimal,
    worth: Decimal,
    position: InstrumentPosition,
    portfolio: Portfolio,
) -> None:
    side = 1 if event.kind == EntryKind.BUY else -1
    owned = position.book.owned
    closed = position.book.trade(quantity, side, worth)
    position.trades += 1
    if side < 0 and quantity > owned:
        position.oversold += quantity - owned
        position.oversold_on = position.oversold_on or event.day
    units = quantity - closed if side > 0 else min(quantity, owned)
    if units:
        price = event.price if event.price is not None else worth / quantity
        portfolio.record(event, side * units, price, decided=True)


def _move(
    event: Event,
    quantity: Decimal,
    worth: Decimal | None,
    position: InstrumentPosition,
    portfolio: Portfolio,
) -> None:
    """Move units without a sale.

    They leave with their cost, and bring it along when they come back; others cost what their entry
    says, or their cost is unknown.
    """
    book = position.book
    if quantity < 0:
        if units := min(-quantity, book.owned):
            position.moved.put(book.take(units))
            portfolio.record(event, -units)
        return
    if book.lots and book.side < 0:
        book.trade(quantity, 1, worth if worth is not None else book.fifo * quantity / book.held)
        return
    back = min(quantity, position.moved.held) if worth is None else ZERO
    if back:
        parcel = position.moved.take(back)
        book.put(parcel)
        portfolio.record_arrival(event, parcel)
    if quantity > back:
        book.receive(quantity - back, worth)
        if worth is not None:
            portfolio.record(event, quantity - back, worth / quantity)


def _book_action(
    instrument: str, action: StockSplit | InstrumentLine, portfolio: Portfolio
) -> None:
    """Book what the ledger does not: a split, a merger, the end of an instrument."""
    position = portfolio.positions.get(instrument)
    if position is None:
        return
    book = position.book
    if isinstance(action, StockSplit):
        book.split(action.ratio)
        position.moved.split(action.ratio)
        return
    held, day = book.held, action.day or date.max
    ref = f"{action.kind} {instrument} {day}"
    source = ChangeSource(ref, instrument, day, (datetime.combine(day, time(), UTC), 0, ref))
    if action.kind == "delisted":
        if held and action.price is not None:
            side = book.side
            book.trade(held, -side, held * action.price)
            if side > 0:
                portfolio.record(source, -held)
        return
    if not book.owned:
        return
    ratio = action.ratio or Decimal(1)
    heir = portfolio.position(action.symbol)
    heir.asset_class = heir.asset_class or position.asset_class
    heir.first_day, heir.last_day = min(heir.first_day, day), max(heir.last_day, day)
    gone = book.take(held)
    parcel = Parcel(scale_lots(gone.lots, ratio), gone.average, gone.unknown * ratio)
    heir.book.put(parcel)
    portfolio.record(source, -held)
    portfolio.record_arrival(replace(source, instrument=action.symbol), parcel)
