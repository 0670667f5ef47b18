"""Books classified rows as ledger entries, exact to twelve places; a row that cannot be booked says
why.

In: a `Classification`. Out: a `Booking`: entries without their ids, and per row the reason where
there is none. Downward: what a row moves (units, price, amount, fee, tax), why it cannot be booked,
its entries. A charge in another currency than its event is an entry of its own; one asset for
another is two.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.importers.classification import SWAP, Classification
from stock_llm.importers.column_mapping import Fields, charge_role, is_money, rounding
from stock_llm.ledger.entries import AssetClass, EntryKind
from stock_llm.tabular.numbers import FACTOR, LARGEST, MONEY, ZERO, bare, product, quotient, total
from stock_llm.tabular.table import as_mask

TRADES = (EntryKind.BUY, EntryKind.SELL)
CASH_MOVES = (EntryKind.DEPOSIT, EntryKind.WITHDRAWAL)
INCOME = (EntryKind.DIVIDEND, EntryKind.INTEREST)
CHARGES = (EntryKind.FEE, EntryKind.TAX)
QUOTED_BY_UNIT = (AssetClass.STOCK, AssetClass.FUND, AssetClass.CRYPTO)
"""Contracts have a size and bonds are quoted in per cent, which exports seldom say: their cash
tells the amount."""

_NO_NUMBER = pa.scalar(None, FACTOR)


@dataclass(frozen=True)
class StatedAmount:
    """An export's own amount that differs from quantity times price."""

    row: int
    stated: Decimal
    computed: Decimal


@dataclass(frozen=True)
class Booking:
    """Entries of some rows: the ledger's columns but for id, account and source, then what ids are
    made of.

    Attributes:
        reasons, skip: per row, why it cannot be booked, and why it is no event; both empty where it
            has entries.
        mismatches: amounts of the export that its own quantities and prices contradict.
        fields: what the export states of each row, a swap as its first leg.
    """

    table: pa.Table
    reasons: np.ndarray
    skip: np.ndarray
    mismatches: list[StatedAmount]
    fields: Fields


def book(given: Classification) -> Booking:
    """Makes the entries of some rows."""
    kind, skip, second, fields = _first_leg(given)
    asset = given.asset.copy()
    amounts = _amounts(kind, asset, fields)
    cash = _of_no_asset(kind, amounts.symbol, fields)
    asset[cash] = AssetClass.CASH.value
    unnamed = {role: pc.if_else(pa.array(cash), "", fields.text(role)) for role in ("name", "isin")}
    fields = replace(fields, texts={**fields.texts, **unnamed})
    reasons = _reasons(kind, fields, amounts)
    leg = _second_leg(given.fields.where(second), amounts, pa.array(second))
    leg_kind, leg_asset = np.full(int(second.sum()), EntryKind.BUY.value, object), asset[second]
    leg_amounts = _amounts(leg_kind, leg_asset, leg)
    leg_reasons = _reasons(leg_kind, leg, leg_amounts)
    reasons[second] = np.where(reasons[second] == "", leg_reasons, reasons[second])
    reasons[skip != ""] = ""
    good = (reasons == "") & (skip == "")

    tables = [_entries(kind, asset, fields, amounts, good, "")]
    tables += _charges_apart(kind, asset, fields, amounts, good)
    tables.append(_entries(leg_kind, leg_asset, leg, leg_amounts, good[second], ":in"))
    tables += _coins_paid(kind, asset, fields, amounts, good & ~second)
    mismatches = _mismatches(kind, asset, fields, amounts, good)
    return Booking(pa.concat_tables(tables), reasons, skip, mismatches, fields)


def _of_no_asset(kind: np.ndarray, symbol: pa.Array, fields: Fields) -> np.ndarray:
    """Deposits, and charges without a symbol or ISIN: what stands in their name is prose (a bank, a
    person), and stays out."""
    nameless = as_mask(pc.and_(pc.equal(symbol, ""), pc.equal(fields.text("isin"), "")))
    return np.isin(kind, CASH_MOVES) | (nameless & np.isin(kind, (EntryKind.INTEREST, *CHARGES)))


def _first_leg(given: Classification) -> tuple[np.ndarray, np.ndarray, np.ndarray, Fields]:
    """Kinds, reasons to skip, rows with a second leg, fields: a swap with money on one side is a
    purchase or a sale; else it is the sale of the one asset, then a purchase."""
    fields, kind, skip = given.fields, given.kind.copy(), given.skip.copy()
    swap = kind == SWAP
    if not swap.any():
        return kind, skip, swap, fields
    paid, received = (as_mask(is_money(fields.text(role))) for role in ("out_symbol", "in_symbol"))
    skip[swap & paid & received] = "one currency for another"
    kind[swap] = np.where(paid[swap], EntryKind.BUY.value, EntryKind.SELL.value)
    swaps, buys = pa.array(swap), pa.array(swap & paid)
    second = swap & ~paid & ~received
    valued = pc.and_(pc.is_valid(fields.number("value")), pa.array(second))

    def side(of_buys: str, of_sales: str, number: bool = False) -> pa.Array:
        get = fields.number if number else fields.text
        return pc.if_else(buys, get(of_buys), get(of_sales))

    texts = {
        "symbol": side("in_symbol", "out_symbol"),
        "currency": pc.if_else(
            valued, fields.text("value_currency"), side("out_symbol", "in_symbol")
        ),
    }
    numbers = {
        "quantity": side("in_quantity", "out_quantity", True),
        "amount": pc.if_else(
            valued, fields.number("value"), side("out_quantity", "in_quantity", True)
        ),
        "price": _NO_NUMBER,
        "net": _NO_NUMBER,
        "cash": _NO_NUMBER,
    }
    fields = replace(
        fields,
        texts=fields.texts
        | {role: pc.if_else(swaps, text, fields.text(role)) for role, text in texts.items()},
        numbers=fields.numbers
        | {
            role: pc.if_else(swaps, number, fields.number(role)) for role, number in numbers.items()
        },
    )
    return kind, skip, second, fields


def _second_leg(fields: Fields, first: "_Amounts", second: pa.Array) -> Fields:
    """The purchase of what came for an asset, less the charges that were taken from it."""
    valued = pc.is_valid(fields.number("value"))
    charges = pc.if_else(valued, ZERO, total(first.fee, first.tax).filter(second))
    nothing = pa.repeat(pa.scalar(""), len(fields.rows))
    texts = {role: text for role, text in fields.texts.items() if not role.startswith("charge ")}
    texts |= {
        "symbol": fields.text("in_symbol"),
        "currency": pc.if_else(valued, fields.text("value_currency"), fields.text("out_symbol")),
        "isin": nothing,
        "name": nothing,
    }
    numbers = {
        "quantity": total(fields.number("in_quantity"), pc.negate(charges)),
        "amount": pc.if_else(valued, fields.number("value"), fields.number("out_quantity")),
    }
    return replace(fields, texts=texts, numbers=numbers, wrong={})


# What a row moves


@dataclass(frozen=True)
class _Amounts:
    """What is booked.

    Attributes:
        worth: quantity times price.
        apart: charges that are entries of their own: role, kind, currency.
        from_net: whether the amount of an income is worked out from what was left of it.
    """

    quantity: pa.Array
    price: pa.Array
    amount: pa.Array
    fee: pa.Array
    tax: pa.Array
    currency: pa.Array
    symbol: pa.Array
    worth: pa.Array
    apart: list[tuple[str, str, pa.Array]]
    from_net: pa.Array | None = None


def _amounts(kind: np.ndarray, asset: np.ndarray, fields: Fields) -> _Amounts:
    """Works out what is not written from what is; null where that is not enough."""
    trade, income, charge, cash = (
        pa.array(np.isin(kind, kinds)) for kinds in (TRADES, INCOME, CHARGES, CASH_MOVES)
    )
    buys = pa.array(kind == EntryKind.BUY)
    quantity, price = fields.number("quantity"), pc.abs(fields.number("price"))
    net, gross = fields.number("net"), fields.number("amount")
    symbol, named = fields.text("symbol"), fields.text("currency")
    wallet = pc.and_(cash, is_money(symbol))  # cash that is written as units of a currency
    in_units = pc.and_(wallet, pc.and_(pc.is_valid(quantity), pc.is_null(net)))
    gross = pc.if_else(in_units, _money_units(quantity, price, symbol, named), gross)

    from_net = pc.and_(pc.is_null(gross), pc.is_valid(net))
    priced = pc.and_(trade, pc.is_valid(price))
    currency = pc.if_else(pc.and_(from_net, pc.invert(priced)), fields.text("net_currency"), named)
    currency = pc.if_else(wallet, pc.utf8_upper(symbol), currency)
    fee, tax, apart = _charges(fields, currency)
    taken_back = _taken_back(income, pc.coalesce(gross, net), tax, fields)
    tax = pc.if_else(taken_back, pc.negate(tax), tax)
    accrued = pc.if_else(trade, _accrued(fields), ZERO)

    # Cash is what is left of a sale or an income after its charges, and what a purchase cost with
    # them.
    def before_charges() -> pa.Array:
        charges = total(fee, tax)
        cash = total(pc.abs(net), pc.negate(accrued))
        return total(cash, pc.if_else(buys, pc.negate(charges), charges))

    paid = before_charges()
    traded = pc.if_else(pc.is_valid(gross), pc.abs(gross), paid)
    unpriced = pc.or_(pc.is_null(traded), pc.is_null(price))
    units = _units_behind(pc.abs(quantity), asset, unpriced, fields)
    stated = pc.is_valid(price)
    price = pc.if_else(pc.and_(trade, pc.invert(stated)), quotient(traded, units), price)
    worth = product(units, price)
    if fields.format.fee_from_net:
        fee = _fee_from_net(fee, net, worth, trade, buys, fields)
    in_one = pc.and_(trade, _one_currency(fields))
    base = total(pc.coalesce(pc.abs(gross), worth), accrued)
    given_back = _given_back(base, total(fee, tax), in_one, buys, fields)
    fee = pc.if_else(given_back, pc.negate(fee), fee)
    tax = pc.if_else(given_back, pc.negate(tax), tax)
    charges, paid = total(fee, tax), before_charges()
    worth = pc.if_else(_is_rounded(worth, paid, in_one, fields), paid, worth)

    sized = pc.or_(
        pa.array(np.isin(asset, QUOTED_BY_UNIT)), pc.is_valid(fields.number("multiplier"))
    )
    by_cash = pc.and_(pc.invert(sized), pc.and_(pc.is_valid(traded), _one_currency(fields)))
    traded = pc.if_else(
        pc.or_(pc.or_(pc.is_valid(gross), by_cash), pc.invert(stated)), traded, worth
    )
    earned = pc.coalesce(gross, total(net, charges), worth)
    only_charges = pc.if_else(pc.not_equal(charges, ZERO), charges, _NO_NUMBER)
    cost = {"+": gross, "-": pc.negate(gross)}.get(fields.format.costs, pc.abs(gross))
    charged = pc.coalesce(pc.negate(net), cost, worth, only_charges)
    nothing = pc.fill_null(pc.equal(pc.coalesce(net, gross), ZERO), False)
    charged = pc.if_else(nothing, pc.coalesce(only_charges, charged), charged)
    arrives = pa.array(kind == EntryKind.DEPOSIT)
    whole = total(pc.abs(net), pc.if_else(arrives, charges, pc.negate(charges)))
    moved = pc.coalesce(whole, pc.abs(gross), worth, pc.abs(quantity))
    amount = _choose((trade, traded), (income, earned), (charge, charged), (cash, moved))
    of_charges = pc.fill_null(pc.equal(amount, charges), False)
    in_amount = pc.and_(charge, pc.or_(pc.is_valid(net), of_charges))
    fee, tax = pc.if_else(in_amount, ZERO, fee), pc.if_else(in_amount, ZERO, tax)

    paid_in_units = (kind == EntryKind.INTEREST) & (asset == AssetClass.CRYPTO)
    of_assets = (*TRADES, EntryKind.TRANSFER, EntryKind.SPLIT, EntryKind.DIVIDEND)
    has_units = pa.array(np.isin(kind, of_assets) | paid_in_units)
    signed = pa.array(np.isin(kind, (EntryKind.TRANSFER, EntryKind.SPLIT)))
    quantity = pc.if_else(signed, quantity, pc.abs(quantity))
    no_units = pc.or_(
        pc.invert(has_units), pc.and_(income, pc.fill_null(pc.equal(quantity, ZERO), False))
    )
    quantity = pc.if_else(no_units, _NO_NUMBER, quantity)
    per_unit = pc.and_(
        pa.array(kind != EntryKind.SPLIT), pc.and_(pc.equal(currency, named), pc.is_valid(quantity))
    )
    has_price = pc.and_(has_units, pc.or_(trade, pc.and_(per_unit, pc.greater(price, ZERO))))
    price = pc.if_else(has_price, price, _NO_NUMBER)
    symbol = pc.if_else(cash, "", symbol)
    return _Amounts(
        quantity, price, amount, fee, tax, currency, symbol, worth, apart, pc.and_(income, from_net)
    )


def _choose(*cases: tuple[pa.Array, pa.Array]) -> pa.Array:
    """The value of the case that holds; null where none does. At most one holds in a row."""
    result = _NO_NUMBER
    for holds, value in cases:
        result = pc.if_else(holds, value, result)
    return result


def _one_currency(fields: Fields) -> pa.Array:
    """Whether the cash of a row is in the currency of its price."""
    return pc.equal(fields.text("currency"), fields.text("net_currency"))


def _money_units(
    quantity: pa.Array, price: pa.Array, symbol: pa.Array, currency: pa.Array
) -> pa.Array:
    """Units of a currency: 5000 of it at 1, or once 5000; a price in another currency is what they
    were worth, not how many."""
    own = pc.or_(pc.equal(pc.utf8_upper(symbol), currency), pc.equal(currency, ""))
    priced = pc.and_(own, pc.fill_null(pc.greater(price, ZERO), False))
    return pc.if_else(priced, product(pc.abs(quantity), price), quantity)


def _units_behind(
    quantity: pa.Array, asset: np.ndarray, by_price: pa.Array, fields: Fields
) -> pa.Array:
    """Units behind a quantity: contracts times their size; 100 for options whose size is not
    stated, where the amount follows from the price or the price from the amount."""
    options = asset == AssetClass.OPTION
    if "multiplier" not in fields.numbers and not options.any():
        return quantity
    unit, hundred = (pa.scalar(Decimal(size), FACTOR) for size in (1, 100))
    size = pc.if_else(pc.and_(pa.array(options), by_price), hundred, unit)
    return product(quantity, pc.coalesce(fields.number("multiplier"), size))


_CENT = pa.scalar(Decimal("0.01"), FACTOR)


def _given_back(
    base: pa.Array, charges: pa.Array, trade: pa.Array, buys: pa.Array, fields: Fields
) -> pa.Array:
    """Whether the cash of a trade is explained by charges that were given back, and by nothing
    else."""
    cash = pc.abs(pc.coalesce(fields.number("net"), fields.number("cash")))
    as_cost = total(base, pc.if_else(buys, charges, pc.negate(charges)))
    as_rebate = total(base, pc.if_else(buys, pc.negate(charges), charges))
    far = pc.greater(pc.abs(total(cash, pc.negate(as_cost))), _CENT)
    near = pc.less_equal(pc.abs(total(cash, pc.negate(as_rebate))), _CENT)
    return pc.fill_null(pc.and_(trade, pc.and_(far, near)), False)


def _is_rounded(worth: pa.Array, paid: pa.Array, trade: pa.Array, fields: Fields) -> pa.Array:
    """Whether the cash of a trade is off quantity times price by more than a cent, but by no more
    than their last digits explain: then the cash is exact."""
    off = pc.abs(total(worth, pc.negate(paid)))
    explained = pc.and_(pc.greater(off, _CENT), pc.less_equal(off, rounding(fields)))
    return pc.fill_null(pc.and_(trade, explained), False)


def _taken_back(income: pa.Array, stated: pa.Array, tax: pa.Array, fields: Fields) -> pa.Array:
    """Whether income was taken back while its tax stands without a sign: it was given back too."""
    if fields.format.costs == "-":
        return pa.repeat(pa.scalar(False), len(fields.rows))
    both = pc.and_(pc.less(stated, ZERO), pc.greater(tax, ZERO))
    return pc.fill_null(pc.and_(income, both), False)


def _accrued(fields: Fields) -> pa.Array:
    """Interest that a bond had earned, as its buyer pays it."""
    sums = _zeros(fields)
    for number, charge in enumerate(fields.format.charges):
        if charge.kind == EntryKind.INTEREST and charge_role(number) in fields.numbers:
            stated = pc.coalesce(fields.number(charge_role(number)), ZERO)
            sums = total(sums, pc.abs(stated))
    return sums


def _charges(
    fields: Fields, currency: pa.Array
) -> tuple[pa.Array, pa.Array, list[tuple[str, str, pa.Array]]]:
    """Fees and taxes in the currency of the event, and the charges that have rows in another."""
    sums = {"FEE": _zeros(fields), "TAX": _zeros(fields)}
    apart = []
    for number, charge in enumerate(fields.format.charges):
        role = charge_role(number)
        if role not in fields.numbers:
            continue
        value = pc.coalesce(_cost(fields, number), ZERO)
        own = fields.text(role + " currency")
        beside = pc.if_else(pc.equal(currency, ""), "", fields.text("net_currency"))
        own = pc.if_else(pc.equal(own, ""), beside, own)
        own = pc.if_else(pc.equal(own, ""), currency, own)
        same = pc.equal(own, currency)
        if charge.kind == EntryKind.INTEREST:
            apart.append((role, charge.kind, own))
            continue
        sums[charge.kind] = total(sums[charge.kind], pc.if_else(same, value, ZERO))
        if as_mask(pc.and_(pc.invert(same), pc.not_equal(value, ZERO))).any():
            apart.append((role, charge.kind, own))
    return sums["FEE"], sums["TAX"], apart


def _cost(fields: Fields, number: int) -> pa.Array:
    """A charge as what it cost; negative where it was given back, if the format tells one from the
    other."""
    value, sign = fields.number(charge_role(number)), fields.format.charges[number].sign
    return pc.abs(value) if not sign else value if sign == "+" else pc.negate(value)


def _zeros(fields: Fields) -> pa.Array:
    return pa.repeat(ZERO, len(fields.rows))


def _fee_from_net(
    fee: pa.Array, net: pa.Array, worth: pa.Array, trade: pa.Array, buys: pa.Array, fields: Fields
) -> pa.Array:
    """What the cash differs from the price, where that is a plausible fee: not negative, at most a
    twentieth."""
    difference = total(pc.abs(net), pc.negate(worth))
    difference = pc.if_else(buys, difference, pc.negate(difference))
    limit = pc.coalesce(quotient(worth, pa.scalar(Decimal(20), FACTOR)), ZERO)
    within = pc.and_(pc.greater_equal(difference, ZERO), pc.less_equal(difference, limit))
    plausible = pc.and_(pc.and_(trade, _one_currency(fields)), within)
    return pc.if_else(pc.fill_null(plausible, False), pc.round(difference, 4), fee)


# Why a row cannot be booked


def _reasons(kind: np.ndarray, fields: Fields, amounts: _Amounts) -> np.ndarray:
    """The first reason that applies to each row, in words for the person whose row it is; "" where
    it can be booked."""
    reasons = np.full(len(kind), "", object)

    def refuse(
        mask: np.ndarray, reason: str, texts: pa.Array | None = None, length: int = 40
    ) -> None:
        mask = mask & (reasons == "")
        if texts is None:
            reasons[mask] = reason
        else:
            reasons[mask] = [
                reason.format(text[:length]) for text in texts.filter(pa.array(mask)).to_pylist()
            ]

    dates, actions = fields.text("date"), fields.text("action")
    refuse(np.isnat(fields.at) & as_mask(pc.equal(dates, "")), "there is no date")
    refuse(np.isnat(fields.at), "the date cannot be read: '{}'", dates)
    refuse((kind == "") & as_mask(pc.equal(actions, "")), "there is no action")
    refuse(kind == "", "unknown action '{}'", actions, 60)
    for role, wrong in fields.wrong.items():
        charge = role.removeprefix("charge ") if role.startswith("charge ") else ""
        label = " or ".join(fields.format.charges[int(charge)].amount) if charge else role
        label = label.replace("{", "{{").replace("}", "}}")
        used = wrong & _is_used(role, kind)
        refuse(
            used & _too_long(fields.written[role]),
            label + " is too large: {}",
            fields.written[role],
        )
        refuse(used, label + " is not a number: '{}'", fields.written[role])
    trade, transfer, split = (
        np.isin(kind, TRADES),
        kind == EntryKind.TRANSFER,
        kind == EntryKind.SPLIT,
    )
    names = (amounts.symbol, fields.text("isin"), fields.text("name"))
    named = as_mask(pc.not_equal(pc.binary_join_element_wise(*names, ""), ""))
    zero, missing = as_mask(pc.equal(amounts.quantity, ZERO)), as_mask(pc.is_null(amounts.quantity))
    ratio = fields.number("ratio")
    refuse((trade | transfer | split) & ~named, "there is no symbol")
    refuse((trade | transfer) & missing, "there is no quantity")
    refuse((trade | transfer) & zero, "the quantity is zero")
    if fields.format.strict_buys:
        negative = as_mask(pc.less(fields.number("quantity"), ZERO))
        refuse((kind == EntryKind.BUY) & negative, "a purchase has a negative quantity")
        refuse(trade & as_mask(pc.less(fields.number("price"), ZERO)), "the price is negative")
    refuse(trade & as_mask(pc.is_null(amounts.price)), "there is no price")
    refuse(trade & as_mask(pc.equal(amounts.price, ZERO)), "the price is zero")
    refuse(
        split & as_mask(pc.is_null(ratio)) & (missing | zero),
        "the split has neither a ratio nor units",
    )
    refuse(split & as_mask(pc.less_equal(ratio, ZERO)), "the ratio of a split is not above zero")
    limit = pa.scalar(LARGEST, FACTOR)
    refuse(as_mask(pc.greater_equal(pc.abs(amounts.quantity), limit)), "quantity is too large")
    refuse(as_mask(pc.greater_equal(pc.abs(amounts.price), limit)), "price is too large")
    with_amount = (trade | np.isin(kind, (*CASH_MOVES, *INCOME, *CHARGES))) & ~(
        (kind == EntryKind.INTEREST) & ~missing
    )
    refuse(with_amount & as_mask(pc.is_null(amounts.amount)), "there is no amount")
    for currency in (amounts.currency, *(currency for _, _, currency in amounts.apart)):
        code = as_mask(pc.match_substring_regex(currency, r"^(?:[A-Z][A-Z0-9.]{1,14})?$"))
        refuse(~code, "not a currency code: '{}'", currency, 20)
    return reasons


def _too_long(written: pa.Array) -> np.ndarray:
    """Whether a text is a number of more digits than the ledger holds."""
    return as_mask(pc.match_substring_regex(bare(written), r"^[+-]*\d[\d.,]{13,}$"))


def _is_used(role: str, kind: np.ndarray) -> np.ndarray:
    """Whether the kind of a row uses a number, so that a wrong one spoils the row."""
    if role == "ratio":
        return np.isin(kind, (EntryKind.SPLIT,))
    if role in ("balance", "multiplier", "value", "in_quantity", "out_quantity"):
        return np.isin(kind, (*TRADES, SWAP)) & (role != "balance")
    if role in ("quantity", "price"):
        return ~np.isin(kind, CHARGES)
    return np.ones(len(kind), bool)


# The entries


def _entries(
    kind: np.ndarray,
    asset: np.ndarray,
    fields: Fields,
    amounts: _Amounts,
    good: np.ndarray,
    part: str,
) -> pa.Table:
    """Entries of the rows of a mask; `part` is what their ids end with."""
    mask = pa.array(good)

    def money(values: pa.Array) -> pa.Array:
        return pc.cast(values.filter(mask), MONEY)

    def text(role: str) -> pa.Array:
        return _safe(fields.text(role).filter(mask))

    ratio = pc.if_else(pa.array(kind == EntryKind.SPLIT), fields.number("ratio"), _NO_NUMBER)
    return pa.table(
        {
            "kind": pa.array(kind[good].tolist(), pa.string()),
            "asset_class": pa.array(asset[good].tolist(), pa.string()),
            "symbol": _safe(amounts.symbol.filter(mask)),
            "isin": pc.utf8_upper(text("isin")),
            "name": text("name"),
            "quantity": money(amounts.quantity),
            "price": money(amounts.price),
            "amount": money(amounts.amount),
            "fee": money(amounts.fee),
            "tax": money(amounts.tax),
            "ratio": money(ratio),
            "currency": amounts.currency.filter(mask),
            "executed_at": pa.array(fields.at[good], pa.timestamp("us", tz="UTC")),
            "time_known": pa.array(fields.timed[good]),
            "source_row": pa.array(fields.rows[good], pa.int64()),
            "account": fields.text("account").filter(mask),
            "trade_id": text("trade_id"),
            "order_id": text("order_id"),
            "part": pa.repeat(pa.scalar(part), int(good.sum())),
        }
    )


def _safe(texts: pa.Array) -> pa.Array:
    """Text from an export: no control characters, nothing that a spreadsheet would run as a
    formula, 200 characters at most."""
    texts = pc.replace_substring_regex(texts, r"[\x00-\x1f\x7f]+", " ")
    texts = pc.utf8_trim_whitespace(pc.replace_substring_regex(texts, r"^[\s=+\-@]+", ""))
    return pc.utf8_slice_codeunits(texts, 0, 200)


def _coins_paid(
    kind: np.ndarray, asset: np.ndarray, fields: Fields, amounts: _Amounts, good: np.ndarray
) -> list[pa.Table]:
    """The other side of trades whose price is in a coin: the coins that left or came, with the
    charges in them."""
    coins = ~as_mask(is_money(amounts.currency)) & ~as_mask(pc.equal(amounts.currency, ""))
    buys = kind == EntryKind.BUY
    charges = total(amounts.fee, amounts.tax)
    paid = total(amounts.amount, pc.if_else(pa.array(buys), charges, pc.negate(charges)))
    rows = good & np.isin(kind, TRADES) & (asset == AssetClass.CRYPTO) & coins
    rows &= as_mask(pc.greater(paid, ZERO))
    if not rows.any():
        return []
    no_text, zero = pa.repeat(pa.scalar(""), len(kind)), _zeros(fields)
    moved = replace(
        amounts,
        quantity=paid,
        price=quotient(amounts.quantity, paid),
        amount=amounts.quantity,
        fee=zero,
        tax=zero,
        currency=pc.utf8_upper(amounts.symbol),
        symbol=amounts.currency,
    )
    unnamed = replace(fields, texts=fields.texts | {"name": no_text, "isin": no_text})
    opposite = np.where(buys, EntryKind.SELL.value, EntryKind.BUY.value).astype(object)
    return [_entries(opposite, asset, unnamed, moved, rows, ":coin")]


def _charges_apart(
    kind: np.ndarray, asset: np.ndarray, fields: Fields, amounts: _Amounts, good: np.ndarray
) -> list[pa.Table]:
    """Charges that are entries of their own: in another currency than their event, in units of a
    coin, or interest that a bond had earned.

    Coins that were paid leave like any other units. Tax in another currency was withheld from an
    income of which only the rest is stated: it is income too.
    """
    tables = []
    size = len(kind)
    nothing, zero = pa.nulls(size, FACTOR), _zeros(fields)
    cash = np.full(size, AssetClass.CASH.value, object)
    crypto = np.full(size, AssetClass.CRYPTO.value, object)
    no_text = pa.repeat(pa.scalar(""), size)
    unnamed = replace(fields, texts=fields.texts | {"name": no_text, "isin": no_text})
    of_coins = (asset == AssetClass.CRYPTO) | (fields.format.asset == AssetClass.CRYPTO)
    buys = pa.array(kind == EntryKind.BUY)

    def charged(value: pa.Array, tax: pa.Array, currency: pa.Array) -> _Amounts:
        symbol = amounts.symbol
        return _Amounts(nothing, nothing, value, zero, tax, currency, symbol, nothing, [])

    def add(
        what: str | np.ndarray,
        classes: np.ndarray,
        of: Fields,
        moved: _Amounts,
        rows: np.ndarray,
        part: str,
    ) -> None:
        if rows.any():
            kinds = np.full(size, what, object) if isinstance(what, str) else what
            tables.append(_entries(kinds, classes, of, moved, rows, part))

    for role, charge, currency in amounts.apart:
        number = role.removeprefix("charge ")
        part = f":{charge.lower()}{number}"
        value = _cost(fields, int(number))
        rows = good & as_mask(pc.not_equal(value, ZERO))
        if charge == EntryKind.INTEREST:
            earned = pc.if_else(buys, pc.negate(pc.abs(value)), pc.abs(value))
            interest = charged(earned, zero, currency)
            add(charge, asset, fields, interest, rows & np.isin(kind, TRADES), part)
            continue
        rows &= as_mask(pc.not_equal(currency, amounts.currency))
        coins = rows & of_coins & ~as_mask(is_money(currency)) & ~as_mask(pc.equal(currency, ""))
        withheld = rows & ~coins & (charge == EntryKind.TAX) & as_mask(amounts.from_net)
        units = replace(charged(nothing, zero, no_text), quantity=pc.negate(value), symbol=currency)
        add(EntryKind.TRANSFER.value, crypto, unnamed, units, coins, part)
        add(kind, asset, fields, charged(value, value, currency), withheld, part)
        plain = charged(value, zero, currency)
        add(charge, cash, fields, plain, rows & ~coins & ~withheld, part)
    return tables


def _mismatches(
    kind: np.ndarray, asset: np.ndarray, fields: Fields, amounts: _Amounts, good: np.ndarray
) -> list[StatedAmount]:
    """Trades whose stated amount is off quantity times price by more than 1 % and 5 hundredths;
    stated cash is compared in reconciliation.py.

    Options and bonds apart: contracts have a size, bonds are quoted in per cent, and exports seldom
    say so.
    """
    if "amount" not in fields.numbers:
        return []
    trade = pa.array(good & np.isin(kind, TRADES) & np.isin(asset, QUOTED_BY_UNIT))
    stated = pc.abs(fields.number("amount"))
    off = pc.abs(total(stated, pc.negate(amounts.worth)))
    hundredth = quotient(stated, pa.scalar(Decimal(100), FACTOR))
    limit = total(hundredth, pa.scalar(Decimal("0.05"), FACTOR))
    return [
        StatedAmount(int(fields.rows[at]), stated[at].as_py(), amounts.worth[at].as_py())
        for at in np.flatnonzero(as_mask(pc.and_(trade, pc.greater(off, limit)))).tolist()
    ]
