"""What a person held, from what happened: the events of one instrument, or of several that mergers
join, become positions.

In: `Event`s in the order in which they happened, splits, what the table of instruments says. Out:
per instrument a `Position`, with its lots by both methods, and the `Step`s that skills may learn
from: purchases and sales of units that were owned, and units that moved without a decision. Splits
and mergers that the ledger books itself, as an entry or as units that leave and come, are not
counted twice. Does not know files, candles or currencies.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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

_TRADES = (EntryKind.BUY, EntryKind.SELL)


@dataclass(slots=True)
class Event:
    """An entry of the ledger.

    Attributes:
        quantity: as the ledger has it.
        price: per unit.
        worth: what the units were traded for, or what was paid; without charges.
    """

    order: EventOrder
    day: date
    entry_id: str
    instrument: str
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
    """A change of what is owned: purchase (+) or sale (-) of `quantity` at `price`, or a move that
    nobody decided on.
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
    """All that happened to one instrument.

    Attributes:
        moved: units that left without a sale and did not come back.
        oversold: units sold that were not held, and when first.
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
    """What came of the events."""

    positions: dict[str, InstrumentPosition] = field(default_factory=dict)
    steps: list[PositionChange] = field(default_factory=list)


def book_events(
    events: list[Event],
    splits: dict[str, tuple[StockSplit, ...]],
    lines: Iterable[InstrumentLine] = (),
) -> Portfolio:
    """The positions after all events.

    Args:
        splits: those that are known apart from the ledger, by instrument.
        lines: the table's mergers and delistings of these instruments.
    """
    lines = list(lines)
    events, told = _without_booked_splits(_without_booked_mergers(events, lines), splits)
    due: list[tuple[date, str, StockSplit | InstrumentLine]]
    due = [(split.day, instrument, split) for instrument, some in told.items() for split in some]
    due += [
        (line.day, line.match.upper() if line.kind == "merger" else line.symbol, line)
        for line in lines
        if line.day
    ]
    due.sort(key=lambda one: (one[0], one[1]))
    made = Portfolio()
    at = 0
    for event in events:
        while at < len(due) and due[at][0] <= event.day:
            _happen(due[at][1], due[at][2], made)
            at += 1
        _book(event, made)
    for _, instrument, what in due[at:]:
        _happen(instrument, what, made)
    return made


def _without_booked_mergers(events: list[Event], lines: Iterable[InstrumentLine]) -> list[Event]:
    """Events without the units that leave and come because of a merger that the table of
    instruments knows.
    """
    booked: set[int] = set()
    for line in lines:
        if line.kind == "merger" and line.day:
            for event in events:
                leaves = event.instrument == line.match.upper() and (event.quantity or ZERO) < 0
                comes = (
                    event.instrument == line.symbol
                    and (event.quantity or ZERO) > 0
                    and event.worth is None
                )
                if (
                    event.kind == EntryKind.TRANSFER
                    and (leaves or comes)
                    and abs((event.day - line.day).days) <= SPLIT_WINDOW_DAYS
                ):
                    booked.add(id(event))
    return [event for event in events if id(event) not in booked] if booked else events


def _without_booked_splits(
    events: list[Event], splits: dict[str, tuple[StockSplit, ...]]
) -> tuple[list[Event], dict[str, tuple[StockSplit, ...]]]:
    """Events without those that book a split, and every split once: those known elsewhere, then
    what only the ledger has.
    """
    told = dict(splits)
    if not any(event.kind in (EntryKind.SPLIT, EntryKind.TRANSFER) for event in events):
        return events, told
    dropped: set[int] = set()
    for instrument in {event.instrument for event in events}:
        own = [event for event in events if event.instrument == instrument]
        known = splits.get(instrument, ())
        for told_split in known:
            near = [
                one
                for one in own
                if one.kind == EntryKind.TRANSFER
                and abs((one.day - told_split.day).days) <= SPLIT_WINDOW_DAYS
            ]
            held = _held_before(own, min((one.day for one in near), default=told_split.day), known)
            if (
                near
                and held
                and abs(
                    sum((one.quantity or ZERO for one in near), ZERO)
                    - held * (told_split.ratio - 1)
                )
                < 1
            ):
                dropped |= {id(one) for one in near}
        found: list[StockSplit] = []
        for event in own:
            if event.kind != EntryKind.SPLIT:
                continue
            dropped.add(id(event))
            ratio = event.ratio or _ratio(event, own, known)
            if not ratio or ratio <= 0:
                if (
                    event.quantity
                ):  # the other units have another name: these leave or come like any others
                    event.kind = EntryKind.TRANSFER
                    dropped.discard(id(event))
                continue
            split = StockSplit(event.day, ratio)
            near_by = [
                other for other in known if abs((split.day - other.day).days) <= SPLIT_WINDOW_DAYS
            ]
            if not any(event.ratio is None or is_same_split(split, other) for other in near_by):
                found.append(split)
        exchanged, units = _exchanged(own, known, dropped)
        dropped |= exchanged
        told[instrument] = merge_splits(known, found + units)
    return [event for event in events if id(event) not in dropped], told


def _exchanged(
    own: Sequence[Event], known: Sequence[StockSplit], dropped: set[int]
) -> tuple[set[int], list[StockSplit]]:
    """Splits that are booked as units that leave and come: on one day all that was held leaves, and
    another number of it comes."""
    moves: dict[date, list[Event]] = {}
    for event in own:
        if (
            event.kind == EntryKind.TRANSFER
            and event.worth is None
            and event.quantity
            and id(event) not in dropped
        ):
            moves.setdefault(event.day, []).append(event)
    booked: set[int] = set()
    splits = []
    for day, some in moves.items():
        left = -sum((one.quantity or ZERO for one in some if (one.quantity or ZERO) < 0), ZERO)
        came = sum((one.quantity or ZERO for one in some if (one.quantity or ZERO) > 0), ZERO)
        if (
            left
            and came
            and left != came
            and abs(left - _held_before(own, day, known)) < Decimal("0.000001")
        ):
            booked |= {id(one) for one in some}
            splits.append(StockSplit(day, came / left))
    return booked, splits


def _ratio(event: Event, own: Sequence[Event], known: Sequence[StockSplit]) -> Decimal | None:
    """New units per old one of a split that says only how many units it added, over all accounts
    that booked it.
    """
    added = sum(
        (
            one.quantity or ZERO
            for one in own
            if one.kind == EntryKind.SPLIT and abs((one.day - event.day).days) <= SPLIT_WINDOW_DAYS
        ),
        ZERO,
    )
    held = _held_before(own, event.day, known)
    return (held + added) / held if held > 0 else None


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
        if event.kind in (EntryKind.BUY, EntryKind.SELL, EntryKind.TRANSFER):
            held += (
                -(event.quantity or ZERO)
                if event.kind == EntryKind.SELL
                else event.quantity or ZERO
            )
        elif event.kind == EntryKind.SPLIT:
            held = held * event.ratio if event.ratio else held + (event.quantity or ZERO)
    return held


def _position(instrument: str, made: Portfolio) -> InstrumentPosition:
    found = made.positions.get(instrument)
    if found is None:
        found = made.positions[instrument] = InstrumentPosition(instrument)
    return found


def _book(event: Event, made: Portfolio) -> None:
    position = _position(event.instrument, made)
    if position.asset_class in ("", AssetClass.CASH):  # a charge in another currency is cash
        position.asset_class = event.asset_class
    if event.day < position.first_day:
        position.first_day = event.day
    position.last_day = event.day
    position.fees += event.charges
    position.taxes += event.tax
    worth, quantity = event.worth, event.quantity
    if event.kind in _TRADES and quantity and worth is not None:
        _trade(event, quantity, worth, position, made)
    elif event.kind == EntryKind.TRANSFER and quantity:
        _move(event, quantity, worth, position, made)
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
    event: Event, quantity: Decimal, worth: Decimal, position: InstrumentPosition, made: Portfolio
) -> None:
    side = 1 if event.kind == EntryKind.BUY else -1
    book = position.book
    owned = book.held if book.side > 0 else ZERO
    closed = book.trade(quantity, side, worth)
    position.trades += 1
    if side < 0 and quantity > owned:
        position.oversold += quantity - owned
        position.oversold_on = position.oversold_on or event.day
    units = quantity - closed if side > 0 else min(quantity, owned)
    if units:
        price = event.price if event.price is not None else worth / quantity
        made.steps.append(
            PositionChange(
                event.entry_id, event.instrument, event.day, event.order, side * units, price, True
            )
        )


def _move(
    event: Event,
    quantity: Decimal,
    worth: Decimal | None,
    position: InstrumentPosition,
    made: Portfolio,
) -> None:
    """Units leave with their cost; units that come back bring it along, others cost what their
    entry says, or nobody knows.
    """
    book = position.book
    if quantity < 0:
        units = min(-quantity, book.held if book.side > 0 else ZERO)
        if units:
            position.moved.put(book.take(units))
            made.steps.append(
                PositionChange(
                    event.entry_id, event.instrument, event.day, event.order, -units, ZERO, False
                )
            )
        return
    if book.lots and book.side < 0:
        book.trade(quantity, 1, worth if worth is not None else book.fifo * quantity / book.held)
        return
    back = min(quantity, position.moved.held) if worth is None else ZERO
    if back:
        parcel = position.moved.take(back)
        book.put(parcel)
        _arrive(event.entry_id, event.instrument, event.day, event.order, parcel, made)
    if quantity > back:
        book.receive(quantity - back, worth)
        if worth is not None:
            price = worth / quantity
            made.steps.append(
                PositionChange(
                    event.entry_id,
                    event.instrument,
                    event.day,
                    event.order,
                    quantity - back,
                    price,
                    False,
                )
            )


def _arrive(
    ref: str, instrument: str, day: date, order: EventOrder, parcel: Parcel, made: Portfolio
) -> None:
    units = parcel.quantity - parcel.unknown
    if units > 0:
        made.steps.append(
            PositionChange(ref, instrument, day, order, units, parcel.average / units, False)
        )


def _happen(instrument: str, what: StockSplit | InstrumentLine, made: Portfolio) -> None:
    """Something that the ledger does not book: a split, a merger, the end of an instrument."""
    position = made.positions.get(instrument)
    if position is None:
        return
    if isinstance(what, StockSplit):
        position.book.split(what.ratio)
        position.moved.split(what.ratio)
        return
    day = what.day or date.max
    ref = f"{what.kind} {instrument} {day}"
    order = (datetime.combine(day, time(), UTC), 0, ref)
    if what.kind == "delisted":
        if position.book.held and what.price is not None:
            held, side = position.book.held, position.book.side
            position.book.trade(held, -side, held * what.price)
            if side > 0:
                made.steps.append(PositionChange(ref, instrument, day, order, -held, ZERO, False))
        return
    ratio = what.ratio or Decimal(1)
    book = position.book
    if book.side < 0 or not book.held:
        return
    heir = _position(what.symbol, made)
    heir.asset_class = heir.asset_class or position.asset_class
    heir.first_day, heir.last_day = min(heir.first_day, day), max(heir.last_day, day)
    gone = book.take(book.held)
    parcel = Parcel(scale_lots(gone.lots, ratio), gone.average, gone.unknown * ratio)
    heir.book.put(parcel)
    made.steps.append(PositionChange(ref, instrument, day, order, -gone.quantity, ZERO, False))
    _arrive(ref, what.symbol, day, order, parcel, made)
