"""Review of the user's portfolio as it stood at a close: how it is spread, what it gained, what carries and what drags it.

Everything is computed from the positions; shares of the value are shown, amounts of money are not. How concentrated a portfolio
is follows a rule, and the row says so (source kind "positions", label by `Portfolio.concentration`).
"""

import re
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from stock_llm import statements
from stock_llm.answers import Answer, AnswerError, Language, parse
from stock_llm.dataset.rows import UNPARSED, Row, Score, mean_of
from stock_llm.situation import percent, price, ratio
from stock_llm.skills.decision import grounded, worded

NAME = "portfolio"

SHOWN = 8
"""Holdings that are listed, the largest; the rest stand in one line."""

INSTRUCTIONS: dict[Language, tuple[str, ...]] = {
    "en": ("Review my portfolio.", "How is my portfolio doing?", "Is my portfolio too concentrated?"),
    "th": ("ทบทวนพอร์ตของฉัน", "พอร์ตของฉันเป็นอย่างไร", "พอร์ตของฉันกระจุกตัวเกินไปไหม"),
}


@dataclass(frozen=True)
class Held:
    """One position: units, what one cost on average, what one was worth at the close; as printed."""

    symbol: str
    quantity: float
    cost: float
    close: float

    @property
    def value(self) -> float:
        return self.quantity * self.close


@dataclass(frozen=True)
class Portfolio:
    """All positions at the close of `as_of`, in one currency, the largest first; at least two."""

    as_of: str
    held: tuple[Held, ...]

    @cached_property
    def value(self) -> float:
        return sum(one.value for one in self.held)

    @property
    def result(self) -> str:
        """Unrealised return on what everything cost, in percent, signed."""
        return percent(self.value, sum(one.quantity * one.cost for one in self.held))

    @property
    def equal_holdings(self) -> float:
        """How many holdings of equal size would be spread as widely: 1 / Herfindahl index of the weights (Hirschman 1964)."""
        return round(1 / sum((one.value / self.value) ** 2 for one in self.held), 1)

    @property
    def concentration(self) -> str:
        """HIGH below 2.5 equal holdings, LOW from 5 on, else MODERATE."""
        return "HIGH" if self.equal_holdings < 2.5 else "LOW" if self.equal_holdings >= 5 else "MODERATE"

    def weight(self, *held: Held) -> str:
        """Share of the value, in percent."""
        return ratio(sum(one.value for one in held), self.value)

    def lines(self) -> dict[str, str]:
        """Name → the text after the colon, in the order of the block."""
        shown = {
            "Portfolio": self.as_of,
            "Holdings": str(len(self.held)),
            **{
                one.symbol: f"{self.weight(one)}, {price(one.cost)} to {price(one.close)} ({percent(one.close, one.cost)})"
                for one in self.held[:SHOWN]
            },
        }
        if rest := self.held[SHOWN:]:
            shown["Others"] = self.weight(*rest)
        return shown | {
            "Return": self.result,
            "Largest two": self.weight(*self.held[:2]),
            "Equal holdings": f"{self.equal_holdings:.1f}",
        }

    def block(self) -> str:
        """The row's input."""
        return "\n".join(f"{name}: {text}" for name, text in self.lines().items())


def portfolio_of(as_of: str, held: list[Held]) -> Portfolio | None:
    """The portfolio to review; None where there are fewer than two holdings, or no gain and no loss."""
    found = Portfolio(as_of, tuple(sorted(held, key=lambda one: (-one.value, one.symbol))))
    return found if len(held) > 1 and found.result != "+0.0%" else None


def answer(portfolio: Portfolio, language: Language) -> Answer:
    """The answer that is taught; every number is one of the block."""
    largest = portfolio.held[0]
    listed = sorted(portfolio.held[:SHOWN], key=lambda one: (one.close / one.cost, one.symbol))
    worst, best = ((one.symbol, percent(one.close, one.cost)) for one in (listed[0], listed[-1]))
    weight, both, equal = portfolio.weight(largest), portfolio.weight(*portfolio.held[:2]), f"{portfolio.equal_holdings:.1f}"
    gained, size = portfolio.result.startswith("+"), portfolio.result.lstrip("+-")
    if language == "th":
        insights = (
            f"{largest.symbol} ใหญ่ที่สุด {weight} ของมูลค่า",
            f"พอร์ต{'กำไร' if gained else 'ขาดทุน'} {size}",
            f"ดีที่สุด {best[0]} {best[1]} แย่ที่สุด {worst[0]} {worst[1]}",
        )
        risks: tuple[str, ...] = (f"สองตัวใหญ่สุดรวม {both} กระจายเท่ากับหุ้น {equal} ตัวเท่า ๆ กัน",)
    else:
        insights = (
            f"{largest.symbol} is the largest holding, {weight} of the value.",
            f"The portfolio has {'gained' if gained else 'lost'} {size}.",
            f"Best is {best[0]} {best[1]}, worst is {worst[0]} {worst[1]}.",
        )
        risks = (f"The largest two make up {both}; it is spread like {equal} equal holdings.",)
    return Answer(
        language=language,
        outcome="GAIN" if gained else "LOSS",
        concentration=portfolio.concentration,
        insights=insights,
        risks=risks,
    )


def row(portfolio: Portfolio, language: Language, phrasing: int) -> Row:
    """One row; it looks at nothing after the close."""
    return Row(
        skill=NAME,
        language=language,
        symbol="",
        as_of=portfolio.as_of,
        instruction=worded(INSTRUCTIONS[language], phrasing),
        input=portfolio.block(),
        output=answer(portfolio, language).text(),
        source={"kind": "positions", "ref": f"portfolio {portfolio.as_of}"},
        label=portfolio.concentration,
        label_from=portfolio.as_of,
        label_until=portfolio.as_of,
        facts=facts(portfolio),
    )


def facts(portfolio: Portfolio) -> dict[str, Any]:
    """The positions as JSON values, so that the scorer can compute everything again."""
    return {"held": [asdict(one) for one in portfolio.held]}


def score(row: Row, text: str) -> Score:
    """Marks: gain or loss, concentration, largest holding and return told, grounded numbers at the right names, the language."""
    try:
        given = parse(text)
    except AnswerError:
        return UNPARSED
    if not (given.outcome and given.concentration and given.insights):
        return UNPARSED
    portfolio = Portfolio(row.as_of, tuple(Held(**one) for one in row.facts["held"]))
    largest = portfolio.held[0]
    told = [
        any(_names(bullet, largest) and portfolio.weight(largest) in bullet for bullet in given.bullets),
        any(portfolio.result.lstrip("+-") in bullet for bullet in given.bullets),
    ]
    return mean_of(
        given.outcome,
        outcome=float(given.outcome == ("GAIN" if portfolio.result.startswith("+") else "LOSS")),
        concentration=float(given.concentration == portfolio.concentration),
        told=sum(told) / len(told),
        grounded=grounded(given, row.input),
        truth=sum(_at_its_name(bullet, portfolio) for bullet in given.bullets) / len(given.bullets),
        language=float(given.language == row.language),
    )


def _at_its_name(bullet: str, portfolio: Portfolio) -> bool:
    """Whether a sentence that names holdings has no number but theirs; a symbol may itself have digits, such as 0700.HK."""
    lines = portfolio.lines()
    named = [f"{one.symbol} {lines[one.symbol]}" for one in portfolio.held[:SHOWN] if _names(bullet, one)]
    return not named or statements.grounded(bullet, " ".join(named)) == 1.0


def _names(bullet: str, one: Held) -> bool:
    return re.search(rf"(?<!\w){re.escape(one.symbol)}(?!\w)", bullet) is not None
