"""Events in money and on the candles' scale: one currency an instrument, pence as pounds, splits,
closes.

In: the events of one family of instruments as the ledger has them, candles, rates. Out: `Valued`:
rows of positions.parquet and steps.parquet, findings. How trades compare with closes is seen from
the trades themselves: prices a hundred times the closes, or a hundredth, are of the other unit;
trades that fit the closes only without the splits since were adjusted by whoever exported them;
trades that fit no way are left out of what is learnt, and told. Does not know files.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import numpy as np

from stock_llm.ledger.entries import EntryKind
from stock_llm.ledger.instruments import Instruments
from stock_llm.market.candles.closes import SPLIT_WINDOW_DAYS, CloseSeries, StockSplit
from stock_llm.market.fx import HUNDREDTH_CURRENCIES, ExchangeRates
from stock_llm.portfolio.bookkeeping import Event, InstrumentPosition, Portfolio, book_events
from stock_llm.portfolio.matching import SKILL_ASSET_CLASSES
from stock_llm.storage.findings import Finding

_NEAR = 0.45
"""Logarithm by which a trade may be off the last close: a wild day, or a week without candles."""

_UNITS = (Decimal(1), Decimal(100), Decimal("0.01"))
_ONE = Decimal(1)
_APART = "\x1f"
"""Stands between an instrument and its currency where no rate joins its currencies."""


@dataclass(frozen=True)
class ValuationInputs:
    """What positions are computed with.

    Attributes:
        market: candles by symbol.
        splits: those that are known where there are no candles.
        base: currency that returns are also told in; empty for none.
    """

    known: Instruments
    market: Mapping[str, CloseSeries]
    splits: Mapping[str, Sequence[StockSplit]] = field(default_factory=dict)
    rates: ExchangeRates = field(default_factory=ExchangeRates)
    base: str = ""


StepRow = tuple[Any, ...]
"""A line of steps.parquet, in the order of its columns."""


@dataclass
class Valuation:
    """A family of instruments."""

    positions: list[dict[str, Any]] = field(default_factory=list)
    steps: list[StepRow] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class _Scale:
    """How trades of an instrument compare with its candles.

    Attributes:
        unit: price of a trade × unit = price of a candle.
        fits: whether most trades do.
    """

    unit: Decimal = _ONE
    fits: bool = True


def value_events(events: list[Event], books: ValuationInputs, missing: Counter[str]) -> Valuation:
    """The positions and steps of a family.

    Args:
        missing: by currency, entries that lack a rate to the base currency; added to.
    """
    valued = Valuation()
    currency = _one_currency(events, books.rates)
    scales = _scales(events, books, valued.findings)
    splits = {name: _splits(_symbol(name), books) for name in currency}
    lines = [
        line
        for line in (*books.known.of("merger"), *books.known.of("delisted"))
        if (line.match.upper() if line.kind == "merger" else line.symbol) in currency
    ]
    made = book_events(events, splits, lines)
    for name in made.positions:
        currency.setdefault(name, next(iter(currency.values())))
    in_base = _in_base(events, currency, splits, lines, books, missing)
    for name, position in made.positions.items():
        scale = scales.get(_symbol(name), _Scale())
        base = in_base.positions.get(name) if in_base else None
        valued.positions.append(_row(position, currency[name], scale, base, books))
        valued.findings += _findings(position, currency[name])
    valued.steps = _steps(made, scales, books)
    return valued


def _symbol(name: str) -> str:
    return name.split(_APART)[0]


def _splits(symbol: str, books: ValuationInputs) -> tuple[StockSplit, ...]:
    return (
        books.market[symbol].splits
        if symbol in books.market
        else tuple(books.splits.get(symbol, ()))
    )


def _one_currency(events: list[Event], rates: ExchangeRates) -> dict[str, str]:
    """Brings each instrument's events into the currency of most of its trades; where no rate does,
    they are a position apart.

    Returns:
        The currency of each instrument.
    """
    traded: dict[str, Counter[str]] = defaultdict(Counter)
    for event in events:
        if main := HUNDREDTH_CURRENCIES.get(event.currency):
            event.currency = main
            _times(event, Decimal("0.01"))
        traded[event.instrument][event.currency] += (
            1 if event.kind in (EntryKind.BUY, EntryKind.SELL) else 0
        )
    currency = {
        name: max(sorted(some), key=lambda code: (bool(code), some[code]))
        for name, some in traded.items()
    }
    for event in events:
        main = currency[event.instrument]
        if event.currency in (main, ""):
            continue
        if (rate := rates.rate(event.currency, main, event.day)) is not None:
            _times(event, rate)
        else:
            event.instrument += _APART + event.currency
            currency[event.instrument] = event.currency
    return currency


def _times(event: Event, factor: Decimal) -> None:
    event.worth = None if event.worth is None else event.worth * factor
    event.price = None if event.price is None else event.price * factor
    event.charges *= factor
    event.tax *= factor


def _scales(
    events: list[Event], books: ValuationInputs, findings: list[Finding]
) -> dict[str, _Scale]:
    """Compares trades with closes; puts trades that were adjusted for later splits back to what was
    traded.
    """
    trades: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if (
            event.kind in (EntryKind.BUY, EntryKind.SELL)
            and event.price
            and event.instrument in books.market
        ):
            trades[event.instrument].append(event)
    return {
        name: _scale(books.market[name], some, books.known.units.get(name), findings)
        for name, some in trades.items()
    }


def _scale(
    series: CloseSeries, trades: list[Event], said: Decimal | None, findings: list[Finding]
) -> _Scale:
    day = np.array([event.day for event in trades], "datetime64[D]")
    at = np.searchsorted(series.day, day, side="right") - 1
    there = (at >= 0) & ((day - series.day[np.maximum(at, 0)]).astype(int) <= SPLIT_WINDOW_DAYS)
    if not there.any():
        return _Scale(said or _ONE)
    factor = np.ones(len(day))
    for split in series.splits:
        if split.day <= series.as_of:
            factor[day < np.datetime64(split.day, "D")] *= float(split.ratio)
    price = np.array([float(event.price or 0) for event in trades])
    off = np.log(price[there] / factor[there] / series.close[at[there]])
    unit = said or min(_UNITS, key=lambda one: abs(float(np.median(off)) + np.log(float(one))))
    scaled = np.log(price * float(unit)) - np.log(
        np.where(there, series.close[np.maximum(at, 0)], price * float(unit))
    )
    adjusted = (
        there & (factor != 1) & (np.abs(scaled) < _NEAR) & (np.abs(scaled - np.log(factor)) > _NEAR)
    )
    for index in np.flatnonzero(adjusted).tolist():
        event, times = trades[index], series.factor(trades[index].day)
        event.quantity = event.quantity / times if event.quantity else event.quantity
        event.price = event.price * times if event.price else event.price
    wrong = there & ~adjusted & (np.abs(scaled - np.log(factor)) > _NEAR)
    fits = bool(wrong.sum() * 2 <= there.sum())

    def tell(rule: str, rows: np.ndarray, factor: float, text: str) -> None:
        first, last = day[rows].min(), day[rows].max()
        findings.append(
            Finding(rule, series.symbol, str(first), str(last), int(rows.sum()), factor, text)
        )

    if unit != 1 and not said:
        text = f"trades' prices times {unit:f} are the candles': one is in hundredths of the currency, as pence are"
        tell("scale: hundredths", there, float(unit), text)
    if adjusted.any():
        text = "the export's trades were adjusted for a later split already; they were put back to what was traded"
        tell("scale: adjusted", adjusted, 1.0, text)
    if wrong.any():
        worst = int(np.argmax(np.where(wrong, np.abs(scaled - np.log(factor)), 0)))
        close = series.close[at[worst]] * factor[worst] / float(unit)
        text = (
            f"{int(wrong.sum())} of {int(there.sum())} trades are far from the day's close, as {trades[worst].entry_id} at "
            f"{price[worst]:g} on {day[worst]}, close {close:.6g}. Another instrument's candles, another currency, or a split "
            "that is not known (data/instruments.csv, kind split)"
        )
        tell(
            "suspect: price",
            wrong,
            1.0,
            text if fits else f"{text}; nothing is learnt from these trades",
        )
    return _Scale(unit, fits)


def _in_base(
    events: list[Event],
    currency: dict[str, str],
    splits: dict[str, tuple[StockSplit, ...]],
    lines: list,
    books: ValuationInputs,
    missing: Counter[str],
) -> Portfolio | None:
    """The same events in the base currency, each at the rate of its day; None where a rate is
    missing, or none is wanted.
    """
    if not books.base:
        return None
    converted = []
    complete = True
    for event in events:
        code = currency[event.instrument]
        rate = _ONE if code == books.base else books.rates.rate(code, books.base, event.day)
        if rate is None:
            missing[code] += 1
            complete = False
            continue
        copy = replace(event)
        _times(copy, rate)
        converted.append(copy)
    return book_events(converted, splits, lines) if complete else None


def _row(
    position: InstrumentPosition,
    currency: str,
    scale: _Scale,
    base: InstrumentPosition | None,
    books: ValuationInputs,
) -> dict[str, Any]:
    """A line of positions.parquet."""
    book = position.book
    symbol = _symbol(position.instrument)
    series = books.market.get(symbol)
    asset = books.known.classes.get(symbol, position.asset_class)
    value = day = None
    if series is not None and scale.fits:
        day = series.day[-1].item()
        later = [split.ratio for split in series.splits if split.day > series.as_of]
        value = book.quantity * Decimal(str(float(series.close[-1]))) / scale.unit
        for ratio in later:
            value /= ratio
    unknown = (book.unknown_fifo, book.unknown)
    known = [(book.held - units) / book.held if book.held else _ONE for units in unknown]
    unrealised = [
        None if value is None else value * share - book.side * cost
        for share, cost in zip(known, (book.fifo, book.average), strict=True)
    ]
    rate = (
        books.rates.rate(currency, books.base, day)
        if base and day and currency != books.base
        else _ONE
    )
    unrealised_base = None
    if base is not None and value is not None and rate is not None:
        unrealised_base = value * known[0] * rate - base.book.side * base.book.fifo
    row = {
        "instrument": symbol,
        "asset_class": asset,
        "currency": currency,
        "quantity": book.quantity,
        "cost_fifo": book.fifo,
        "cost_average": book.average,
        "unknown_cost": unknown[0],
        "realised_fifo": book.realised_fifo,
        "realised_average": book.realised_average,
        "sold_cost_fifo": book.closed_fifo,
        "sold_cost_average": book.closed_average,
        "dividends": position.dividends,
        "interest": position.interest,
        "fees": position.fees,
        "taxes": position.taxes,
        "value": value,
        "value_day": day,
        "unrealised_fifo": unrealised[0],
        "unrealised_average": unrealised[1],
        "base_currency": books.base if base is not None else None,
        "realised_fifo_base": base.book.realised_fifo if base is not None else None,
        "unrealised_fifo_base": unrealised_base,
        "trades": position.trades,
        "first_day": position.first_day,
        "last_day": position.last_day,
    }
    return {
        name: round(cell, 12) if isinstance(cell, Decimal) else cell for name, cell in row.items()
    }


def _findings(position: InstrumentPosition, currency: str) -> list[Finding]:
    """What a person should know about a position in stocks or funds; options and coins are often
    sold short or staked.
    """
    if position.asset_class not in SKILL_ASSET_CLASSES:
        return []
    found = []
    first, last = position.first_day.isoformat(), position.last_day.isoformat()
    symbol = _symbol(position.instrument)
    if position.oversold_on:
        text = (
            f"{position.oversold.normalize():f} units were sold that were not held ({currency or 'no currency'}), first on "
            f"{position.oversold_on}: a short sale, or a purchase that is missing. Import the older history, or write the split "
            "that explains it into data/instruments.csv"
        )
        found.append(
            Finding(
                "sold more than held",
                symbol,
                position.oversold_on.isoformat(),
                last,
                position.trades,
                1.0,
                text,
            )
        )
    if (unknown := position.book.unknown_fifo) > 0:
        text = f"{unknown.normalize():f} units came in without a price: their gain is not counted"
        found.append(Finding("unknown cost", symbol, first, last, position.trades, 1.0, text))
    if (unknown := position.book.unknown_sold) > 0:
        text = (
            f"{unknown.normalize():f} units were sold that had come in without a price: what they brought is counted in no gain. "
            "Import the export of the broker where they were bought"
        )
        found.append(Finding("unknown cost: sold", symbol, first, last, position.trades, 1.0, text))
    return found


def _steps(made: Portfolio, scales: dict[str, _Scale], books: ValuationInputs) -> list[StepRow]:
    """Lines of steps.parquet: of stocks and funds whose candles their trades fit."""
    lines: list[StepRow] = []
    fitting = {
        name: _fitting(position, scales.get(name, _Scale()), books)
        for name, position in made.positions.items()
    }
    for step in made.steps:
        if (scale := fitting[step.instrument]) is None:
            continue
        series = books.market[step.instrument]
        quantity, price = step.quantity, step.price
        if series.splits and (factor := series.factor(step.day)) != 1:
            quantity, price = quantity * factor, price / factor
        if scale.unit != 1:
            price *= scale.unit
        at, rank, ref = step.order
        lines.append(
            (ref, step.instrument, step.day, at, rank, float(quantity), float(price), step.decided)
        )
    return lines


def _fitting(position: InstrumentPosition, scale: _Scale, books: ValuationInputs) -> _Scale | None:
    """The scale of an instrument that skills may learn from; None for the others."""
    name = position.instrument
    asset = books.known.classes.get(name, position.asset_class)
    fits = (
        name in books.market
        and scale.fits
        and asset in SKILL_ASSET_CLASSES
        and name not in books.known.left_out
    )
    return scale if fits else None
