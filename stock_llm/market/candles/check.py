"""Checks all candles of some symbols: one a symbol and day, repaired, compared with the calendar.

Rows that repeat another are dropped, contradictory and untrustworthy ones are quarantined with
their reason. Of two snapshots of a day the later one counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from stock_llm.market import calendars
from stock_llm.market.calendars import Exchanges
from stock_llm.market.candles import repair
from stock_llm.market.candles.closes import StockSplit, merge_splits, splits_of
from stock_llm.market.candles.columns import PRICES
from stock_llm.market.candles.repair import PriceSeries
from stock_llm.market.candles.snapshots import (
    dictionary_codes,
    latest_scale,
    replace_column,
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
    """Check a table of `CANDLE_SCHEMA` with all candles of its symbols, in any order.

    Args:
        known_splits: by symbol, from the ledger or the table of instruments, besides those of the
            files' own split column.
        exchanges: default: by suffix, New York where a symbol has none.

    Raises:
        InputError: `exchanges` names one that there is not.
    """
    exchanges = exchanges or Exchanges()
    rows_read, table = len(table), sort_candles(table)
    days = select_daily(table)
    rejected = _quarantined(table, np.where(days.conflicts, CONFLICT_REASON, ""))
    duplicates = rows_read - int(days.kept.sum() + days.conflicts.sum())
    table = latest_scale(table, days)
    if not days.kept.all():
        table = table.filter(pa.array(days.kept))

    repaired = _repair(table, known_splits or {}, exchanges)
    rejected += _quarantined(repaired.table, repaired.reasons)
    table = repaired.trusted()
    own_days = ((rows.symbol, rows.day) for rows in rows_by_symbol(table))
    findings = [
        *days.findings,
        *repaired.findings,
        *_find_adjusted(table),
        *calendars.check_sessions(own_days, exchanges),
    ]
    return CheckedCandles(table, rejected, sorted(findings), rows_read, duplicates)


@dataclass(frozen=True)
class SymbolRows:
    """One symbol's rows of a sorted table."""

    symbol: str
    start: int
    end: int
    day: np.ndarray


def rows_by_symbol(table: pa.Table) -> list[SymbolRows]:
    """Return where each symbol's rows are in a table that is sorted by symbol."""
    symbols, codes = dictionary_codes(table, "symbol")
    day = table["date"].to_numpy().astype("datetime64[D]")
    edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)] if len(codes) else []
    return [
        SymbolRows(symbols[codes[start]], start, end, day[start:end])
        for start, end in pairwise(edges)
    ]


@dataclass(frozen=True)
class _RepairedTable:
    """A table after repairs.

    Attributes:
        reasons: why each of its rows cannot be trusted; empty where it can.
    """

    table: pa.Table
    reasons: np.ndarray
    findings: list[Finding]

    def trusted(self) -> pa.Table:
        mask = self.reasons == ""
        return self.table if mask.all() else self.table.filter(pa.array(mask))


def _repair(
    table: pa.Table, known_splits: Mapping[str, Sequence[StockSplit]], exchanges: Exchanges
) -> _RepairedTable:
    reasons = np.full(len(table), "", object)
    prices = np.stack([table[name].to_numpy() for name in PRICES])
    volume, ratio, scale = (table[name].to_numpy() for name in ("volume", "split", "scale"))
    symbols = rows_by_symbol(table)
    starts = np.array([*(rows.start for rows in symbols), len(table)])
    findings: list[Finding] = []
    changed = False
    for rows, is_suspicious in zip(symbols, repair.suspicious(prices, starts), strict=True):
        own = slice(rows.start, rows.end)
        splits = merge_splits(splits_of(rows.day, ratio[own]), known_splits.get(rows.symbol, ()))
        if not is_suspicious and not splits:
            continue
        in_hundredths = exchanges.in_hundredths(rows.symbol)
        repaired = repair.repair(
            PriceSeries(rows.symbol, rows.day, prices[:, own], volume[own], in_hundredths, splits)
        )
        findings += repaired.findings
        reasons[own] = repaired.reason
        if (repaired.prices != prices[:, own]).any() or (repaired.volume != volume[own]).any():
            if not changed:
                prices, volume, scale = prices.copy(), volume.copy(), scale.copy()
            prices[:, own], volume[own] = repaired.prices, repaired.volume
            scale[own] *= repaired.scale
            changed = True
    if changed:
        columns = dict(zip(PRICES, prices, strict=True)) | {"volume": volume, "scale": scale}
        for name, values in columns.items():
            table = replace_column(table, name, values)
    return _RepairedTable(table, reasons, findings)


def _quarantined(table: pa.Table, reasons: np.ndarray) -> list[QuarantinedRow]:
    """Return the rows that have a reason."""
    mask = reasons != ""
    if not mask.any():
        return []
    shown = ("symbol", "date", *PRICES, "volume")
    return [
        QuarantinedRow(
            "candles",
            row["source_file"],
            row["source_row"],
            reason,
            ",".join(str(row[name]) for name in shown),
        )
        for row, reason in zip(
            table.filter(pa.array(mask)).to_pylist(), reasons[mask].tolist(), strict=True
        )
    ]


def _find_adjusted(table: pa.Table) -> list[Finding]:
    """Report symbols with dividends whose earlier prices have no factor: they are adjusted already.

    Such prices change with the next dividend.
    """
    dividend, factor = table["dividend"].to_numpy(), table["adjustment"].to_numpy()
    findings = []
    for rows in rows_by_symbol(table) if dividend.any() else ():
        paid = np.flatnonzero(dividend[rows.start : rows.end])
        if len(paid) and paid[-1] and (factor[rows.start : rows.start + paid[-1]] == 1).all():
            text = (
                f"{len(paid)} dividends are in the file and no adjusted close: its prices seem"
                " adjusted for them already, and will be others after the next one. Fetch it with"
                " auto_adjust=False, as stock-llm fetch does"
            )
            days = str(rows.day[paid[0]]), str(rows.day[paid[-1]])
            findings.append(Finding("adjusted prices", rows.symbol, *days, len(paid), 1.0, text))
    return findings
