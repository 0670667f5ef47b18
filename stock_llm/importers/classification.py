"""Decides what each row means: the kind of event, or the reason to skip it, as the format's rules
and vocabulary say.

In: `Fields`. Out: `Classification`, with the fields as the rules rearrange them. Rules come first,
in their order, then what is skipped, then the vocabulary; there an exact word counts before a
pattern. Amounts are worked out in booking.py.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.importers.column_mapping import Fields, charge_role, is_money, place_of
from stock_llm.importers.format_spec import Format, RowRule, glob
from stock_llm.ledger.entries import AssetClass, EntryKind
from stock_llm.tabular.numbers import FACTOR, MONEY, ZERO, product, quotient, total
from stock_llm.tabular.table import as_mask, map_distinct

SWAP = "SWAP"
"""One asset for another: no kind of the ledger, two entries are made of it."""

CONTRACT = (
    r"^-?[A-Z][A-Z0-9.]{0,5} *"
    r"(?:\d{6}[CP](?:\d{8}|\d+(?:\.\d+)?)|\d\d/\d\d/\d{4} \d+(?:\.\d+)? [CP])$"
)
"""How an option is named where a symbol should stand: root, expiry, C or P and strike, as the OCC's
Options Symbology Initiative writes it in 21 places (AAPL  240119C00150000), as Fidelity shortens it
(-AAPL240119C150), or as Schwab spells it out (AAPL 01/19/2024 150.00 C). A row with such a symbol
is an option whatever its action says."""


@dataclass(frozen=True)
class Classification:
    """Per row: a ledger kind or SWAP ("" where there is none), why it is skipped, and the class of
    the asset."""

    kind: np.ndarray
    skip: np.ndarray
    asset: np.ndarray
    fields: Fields


def classify(fields: Fields) -> Classification:
    """Applies a format's rules and vocabulary."""
    form = fields.format
    size = len(fields.rows)
    kind, skip = np.full(size, "", object), np.full(size, "", object)
    asset = _assets(fields)
    undecided = np.ones(size, bool)
    for rule in form.rules:
        hit = undecided & _applies(rule, fields)
        if not hit.any():
            continue
        if rule.asset:
            asset[hit] = rule.asset.value
        fields = _rearranged(rule, fields, hit)
        if rule.kind or rule.skip:
            kind[hit], skip[hit] = rule.kind, rule.skip
            undecided &= ~hit
    if undecided.any():
        actions = fields.text("action").dictionary_encode()
        meanings = [_vocabulary(form, word) for word in actions.dictionary.to_pylist()]
        kinds, reasons = (np.array(column, object) for column in zip(*meanings, strict=True))
        codes = actions.indices.to_numpy(zero_copy_only=False)[undecided]
        kind[undecided], skip[undecided] = kinds[codes], reasons[codes]
    return _directed(Classification(kind, skip, asset, fields))


def _assets(fields: Fields) -> np.ndarray:
    form = fields.format

    def asset_class(text: str) -> str:
        matches = (asset for pattern, asset in form.assets.items() if glob(pattern).fullmatch(text))
        return next(matches, form.asset).value

    classes = map_distinct(fields.text("asset"), asset_class)
    contract = pc.match_substring_regex(fields.text("symbol"), CONTRACT)
    option = pc.and_(contract, pc.equal(classes, AssetClass.STOCK.value))
    return np.array(pc.if_else(option, AssetClass.OPTION.value, classes).to_pylist(), object)


def _applies(rule: RowRule, fields: Fields) -> np.ndarray:
    holds = np.ones(len(fields.rows), bool)
    for role, wanted in rule.when.items():
        patterns = (wanted,) if isinstance(wanted, str) else wanted
        numeric = role in fields.format.numbers
        holds &= (_number_matches if numeric else _text_matches)(fields, role, patterns)
    return holds


_SIGNS = {">0": pc.greater, "<0": pc.less, "=0": pc.equal}


def _number_matches(fields: Fields, role: str, patterns: tuple[str, ...]) -> np.ndarray:
    number = fields.number(role)
    matches = np.zeros(len(fields.rows), bool)
    for pattern in patterns:
        if pattern in _SIGNS:
            matches |= as_mask(_SIGNS[pattern](number, ZERO))
        else:  # "" and "*": is there a number?
            matches |= as_mask(pc.is_valid(number) if pattern else pc.is_null(number))
    return matches


def _text_matches(fields: Fields, role: str, patterns: tuple[str, ...]) -> np.ndarray:
    texts = fields.text(place_of(fields.format, role)).dictionary_encode()
    words = zip(texts.dictionary.to_pylist(), is_money(texts.dictionary).to_pylist(), strict=True)
    matches = [
        any(money if pattern == "@money" else glob(pattern).fullmatch(word) for pattern in patterns)
        for word, money in words
    ]
    return np.take(np.array(matches, bool), np.asarray(texts.indices))


def _vocabulary(form: Format, word: str) -> tuple[str, str]:
    """(kind, why to skip) of an action; both empty where it is unknown."""
    known = [
        (pattern, "", reason) for reason, patterns in form.skip.items() for pattern in patterns
    ]
    known += [(pattern, kind, "") for kind, patterns in form.kinds.items() for pattern in patterns]
    exact = [(kind, reason) for pattern, kind, reason in known if pattern.lower() == word.lower()]
    fitting = exact or [
        (kind, reason)
        for pattern, kind, reason in known
        if "*" in pattern and glob(pattern).fullmatch(word)
    ]
    return fitting[0] if fitting else ("", "")


def _rearranged(rule: RowRule, fields: Fields, hit: np.ndarray) -> Fields:
    """The fields with what the rule puts in the place of others, in the rows that it hit."""
    mask = pa.array(hit)
    texts, numbers, wrong = dict(fields.texts), dict(fields.numbers), dict(fields.wrong)
    for target, source in rule.take.items():
        charge = target in ("fee", "tax")
        role = charge_role(fields.format.charge_of(target.upper())) if charge else target
        if charge or role in fields.format.numbers:
            numbers[role] = pc.if_else(mask, _number(fields, source), fields.number(role))
            if role in wrong and (not source or "'" in source):
                wrong[role] = wrong[role] & ~hit
        else:
            texts[role] = pc.if_else(mask, _text(fields, source), fields.text(role))
    return replace(fields, texts=texts, numbers=numbers, wrong=wrong)


def _number(fields: Fields, source: str) -> pa.Array:
    """A role, `a * b`, `a / b`, `a - b`, `-a`, `'1.5'`, or nothing for none."""
    if source.startswith("'"):
        return pa.array([source.strip("'")] * len(fields.rows)).cast(MONEY).cast(FACTOR)
    if source.startswith("-"):
        return pc.negate(fields.number(source[1:]))
    parts = source.split()
    if len(parts) == 3:
        left, right = fields.number(parts[0]), fields.number(parts[2])
        if parts[1] == "-":
            return total(pc.abs(left), pc.negate(pc.abs(right)))
        return {"*": product, "/": quotient}[parts[1]](left, right)
    return fields.number(source) if source else pa.nulls(len(fields.rows), FACTOR)


def _text(fields: Fields, source: str) -> pa.Array:
    if source.startswith("'") or not source:
        return pa.array([source.strip("'")] * len(fields.rows), pa.string())
    return fields.text(place_of(fields.format, source))


def _directed(given: Classification) -> Classification:
    """Kinds that the sign decides become one of the two; cash that is units becomes a transfer, and
    the other way round."""
    kind, skip, fields = _money_of_wallets(given)
    if fields.format.unsigned:
        fields = _with_signs(kind, fields)
    sign = _sign(fields, fields.format.sign)
    by_cash = fields.format.sign == "net"
    for undirected, paid, received, minus_pays in (
        ("BUY/SELL", EntryKind.BUY, EntryKind.SELL, by_cash),
        ("DEPOSIT/WITHDRAWAL", EntryKind.WITHDRAWAL, EntryKind.DEPOSIT, True),
    ):
        hit = kind == undirected
        direction = sign if minus_pays else -sign
        kind[hit] = np.select(
            [direction[hit] < 0, direction[hit] > 0], [paid.value, received.value], ""
        )
    net = _sign(fields, "net")
    stated = np.where(net == 0, _sign(fields, "amount"), net)
    _reverse_cancelled(kind, stated, _sign(fields, "quantity"))
    left = (kind == EntryKind.DEPOSIT) & (net < 0)
    has_signs = ((kind == EntryKind.WITHDRAWAL) & (net < 0)).any()
    came = (kind == EntryKind.WITHDRAWAL) & (net > 0) & (by_cash and has_signs)
    kind[left], kind[came] = EntryKind.WITHDRAWAL.value, EntryKind.DEPOSIT.value

    quantity, symbol = fields.number("quantity"), fields.text("symbol")
    units = as_mask(pc.and_(pc.is_valid(quantity), pc.not_equal(symbol, ""))) & ~as_mask(
        is_money(symbol)
    )
    kind[units & (kind == EntryKind.DEPOSIT)] = "TRANSFER+"
    kind[units & (kind == EntryKind.WITHDRAWAL)] = "TRANSFER-"
    size = pc.abs(quantity)
    signed = pc.if_else(pa.array(kind == "TRANSFER+"), size, quantity)
    signed = pc.if_else(pa.array(kind == "TRANSFER-"), pc.negate(size), signed)
    kind[(kind == "TRANSFER+") | (kind == "TRANSFER-")] = EntryKind.TRANSFER.value
    asset = given.asset.copy()
    asset[np.isin(kind, (EntryKind.DEPOSIT.value, EntryKind.WITHDRAWAL.value))] = (
        AssetClass.CASH.value
    )
    fields = replace(fields, numbers={**fields.numbers, "quantity": signed})
    return Classification(kind, skip, asset, fields)


def _with_signs(kind: np.ndarray, fields: Fields) -> Fields:
    """The fields with a minus before cash that left, for kinds that have none in any row."""
    net = _sign(fields, "net")
    rows = np.zeros(len(kind), bool)
    for outflow in (EntryKind.BUY, EntryKind.WITHDRAWAL, EntryKind.FEE, EntryKind.TAX):
        if not ((kind == outflow) & (net < 0)).any():
            rows |= (kind == outflow) & (net > 0)
    signed = pc.if_else(pa.array(rows), pc.negate(fields.number("net")), fields.number("net"))
    return replace(fields, numbers=fields.numbers | {"net": signed}) if rows.any() else fields


def _reverse_cancelled(kind: np.ndarray, net: np.ndarray, units: np.ndarray) -> None:
    """Turns purchases that were taken back into sales, and sales into purchases.

    Both the cash and the units of such a row have the other sign than in most rows of its kind.
    """
    for given, other, cash in (
        (EntryKind.BUY, EntryKind.SELL, -1),
        (EntryKind.SELL, EntryKind.BUY, 1),
    ):
        rows = kind == given
        usual = 1 if given == EntryKind.BUY or units[rows].sum() >= 0 else -1
        back = rows & (net == -cash) & (units == -usual)
        if back.any() and 2 * back.sum() <= max(rows.sum(), 2):
            kind[back] = other.value


def _money_of_wallets(given: Classification) -> tuple[np.ndarray, np.ndarray, Fields]:
    """Crypto exchanges keep euros as a coin among others (elsewhere NOK is Nokia): what moves them
    is cash."""
    kind, skip = given.kind.copy(), given.skip.copy()
    money = (given.asset == AssetClass.CRYPTO) & as_mask(is_money(given.fields.text("symbol")))
    units = _sign(given.fields, "quantity")
    moved = money & (kind == "TRANSFER")
    kind[(money & (kind == "TRANSFER+")) | (moved & (units > 0))] = EntryKind.DEPOSIT.value
    kind[(money & (kind == "TRANSFER-")) | (moved & (units < 0))] = EntryKind.WITHDRAWAL.value
    trade = money & np.isin(kind, (EntryKind.BUY.value, EntryKind.SELL.value, "BUY/SELL"))
    kind[trade], skip[trade] = "", "one currency for another"
    fields = _interest_of_money(money & (kind == EntryKind.INTEREST), given.fields)
    return kind, skip, fields


def _interest_of_money(rows: np.ndarray, fields: Fields) -> Fields:
    """Interest that was paid in euros is an amount of them, not units of a coin."""
    if not rows.any():
        return fields
    hit, symbol = pa.array(rows), pc.utf8_upper(fields.text("symbol"))
    units = pc.coalesce(fields.number("quantity"), fields.number("net"), fields.number("amount"))
    nothing = pa.nulls(len(rows), FACTOR)
    numbers = {"amount": units} | dict.fromkeys(("quantity", "price", "net", "cash"), nothing)
    texts = {"symbol": pc.if_else(hit, "", symbol), "currency": symbol, "net_currency": symbol}
    return replace(
        fields,
        numbers=fields.numbers
        | {role: pc.if_else(hit, value, fields.number(role)) for role, value in numbers.items()},
        texts=fields.texts
        | {role: pc.if_else(hit, value, fields.text(role)) for role, value in texts.items()},
    )


def _sign(fields: Fields, role: str) -> np.ndarray:
    """-1, 0 or 1; 0 where there is no number."""
    signs = pc.cast(pc.sign(fields.number(role)), pa.int8())
    return np.asarray(pc.fill_null(signs, 0))
