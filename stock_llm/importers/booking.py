"""Rows whose meaning is known become ledger entries, exact to twelve places; what cannot be booked says why.

In: `Meaning`. Out: `Booked`: entries without their ids yet, and per row the reason where there is none. A charge in another
currency than its event is an entry of its own; one asset for another is two. Does not know files.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.importers.amounts import QUOTED_BY_UNIT, TRADES, Amounts, amounts_of, cost, zeros
from stock_llm.importers.classification import SWAP, Classification
from stock_llm.importers.fields import Fields, is_money
from stock_llm.importers.validation import reasons_of
from stock_llm.ledger.entries import AssetClass, EntryKind
from stock_llm.tabular.values import FACTOR, MONEY, ZERO, quotient, total


@dataclass(frozen=True)
class Disagreement:
    """An export's own amount against quantity times price."""

    row: int
    said: Decimal
    computed: Decimal


@dataclass(frozen=True)
class Booking:
    """Entries of a slice: the ledger's columns but for id, account and source, then what ids are made of."""

    table: pa.Table
    reasons: np.ndarray
    skip: np.ndarray
    disagreements: list[Disagreement]


def book(meaning: Classification) -> Booking:
    """The entries of a slice."""
    fields = meaning.fields
    kind, skip = meaning.kind, meaning.skip.copy()
    asset = meaning.asset.copy()
    second = np.zeros(len(kind), bool)
    if (kind == SWAP).any():
        kind, skip, second, fields = _first_leg(meaning)
    amounts = amounts_of(kind, asset, fields)
    cash = _of_no_asset(kind, amounts.symbol, fields)
    asset[cash] = AssetClass.CASH.value
    nothing = {role: pc.if_else(pa.array(cash), "", fields.text(role)) for role in ("name", "isin")}
    fields = replace(fields, texts={**fields.texts, **nothing})
    reasons = reasons_of(kind, fields, amounts)
    leg, bought = _second_leg(meaning.fields.only(second))
    got = amounts_of(bought, asset[second], leg)
    reasons[second] = np.where(reasons[second] == "", reasons_of(bought, leg, got), reasons[second])
    reasons[skip != ""] = ""
    good = (reasons == "") & (skip == "")

    tables = [_table(kind, asset, fields, amounts, good, "")]
    tables += _apart(kind, fields, amounts, good)
    tables.append(_table(bought, asset[second], leg, got, good[second], ":in"))
    return Booking(
        pa.concat_tables(tables), reasons, skip, _disagreements(kind, asset, fields, amounts, good)
    )


def _of_no_asset(kind: np.ndarray, symbol: pa.Array, fields: Fields) -> np.ndarray:
    """Deposits, and charges without a symbol or ISIN: what stands in their name is prose (a bank, a person), and stays out."""
    nameless = pc.and_(pc.equal(symbol, ""), pc.equal(fields.text("isin"), "")).to_numpy(
        zero_copy_only=False
    )
    charges = (EntryKind.INTEREST.value, EntryKind.FEE.value, EntryKind.TAX.value)
    return np.isin(kind, (EntryKind.DEPOSIT.value, EntryKind.WITHDRAWAL.value)) | (
        nameless & np.isin(kind, charges)
    )


def _first_leg(meaning: Classification) -> tuple[np.ndarray, np.ndarray, np.ndarray, Fields]:
    """A swap with money on one side is a purchase or a sale; else it is the sale of the one asset, then a purchase."""
    fields, kind, skip = meaning.fields, meaning.kind.copy(), meaning.skip.copy()
    swap = kind == SWAP
    paid, got = (
        is_money(fields.text(role)).to_numpy(zero_copy_only=False)
        for role in ("out_symbol", "in_symbol")
    )
    skip[swap & paid & got] = "one currency for another"
    kind[swap & paid] = EntryKind.BUY.value
    kind[swap & ~paid] = EntryKind.SELL.value
    buys = pa.array(swap & paid)
    texts, numbers = dict(fields.texts), dict(fields.numbers)
    swapped = pa.array(swap)
    valued = pc.is_valid(fields.number("value"))
    use_value = pc.and_(valued, pa.array(~paid & ~got))
    for role, bought, sold in (
        ("symbol", "in_symbol", "out_symbol"),
        ("currency", "out_symbol", "in_symbol"),
    ):
        leg = pc.if_else(buys, fields.text(bought), fields.text(sold))
        if role == "currency":
            leg = pc.if_else(use_value, fields.text("value_currency"), leg)
        texts[role] = pc.if_else(swapped, leg, fields.text(role))
    for role, bought, sold in (
        ("quantity", "in_quantity", "out_quantity"),
        ("amount", "out_quantity", "in_quantity"),
    ):
        leg = pc.if_else(buys, fields.number(bought), fields.number(sold))
        if role == "amount":
            leg = pc.if_else(use_value, fields.number("value"), leg)
        numbers[role] = pc.if_else(swapped, leg, fields.number(role))
    for role in ("price", "net"):
        numbers[role] = pc.if_else(swapped, pa.scalar(None, FACTOR), fields.number(role))
    return kind, skip, swap & ~paid & ~got, replace(fields, texts=texts, numbers=numbers)


def _second_leg(fields: Fields) -> tuple[Fields, np.ndarray]:
    valued = pc.is_valid(fields.number("value"))
    texts = {role: text for role, text in fields.texts.items() if not role.startswith("charge ")}
    texts["symbol"] = fields.text("in_symbol")
    texts["currency"] = pc.if_else(valued, fields.text("value_currency"), fields.text("out_symbol"))
    texts["isin"] = texts["name"] = pa.array([""] * len(fields.rows), pa.string())
    numbers = {
        "quantity": fields.number("in_quantity"),
        "amount": pc.if_else(valued, fields.number("value"), fields.number("out_quantity")),
    }
    return replace(fields, texts=texts, numbers=numbers, wrong={}), np.full(
        len(fields.rows), EntryKind.BUY.value, object
    )


def _table(
    kind: np.ndarray,
    asset: np.ndarray,
    fields: Fields,
    amounts: Amounts,
    good: np.ndarray,
    part: str,
) -> pa.Table:
    keep = pa.array(good)
    size = int(good.sum())

    def money(values: pa.Array) -> pa.Array:
        return pc.cast(values.filter(keep), MONEY)

    split = pa.array(kind == EntryKind.SPLIT)
    ratio = pc.if_else(split, fields.number("ratio"), pa.scalar(None, FACTOR))
    return pa.table(
        {
            "kind": pa.array(kind[good].tolist(), pa.string()),
            "asset_class": pa.array(asset[good].tolist(), pa.string()),
            "symbol": _safe(amounts.symbol.filter(keep)),
            "isin": pc.utf8_upper(_safe(fields.text("isin").filter(keep))),
            "name": _safe(fields.text("name").filter(keep)),
            "quantity": money(amounts.quantity),
            "price": money(amounts.price),
            "amount": money(amounts.amount),
            "fee": money(amounts.fee),
            "tax": money(amounts.tax),
            "ratio": money(ratio),
            "currency": amounts.currency.filter(keep),
            "executed_at": pa.array(fields.when.at[good], pa.timestamp("us", tz="UTC")),
            "time_known": pa.array(fields.when.timed[good]),
            "source_row": pa.array(fields.rows[good], pa.int64()),
            "account": fields.text("account").filter(keep),
            "trade_id": _safe(fields.text("trade_id").filter(keep)),
            "order_id": _safe(fields.text("order_id").filter(keep)),
            "part": pa.array([part] * size, pa.string()),
        }
    )


def _safe(texts: pa.Array) -> pa.Array:
    """Text from an export: no control characters, nothing that a spreadsheet would run as a formula, 200 characters at most."""
    texts = pc.replace_substring_regex(texts, r"[\x00-\x1f\x7f]+", " ")
    return pc.utf8_slice_codeunits(
        pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"^[\s=+\-@]+", "")), 0, 200
    )


def _apart(kind: np.ndarray, fields: Fields, amounts: Amounts, good: np.ndarray) -> list[pa.Table]:
    """Charges in another currency than their event, each an entry."""
    tables = []
    for role, charge, currency in amounts.apart:
        value = cost(fields, int(role[7:]))
        other = pc.and_(pc.not_equal(currency, amounts.currency), pc.not_equal(value, ZERO))
        rows = good & pc.fill_null(other, False).to_numpy(zero_copy_only=False)
        if not rows.any():
            continue
        zero, none = zeros(fields), pa.nulls(len(kind), FACTOR)
        of_charge = Amounts(none, none, value, zero, zero, currency, amounts.symbol, none, [])
        kinds = np.full(len(kind), charge, object)
        asset = np.full(len(kind), AssetClass.CASH.value, object)
        tables.append(
            _table(kinds, asset, fields, of_charge, rows, f":{charge.lower()}{role[6:].strip()}")
        )
    return tables


def _disagreements(
    kind: np.ndarray, asset: np.ndarray, fields: Fields, amounts: Amounts, good: np.ndarray
) -> list[Disagreement]:
    """Trades whose stated amount or cash is off quantity times price by more than 1 % and 5 hundredths.

    Options and bonds apart: contracts have a size, bonds are quoted in per cent, and exports seldom say so.
    """
    if not {"net", "amount"} & set(fields.numbers):
        return []
    worth = amounts.worth
    trade = pa.array(good & np.isin(kind, TRADES) & np.isin(asset, QUOTED_BY_UNIT))
    same = pc.equal(fields.text("currency"), fields.text("net_currency"))
    charges = total(amounts.fee, amounts.tax)
    cash = total(worth, pc.if_else(pa.array(kind == EntryKind.BUY), charges, pc.negate(charges)))
    found = {}
    for said, computed, trades in (
        (pc.abs(fields.number("net")), cash, pc.and_(trade, same)),
        (pc.abs(fields.number("amount")), worth, trade),
    ):
        off = pc.abs(total(said, pc.negate(computed)))
        limit = total(
            quotient(said, pa.scalar(Decimal(100), FACTOR)), pa.scalar(Decimal("0.05"), FACTOR)
        )
        far = pc.fill_null(pc.and_(trades, pc.greater(off, limit)), False).to_numpy(
            zero_copy_only=False
        )
        for at in np.flatnonzero(far):
            row = int(fields.rows[at])
            found[row] = Disagreement(row, said[int(at)].as_py(), computed[int(at)].as_py())
    return [found[row] for row in sorted(found)]
