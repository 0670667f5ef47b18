"""Review of the user's own closed trade: what came of it, and how it was entered."""

import re
from dataclasses import dataclass, replace

from stock_llm.evaluation.answers import Language, SkillAnswer
from stock_llm.evaluation.numbers_in_text import find_numbers
from stock_llm.market.situation import (
    Situation,
    format_percent,
    format_price,
    read_lines,
    read_situation,
)
from stock_llm.skills import statements
from stock_llm.skills.claims import Claim, find_claims
from stock_llm.skills.decision_rows import (
    Subject,
    check_sentences,
    facts,
    grounded,
    parse_complete,
    pick_wording,
    situation_of,
)
from stock_llm.skills.row import UNPARSED, Row, Score, mean_of
from stock_llm.skills.statements import Statement

NAME = "review"

INSTRUCTIONS: dict[Language, tuple[str, ...]] = {
    "en": ("Review my trade in {symbol}.", "How was my trade in {symbol}?"),
    "th": ("ทบทวนการซื้อขาย {symbol} ของฉัน", "การซื้อขาย {symbol} ของฉันเป็นอย่างไร"),
}


@dataclass(frozen=True)
class ClosedTrade:
    """A position that was opened and closed.

    Attributes:
        entry: the situation at the last close before it was opened.
        bought, sold: average prices per unit, fees left out.
        opened, closed: ISO dates.
        days: calendar days between them.
        ref: id of the ledger entry that closed it.
    """

    entry: Situation
    bought: float
    sold: float
    opened: str
    closed: str
    days: int
    ref: str

    @property
    def gained(self) -> bool:
        return self.sold > self.bought

    @property
    def result(self) -> str:
        """Return in percent of the price paid, signed."""
        return format_percent(self.sold, self.bought)

    def block(self) -> str:
        """The row's input."""
        entry = self.entry.lines()
        return "\n".join(
            (
                f"Symbol: {self.entry.symbol}",
                f"Bought: {self.opened} at {format_price(self.bought)}",
                f"Sold: {self.closed} at {format_price(self.sold)}",
                f"Held: {self.days} days",
                f"Return: {self.result}",
                *(f"Entry {name}: {entry[name]}" for name in _ENTRY),
            )
        )


_ENTRY = ("Close", "SMA50", "RSI14")
_FILLS = re.compile(r"Bought: (.*) at (\S+)\nSold: (.*) at (\S+)\nHeld: (\d+) days\n")


def read_trade(block: str) -> ClosedTrade | None:
    """Reads back a block; of the entry it knows close, SMA50 and RSI14. None for any other text."""
    lines, fills = read_lines(block), _FILLS.search(block)
    shown = {
        "Symbol": lines.get("Symbol"),
        "Date": "",
        **{name: lines.get(f"Entry {name}") for name in _ENTRY},
    }
    entry = read_situation("\n".join(f"{name}: {text}" for name, text in shown.items()))
    if not entry or not fills:
        return None
    opened, bought, closed, sold, days = fills.groups()
    try:
        trade = ClosedTrade(entry, float(bought), float(sold), opened, closed, int(days), ref="")
        return trade if trade.block() == block else None
    except (ValueError, ZeroDivisionError):
        return None


def answer(trade: ClosedTrade, language: Language) -> SkillAnswer:
    """The answer to train on: the trade's result in computed sentences."""
    return SkillAnswer(
        language=language,
        outcome="GAIN" if trade.gained else "LOSS",
        insights=(_came(trade, language), statements.rsi(trade.entry, language)),
        risks=(_way(trade, language),),
    )


def _came(trade: ClosedTrade, language: Language) -> str:
    if language == "th":
        return f"ผลตอบแทน {trade.result} ใน {trade.days} วัน {'กำไร' if trade.gained else 'ขาดทุน'}"
    word = "gain" if trade.gained else "loss"
    return f"The return is {trade.result} in {trade.days} days, a {word}."


def _way(trade: ClosedTrade, language: Language) -> str:
    follows = trade.entry.close > trade.entry.sma50
    if language == "th":
        return "ซื้อตามแนวโน้ม" if follows else "ซื้อสวนแนวโน้ม"
    return f"It was bought {'with' if follows else 'against'} the trend."


def row(trade: ClosedTrade, language: Language, phrasing: int) -> Row:
    """Builds one row; its label is known on the day of the sale."""
    taught = answer(trade, language)
    return Row(
        skill=NAME,
        language=language,
        symbol=trade.entry.symbol,
        as_of=trade.closed,
        instruction=pick_wording(INSTRUCTIONS[language], phrasing, symbol=trade.entry.symbol),
        input=trade.block(),
        output=taught.text(),
        source={"kind": "trade", "ref": trade.ref},
        label=taught.outcome or "",
        label_from=trade.opened,
        label_until=trade.closed,
        facts=facts(trade.entry),
    )


_TOLD = re.compile(
    r"(?P<no>\bnot |n['’]t |\bnever |ไม่)?(?:ได้|bought |entered )?"
    r"(?:(?P<gain>\bgain|\bprofit|\bmade\b|\bearn|กำไร)|(?P<loss>\blos[tsei]|ขาดทุน)"
    r"|(?P<with>\bwith the trend|ตามแนวโน้ม)|(?P<against>\bagainst the trend|สวนแนวโน้ม))"
)
_RETURN = re.compile(r"\breturn|ผลตอบแทน")


def claimed(piece: str, trade: ClosedTrade) -> list[Claim]:
    """What a sentence claims about the trade and its entry.

    "result" is the return, told by a sign, or by a word such as "lost"; "days" how long it was
    held.
    """
    claimed, low = find_claims(piece, trade.entry), piece.lower()
    gain: bool | None = None
    for match in _TOLD.finditer(low):
        if match.lastgroup in ("gain", "loss"):
            gain = (match.lastgroup == "gain") != bool(match["no"])
            claimed.append(Claim("outcome", gain == trade.gained))
        else:
            way = match.lastgroup == (
                "with" if trade.entry.close > trade.entry.sma50 else "against"
            )
            claimed.append(Claim("way", way != bool(match["no"])))
    for number in find_numbers(piece):
        if number.unit == "day":
            claimed.append(Claim("days", number.digits == str(trade.days), value=True))
        elif number.unit == "%" and (gain is not None or _RETURN.search(low)):
            signed = number.sign == trade.result[0] or (not number.sign and gain is not None)
            right = signed and f"{number.digits}%" == trade.result[1:]
            claimed.append(Claim("result", right, value=True))
    return claimed


def subject(row: Row) -> Subject:
    """What the row's question is about."""
    trade = read_trade(row.input)
    assert trade, f"{row.id} has no block of a trade"
    return subject_of(replace(trade, entry=situation_of(row)), row.input)


def subject_of(trade: ClosedTrade, source: str) -> Subject:
    """A closed trade."""
    return Subject(
        source,
        lambda piece: claimed(piece, trade),
        lambda language: [
            Statement(_came(trade, language), frozenset({"outcome", "result", "days"})),
            Statement(_way(trade, language), frozenset({"way"})),
            *statements.true_statements(trade.entry, language),
        ],
        lambda language: [answer(trade, language)],
    )


def score(row: Row, text: str) -> Score:
    """Scores an answer by gain or loss, its size and length stated (half each), grounded numbers,
    true sentences, the language."""
    given = parse_complete(text, "outcome", "insights")
    if given is None:
        return UNPARSED
    sentences = check_sentences(given.bullets, subject(row))
    return mean_of(
        given.outcome,
        outcome=float(given.outcome == row.label),
        told=len(sentences.stated & {"result", "days"}) / 2,
        grounded=grounded(given, row.input, sentences),
        truth=sentences.truth,
        language=float(given.language == row.language),
    )
