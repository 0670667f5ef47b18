"""Rows whose meaning is known become ledger entries, exact to twelve places; what cannot be booked says why.

In: `Meaning`. Out: `Booked`: entries without their ids yet, and per row the reason where there is none. A charge in another
currency than its event is an entry of its own; one asset for another is two. Does not know files.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.brokers.fields import Fields, charge_role, is_money
from stock_llm.brokers.meaning import Meaning
from stock_llm.brokers.values import FACTOR, LARGEST, MONEY, ZERO, bare, product, quotient, total
from stock_llm.ledger import AssetClass, Kind

SWAP = "SWAP"
_TRADES = (Kind.BUY.value, Kind.SELL.value)
_CASH = tuple(kind.value for kind in (Kind.DEPOSIT, Kind.WITHDRAWAL, Kind.DIVIDEND, Kind.INTEREST, Kind.FEE, Kind.TAX))
_QUOTED_BY_UNIT = (AssetClass.STOCK.value, AssetClass.FUND.value, AssetClass.CRYPTO.value)
_OF_ASSETS = (*_TRADES, Kind.TRANSFER.value, Kind.SPLIT.value)


@dataclass(frozen=True)
class Disagreement:
    """An export's own amount against quantity times price."""

    row: int
    said: Decimal
    computed: Decimal


@dataclass(frozen=True)
class Booked:
    """Entries of a slice: the ledger's columns but for id, account and source, then what ids are made of."""

    table: pa.Table
    reasons: np.ndarray
    skip: np.ndarray
    disagreements: list[Disagreement]


def book(meaning: Meaning) -> Booked:
    """The entries of a slice."""
    fields = meaning.fields
    kind, skip = meaning.kind, meaning.skip.copy()
    asset = meaning.asset.copy()
    second = np.zeros(len(kind), bool)
    if (kind == SWAP).any():
        kind, skip, second, fields = _first_leg(meaning)
    amounts = _amounts(kind, asset, fields)
    cash = _of_no_asset(kind, amounts.symbol, fields)
    asset[cash] = AssetClass.CASH.value
    nothing = {role: pc.if_else(pa.array(cash), "", fields.text(role)) for role in ("name", "isin")}
    fields = replace(fields, texts={**fields.texts, **nothing})
    reasons = _reasons(kind, fields, amounts)
    reasons[skip != ""] = ""
    good = (reasons == "") & (skip == "")

    tables = [_table(kind, asset, fields, amounts, good, "")]
    tables += _apart(kind, fields, amounts, good)
    if (second & good).any():
        both = second & good
        leg, bought = _second_leg(meaning.fields.only(both))
        tables.append(_table(bought, asset[both], leg, _amounts(bought, asset[both], leg), np.ones(len(bought), bool), ":in"))
    return Booked(pa.concat_tables(tables), reasons, skip, _disagreements(kind, asset, fields, amounts, good))


def _of_no_asset(kind: np.ndarray, symbol: pa.Array, fields: Fields) -> np.ndarray:
    """Deposits, and charges without a symbol or ISIN: what stands in their name is prose (a bank, a person), and stays out."""
    nameless = pc.and_(pc.equal(symbol, ""), pc.equal(fields.text("isin"), "")).to_numpy(zero_copy_only=False)
    charges = (Kind.INTEREST.value, Kind.FEE.value, Kind.TAX.value)
    return np.isin(kind, (Kind.DEPOSIT.value, Kind.WITHDRAWAL.value)) | (nameless & np.isin(kind, charges))


@dataclass(frozen=True)
class _Amounts:
    """What is booked; `worth` is quantity times price, `apart` are charges in other currencies: role, kind, currency."""

    quantity: pa.Array
    price: pa.Array
    amount: pa.Array
    fee: pa.Array
    tax: pa.Array
    currency: pa.Array
    symbol: pa.Array
    worth: pa.Array
    apart: list[tuple[str, str, pa.Array]]


def _first_leg(meaning: Meaning) -> tuple[np.ndarray, np.ndarray, np.ndarray, Fields]:
    """A swap with money on one side is a purchase or a sale; else it is the sale of the one asset, then a purchase."""
    fields, kind, skip = meaning.fields, meaning.kind.copy(), meaning.skip.copy()
    swap = kind == SWAP
    paid, got = (is_money(fields.text(role)).to_numpy(zero_copy_only=False) for role in ("out_symbol", "in_symbol"))
    skip[swap & paid & got] = "one currency for another"
    kind[swap & paid] = Kind.BUY.value
    kind[swap & ~paid] = Kind.SELL.value
    buys = pa.array(swap & paid)
    texts, numbers = dict(fields.texts), dict(fields.numbers)
    swapped = pa.array(swap)
    valued = pc.is_valid(fields.number("value"))
    use_value = pc.and_(valued, pa.array(~paid & ~got))
    for role, bought, sold in (("symbol", "in_symbol", "out_symbol"), ("currency", "out_symbol", "in_symbol")):
        leg = pc.if_else(buys, fields.text(bought), fields.text(sold))
        if role == "currency":
            leg = pc.if_else(use_value, fields.text("value_currency"), leg)
        texts[role] = pc.if_else(swapped, leg, fields.text(role))
    for role, bought, sold in (("quantity", "in_quantity", "out_quantity"), ("amount", "out_quantity", "in_quantity")):
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
    return replace(fields, texts=texts, numbers=numbers, wrong={}), np.full(len(fields.rows), Kind.BUY.value, object)


def _amounts(kind: np.ndarray, asset: np.ndarray, fields: Fields) -> _Amounts:
    trade = pa.array(np.isin(kind, _TRADES))
    buys = pa.array(kind == Kind.BUY)
    income = pa.array(np.isin(kind, (Kind.DIVIDEND.value, Kind.INTEREST.value)))
    charge = pa.array(np.isin(kind, (Kind.FEE.value, Kind.TAX.value)))
    cash = pa.array(np.isin(kind, (Kind.DEPOSIT.value, Kind.WITHDRAWAL.value)))
    none = pa.scalar(None, FACTOR)

    quantity, price = fields.number("quantity"), pc.abs(fields.number("price"))
    net, gross = fields.number("net"), fields.number("amount")
    symbol = fields.text("symbol")
    wallet = pc.and_(cash, is_money(symbol))  # cash that is written as units of a currency
    gross = pc.if_else(pc.and_(wallet, pc.and_(pc.is_valid(quantity), pc.is_null(net))), quantity, gross)

    named = fields.text("currency")
    from_net = pc.and_(pc.is_null(gross), pc.is_valid(net))
    priced = pc.and_(trade, pc.is_valid(price))
    currency = pc.if_else(pc.and_(from_net, pc.invert(priced)), fields.text("net_currency"), named)
    currency = pc.if_else(wallet, pc.utf8_upper(symbol), currency)
    fee, tax, apart = _charges(fields, currency)

    # Cash is what is left of a sale or an income after its charges, and what a purchase cost with them.
    charges = total(fee, tax)
    paid = total(pc.abs(net), pc.if_else(buys, pc.negate(charges), charges))
    traded = pc.if_else(pc.is_valid(gross), pc.abs(gross), paid)
    divisor = _times(pc.abs(quantity), fields)
    stated = pc.is_valid(price)
    price = pc.if_else(pc.and_(trade, pc.invert(stated)), quotient(traded, divisor), price)
    worth = product(divisor, price)
    if fields.format.fee_from_net:
        fee = _fee_from_net(fee, net, worth, trade, buys, fields)

    own_amount = pc.and_(pc.is_valid(gross), pc.invert(_mixed(fields)))
    traded = pc.if_else(pc.or_(own_amount, pc.invert(stated)), traded, worth)
    earned = pc.coalesce(pc.abs(gross), total(net, charges), worth)
    booked = pc.coalesce(pc.negate(net), pc.abs(gross), worth, pc.if_else(pc.greater(charges, ZERO), charges, none))
    amount = pc.if_else(trade, traded, pc.if_else(income, earned, pc.if_else(charge, booked, none)))
    amount = pc.if_else(cash, pc.coalesce(pc.abs(net), pc.abs(gross), worth, pc.abs(quantity)), amount)
    in_amount = pc.or_(cash, pc.and_(charge, pc.or_(pc.is_valid(net), pc.fill_null(pc.equal(amount, charges), False))))
    zero = pa.scalar(Decimal(0), FACTOR)
    fee, tax = pc.if_else(in_amount, zero, fee), pc.if_else(in_amount, zero, tax)

    units = pa.array((kind == Kind.INTEREST) & (asset == AssetClass.CRYPTO))
    keep = pc.or_(pa.array(np.isin(kind, _OF_ASSETS) | (kind == Kind.DIVIDEND)), units)
    quantity = pc.if_else(pa.array((kind == Kind.TRANSFER) | (kind == Kind.SPLIT)), quantity, pc.abs(quantity))
    quantity = pc.if_else(keep, quantity, none)
    quantity = pc.if_else(pc.and_(income, pc.equal(quantity, ZERO)), none, quantity)
    per_unit = pc.and_(pa.array(kind != Kind.SPLIT), pc.and_(pc.equal(currency, named), pc.is_valid(quantity)))
    price = pc.if_else(pc.and_(keep, pc.or_(trade, pc.and_(per_unit, pc.greater(price, ZERO)))), price, none)
    symbol = pc.if_else(cash, "", symbol)
    return _Amounts(quantity, price, amount, fee, tax, currency, symbol, worth, apart)


def _times(quantity: pa.Array, fields: Fields) -> pa.Array:
    """Units behind a quantity: contracts times their size."""
    if "multiplier" not in fields.numbers:
        return quantity
    return product(quantity, pc.coalesce(fields.number("multiplier"), pa.scalar(Decimal(1), FACTOR)))


def _mixed(fields: Fields) -> pa.Array:
    """Whether the export's amount is in another currency than its price."""
    if "amount_currency" not in fields.texts:
        return pa.array(np.zeros(len(fields.rows), bool))
    stated = fields.text("amount_currency")
    return pc.and_(pc.not_equal(stated, ""), pc.not_equal(stated, fields.text("currency")))


def _charges(fields: Fields, currency: pa.Array) -> tuple[pa.Array, pa.Array, list[tuple[str, str, pa.Array]]]:
    totals = {"FEE": _zeros(fields), "TAX": _zeros(fields)}
    apart = []
    for number, charge in enumerate(fields.format.charges):
        role = charge_role(number)
        if role not in fields.numbers:
            continue
        value = pc.coalesce(_cost(fields, number), ZERO)
        own = fields.text(role + " currency")
        own = pc.if_else(pc.equal(own, ""), pc.if_else(pc.equal(currency, ""), "", fields.text("net_currency")), own)
        own = pc.if_else(pc.equal(own, ""), currency, own)
        same = pc.equal(own, currency)
        totals[charge.kind] = total(totals[charge.kind], pc.if_else(same, value, ZERO))
        if pc.any(pc.and_(pc.invert(same), pc.not_equal(value, ZERO)), min_count=0).as_py():
            apart.append((role, charge.kind, own))
    return totals["FEE"], totals["TAX"], apart


def _cost(fields: Fields, number: int) -> pa.Array:
    """A charge as what it cost; negative where it was given back, if the format tells one from the other."""
    value, sign = fields.number(charge_role(number)), fields.format.charges[number].sign
    return pc.abs(value) if not sign else value if sign == "+" else pc.negate(value)


def _zeros(fields: Fields) -> pa.Array:
    return pa.repeat(ZERO, len(fields.rows))


def _fee_from_net(fee: pa.Array, net: pa.Array, worth: pa.Array, trade: pa.Array, buys: pa.Array, fields: Fields) -> pa.Array:
    """What the cash differs from the price, where that is a plausible fee: not negative, at most a twentieth."""
    cash = pc.abs(net)
    difference = pc.if_else(buys, total(cash, pc.negate(worth)), total(worth, pc.negate(cash)))
    limit = pc.coalesce(quotient(worth, pa.scalar(Decimal(20), FACTOR)), ZERO)
    same = pc.equal(fields.text("currency"), fields.text("net_currency"))
    plausible = pc.and_(pc.and_(trade, same), pc.and_(pc.greater_equal(difference, ZERO), pc.less_equal(difference, limit)))
    return pc.if_else(pc.fill_null(plausible, False), pc.round(difference, 4), fee)


def _reasons(kind: np.ndarray, fields: Fields, amounts: _Amounts) -> np.ndarray:
    """Why each row cannot be booked, "" where it can; the first reason that applies."""
    size = len(kind)
    reasons = np.full(size, "", object)

    def say(mask: np.ndarray, reason: str) -> None:
        reasons[mask & (reasons == "")] = reason

    def is_(array: pa.Array) -> np.ndarray:
        return pc.fill_null(array, False).to_numpy(zero_copy_only=False)

    unread = np.isnat(fields.when.at)
    dates = np.array(fields.text("date").to_pylist(), object)
    say(unread & (dates == ""), "there is no date")
    for at in np.flatnonzero(unread & (reasons == "")):
        reasons[at] = f"the date cannot be read: '{dates[at][:40]}'"
    actions = fields.text("action").to_pylist()
    for at in np.flatnonzero((kind == "") & (reasons == "")):
        reasons[at] = f"unknown action '{actions[at][:60]}'" if actions[at] else "there is no action"
    trade, of_assets = np.isin(kind, _TRADES), np.isin(kind, _OF_ASSETS)
    for role, wrong in fields.wrong.items():
        written = fields.written[role]
        for at in np.flatnonzero(wrong & (reasons == "") & _matters(role, kind)):
            label = role if not role.startswith("charge ") else " or ".join(fields.format.charges[int(role[7:])].amount)
            text = written[int(at)].as_py()[:40]
            reasons[at] = f"{label} is too large: {text}" if _is_number(text) else f"{label} is not a number: '{text}'"
    nameless = is_(
        pc.and_(pc.equal(amounts.symbol, ""), pc.and_(pc.equal(fields.text("isin"), ""), pc.equal(fields.text("name"), "")))
    )
    say(of_assets & nameless, "there is no symbol")
    zero, missing = is_(pc.equal(amounts.quantity, ZERO)), is_(pc.is_null(amounts.quantity))
    say((trade | (kind == Kind.TRANSFER)) & missing, "there is no quantity")
    say((trade | (kind == Kind.TRANSFER)) & zero, "the quantity is zero")
    if fields.format.strict_buys:
        say((kind == Kind.BUY) & is_(pc.less(fields.number("quantity"), ZERO)), "a purchase has a negative quantity")
        say(trade & is_(pc.less(fields.number("price"), ZERO)), "the price is negative")
    say(trade & is_(pc.is_null(amounts.price)), "there is no price")
    say(trade & is_(pc.equal(amounts.price, ZERO)), "the price is zero")
    split = kind == Kind.SPLIT
    ratio = fields.number("ratio")
    say(split & is_(pc.is_null(ratio)) & (missing | zero), "the split has neither a ratio nor units")
    say(split & is_(pc.less_equal(ratio, ZERO)), "the ratio of a split is not above zero")
    limit = pa.scalar(LARGEST, FACTOR)
    for label, values in (("quantity", amounts.quantity), ("price", amounts.price)):
        say(is_(pc.greater_equal(pc.abs(values), limit)), f"{label} is too large")
    paid_in_units = (kind == Kind.INTEREST) & ~missing
    say((trade | np.isin(kind, _CASH)) & ~paid_in_units & is_(pc.is_null(amounts.amount)), "there is no amount")
    for currency in (amounts.currency, *(currency for _, _, currency in amounts.apart)):
        code = pc.match_substring_regex(currency, r"^(?:[A-Z][A-Z0-9.]{1,14})?$").to_numpy(zero_copy_only=False)
        for at in np.flatnonzero(~code & (reasons == "")):
            reasons[at] = f"not a currency code: '{currency[int(at)].as_py()[:20]}'"
    return reasons


def _is_number(text: str) -> bool:
    digits = bare(pa.array([text]))[0].as_py()
    return digits.lstrip("+-").replace(".", "").replace(",", "").isdigit() and len(digits) > 13


def _matters(role: str, kind: np.ndarray) -> np.ndarray:
    """Whether a wrong number spoils a row: not one that this kind of event does not use."""
    if role in ("balance", "ratio", "multiplier", "value", "in_quantity", "out_quantity"):
        return kind == Kind.SPLIT if role == "ratio" else np.isin(kind, (*_TRADES, SWAP)) & (role != "balance")
    if role in ("quantity", "price"):
        return ~np.isin(kind, (Kind.FEE.value, Kind.TAX.value))
    return np.ones(len(kind), bool)


def _table(kind: np.ndarray, asset: np.ndarray, fields: Fields, amounts: _Amounts, good: np.ndarray, part: str) -> pa.Table:
    keep = pa.array(good)
    size = int(good.sum())

    def money(values: pa.Array) -> pa.Array:
        return pc.cast(values.filter(keep), MONEY)

    split = pa.array(kind == Kind.SPLIT)
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
    return pc.utf8_slice_codeunits(pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"^[\s=+\-@]+", "")), 0, 200)


def _apart(kind: np.ndarray, fields: Fields, amounts: _Amounts, good: np.ndarray) -> list[pa.Table]:
    """Charges in another currency than their event, each an entry."""
    tables = []
    for role, charge, currency in amounts.apart:
        value = _cost(fields, int(role[7:]))
        other = pc.and_(pc.not_equal(currency, amounts.currency), pc.not_equal(value, ZERO))
        rows = good & pc.fill_null(other, False).to_numpy(zero_copy_only=False)
        if not rows.any():
            continue
        zero, none = _zeros(fields), pa.nulls(len(kind), FACTOR)
        of_charge = _Amounts(none, none, value, zero, zero, currency, amounts.symbol, none, [])
        kinds = np.full(len(kind), charge, object)
        asset = np.full(len(kind), AssetClass.CASH.value, object)
        tables.append(_table(kinds, asset, fields, of_charge, rows, f":{charge.lower()}{role[6:].strip()}"))
    return tables


def _disagreements(
    kind: np.ndarray, asset: np.ndarray, fields: Fields, amounts: _Amounts, good: np.ndarray
) -> list[Disagreement]:
    """Trades whose stated amount or cash is off quantity times price by more than 1 % and 5 hundredths.

    Options and bonds apart: contracts have a size, bonds are quoted in per cent, and exports seldom say so.
    """
    if not {"net", "amount"} & set(fields.numbers):
        return []
    worth = amounts.worth
    trade = pa.array(good & np.isin(kind, _TRADES) & np.isin(asset, _QUOTED_BY_UNIT))
    same = pc.equal(fields.text("currency"), fields.text("net_currency"))
    charges = total(amounts.fee, amounts.tax)
    cash = total(worth, pc.if_else(pa.array(kind == Kind.BUY), charges, pc.negate(charges)))
    found = {}
    for said, computed, fits in (
        (pc.abs(fields.number("net")), cash, same),
        (pc.abs(fields.number("amount")), worth, pc.invert(_mixed(fields))),
    ):
        off = pc.abs(total(said, pc.negate(computed)))
        limit = total(quotient(said, pa.scalar(Decimal(100), FACTOR)), pa.scalar(Decimal("0.05"), FACTOR))
        far = pc.fill_null(pc.and_(pc.and_(trade, fits), pc.greater(off, limit)), False).to_numpy(zero_copy_only=False)
        for at in np.flatnonzero(far):
            row = int(fields.rows[at])
            found[row] = Disagreement(row, said[int(at)].as_py(), computed[int(at)].as_py())
    return [found[row] for row in sorted(found)]
