"""Why a row cannot be booked, in words for the person whose row it is.

In: what is known of each row. Out: a reason a row, empty where it can be booked. Decides nothing else.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.importers.amounts import CASH, OF_ASSETS, TRADES, Amounts
from stock_llm.importers.classification import SWAP
from stock_llm.importers.fields import Fields
from stock_llm.ledger.entries import EntryKind
from stock_llm.tabular.values import FACTOR, LARGEST, ZERO, bare


def reasons_of(kind: np.ndarray, fields: Fields, amounts: Amounts) -> np.ndarray:
    """Why each row cannot be booked, "" where it can; the first reason that applies."""
    size = len(kind)
    reasons = np.full(size, "", object)

    def say(mask: np.ndarray, reason: str) -> None:
        reasons[mask & (reasons == "")] = reason

    def is_(array: pa.Array) -> np.ndarray:
        return pc.fill_null(array, False).to_numpy(zero_copy_only=False)

    unread = np.isnat(fields.when.at)
    dates, actions = fields.text("date"), fields.text("action")
    for at in np.flatnonzero(unread):
        text = dates[int(at)].as_py()
        reasons[at] = f"the date cannot be read: '{text[:40]}'" if text else "there is no date"
    for at in np.flatnonzero((kind == "") & (reasons == "")):
        text = actions[int(at)].as_py()
        reasons[at] = f"unknown action '{text[:60]}'" if text else "there is no action"
    trade, of_assets = np.isin(kind, TRADES), np.isin(kind, OF_ASSETS)
    for role, wrong in fields.wrong.items():
        written = fields.written[role]
        for at in np.flatnonzero(wrong & (reasons == "") & _matters(role, kind)):
            label = (
                role
                if not role.startswith("charge ")
                else " or ".join(fields.format.charges[int(role[7:])].amount)
            )
            text = written[int(at)].as_py()[:40]
            reasons[at] = (
                f"{label} is too large: {text}"
                if _is_number(text)
                else f"{label} is not a number: '{text}'"
            )
    nameless = is_(
        pc.and_(
            pc.equal(amounts.symbol, ""),
            pc.and_(pc.equal(fields.text("isin"), ""), pc.equal(fields.text("name"), "")),
        )
    )
    say(of_assets & nameless, "there is no symbol")
    zero, missing = is_(pc.equal(amounts.quantity, ZERO)), is_(pc.is_null(amounts.quantity))
    say((trade | (kind == EntryKind.TRANSFER)) & missing, "there is no quantity")
    say((trade | (kind == EntryKind.TRANSFER)) & zero, "the quantity is zero")
    if fields.format.strict_buys:
        say(
            (kind == EntryKind.BUY) & is_(pc.less(fields.number("quantity"), ZERO)),
            "a purchase has a negative quantity",
        )
        say(trade & is_(pc.less(fields.number("price"), ZERO)), "the price is negative")
    say(trade & is_(pc.is_null(amounts.price)), "there is no price")
    say(trade & is_(pc.equal(amounts.price, ZERO)), "the price is zero")
    split = kind == EntryKind.SPLIT
    ratio = fields.number("ratio")
    say(
        split & is_(pc.is_null(ratio)) & (missing | zero), "the split has neither a ratio nor units"
    )
    say(split & is_(pc.less_equal(ratio, ZERO)), "the ratio of a split is not above zero")
    limit = pa.scalar(LARGEST, FACTOR)
    for label, values in (("quantity", amounts.quantity), ("price", amounts.price)):
        say(is_(pc.greater_equal(pc.abs(values), limit)), f"{label} is too large")
    paid_in_units = (kind == EntryKind.INTEREST) & ~missing
    say(
        (trade | np.isin(kind, CASH)) & ~paid_in_units & is_(pc.is_null(amounts.amount)),
        "there is no amount",
    )
    for currency in (amounts.currency, *(currency for _, _, currency in amounts.apart)):
        code = pc.match_substring_regex(currency, r"^(?:[A-Z][A-Z0-9.]{1,14})?$").to_numpy(
            zero_copy_only=False
        )
        for at in np.flatnonzero(~code & (reasons == "")):
            reasons[at] = f"not a currency code: '{currency[int(at)].as_py()[:20]}'"
    return reasons


def _is_number(text: str) -> bool:
    digits = bare(pa.array([text]))[0].as_py()
    return digits.lstrip("+-").replace(".", "").replace(",", "").isdigit() and len(digits) > 13


def _matters(role: str, kind: np.ndarray) -> np.ndarray:
    """Whether a wrong number spoils a row: not one that this kind of event does not use."""
    if role in ("balance", "ratio", "multiplier", "value", "in_quantity", "out_quantity"):
        return (
            kind == EntryKind.SPLIT
            if role == "ratio"
            else np.isin(kind, (*TRADES, SWAP)) & (role != "balance")
        )
    if role in ("quantity", "price"):
        return ~np.isin(kind, (EntryKind.FEE.value, EntryKind.TAX.value))
    return np.ones(len(kind), bool)
