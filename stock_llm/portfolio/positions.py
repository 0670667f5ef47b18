"""Positions from the ledger: what is held of everything, what it cost and brought, first in first
out and at average cost.

In: a ledger, what its names mean, candles, the table of instruments, exchange rates. Out:
positions.parquet, steps.parquet (what skills learn from: quantities and prices on the candles'
scale), findings. Money is in the currency that an instrument was traded in and, where rates tell,
in the base currency as well: each purchase and sale at the rate of its day. Gains are before fees
and taxes, which stand beside them. Does not know export formats; valuation.py does the computing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from pathlib import Path

import pyarrow as pa

from stock_llm.ledger.entries import EntryKind
from stock_llm.ledger.instruments import InstrumentLine, Instruments
from stock_llm.portfolio.bookkeeping import Event
from stock_llm.portfolio.valuation import ValuationInputs, value_events
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
  nobody knows.
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
"""What changed of owned stocks and funds with candles, on the candles' scale. It happened in the
order of at, rank, ref.
"""

_RANK = "case when kind = 'SPLIT' then 0 when kind = 'SELL' or not time_known and quantity < 0 then 2 else 1 end"
_COLUMNS = (
    f"instrument, family, executed_at, {_RANK} as rank, entry_id, kind, asset_class, quantity, price, amount, fee, tax, ratio,"
    " currency"
)


@dataclass
class PositionsSummary:
    """What was written: positions, steps, and what a person should know about them."""

    positions: int = 0
    steps: int = 0
    findings: list[Finding] = field(default_factory=list)


def write_positions(
    ledger: Path,
    instrument: Mapping[tuple[str, str, str], str],
    books: ValuationInputs,
    positions: Path,
    steps: Path,
) -> PositionsSummary:
    """Writes the positions and steps of a ledger.

    Args:
        instrument: (symbol, isin, name) of the ledger → what it is.
    """
    made = PositionsSummary()
    missing: Counter[str] = Counter()
    rows: list[dict] = []

    def walked() -> Iterator[pa.RecordBatch]:
        waiting: list[tuple] = []
        for events in _families(ledger, instrument, books.known):
            valued = value_events(events, books, missing)
            rows.extend(valued.positions)
            waiting += valued.steps
            made.findings += valued.findings
            if len(waiting) >= parquet.BATCH_ROWS:
                yield _batch(waiting)
                waiting = []
        yield _batch(waiting)

    with localcontext(prec=50):
        made.steps = parquet.write_batches(walked(), STEP_SCHEMA, steps)
    rows.sort(key=lambda row: (row["instrument"], row["currency"]))
    made.positions = parquet.write_batches(
        pa.Table.from_pylist(rows, schema=POSITION_SCHEMA).to_batches(), POSITION_SCHEMA, positions
    )
    made.findings += [_no_rate(currency, count, books.base) for currency, count in missing.items()]
    return made


def _batch(lines: list[tuple]) -> pa.RecordBatch:
    columns = zip(*lines, strict=True) if lines else [()] * len(STEP_SCHEMA)
    arrays = [
        pa.array(column, item.type) for column, item in zip(columns, STEP_SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=STEP_SCHEMA)


def names_table(instrument: Mapping[tuple[str, str, str], str]) -> pa.Table:
    """Columns symbol, isin, name and instrument, to be joined to a ledger."""
    keys = list(instrument)
    columns = {
        name: pa.array([key[at] for key in keys], pa.string())
        for at, name in enumerate(("symbol", "isin", "name"))
    }
    return pa.table(columns | {"instrument": pa.array(list(instrument.values()), pa.string())})


def _families(
    ledger: Path, instrument: Mapping[tuple[str, str, str], str], known: Instruments
) -> Iterator[list[Event]]:
    """The events of each instrument, or of all that mergers join, in the order in which they
    happened.
    """
    names = names_table(instrument)
    family = _joined(known)
    names = names.append_column(
        "family",
        pa.array([family.get(one, one) for one in names["instrument"].to_pylist()], pa.string()),
    )
    with parquet.connect(ledger.parent) as connection:
        connection.register("names", names)
        query = f"""
            select {_COLUMNS} from {parquet.rows_of([ledger])} join names using (symbol, isin, name)
            where instrument <> '' and kind not in ('DEPOSIT', 'WITHDRAWAL')
            order by family, executed_at, rank, entry_id
        """
        renames = {line.match.upper(): line for line in known.of("rename")}
        events: list[Event] = []
        current = None
        reader = connection.sql(query).to_arrow_reader(parquet.BATCH_ROWS)
        for batch in reader:
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if values[1] != current:
                    if events:
                        yield events
                    events, current = [], values[1]
                events.append(_event(values, renames))
        if events:
            yield events


def _joined(known: Instruments) -> dict[str, str]:
    """Instrument → the name of its family, for those in mergers or renamed."""
    family: dict[str, str] = {}
    for line in (*known.of("merger"), *known.of("rename")):
        one, other = (family.get(name, name) for name in (line.match.upper(), line.symbol))
        for name in {
            line.match.upper(),
            line.symbol,
            *(name for name, of in family.items() if of in (one, other)),
        }:
            family[name] = min(one, other)
    return family


def _event(values: tuple, renames: Mapping[str, InstrumentLine]) -> Event:
    (
        instrument,
        _,
        at,
        rank,
        entry_id,
        kind,
        asset,
        quantity,
        price,
        amount,
        fee,
        tax,
        ratio,
        currency,
    ) = values
    day = at.date()
    if (line := renames.get(instrument)) and line.day and day < line.day:
        instrument = line.symbol
        factor = line.ratio or Decimal(1)
        quantity, price = (
            (quantity * factor if quantity is not None else None),
            (price / factor if price is not None else None),
        )
    worth = (
        amount
        if amount is not None
        else quantity * price
        if quantity is not None and price is not None
        else None
    )
    if kind == EntryKind.TRANSFER and worth is not None:
        worth = abs(worth)
    return Event(
        (at, rank, entry_id),
        day,
        entry_id,
        instrument,
        kind,
        asset,
        quantity,
        price,
        worth,
        fee,
        tax,
        ratio,
        currency,
    )


def _no_rate(currency: str, count: int, base: str) -> Finding:
    text = (
        f"{count} entries in {currency} have no exchange rate to {base} on their day: returns of what was traded in {currency} "
        f"are told in {currency} only. Put the European Central Bank's eurofxref-hist.csv, or a pair such as "
        f"{currency}{base}.csv, where the setting fx points"
    )
    return Finding("no exchange rate", currency, "", "", count, 1.0, text)
