"""Joins the rows in which crypto exchanges tell one trade: what left, what came, what it cost.

In: a `Sheet` whose format has the columns `group` (rows of one trade share it), `action`, `symbol`
and `quantity`. Out: the sheet with the columns Out, Out asset, In, In asset, Cost and Cost asset (a
second cost likewise) filled in where a row stands for a trade, and every other row of the trade
accounted for.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from stock_llm.importers.table_reader import Sheet, Workbook

_OF_SWAP = (
    "Out",
    "Out asset",
    "In",
    "In asset",
    "Cost",
    "Cost asset",
    "Second cost",
    "Second cost asset",
)
_ADDED = (*_OF_SWAP, "Known asset", "Moved")


@dataclass(frozen=True)
class _Row:
    """A row of a ledger; `cost` is in units of the same asset."""

    at: int
    action: str
    asset: str
    amount: Decimal | None
    cost: Decimal


def kraken_ledgers(sheet: Sheet, workbook: Workbook) -> Sheet:
    """Joins rows that share a refid; costs stand in a column of their own, on top of the amount."""
    return _paired(
        sheet, workbook, trades=("trade", "spend", "receive"), costs=(), asset=_kraken_asset
    )


def binance_transactions(sheet: Sheet, workbook: Workbook) -> Sheet:
    """Joins rows of the same second; costs are rows. Conversions follow one another."""
    trades = (
        "buy", "sell", "transaction related", "transaction buy", "transaction spend",
        "transaction sold", "transaction revenue", "binance convert", "large otc trading",
        "buy crypto", "buy crypto with fiat", "auto-invest transaction",
        "small assets exchange bnb", "small assets exchange bnb (spot)",
    )  # fmt: skip
    costs = ("fee", "transaction fee")
    return _paired(sheet, workbook, trades=trades, costs=costs, asset=str, split=_in_twos)


def coinbase_pro_account(sheet: Sheet, workbook: Workbook) -> Sheet:
    """Joins rows that share a trade id; costs are rows."""
    return _paired(sheet, workbook, trades=("match", "conversion"), costs=("fee",), asset=str)


_KRAKEN_OLD = (
    "XXBT", "XXDG", "XXRP", "XXLM", "XXMR", "XETH", "XETC", "XLTC", "XZEC", "XREP", "XMLN",
    "ZEUR", "ZUSD", "ZGBP", "ZCAD", "ZJPY", "ZAUD",
)  # fmt: skip


def _kraken_asset(code: str) -> str:
    """XXBT and XBT are BTC, ZEUR is EUR; what follows a point says where the coins lie (`.S`
    staked, `.F` earning, `.HOLD`)."""
    code = re.sub(r"\.(?:S|F|M|P|B|HOLD|EARN)$", "", code)
    code = code[1:] if code in _KRAKEN_OLD else code
    return {"XBT": "BTC", "XDG": "DOGE"}.get(code, code)


def _paired(
    sheet: Sheet,
    workbook: Workbook,
    *,
    trades: Sequence[str],
    costs: Sequence[str],
    asset: Callable[[str], str],
    split: Callable[[list[_Row]], list[list[_Row]]] = lambda group: [group],
) -> Sheet:
    """`split` parts rows that share a mark but are several trades."""
    rows = _rows(sheet, asset)
    groups: dict[str, list[_Row]] = {}
    for row, shared in zip(rows, sheet.cells("group"), strict=True):
        if row.action in trades or row.action in costs:
            groups.setdefault(shared or f"row {row.at}", []).append(row)
    swaps: dict[int, dict[str, str]] = {}
    joined: set[int] = set()
    for group in groups.values():
        joined |= {row.at for row in group}
        for trade in split(group):
            _settle(trade, costs, swaps, sheet, workbook)
    remaining = [row.at for row in rows if row.at not in joined or row.at in swaps]
    added: dict[str, list[str]] = {column: [] for column in _ADDED}
    for at in remaining:
        row, swap = rows[at], swaps.get(at, {})
        for column in _OF_SWAP:
            added[column].append(swap.get(column, ""))
        added["Known asset"].append(row.asset)
        added["Moved"].append("" if row.amount is None else str(row.amount - row.cost))
    return sheet.with_columns(remaining, added)


def _in_twos(group: list[_Row]) -> list[list[_Row]]:
    """Conversions whose every two rows give one asset for another, apart; anything else, one trade
    too, stays together."""
    moved = [amount for amount in _sums(group).values() if amount]
    one_trade = sum(amount < 0 for amount in moved) == 1 == sum(amount > 0 for amount in moved)
    twos = [group[at : at + 2] for at in range(0, len(group), 2)]
    if one_trade or not all(_is_exchange(two) for two in twos):
        return [group]
    return twos


def _is_exchange(rows: Sequence[_Row]) -> bool:
    if len(rows) != 2 or rows[0].asset == rows[1].asset or rows[0].action != rows[1].action:
        return False
    return (rows[0].amount or 0) * (rows[1].amount or 0) < 0


def _rows(sheet: Sheet, asset: Callable[[str], str]) -> list[_Row]:
    numbers = sheet.numbers("quantity", "cost").values()
    cells = zip(sheet.cells("action"), sheet.cells("symbol"), *numbers, strict=True)
    return [
        _Row(at, action.lower(), asset(symbol), amount, cost or Decimal(0))
        for at, (action, symbol, amount, cost) in enumerate(cells)
    ]


def _settle(
    group: Sequence[_Row],
    costs: Sequence[str],
    swaps: dict[int, dict[str, str]],
    sheet: Sheet,
    workbook: Workbook,
) -> None:
    """Makes one row of a trade's rows, or quarantines all of them."""

    def report(rows: Sequence[_Row], reason: str, how: Callable[[int, str, str], None]) -> None:
        for row in rows:
            number = int(sheet.rows[row.at])
            how(number, reason, sheet.raw(number))

    if any(row.amount is None for row in group):
        return report(
            group, "the amount of a row of this trade is not a number", workbook.quarantine
        )
    moved, cost = _sums([row for row in group if row.action not in costs]), _costs(group, costs)
    out = [asset for asset, amount in moved.items() if amount < 0]
    into = [asset for asset, amount in moved.items() if amount > 0]
    if len(out) != 1 or len(into) != 1:
        reason = (
            "the rows of this trade do not say what was given for what:"
            f" {len(out)} assets left, {len(into)} came"
        )
        return report(group, reason, workbook.quarantine)
    if len(cost) > 2:
        return report(
            group, "the costs of this trade are in more than two assets", workbook.quarantine
        )
    # The row of what left stands for the trade, whatever the order of the file: its id is that of
    # the entry.
    first = next(row.at for row in group if row.action not in costs and row.asset == out[0])
    swap = {
        "Out": str(-moved[out[0]]),
        "Out asset": out[0],
        "In": str(moved[into[0]]),
        "In asset": into[0],
    }
    for column, (asset, units) in zip(("Cost", "Second cost"), sorted(cost.items()), strict=False):
        swap |= {column: str(units), f"{column} asset": asset}
    swaps[first] = swap
    others = [row for row in group if row.at != first]
    row = workbook.locate(int(sheet.rows[first]))[1]
    return report(others, f"joined to the trade in row {row}", workbook.skip)


def _sums(rows: Sequence[_Row]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for row in rows:
        sums[row.asset] = sums.get(row.asset, Decimal(0)) + (row.amount or Decimal(0))
    return sums


def _costs(group: Sequence[_Row], costs: Sequence[str]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for row in group:
        cost = -(row.amount or Decimal(0)) if row.action in costs else row.cost
        if cost:
            sums[row.asset] = sums.get(row.asset, Decimal(0)) + cost
    return {asset: cost for asset, cost in sums.items() if cost}
