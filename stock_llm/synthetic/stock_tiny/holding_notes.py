"""Documents that show a portfolio or a closed trade and say true things about it, in English or
Thai.

In: a `random.Random`. Out: one text. This is where the base learns to copy a symbol, and to name a
gain or a loss after its sign. Symbols, prices and days are drawn; the words that the skills decide
(concentration, outcome) are not among the sentences.
"""

from datetime import date, timedelta
from random import Random

from stock_llm.evaluation.answers import Language
from stock_llm.skills import portfolio, review
from stock_llm.skills.portfolio import Portfolio, PortfolioHolding
from stock_llm.skills.review import ClosedTrade
from stock_llm.synthetic.stock_tiny import random_situations

_HEADS: dict[Language, tuple[str, ...]] = {
    "en": ("In words:", "What the table says:", "Notes:", "Read from it:"),
    "th": ("สรุปเป็นคำพูด", "ตารางบอกว่า", "บันทึก", "อ่านได้ว่า"),
}


def note(chance: Random, language: Language) -> str:
    """A block and the sentences about it, in any order."""
    block, sentences = chance.choice((_portfolio, _portfolio, _trade))(chance, language)
    drawn = chance.sample(sentences, chance.randint(1, len(sentences)))
    mark = chance.choice(("- ", "- ", "", "* "))
    lines = "\n".join(mark + sentence for sentence in drawn)
    return f"{block}\n\n{chance.choice(_HEADS[language])}\n{lines}"


def _portfolio(chance: Random, language: Language) -> tuple[str, tuple[str, ...]]:
    held = tuple(_holding(chance) for _ in range(chance.randint(2, 7)))
    view = Portfolio(
        random_situations.day(chance), tuple(sorted(held, key=lambda holding: -holding.value))
    ).view
    return view.block(), portfolio.answer(view, language).bullets


def _holding(chance: Random) -> PortfolioHolding:
    cost = random_situations.amount(chance)
    close = max(0.01, cost * (1 + chance.gauss(0, 0.1)))
    value = chance.uniform(100, 2000)
    return PortfolioHolding(random_situations.ticker(chance), value / close, cost, close)


def _trade(chance: Random, language: Language) -> tuple[str, tuple[str, ...]]:
    entry = random_situations.situation(chance)
    days = chance.randint(1, 200)
    opened = date.fromisoformat(entry.as_of) + timedelta(days=1)
    trade = ClosedTrade(
        entry=entry,
        bought=entry.close,
        sold=max(0.01, entry.close * (1 + chance.gauss(0, 0.1))),
        opened=opened.isoformat(),
        closed=(opened + timedelta(days=days)).isoformat(),
        days=days,
        ref="",
    )
    return trade.block(), review.answer(trade, language).bullets
