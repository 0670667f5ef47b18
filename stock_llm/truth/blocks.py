"""Blocks of computed numbers: what they are about, and which of their lines come from the ledger.

A block stands below a question, in the form in which the skills show it (`market/situation.py`,
`skills/review.py`, `skills/portfolio.py`).
"""

import re
from dataclasses import dataclass
from typing import Literal

BlockKind = Literal["situation", "indicator", "trade", "portfolio"]

LedgerSharing = Literal["nothing", "percentages", "everything"]
"""What of the ledger may leave this machine."""


@dataclass(frozen=True, slots=True)
class ComputedBlock:
    """Computed numbers about a stock, a closed trade or the portfolio.

    Attributes:
        text: as a model is shown it.
        symbol: empty for a portfolio.
        as_of: ISO date of the last close that they know; of the sale for a trade.
        note: what a reader should know about them, such as that the candles are old; else empty.
    """

    text: str
    kind: BlockKind
    symbol: str
    as_of: str
    note: str = ""


_DATE, _NUMBER, _CHANGE, _SHARE = (
    r"\d{4}-\d\d-\d\d",
    r"-?[\d.,]+(?:e[+-]?\d+)?",
    r"[+-][\d.,]+%",
    r"[\d.,]+%",
)
_LINE = re.compile(
    r"(?P<quote>[ \t>*]*)(?:"
    rf"Position: {_NUMBER} at {_NUMBER} \((?P<change>{_CHANGE})\)"
    rf"|(?P<trade>(?:Bought|Sold): {_DATE} at {_NUMBER}|Held: \d+ days?"
    r"|Entry (?:Close|SMA50|RSI14): .*)"
    rf"|- (?P<symbol>\S+): (?P<weight>{_SHARE}), {_NUMBER} to {_NUMBER} \((?P<gain>{_CHANGE})\)"
    rf"|(?P<share>Portfolio: {_DATE}|Holdings: \d+|Others: {_SHARE}|(?:Best|Worst): \S+ {_CHANGE}"
    rf"|Return: {_CHANGE}|Largest two: {_SHARE}|Equal holdings: {_NUMBER}, \w+)"
    r")[ \t\r]*"
)
"""A line of a block that comes from the ledger."""
_SYMBOL = re.compile(r"[ \t>*]*Symbol: \S+[ \t\r]*")


def has_ledger(text: str) -> bool:
    """Whether a line of the text is one that a block has from the ledger."""
    return any(_LINE.fullmatch(line) for line in text.split("\n"))


def share(text: str, sharing: LedgerSharing) -> str:
    """The text as it may leave this machine: of a block's lines from the ledger nothing, what they
    say in percent, or everything; all other lines as they are."""
    if sharing == "everything" or not has_ledger(text):
        return text
    kept: list[str] = []
    for line in text.split("\n"):
        match = _LINE.fullmatch(line)
        if match is None:
            kept.append(line)
            continue
        first_of_trade = line.strip(" \t>*").startswith("Bought: ")
        if sharing == "nothing":
            if first_of_trade and kept and _SYMBOL.fullmatch(kept[-1]):
                kept.pop()
        elif match["change"]:
            kept.append(f"{match['quote']}Position: {match['change']}")
        elif match["symbol"]:
            kept.append(f"{match['quote']}- {match['symbol']}: {match['weight']} ({match['gain']})")
        elif match["share"]:
            kept.append(line)
    return "\n".join(kept).rstrip() if text.rstrip() == text else "\n".join(kept)
