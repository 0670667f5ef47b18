"""Review of the user's own closed trade: what came of it, and how it was entered."""

from dataclasses import dataclass

from stock_llm import statements
from stock_llm.answers import Answer, AnswerError, Language, parse
from stock_llm.dataset.rows import UNPARSED, Row, Score, mean_of
from stock_llm.situation import Situation, percent, price
from stock_llm.skills.decision import facts, grounded, situation_of, worded

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
        return percent(self.sold, self.bought)

    def block(self) -> str:
        """The row's input."""
        entry = self.entry.lines()
        return "\n".join(
            (
                f"Symbol: {self.entry.symbol}",
                f"Bought: {self.opened} at {price(self.bought)}",
                f"Sold: {self.closed} at {price(self.sold)}",
                f"Held: {self.days} days",
                f"Return: {self.result}",
                *(f"Entry {name}: {entry[name]}" for name in ("Close", "SMA50", "RSI14")),
            )
        )


def answer(trade: ClosedTrade, language: Language) -> Answer:
    """What came of the trade, in computed sentences."""
    size = trade.result.lstrip("+-")
    if language == "th":
        came = f"{'กำไร' if trade.gained else 'ขาดทุน'} {size} ใน {trade.days} วัน"
        way = "ซื้อตามแนวโน้ม" if trade.entry.close > trade.entry.sma50 else "ซื้อสวนแนวโน้ม"
    else:
        came = f"The trade {'gained' if trade.gained else 'lost'} {size} in {trade.days} days."
        way = f"It was bought {'with' if trade.entry.close > trade.entry.sma50 else 'against'} the trend."
    return Answer(
        language=language,
        outcome="GAIN" if trade.gained else "LOSS",
        insights=(came, statements.rsi(trade.entry, language)),
        risks=(way,),
    )


def row(trade: ClosedTrade, language: Language, phrasing: int) -> Row:
    """One row; its label is known on the day of the sale."""
    taught = answer(trade, language)
    return Row(
        skill=NAME,
        language=language,
        symbol=trade.entry.symbol,
        as_of=trade.closed,
        instruction=worded(INSTRUCTIONS[language], phrasing, symbol=trade.entry.symbol),
        input=trade.block(),
        output=taught.text(),
        source={"kind": "trade", "ref": trade.ref},
        label=taught.outcome or "",
        label_from=trade.opened,
        label_until=trade.closed,
        facts=facts(trade.entry) | {"result": trade.result.lstrip("+-"), "days": str(trade.days)},
    )


def score(row: Row, text: str) -> Score:
    """Marks: gain or loss, its size and length told, grounded numbers, true comparisons, the language."""
    try:
        given = parse(text)
    except AnswerError:
        return UNPARSED
    if not (given.outcome and given.insights):
        return UNPARSED
    said = statements.numbers("\n".join(given.bullets))
    told = [row.facts[name].rstrip("%") in said for name in ("result", "days")]
    return mean_of(
        given.outcome,
        outcome=float(given.outcome == row.label),
        told=sum(told) / len(told),
        grounded=grounded(given, row.input),
        truth=statements.truth(given.bullets, situation_of(row)),
        language=float(given.language == row.language),
    )
