"""Review of the user's own closed trade: what came of it, and how it was entered."""

import re
from dataclasses import dataclass

from stock_llm.evaluation.answers import Language, SkillAnswer
from stock_llm.evaluation.numbers_in_text import find_numbers
from stock_llm.market.situation import Situation, format_percent, format_price
from stock_llm.skills import statements
from stock_llm.skills.claims import Claim, find_claims
from stock_llm.skills.decision_rows import (
    Checker,
    check_sentences,
    facts,
    grounded,
    parse_complete,
    pick_wording,
    situation_of,
)
from stock_llm.skills.row import UNPARSED, Row, Score, mean_of

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
                *(f"Entry {name}: {entry[name]}" for name in ("Close", "SMA50", "RSI14")),
            )
        )


def answer(trade: ClosedTrade, language: Language) -> SkillAnswer:
    """The answer to train on: the trade's result in computed sentences."""
    with_trend = trade.entry.close > trade.entry.sma50
    if language == "th":
        came = f"ผลตอบแทน {trade.result} ใน {trade.days} วัน {'กำไร' if trade.gained else 'ขาดทุน'}"
        way = "ซื้อตามแนวโน้ม" if with_trend else "ซื้อสวนแนวโน้ม"
    else:
        word = "gain" if trade.gained else "loss"
        came = f"The return is {trade.result} in {trade.days} days, a {word}."
        way = f"It was bought {'with' if with_trend else 'against'} the trend."
    return SkillAnswer(
        language=language,
        outcome="GAIN" if trade.gained else "LOSS",
        insights=(came, statements.rsi(trade.entry, language)),
        risks=(way,),
    )


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
        facts=facts(trade.entry) | {"result": trade.result.lstrip("+-"), "days": str(trade.days)},
    )


_TOLD = re.compile(
    r"(?P<no>\bnot |n['’]t |\bnever |ไม่)?(?:ได้|bought |entered )?"
    r"(?:(?P<gain>\bgain|\bprofit|\bmade\b|\bearn|กำไร)|(?P<loss>\blos[tsei]|ขาดทุน)"
    r"|(?P<with>\bwith the trend|ตามแนวโน้ม)|(?P<against>\bagainst the trend|สวนแนวโน้ม))"
)
_RETURN = re.compile(r"\breturn|ผลตอบแทน")


def claimed(piece: str, row: Row, entry: Situation) -> list[Claim]:
    """What a sentence claims about the trade and its entry.

    "result" is the return, told by a sign, or by a word such as "lost"; "days" how long it was
    held. Facts of the row know both.
    """
    claimed, low = find_claims(piece, entry), piece.lower()
    gain: bool | None = None
    for match in _TOLD.finditer(low):
        if match.lastgroup in ("gain", "loss"):
            gain = (match.lastgroup == "gain") != bool(match["no"])
            claimed.append(Claim("outcome", gain == (row.label == "GAIN")))
        else:
            way = match.lastgroup == ("with" if entry.close > entry.sma50 else "against")
            claimed.append(Claim("way", way != bool(match["no"])))
    for number in find_numbers(piece):
        if number.unit == "day":
            claimed.append(Claim("days", number.digits == row.facts["days"], value=True))
        elif number.unit == "%" and (gain is not None or _RETURN.search(low)):
            signed = number.sign == ("+" if row.label == "GAIN" else "-") or (
                not number.sign and gain is not None
            )
            claimed.append(
                Claim("result", signed and f"{number.digits}%" == row.facts["result"], value=True)
            )
    return claimed


def checker(row: Row) -> Checker:
    """Holds sentences against the row's trade."""
    entry = situation_of(row)
    return Checker(lambda piece: claimed(piece, row, entry))


def score(row: Row, text: str) -> Score:
    """Scores an answer by gain or loss, its size and length stated (half each), grounded numbers,
    true sentences, the language."""
    given = parse_complete(text, "outcome", "insights")
    if given is None:
        return UNPARSED
    sentences = check_sentences(given.bullets, row, checker(row))
    return mean_of(
        given.outcome,
        outcome=float(given.outcome == row.label),
        told=len(sentences.stated & {"result", "days"}) / 2,
        grounded=grounded(given, row.input, sentences),
        truth=sentences.truth,
        language=float(given.language == row.language),
    )
