"""What each row means: the kind of event, or the reason to leave it out, as the format's rules and vocabulary say.

In: `Fields`. Out: `Meaning`, and the fields as the rules rearrange them. Rules come first, in their order, then what is skipped,
then the vocabulary; of the latter an exact word counts before a pattern. Does not compute amounts.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stock_llm.importers.fields import Fields, charge_role, is_money, place_of
from stock_llm.importers.format_spec import Format, RowRule, glob
from stock_llm.ledger.entries import AssetClass, EntryKind
from stock_llm.tabular.values import FACTOR, MONEY, ZERO, mapped, product, quotient, total

SWAP = "SWAP"
"""One asset for another: no kind of the ledger, two entries are made of it."""

CONTRACT = r"^-?[A-Z][A-Z0-9.]{0,5} *(?:\d{6}[CP](?:\d{8}|\d+(?:\.\d+)?)|\d\d/\d\d/\d{4} \d+(?:\.\d+)? [CP])$"
"""How an option is named where a symbol should stand: root, expiry, C or P and strike, as the OCC's Options Symbology Initiative
writes it in 21 places (AAPL  240119C00150000), as Fidelity shortens it (-AAPL240119C150), or as Schwab spells it out
(AAPL 01/19/2024 150.00 C). A row with such a symbol is an option whatever its action says."""


@dataclass(frozen=True)
class Classification:
    """Per row: a ledger kind or SWAP ("" where there is none), why it is skipped, and the class of the asset."""

    kind: np.ndarray
    skip: np.ndarray
    asset: np.ndarray
    fields: Fields


def classify(fields: Fields) -> Classification:
    """Applies a format's rules and vocabulary."""
    form = fields.format
    size = len(fields.rows)
    kind, skip = np.full(size, "", object), np.full(size, "", object)
    asset = _assets(form, fields)
    open_ = np.ones(size, bool)
    for rule in form.rules:
        hit = open_ & _holds(rule, fields)
        if not hit.any():
            continue
        if rule.asset:
            asset[hit] = rule.asset.value
        fields = _taken(rule, fields, hit)
        if rule.kind or rule.skip:
            kind[hit], skip[hit] = rule.kind, rule.skip
            open_ &= ~hit
    said = fields.text("action").dictionary_encode()
    if open_.any():
        outcomes = [_vocabulary(form, word) for word in said.dictionary.to_pylist()]
        where = said.indices.to_numpy(zero_copy_only=False)[open_]
        kind[open_], skip[open_] = (
            np.array(told, object)[where] for told in zip(*outcomes, strict=True)
        )
    return _directed(Classification(kind, skip, asset, fields))


def _assets(form: Format, fields: Fields) -> np.ndarray:
    def of(text: str) -> str:
        return next(
            (
                found.value
                for pattern, found in form.assets.items()
                if glob(pattern).fullmatch(text)
            ),
            form.asset.value,
        )

    classes = pa.array([form.asset.value] * len(fields.rows), pa.string())
    if form.assets:
        classes = mapped(fields.text("asset"), of)
    contract = pc.match_substring_regex(fields.text("symbol"), CONTRACT)
    option = pc.and_(contract, pc.equal(classes, AssetClass.STOCK.value))
    return np.array(pc.if_else(option, AssetClass.OPTION.value, classes).to_pylist(), object)


def _holds(rule: RowRule, fields: Fields) -> np.ndarray:
    holds = np.ones(len(fields.rows), bool)
    for role, wanted in rule.when.items():
        patterns = (wanted,) if isinstance(wanted, str) else wanted
        holds &= _matches(fields, role, patterns)
    return holds


_SIGNS = {">0": pc.greater, "<0": pc.less, "=0": pc.equal}


def _matches(fields: Fields, role: str, patterns: tuple[str, ...]) -> np.ndarray:
    size = len(fields.rows)
    if role in fields.format.numbers:
        found = np.zeros(size, bool)
        for pattern in patterns:
            if pattern in _SIGNS:
                one = _SIGNS[pattern](fields.number(role), ZERO)
                found |= pc.fill_null(one, False).to_numpy(zero_copy_only=False)
            else:  # "" and "*": is there a number?
                there = pc.is_valid(fields.number(role)).to_numpy(zero_copy_only=False)
                found |= there if pattern else ~there
        return found
    texts = fields.text(place_of(fields.format, role)).dictionary_encode()
    words = texts.dictionary.to_pylist()
    money = is_money(texts.dictionary).to_pylist()
    fit = np.array(
        [
            any(
                cash if pattern == "@money" else bool(glob(pattern).fullmatch(word))
                for pattern in patterns
            )
            for word, cash in zip(words, money, strict=True)
        ],
        bool,
    )
    return fit[texts.indices.to_numpy(zero_copy_only=False)] if len(fit) else np.zeros(size, bool)


def _vocabulary(form: Format, word: str) -> tuple[str, str]:
    """(kind, why to skip) of an action; both empty where it is unknown."""
    candidates = [
        ("", reason, pattern) for reason, patterns in form.skip.items() for pattern in patterns
    ]
    candidates += [
        (kind, "", pattern) for kind, patterns in form.kinds.items() for pattern in patterns
    ]
    exact = [one for one in candidates if one[2].lower() == word.lower()]
    fitting = exact or [one for one in candidates if "*" in one[2] and glob(one[2]).fullmatch(word)]
    return fitting[0][:2] if fitting else ("", "")


def _taken(rule: RowRule, fields: Fields, hit: np.ndarray) -> Fields:
    """The fields with what the rule puts in the place of others, in the rows that it hit."""
    mask = pa.array(hit)
    texts, numbers = dict(fields.texts), dict(fields.numbers)
    wrong = dict(fields.wrong)
    for taken, source in rule.take.items():
        role = (
            charge_role(fields.format.charge_of(taken.upper()))
            if taken in ("fee", "tax")
            else taken
        )
        if role in fields.format.numbers or role != taken:
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
        one, other = fields.number(parts[0]), fields.number(parts[2])
        if parts[1] == "-":
            return total(pc.abs(one), pc.negate(pc.abs(other)))
        return {"*": product, "/": quotient}[parts[1]](one, other)
    return fields.number(source) if source else pa.nulls(len(fields.rows), FACTOR)


def _text(fields: Fields, source: str) -> pa.Array:
    if source.startswith("'") or not source:
        return pa.array([source.strip("'")] * len(fields.rows), pa.string())
    return fields.text(place_of(fields.format, source))


def _directed(meaning: Classification) -> Classification:
    """Kinds that the sign decides become one of the two; cash that is units becomes a transfer, and the other way round."""
    kind, skip, fields = meaning.kind.copy(), meaning.skip.copy(), meaning.fields
    kind, skip = _money_of_wallets(kind, skip, meaning.asset, fields)
    sign = _sign(fields, fields.format.sign)
    for row_kind, minus, plus in (
        ("BUY/SELL", EntryKind.BUY, EntryKind.SELL),
        ("DEPOSIT/WITHDRAWAL", EntryKind.WITHDRAWAL, EntryKind.DEPOSIT),
    ):
        if row_kind == "BUY/SELL" and fields.format.sign != "net":
            minus, plus = plus, minus
        hit = kind == row_kind
        kind[hit & (sign < 0)] = minus.value
        kind[hit & (sign > 0)] = plus.value
        kind[hit & (sign == 0)] = ""
    net = _sign(fields, "net")
    turned = (
        (kind == EntryKind.DEPOSIT) & (net < 0),
        (kind == EntryKind.WITHDRAWAL) & (net > 0) & (fields.format.sign == "net"),
    )
    kind[turned[0]], kind[turned[1]] = EntryKind.WITHDRAWAL.value, EntryKind.DEPOSIT.value

    quantity = fields.number("quantity")
    there = pc.and_(pc.is_valid(quantity), pc.not_equal(fields.text("symbol"), ""))
    units = (
        pc.and_(there, pc.invert(is_money(fields.text("symbol"))))
        .to_numpy(zero_copy_only=False)
        .astype(bool)
    )
    kind[units & (kind == EntryKind.DEPOSIT)] = "TRANSFER+"
    kind[units & (kind == EntryKind.WITHDRAWAL)] = "TRANSFER-"
    size = pc.abs(quantity)
    out = pa.array(kind == "TRANSFER-")
    signed = pc.if_else(
        out, pc.negate(size), pc.if_else(pa.array(kind == "TRANSFER+"), size, quantity)
    )
    kind[(kind == "TRANSFER+") | (kind == "TRANSFER-")] = EntryKind.TRANSFER.value
    asset = meaning.asset.copy()
    cash = np.isin(kind, [EntryKind.DEPOSIT.value, EntryKind.WITHDRAWAL.value])
    asset[cash] = AssetClass.CASH.value
    return replace(
        meaning,
        kind=kind,
        skip=skip,
        asset=asset,
        fields=replace(fields, numbers={**fields.numbers, "quantity": signed}),
    )


def _money_of_wallets(
    kind: np.ndarray, skip: np.ndarray, asset: np.ndarray, fields: Fields
) -> tuple[np.ndarray, np.ndarray]:
    """Crypto exchanges keep euros as a coin among others (elsewhere NOK is Nokia): what moves them is cash."""
    money = (asset == AssetClass.CRYPTO) & is_money(fields.text("symbol")).to_numpy(
        zero_copy_only=False
    )
    if money.any():
        units = _sign(fields, "quantity")
        kind[money & ((kind == "TRANSFER+") | ((kind == "TRANSFER") & (units > 0)))] = (
            EntryKind.DEPOSIT.value
        )
        kind[money & ((kind == "TRANSFER-") | ((kind == "TRANSFER") & (units < 0)))] = (
            EntryKind.WITHDRAWAL.value
        )
        trade = money & np.isin(kind, (EntryKind.BUY.value, EntryKind.SELL.value, "BUY/SELL"))
        kind[trade], skip[trade] = "", "one currency for another"
    return kind, skip


def _sign(fields: Fields, role: str) -> np.ndarray:
    """-1, 0 or 1; 0 where there is no number."""
    return pc.fill_null(pc.cast(pc.sign(fields.number(role)), pa.int8()), 0).to_numpy(
        zero_copy_only=False
    )
