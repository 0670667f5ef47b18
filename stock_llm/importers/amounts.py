"""What a row moves: units, price, amount, fee and tax, worked out from what its export says of it.

In: `Fields` and the kind of each row. Out: `Amounts`. Knows how gross, net and charges hang together, not what is wrong with a
row, nor what an entry looks like.
"""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.importers.fields import Fields, charge_role, is_money
from stock_llm.ledger.entries import AssetClass, EntryKind
from stock_llm.tabular.values import FACTOR, ZERO, product, quotient, total

TRADES = (EntryKind.BUY.value, EntryKind.SELL.value)
OF_ASSETS = (*TRADES, EntryKind.TRANSFER.value, EntryKind.SPLIT.value)
QUOTED_BY_UNIT = (AssetClass.STOCK.value, AssetClass.FUND.value, AssetClass.CRYPTO.value)
"""Contracts have a size and bonds are quoted in per cent, which exports seldom say: their cash tells the amount."""
CASH = tuple(
    kind.value
    for kind in (
        EntryKind.DEPOSIT,
        EntryKind.WITHDRAWAL,
        EntryKind.DIVIDEND,
        EntryKind.INTEREST,
        EntryKind.FEE,
        EntryKind.TAX,
    )
)


@dataclass(frozen=True)
class Amounts:
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


def amounts_of(kind: np.ndarray, asset: np.ndarray, fields: Fields) -> Amounts:
    """Works out what is not written from what is; null where that is not enough."""
    trade = pa.array(np.isin(kind, TRADES))
    buys = pa.array(kind == EntryKind.BUY)
    income = pa.array(np.isin(kind, (EntryKind.DIVIDEND.value, EntryKind.INTEREST.value)))
    charge = pa.array(np.isin(kind, (EntryKind.FEE.value, EntryKind.TAX.value)))
    cash = pa.array(np.isin(kind, (EntryKind.DEPOSIT.value, EntryKind.WITHDRAWAL.value)))
    none = pa.scalar(None, FACTOR)

    quantity, price = fields.number("quantity"), pc.abs(fields.number("price"))
    net, gross = fields.number("net"), fields.number("amount")
    symbol = fields.text("symbol")
    wallet = pc.and_(cash, is_money(symbol))  # cash that is written as units of a currency
    named = fields.text("currency")
    units = _money_units(quantity, price, symbol, named)
    gross = pc.if_else(
        pc.and_(wallet, pc.and_(pc.is_valid(quantity), pc.is_null(net))), units, gross
    )

    from_net = pc.and_(pc.is_null(gross), pc.is_valid(net))
    priced = pc.and_(trade, pc.is_valid(price))
    currency = pc.if_else(pc.and_(from_net, pc.invert(priced)), fields.text("net_currency"), named)
    currency = pc.if_else(wallet, pc.utf8_upper(symbol), currency)
    fee, tax, apart = _charges(fields, currency)

    # Cash is what is left of a sale or an income after its charges, and what a purchase cost with them.
    charges = total(fee, tax)
    paid = total(pc.abs(net), pc.if_else(buys, pc.negate(charges), charges))
    traded = pc.if_else(pc.is_valid(gross), pc.abs(gross), paid)
    divisor = units_behind(pc.abs(quantity), fields)
    stated = pc.is_valid(price)
    price = pc.if_else(pc.and_(trade, pc.invert(stated)), quotient(traded, divisor), price)
    worth = product(divisor, price)
    if fields.format.fee_from_net:
        fee = _fee_from_net(fee, net, worth, trade, buys, fields)

    same = pc.equal(fields.text("currency"), fields.text("net_currency"))
    sized = pc.or_(
        pa.array(np.isin(asset, QUOTED_BY_UNIT)), pc.is_valid(fields.number("multiplier"))
    )
    by_cash = pc.and_(pc.invert(sized), pc.and_(pc.is_valid(traded), same))
    traded = pc.if_else(
        pc.or_(pc.or_(pc.is_valid(gross), by_cash), pc.invert(stated)), traded, worth
    )
    earned = pc.coalesce(pc.abs(gross), total(net, charges), worth)
    booked = pc.coalesce(
        pc.negate(net), pc.abs(gross), worth, pc.if_else(pc.greater(charges, ZERO), charges, none)
    )
    amount = pc.if_else(trade, traded, pc.if_else(income, earned, pc.if_else(charge, booked, none)))
    amount = pc.if_else(
        cash, pc.coalesce(pc.abs(net), pc.abs(gross), worth, pc.abs(quantity)), amount
    )
    in_amount = pc.or_(
        cash,
        pc.and_(charge, pc.or_(pc.is_valid(net), pc.fill_null(pc.equal(amount, charges), False))),
    )
    zero = pa.scalar(Decimal(0), FACTOR)
    fee, tax = pc.if_else(in_amount, zero, fee), pc.if_else(in_amount, zero, tax)

    units = pa.array((kind == EntryKind.INTEREST) & (asset == AssetClass.CRYPTO))
    keep = pc.or_(pa.array(np.isin(kind, OF_ASSETS) | (kind == EntryKind.DIVIDEND)), units)
    quantity = pc.if_else(
        pa.array((kind == EntryKind.TRANSFER) | (kind == EntryKind.SPLIT)),
        quantity,
        pc.abs(quantity),
    )
    quantity = pc.if_else(keep, quantity, none)
    quantity = pc.if_else(pc.and_(income, pc.equal(quantity, ZERO)), none, quantity)
    per_unit = pc.and_(
        pa.array(kind != EntryKind.SPLIT), pc.and_(pc.equal(currency, named), pc.is_valid(quantity))
    )
    price = pc.if_else(
        pc.and_(keep, pc.or_(trade, pc.and_(per_unit, pc.greater(price, ZERO)))), price, none
    )
    symbol = pc.if_else(cash, "", symbol)
    return Amounts(quantity, price, amount, fee, tax, currency, symbol, worth, apart)


def _money_units(
    quantity: pa.Array, price: pa.Array, symbol: pa.Array, currency: pa.Array
) -> pa.Array:
    """Units of a currency: 5000 of it at 1, or once 5000; a price in another currency is what they were worth, not how many."""
    own = pc.or_(pc.equal(pc.utf8_upper(symbol), currency), pc.equal(currency, ""))
    priced = pc.and_(own, pc.fill_null(pc.greater(price, ZERO), False))
    return pc.if_else(priced, product(pc.abs(quantity), price), quantity)


def units_behind(quantity: pa.Array, fields: Fields) -> pa.Array:
    """Units behind a quantity: contracts times their size."""
    if "multiplier" not in fields.numbers:
        return quantity
    return product(
        quantity, pc.coalesce(fields.number("multiplier"), pa.scalar(Decimal(1), FACTOR))
    )


def _charges(
    fields: Fields, currency: pa.Array
) -> tuple[pa.Array, pa.Array, list[tuple[str, str, pa.Array]]]:
    totals = {"FEE": zeros(fields), "TAX": zeros(fields)}
    apart = []
    for number, charge in enumerate(fields.format.charges):
        role = charge_role(number)
        if role not in fields.numbers:
            continue
        value = pc.coalesce(cost(fields, number), ZERO)
        own = fields.text(role + " currency")
        own = pc.if_else(
            pc.equal(own, ""),
            pc.if_else(pc.equal(currency, ""), "", fields.text("net_currency")),
            own,
        )
        own = pc.if_else(pc.equal(own, ""), currency, own)
        same = pc.equal(own, currency)
        totals[charge.kind] = total(totals[charge.kind], pc.if_else(same, value, ZERO))
        if pc.any(pc.and_(pc.invert(same), pc.not_equal(value, ZERO)), min_count=0).as_py():
            apart.append((role, charge.kind, own))
    return totals["FEE"], totals["TAX"], apart


def cost(fields: Fields, number: int) -> pa.Array:
    """A charge as what it cost; negative where it was given back, if the format tells one from the other."""
    value, sign = fields.number(charge_role(number)), fields.format.charges[number].sign
    return pc.abs(value) if not sign else value if sign == "+" else pc.negate(value)


def zeros(fields: Fields) -> pa.Array:
    return pa.repeat(ZERO, len(fields.rows))


def _fee_from_net(
    fee: pa.Array, net: pa.Array, worth: pa.Array, trade: pa.Array, buys: pa.Array, fields: Fields
) -> pa.Array:
    """What the cash differs from the price, where that is a plausible fee: not negative, at most a twentieth."""
    cash = pc.abs(net)
    difference = pc.if_else(buys, total(cash, pc.negate(worth)), total(worth, pc.negate(cash)))
    limit = pc.coalesce(quotient(worth, pa.scalar(Decimal(20), FACTOR)), ZERO)
    same = pc.equal(fields.text("currency"), fields.text("net_currency"))
    plausible = pc.and_(
        pc.and_(trade, same),
        pc.and_(pc.greater_equal(difference, ZERO), pc.less_equal(difference, limit)),
    )
    return pc.if_else(pc.fill_null(plausible, False), pc.round(difference, 4), fee)
