"""Values events in money and on the candles' scale: one currency an instrument, pence as pounds.

How trades compare with closes is seen from the trades themselves: prices a hundred times the
closes, or a hundredth, are of the other unit; trades that fit the closes only without the splits
since were adjusted by whoever exported them; trades that do not fit either way are reported, and
skills do not learn from them.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import numpy as np

from stock_llm.ledger.entries import AssetClass, EntryKind
from stock_llm.ledger.instruments import InstrumentLine, Instruments
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
        market: closes by symbol.
        splits: those that are known where there are no candles.
        base: currency that returns are also given in; empty for none.
    """

    known: Instruments
    market: Mapping[str, CloseSeries]
    splits: Mapping[str, Sequence[StockSplit]] = field(default_factory=dict)
    rates: ExchangeRates = field(default_factory=ExchangeRates)
    base: str = ""

    def splits_of(self, symbol: str) -> tuple[StockSplit, ...]:
        """Return the splits of a symbol, from its candles where it has some."""
        series = self.market.get(symbol)
        return tuple(self.splits.get(symbol, ())) if series is None else series.splits


StepRow = tuple[Any, ...]
"""A row of steps.parquet, in the order of its columns."""


@dataclass
class Valuation:
    """Rows of positions.parquet and steps.parquet, and findings, of a family of instruments."""

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


def value_events(events: list[Event], inputs: ValuationInputs, missing: Counter[str]) -> Valuation:
    """Compute the positions and steps of a family: of one instrument, or of all that mergers join.

    Args:
        missing: by currency, entries that lack a rate to the base currency; added to.
    """
    valuation = Valuation()
    currency = _convert_to_main_currency(events, inputs.rates)
    scales = _scales(events, inputs, valuation.findings)
    splits = {name: inputs.splits_of(_symbol(name)) for name in currency}
    lines = [
        line
        for line in (*inputs.known.of("merger"), *inputs.known.of("delisted"))
        if (line.match.upper() if line.kind == "merger" else line.symbol) in currency
    ]
    portfolio = book_events(events, splits, lines)
    for name in portfolio.positions:
        currency.setdefault(name, next(iter(currency.values())))
    in_base = _book_in_base(events, currency, splits, lines, inputs, missing)
    for name, position in portfolio.positions.items():
        scale = scales.get(_symbol(name), _Scale())
        base = in_base.positions.get(name) if in_base else None
        valuation.positions.append(_position_row(position, currency[name], scale, base, inputs))
        valuation.findings += _findings(position, currency[name])
    valuation.steps = _step_rows(portfolio, scales, inputs)
    return valuation


def _symbol(name: str) -> str:
    return name.split(_APART)[0]


def _convert_to_main_currency(events: list[Event], rates: ExchangeRates) -> dict[str, str]:
    """Convert each instrument's events to the currency of most of its trades.

    Those that no rate converts become a position of their own.

    Returns:
        The currency of each instrument.
    """
    trades: dict[str, Counter[str]] = defaultdict(Counter)
    for event in events:
        if main := HUNDREDTH_CURRENCIES.get(event.currency):
            event.currency = main
            _multiply(event, Decimal("0.01"))
        trades[event.instrument][event.currency] += event.kind in (EntryKind.BUY, EntryKind.SELL)
    currency = {
        name: max(sorted(counts), key=lambda code: (bool(code), counts[code]))
        for name, counts in trades.items()
    }
    for event in events:
        main = currency[event.instrument]
        if event.currency in (main, ""):
            continue
        if (rate := rates.rate(event.currency, main, event.day)) is not None:
            _multiply(event, rate)
        else:
            event.instrument += _APART + event.currency
            currency[event.instrument] = event.currency
    return currency


def _multiply(event: Event, factor: Decimal) -> None:
    event.worth = None if event.worth is None else event.worth * factor
    event.price = None if event.price is None else event.price * factor
    event.charges *= factor
    event.tax *= factor


def _scales(
    events: list[Event], inputs: ValuationInputs, findings: list[Finding]
) -> dict[str, _Scale]:
    trades: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        is_trade = event.kind in (EntryKind.BUY, EntryKind.SELL)
        if is_trade and event.price and event.instrument in inputs.market:
            trades[event.instrument].append(event)
    return {
        name: _scale(inputs.market[name], own, inputs.known.units.get(name), findings)
        for name, own in trades.items()
    }


def _scale(
    series: CloseSeries, trades: list[Event], known_unit: Decimal | None, findings: list[Finding]
) -> _Scale:
    """Compare trades with closes; undo adjustments for later splits in the trades."""
    day = np.array([event.day for event in trades], "datetime64[D]")
    index = np.searchsorted(series.day, day, side="right") - 1
    age = (day - series.day[np.maximum(index, 0)]).astype(int)
    priced = (index >= 0) & (age <= SPLIT_WINDOW_DAYS)
    if not priced.any():
        return _Scale(known_unit or _ONE)
    factor = np.ones(len(day))
    for split in series.splits:
        if split.day <= series.as_of:
            factor[day < np.datetime64(split.day, "D")] *= float(split.ratio)
    price = np.array([float(event.price or 0) for event in trades])
    off = float(np.median(np.log((price / factor)[priced] / series.close[index[priced]])))
    unit = known_unit or min(_UNITS, key=lambda unit: abs(off + np.log(float(unit))))
    in_unit = price * float(unit)
    close = np.where(priced, series.close[np.maximum(index, 0)], in_unit)
    distance = np.log(in_unit) - np.log(close)
    is_far = np.abs(distance - np.log(factor)) > _NEAR
    adjusted = priced & (factor != 1) & (np.abs(distance) < _NEAR) & is_far
    for number in np.flatnonzero(adjusted).tolist():
        event, ratio = trades[number], series.factor(trades[number].day)
        event.quantity = event.quantity / ratio if event.quantity else event.quantity
        event.price = event.price * ratio if event.price else event.price
    wrong = priced & ~adjusted & is_far
    fits = bool(wrong.sum() * 2 <= priced.sum())

    def report(rule: str, rows: np.ndarray, factor: float, text: str) -> None:
        days = str(day[rows].min()), str(day[rows].max())
        findings.append(Finding(rule, series.symbol, *days, int(rows.sum()), factor, text))

    if unit != 1 and not known_unit:
        text = (
            f"trades' prices times {unit:f} are the candles': one is in hundredths of the currency,"
            " as pence are"
        )
        report("scale: hundredths", priced, float(unit), text)
    if adjusted.any():
        text = (
            "the export's trades were adjusted for a later split already; they were put back to"
            " what was traded"
        )
        report("scale: adjusted", adjusted, 1.0, text)
    if wrong.any():
        worst = int(np.argmax(np.where(wrong, np.abs(distance - np.log(factor)), 0)))
        its_close = series.close[index[worst]] * factor[worst] / float(unit)
        text = (
            f"{int(wrong.sum())} of {int(priced.sum())} trades are far from the day's close, as"
            f" {trades[worst].ref} at {price[worst]:g} on {day[worst]}, close {its_close:.6g}."
            " Another instrument's candles, another currency, or a split that is not known"
            " (data/instruments.csv, kind split)"
        )
        skipped = "" if fits else "; nothing is learnt from these trades"
        report("suspect: price", wrong, 1.0, text + skipped)
    return _Scale(unit, fits)


def _book_in_base(
    events: list[Event],
    currency: dict[str, str],
    splits: Mapping[str, Sequence[StockSplit]],
    lines: Sequence[InstrumentLine],
    inputs: ValuationInputs,
    missing: Counter[str],
) -> Portfolio | None:
    """Book the same events in the base currency, each at the rate of its day.

    Returns:
        None where a rate is missing, or no base currency is set.
    """
    if not inputs.base:
        return None
    converted = []
    for event in events:
        code = currency[event.instrument]
        rate = _ONE if code == inputs.base else inputs.rates.rate(code, inputs.base, event.day)
        if rate is None:
            missing[code] += 1
            continue
        copy = replace(event)
        _multiply(copy, rate)
        converted.append(copy)
    return book_events(converted, splits, lines) if len(converted) == len(events) else None


def _position_row(
    position: InstrumentPosition,
    currency: str,
    scale: _Scale,
    base: InstrumentPosition | None,
    inputs: ValuationInputs,
) -> dict[str, Any]:
    book = position.book
    symbol = _symbol(position.instrument)
    series = inputs.market.get(symbol)
    value = day = None
    if series is not None and scale.fits:
        day = series.day[-1].item()
        value = book.quantity * Decimal(str(float(series.close[-1]))) / scale.unit
        for split in series.splits:
            if split.day > series.as_of:
                value /= split.ratio
    known_fifo, known_average = (
        (book.held - units) / book.held if book.held else _ONE
        for units in (book.unknown_fifo, book.unknown)
    )
    rate: Decimal | None = _ONE
    if base and day and currency != inputs.base:
        rate = inputs.rates.rate(currency, inputs.base, day)
    in_base = None
    if base is not None and value is not None and rate is not None:
        in_base = value * known_fifo * rate - base.book.side * base.book.fifo
    row = {
        "instrument": symbol,
        "asset_class": inputs.known.classes.get(symbol, position.asset_class),
        "currency": currency,
        "quantity": book.quantity,
        "cost_fifo": book.fifo,
        "cost_average": book.average,
        "unknown_cost": book.unknown_fifo,
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
        "unrealised_fifo": None if value is None else value * known_fifo - book.side * book.fifo,
        "unrealised_average": None
        if value is None
        else value * known_average - book.side * book.average,
        "base_currency": inputs.base if base is not None else None,
        "realised_fifo_base": base.book.realised_fifo if base is not None else None,
        "unrealised_fifo_base": in_base,
        "trades": position.trades,
        "first_day": position.first_day,
        "last_day": position.last_day,
    }
    return {
        name: round(cell, 12) if isinstance(cell, Decimal) else cell for name, cell in row.items()
    }


def _findings(position: InstrumentPosition, currency: str) -> list[Finding]:
    """Report what does not add up in a position."""
    findings = []
    days = position.first_day.isoformat(), position.last_day.isoformat()
    symbol = _symbol(position.instrument)
    # Options and coins are often sold short.
    if position.oversold_on and position.asset_class in SKILL_ASSET_CLASSES:
        text = (
            f"{position.oversold.normalize():f} units were sold that were not held"
            f" ({currency or 'no currency'}), first on {position.oversold_on}: a short sale, or a"
            " purchase that is missing. Import the older history, or write the split that explains"
            " it into data/instruments.csv"
        )
        first_day = position.oversold_on.isoformat()
        rule = "sold more than held"
        findings.append(Finding(rule, symbol, first_day, days[1], position.trades, 1.0, text))
    remedy = "Import the export of the broker where they were bought"
    if (units := position.book.unknown_fifo) and position.asset_class != AssetClass.CASH:
        text = f"{units.normalize():f} units came in without a price: their gain is not counted."
        rule = "unknown cost"
        findings.append(Finding(rule, symbol, *days, position.trades, 1.0, f"{text} {remedy}"))
    if (units := position.book.unknown_sold) and position.asset_class != AssetClass.CASH:
        text = (
            f"{units.normalize():f} units were sold that had come in without a price: what they"
            " brought is counted in no gain."
        )
        rule = "unknown cost: sold"
        findings.append(Finding(rule, symbol, *days, position.trades, 1.0, f"{text} {remedy}"))
    return findings


def _step_rows(
    portfolio: Portfolio, scales: dict[str, _Scale], inputs: ValuationInputs
) -> list[StepRow]:
    """Return rows of steps.parquet: of stocks and funds whose candles their trades fit."""
    rows: list[StepRow] = []
    fitting = {
        name: scales.get(name, _Scale())
        for name, position in portfolio.positions.items()
        if _is_learnt_from(position, inputs)
    }
    for change in portfolio.changes:
        scale = fitting.get(change.instrument)
        if scale is None or not scale.fits:
            continue
        series = inputs.market[change.instrument]
        factor = series.factor(change.day) if series.splits else _ONE
        quantity, price = change.quantity * factor, change.price / factor * scale.unit
        at, rank, ref = change.order
        numbers = float(quantity), float(price)
        rows.append((ref, change.instrument, change.day, at, rank, *numbers, change.decided))
    return rows


def _is_learnt_from(position: InstrumentPosition, inputs: ValuationInputs) -> bool:
    """Return whether skills may learn from an instrument."""
    name, known = position.instrument, inputs.known
    asset_class = known.classes.get(name, position.asset_class)
    has_candles = name in inputs.market and name not in known.left_out
    return has_candles and asset_class in SKILL_ASSET_CLASSES
