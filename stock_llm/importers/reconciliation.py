"""Compares the cash that an export states of a row with the cash of the entries that were booked
from it.

In: the entries of a slice and its `Fields`, which state the cash as `net` (signed) or `cash` (sign
ignored). Out: the rows whose entries do not explain it to the cent, and how many could not be
compared because they are in another currency and the file names no rate. A price or a rate that is
rounded explains what its rounding can.
"""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.importers.column_mapping import Fields, half_digit, rounding
from stock_llm.ledger.entries import EntryKind
from stock_llm.tabular.numbers import FIAT

CENT = 0.01
_COIN = 1e-7
"""What cash in units of a coin may be off by."""
_FLOAT = 1e-9

_MOVES = {
    EntryKind.BUY: -1, EntryKind.SELL: 1, EntryKind.DIVIDEND: 1, EntryKind.INTEREST: 1,
    EntryKind.FEE: -1, EntryKind.TAX: -1, EntryKind.DEPOSIT: 1, EntryKind.WITHDRAWAL: -1,
    EntryKind.TRANSFER: 0, EntryKind.SPLIT: 0,
}  # fmt: skip
"""Direction of the cash that an entry's amount stands for."""


@dataclass(frozen=True)
class CashDifference:
    """A row whose stated cash its entries do not explain."""

    row: int
    stated: Decimal
    booked: Decimal


@dataclass(frozen=True)
class Reconciliation:
    """What came of a slice; `unchecked` are rows in another currency without a rate."""

    differences: list[CashDifference]
    unchecked: list[int]


def reconcile(table: pa.Table, fields: Fields) -> Reconciliation:
    """Compares stated with booked cash; coins that paid a trade are its cash already."""
    table = table.filter(pc.invert(pc.ends_with(table["part"], ":coin")))
    net, cash = fields.number("net"), fields.number("cash")
    signed = pc.is_null(cash).to_numpy(zero_copy_only=False)
    stated = _floats(pc.coalesce(cash, net))
    if not len(table) or np.isnan(stated).all():
        return Reconciliation([], [])
    named = pc.if_else(
        pc.equal(fields.text("cash_currency"), ""),
        fields.text("net_currency"),
        fields.text("cash_currency"),
    )
    currency = np.array(
        pc.if_else(pa.array(signed), fields.text("net_currency"), named).to_pylist(), object
    )

    order = np.argsort(fields.rows, kind="stable")
    at = order[np.searchsorted(fields.rows[order], table["source_row"].to_numpy())]
    kind = np.array(table["kind"].to_pylist(), object)
    moved = np.nan_to_num(_floats(table["amount"])) * np.array(
        [_MOVES[EntryKind(name)] for name in kind]
    )
    moved -= np.nan_to_num(_floats(table["fee"])) + np.nan_to_num(_floats(table["tax"]))
    own = np.array(table["currency"].to_pylist(), object)

    same, other = np.zeros(len(stated)), np.zeros(len(stated))
    foreign = np.full(len(stated), "", object)
    mixed, of_units, entries = (
        np.zeros(len(stated), bool),
        np.zeros(len(stated), bool),
        np.zeros(len(stated), int),
    )
    np.add.at(entries, at, 1)
    # one asset for another
    of_units[at[pc.ends_with(table["part"], ":in").to_numpy(zero_copy_only=False)]] = True
    in_kind = (kind == EntryKind.INTEREST) & np.isnan(_floats(table["amount"]))
    only_units = in_kind | np.isin(kind, [EntryKind.TRANSFER.value, EntryKind.SPLIT.value])
    of_units[at[only_units & ~signed[at]]] = True  # what units were worth is no cash
    trades = np.isin(kind, [EntryKind.BUY.value, EntryKind.SELL.value])
    here = (own == currency[at]) | ((currency[at] == "") & ~trades)
    np.add.at(same, at[here], moved[here])
    there = ~here & ((moved != 0) | trades)
    foreign[at[there]] = own[there]
    mixed[at[there & (foreign[at] != own)]] = True
    np.add.at(other, at[there], moved[there])

    looked = (entries > 0) & ~np.isnan(stated) & ~of_units
    factor, of_rounding = _rates(
        fields, foreign, currency, other, np.where(np.isnan(stated), 0, stated) - same
    )
    # the other cash moved elsewhere
    alone = np.abs(np.where(signed, same - stated, np.abs(same) - np.abs(stated))) <= CENT
    foreign[alone & np.isnan(factor)] = ""
    unchecked = looked & (foreign != "") & (np.isnan(factor) | mixed)
    booked = same + np.where(foreign == "", 0, other * np.nan_to_num(factor))
    slack = np.array([CENT if code in FIAT or not code else _COIN for code in currency]) + np.where(
        foreign == "", 0, of_rounding
    )
    off = np.where(signed, booked - stated, np.abs(booked) - np.abs(stated))
    wrong = looked & ~unchecked & (np.abs(off) > slack + np.abs(stated) * _FLOAT)
    differences = [
        CashDifference(int(fields.rows[index]), _decimal(stated[index]), _decimal(booked[index]))
        for index in np.flatnonzero(wrong)
    ]
    return Reconciliation(differences, fields.rows[unchecked].tolist())


def _floats(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    return np.array(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), float)


def _decimal(value: float) -> Decimal:
    return Decimal(f"{value:.10g}")


def _rates(
    fields: Fields, foreign: np.ndarray, currency: np.ndarray, other: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What other cash is multiplied by to be in the stated currency, and what the rate's rounding
    may account for.

    A rate says how many of the one currency are one of the other, seldom which; the way that fits
    better counts.
    """
    rate = _floats(fields.number("rate"))
    rate[rate == 0] = np.nan
    hundredth = (foreign == "GBX") & (currency == "GBP")
    with np.errstate(divide="ignore", invalid="ignore"):
        ways = np.array([rate, 1 / rate])
        off = np.abs(np.abs(other * ways) - np.abs(wanted))
        factor = np.where(off[0] <= off[1], ways[0], ways[1])
        factor = np.where(hundredth & np.isnan(rate), 0.01, factor)
        of_rate = np.abs(other * factor) * _half(fields, "rate") / np.abs(rate)
    return factor, np.nan_to_num(of_rate) + _floats(rounding(fields)) * np.abs(
        np.nan_to_num(factor)
    )


def _half(fields: Fields, role: str) -> np.ndarray:
    return (
        _floats(half_digit(fields.written[role]))
        if role in fields.written
        else np.zeros(len(fields.rows))
    )
