"""All candles of some symbols: one a symbol and day, repaired, compared with the exchange's calendar.

In: what several files say, as one table; splits that are known elsewhere; which exchange a symbol is of. Out: the same table in
order without what is said twice, contradictory or not to be trusted, the rows that were set aside with their reasons, and
findings. Of two snapshots the later one counts. Does not know files.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np
import pyarrow as pa

from stock_llm.market import calendars
from stock_llm.market.calendars import Exchanges
from stock_llm.market.candles import repair
from stock_llm.market.candles.candle_file import CANDLE_SCHEMA
from stock_llm.market.candles.closes import StockSplit, merge_splits
from stock_llm.market.candles.columns import PRICES
from stock_llm.market.candles.repair import PriceSeries, Repair
from stock_llm.market.candles.snapshots import (
    dictionary_codes,
    latest_scale,
    select_daily,
    sort_candles,
)
from stock_llm.storage.findings import Finding
from stock_llm.storage.quarantine import QuarantinedRow

CONFLICT_REASON = "another row has different values for this day"


@dataclass(frozen=True)
class CheckedCandles:
    """What a set of candle files holds: rows_read = rows of `table` + `rejected` + `duplicates`."""

    table: pa.Table
    rejected: list[QuarantinedRow]
    findings: list[Finding]
    rows_read: int
    duplicates: int


def check_candles(
    table: pa.Table,
    known_splits: Mapping[str, Sequence[StockSplit]] | None = None,
    exchanges: Exchanges | None = None,
) -> CheckedCandles:
    """All candles of some symbols, in any order: one a day, repaired, compared with the calendar.

    Args:
        known_splits: by symbol, from the ledger or the table of instruments; those of the files' own split column are known.
        exchanges: default: by suffix, New York where a symbol has none.

    Raises:
        InputError: `exchanges` names one that there is not.
    """
    exchanges = exchanges or Exchanges()
    given, table = len(table), sort_candles(table)
    days = select_daily(table)
    rejected = _set_aside(table, np.where(days.conflicts, CONFLICT_REASON, ""))
    duplicates = given - int(days.kept.sum() + days.conflicts.sum())
    table = latest_scale(table, days)
    if not days.kept.all():
        table = table.filter(pa.array(days.kept))

    repaired = _repaired(table, known_splits or {}, exchanges)
    rejected += _set_aside(table, repaired.reasons)
    table = repaired.table
    findings = days.findings + repaired.findings + _adjusted(table)
    findings += calendars.check_sessions(
        ((span.symbol, span.day) for span in rows_by_symbol(table)), exchanges
    )
    return CheckedCandles(table, rejected, sorted(findings), given, duplicates)


@dataclass(frozen=True)
class SymbolRows:
    """One symbol's rows of a sorted table."""

    symbol: str
    start: int
    end: int
    day: np.ndarray


def rows_by_symbol(table: pa.Table) -> list[SymbolRows]:
    symbols, codes = dictionary_codes(table, "symbol")
    day = table["date"].to_numpy().astype("datetime64[D]")
    edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)] if len(codes) else []
    return [
        SymbolRows(symbols[codes[start]], start, end, day[start:end])
        for start, end in itertools.pairwise(edges)
    ]


@dataclass(frozen=True)
class _Repaired:
    """The table after repairs, without those of its rows before for which `reasons` is not empty."""

    table: pa.Table
    reasons: np.ndarray
    findings: list[Finding]


def _repaired(
    table: pa.Table, known_splits: Mapping[str, Sequence[StockSplit]], exchanges: Exchanges
) -> _Repaired:
    reasons = np.full(len(table), "", object)
    prices = np.stack([table[name].to_numpy() for name in PRICES])
    volume, ratio, scale = (table[name].to_numpy() for name in ("volume", "split", "scale"))
    spans = rows_by_symbol(table)
    suspicious = repair.suspicious(prices, np.array([*(span.start for span in spans), len(table)]))
    findings: list[Finding] = []
    changed = False
    for span, doubtful in zip(spans, suspicious.tolist(), strict=True):
        own = slice(span.start, span.end)
        splits = _splits(span, ratio[own], known_splits.get(span.symbol, ()))
        if not doubtful and not splits:
            continue
        series = PriceSeries(
            span.symbol,
            span.day,
            prices[:, own],
            volume[own],
            exchanges.in_hundredths(span.symbol),
            splits,
        )
        made = repair.repair(series)
        findings += made.findings
        reasons[own] = made.reason
        if _changes(made, series):
            if not changed:
                prices, volume, scale = prices.copy(), volume.copy(), scale.copy()
            prices[:, own], volume[own], scale[own] = (
                made.prices,
                made.volume,
                scale[own] * made.scale,
            )
            changed = True
    if changed:
        for name, values in (
            *zip(PRICES, prices, strict=True),
            ("volume", volume),
            ("scale", scale),
        ):
            place = CANDLE_SCHEMA.get_field_index(name)
            table = table.set_column(place, CANDLE_SCHEMA.field(place), pa.array(values))
    kept = reasons == ""
    return _Repaired(table if kept.all() else table.filter(pa.array(kept)), reasons, findings)


def _splits(
    span: SymbolRows, ratio: np.ndarray, known: Sequence[StockSplit]
) -> tuple[StockSplit, ...]:
    """The splits of a symbol: the file's own, and others that it does not tell."""
    told = [
        StockSplit(span.day[at].astype(date), Decimal(str(float(ratio[at]))))
        for at in np.flatnonzero(ratio != 1).tolist()
    ]
    return merge_splits(told, known)


def _changes(made: Repair, series: PriceSeries) -> bool:
    return not (
        np.array_equal(made.prices, series.prices) and np.array_equal(made.volume, series.volume)
    )


def _set_aside(table: pa.Table, reasons: np.ndarray) -> list[QuarantinedRow]:
    """The rows that have a reason."""
    mask = reasons != ""
    if not mask.any():
        return []
    return [
        QuarantinedRow("candles", row["source_file"], row["source_row"], reason, _shown(row))
        for row, reason in zip(
            table.filter(pa.array(mask)).to_pylist(), reasons[mask].tolist(), strict=True
        )
    ]


def _shown(row: dict) -> str:
    return ",".join(str(row[name]) for name in ("symbol", "date", *PRICES, "volume"))


def _adjusted(table: pa.Table) -> list[Finding]:
    """Symbols whose dividends are known while no price before them has a factor: their prices are adjusted already."""
    dividend, factor = table["dividend"].to_numpy(), table["adjustment"].to_numpy()
    found = []
    for span in rows_by_symbol(table) if dividend.any() else ():
        paid = np.flatnonzero(dividend[span.start : span.end])
        if len(paid) and paid[-1] and (factor[span.start : span.start + paid[-1]] == 1).all():
            text = (
                f"{len(paid)} dividends are in the file and no adjusted close: its prices seem adjusted for them already, and "
                "will be others after the next one. Fetch it with auto_adjust=False, as stock-llm fetch does"
            )
            days = str(span.day[paid[0]]), str(span.day[paid[-1]])
            found.append(Finding("adjusted prices", span.symbol, *days, len(paid), 1.0, text))
    return found
