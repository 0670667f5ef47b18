"""Computes positions from the ledger: what is held, what it cost and returned, by both methods.

Money is in the currency that an instrument was traded in and, where rates tell, in the base
currency as well: each purchase and sale at the rate of its day. Gains are before fees and taxes,
which stand beside them. valuation.py does the computing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, localcontext
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from stock_llm.ledger.entries import EntryKind
from stock_llm.ledger.instruments import InstrumentLine, Instruments
from stock_llm.portfolio.bookkeeping import Event
from stock_llm.portfolio.valuation import StepRow, ValuationInputs, value_events
from stock_llm.storage import parquet
from stock_llm.storage.findings import Finding

_MONEY = pa.decimal128(38, 12)

POSITION_SCHEMA = pa.schema(
    [
        pa.field("instrument", pa.string(), nullable=False),
        pa.field("asset_class", pa.string(), nullable=False),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("quantity", _MONEY, nullable=False),
        pa.field("cost_fifo", _MONEY, nullable=False),
        pa.field("cost_average", _MONEY, nullable=False),
        pa.field("unknown_cost", _MONEY, nullable=False),
        pa.field("realised_fifo", _MONEY, nullable=False),
        pa.field("realised_average", _MONEY, nullable=False),
        pa.field("sold_cost_fifo", _MONEY, nullable=False),
        pa.field("sold_cost_average", _MONEY, nullable=False),
        pa.field("dividends", _MONEY, nullable=False),
        pa.field("interest", _MONEY, nullable=False),
        pa.field("fees", _MONEY, nullable=False),
        pa.field("taxes", _MONEY, nullable=False),
        pa.field("value", _MONEY),
        pa.field("value_day", pa.date32()),
        pa.field("unrealised_fifo", _MONEY),
        pa.field("unrealised_average", _MONEY),
        pa.field("base_currency", pa.string()),
        pa.field("realised_fifo_base", _MONEY),
        pa.field("unrealised_fifo_base", _MONEY),
        pa.field("trades", pa.int64(), nullable=False),
        pa.field("first_day", pa.date32(), nullable=False),
        pa.field("last_day", pa.date32(), nullable=False),
    ]
)
"""One row per instrument and currency.

- `quantity`: today's units, negative when they are owed; `unknown_cost`: units of it whose cost
  is unknown.
- `cost`, `sold_cost`: of the units of known cost that are held, and of those that were sold; gains
  divided by them are returns.
- `value`: at the last close, on `value_day`; null without candles. `unrealised` is what it exceeds
  the cost by.
- `…_base`: in `base_currency`; null where a rate is missing.
"""

STEP_SCHEMA = pa.schema(
    [
        pa.field("ref", pa.string(), nullable=False),
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("day", pa.date32(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("rank", pa.int8(), nullable=False),
        pa.field("quantity", pa.float64(), nullable=False),
        pa.field("price", pa.float64(), nullable=False),
        pa.field("decided", pa.bool_(), nullable=False),
    ]
)
"""Purchases, sales and moves of owned stocks and funds with candles, on the candles' scale.

They happened in the order of at, rank, ref.
"""

_RANK = (
    "case when kind = 'SPLIT' then 0"
    " when kind = 'SELL' or not time_known and quantity < 0 then 2 else 1 end"
)

Name = tuple[str, str, str]
"""Symbol, ISIN and name as the ledger has them."""


@dataclass
class PositionsSummary:
    """How many positions and steps were written, and what a person should know about them."""

    positions: int = 0
    steps: int = 0
    findings: list[Finding] = field(default_factory=list)


def write_positions(
    ledger: Path,
    instrument: Mapping[Name, str],
    inputs: ValuationInputs,
    positions: Path,
    steps: Path,
) -> PositionsSummary:
    """Write the positions and steps of a ledger.

    Args:
        instrument: name in the ledger → the instrument that it is.
    """
    summary = PositionsSummary()
    missing: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []

    def step_batches() -> Iterator[pa.RecordBatch]:
        pending: list[StepRow] = []
        for events in _families(ledger, instrument, inputs.known):
            valuation = value_events(events, inputs, missing)
            rows.extend(valuation.positions)
            pending += valuation.steps
            summary.findings += valuation.findings
            if len(pending) >= parquet.BATCH_ROWS:
                yield parquet.records_batch(pending, STEP_SCHEMA)
                pending = []
        yield parquet.records_batch(pending, STEP_SCHEMA)

    with localcontext(prec=50):
        summary.steps = parquet.write_batches(step_batches(), STEP_SCHEMA, steps)
    rows.sort(key=itemgetter("instrument", "currency"))
    table = pa.Table.from_pylist(rows, schema=POSITION_SCHEMA)
    summary.positions = parquet.write_batches(table.to_batches(), POSITION_SCHEMA, positions)
    summary.findings += [_no_rate(code, count, inputs.base) for code, count in missing.items()]
    return summary


def names_table(instrument: Mapping[Name, str]) -> pa.Table:
    """Return columns symbol, isin, name and instrument, to be joined to a ledger."""
    symbols, isins, names = zip(*instrument, strict=True) if instrument else ((), (), ())
    columns = {"symbol": symbols, "isin": isins, "name": names, "instrument": instrument.values()}
    return pa.table({name: pa.array(list(texts), pa.string()) for name, texts in columns.items()})


def _families(
    ledger: Path, instrument: Mapping[Name, str], known: Instruments
) -> Iterator[list[Event]]:
    """Yield the events of each instrument, or of all that mergers join, in their order."""
    names = names_table(instrument)
    family_of = _family_names(known)
    families = [family_of.get(name, name) for name in names["instrument"].to_pylist()]
    names = names.append_column("family", pa.array(families, pa.string()))
    renames = {line.match.upper(): line for line in known.of("rename")}
    with parquet.connect(ledger.parent) as connection:
        connection.register("names", names)
        query = f"""
            select family, instrument, executed_at, {_RANK} as rank, entry_id, kind, asset_class,
                quantity, price, amount, fee, tax, ratio, currency
            from {parquet.rows_of([ledger])} join names using (symbol, isin, name)
            where instrument <> '' and kind not in ('DEPOSIT', 'WITHDRAWAL')
            order by family, executed_at, rank, entry_id
        """
        batches = connection.sql(query).to_arrow_reader(parquet.BATCH_ROWS)
        rows = chain.from_iterable(_rows(batch) for batch in batches)
        for _, own in groupby(rows, key=itemgetter(0)):
            yield [_event(renames, *values) for _, *values in own]


def _rows(batch: pa.RecordBatch) -> Iterable[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _family_names(known: Instruments) -> dict[str, str]:
    """Return instrument → the name of its family, for those that were merged or renamed."""
    family: dict[str, str] = {}
    for line in (*known.of("merger"), *known.of("rename")):
        pair = line.match.upper(), line.symbol
        joined = {family.get(name, name) for name in pair}
        for name in {*pair, *(name for name, of in family.items() if of in joined)}:
            family[name] = min(joined)
    return family


def _event(
    renames: Mapping[str, InstrumentLine],
    instrument: str,
    at: datetime,
    rank: int,
    entry_id: str,
    kind: str,
    asset_class: str,
    quantity: Decimal | None,
    price: Decimal | None,
    amount: Decimal | None,
    fee: Decimal,
    tax: Decimal,
    ratio: Decimal | None,
    currency: str,
) -> Event:
    day = at.date()
    if (line := renames.get(instrument)) and line.day and day < line.day:
        instrument = line.symbol
        factor = line.ratio or Decimal(1)
        quantity = None if quantity is None else quantity * factor
        price = None if price is None else price / factor
    worth = amount
    if worth is None and quantity is not None and price is not None:
        worth = quantity * price
    if kind == EntryKind.TRANSFER and worth is not None:
        worth = abs(worth)
    return Event(
        ref=entry_id,
        instrument=instrument,
        day=day,
        order=(at, rank, entry_id),
        kind=kind,
        asset_class=asset_class,
        quantity=quantity,
        price=price,
        worth=worth,
        charges=fee,
        tax=tax,
        ratio=ratio,
        currency=currency,
    )


def _no_rate(currency: str, count: int, base: str) -> Finding:
    text = (
        f"{count} entries in {currency} have no exchange rate to {base} on their day: returns of"
        f" what was traded in {currency} are given in {currency} only. Put the European Central"
        f" Bank's eurofxref-hist.csv, or a pair such as {currency}{base}.csv, where the setting fx"
        " points"
    )
    return Finding("no exchange rate", currency, "", "", count, 1.0, text)
