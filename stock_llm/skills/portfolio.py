"""Review of the user's portfolio at a close: how it is spread, what it gained, its best and worst
holding.

Everything is computed from the positions; shares of the value are shown, amounts of money are not.
Concentration follows a rule, and the row says so (source kind "positions", label by
`Portfolio.concentration`).
"""

import re
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from stock_llm.evaluation.answers import Language, SkillAnswer
from stock_llm.evaluation.numbers_in_text import TextNumber, find_numbers
from stock_llm.market.situation import format_percent, format_price, format_ratio
from stock_llm.skills.claims import Claim
from stock_llm.skills.decision_rows import (
    Checker,
    check_sentences,
    grounded,
    parse_complete,
    pick_wording,
)
from stock_llm.skills.row import UNPARSED, Row, Score, mean_of

NAME = "portfolio"

SHOWN = 8
"""Holdings that are listed, the largest; the rest stand in one line."""

INSTRUCTIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Review my portfolio.",
        "How is my portfolio doing?",
        "Is my portfolio too concentrated?",
    ),
    "th": ("ทบทวนพอร์ตของฉัน", "พอร์ตของฉันเป็นอย่างไร", "พอร์ตของฉันกระจุกตัวเกินไปไหม"),
}


@dataclass(frozen=True)
class PortfolioHolding:
    """One position: units, what one cost on average, what one was worth at the close; as
    printed."""

    symbol: str
    quantity: float
    cost: float
    close: float

    @property
    def value(self) -> float:
        return self.quantity * self.close


@dataclass(frozen=True)
class Portfolio:
    """All positions at the close of `as_of`, in one currency, the largest first; at least one."""

    as_of: str
    held: tuple[PortfolioHolding, ...]

    @cached_property
    def value(self) -> float:
        return sum(holding.value for holding in self.held)

    @property
    def result(self) -> str:
        """Unrealised return on what everything cost, in percent, signed."""
        return format_percent(
            self.value, sum(holding.quantity * holding.cost for holding in self.held)
        )

    @property
    def equal_holdings(self) -> float:
        """How many holdings of equal size would be spread as widely: 1 / Herfindahl index of the
        weights (Hirschman 1964)."""
        return round(1 / sum((holding.value / self.value) ** 2 for holding in self.held), 1)

    @property
    def concentration(self) -> str:
        """HIGH below 2.5 equal holdings, LOW from 5 on, else MODERATE."""
        return (
            "HIGH"
            if self.equal_holdings < 2.5
            else "LOW"
            if self.equal_holdings >= 5
            else "MODERATE"
        )

    def weight(self, *held: PortfolioHolding) -> str:
        """Share of the value, in percent."""
        return format_ratio(sum(holding.value for holding in held), self.value)

    def _extremes(self) -> tuple[str, str]:
        """Symbol and return of the worst and of the best holding that is listed."""
        listed = sorted(
            self.held[:SHOWN], key=lambda holding: (holding.close / holding.cost, holding.symbol)
        )
        worst, best = (
            f"{holding.symbol} {format_percent(holding.close, holding.cost)}"
            for holding in (listed[0], listed[-1])
        )
        return worst, best

    def lines(self) -> dict[str, str]:
        """Name → the text after the colon, in the order of the block."""
        shown = {
            "Portfolio": self.as_of,
            "Holdings": str(len(self.held)),
            **{
                holding.symbol: f"{self.weight(holding)}, {format_price(holding.cost)} to "
                f"{format_price(holding.close)} ({format_percent(holding.close, holding.cost)})"
                for holding in self.held[:SHOWN]
            },
        }
        if rest := self.held[SHOWN:]:
            shown["Others"] = self.weight(*rest)
        worst, best = self._extremes()
        return shown | {
            "Best": best,
            "Worst": worst,
            "Return": self.result,
            "Largest two": self.weight(*self.held[:2]),
            "Equal holdings": f"{self.equal_holdings:.1f}",
        }

    def block(self) -> str:
        """The row's input."""
        return "\n".join(f"{name}: {text}" for name, text in self.lines().items())


def portfolio_of(as_of: str, held: list[PortfolioHolding]) -> Portfolio | None:
    """The portfolio to review; None where nothing is held, or there is no gain and no loss."""
    portfolio = Portfolio(
        as_of, tuple(sorted(held, key=lambda holding: (-holding.value, holding.symbol)))
    )
    return portfolio if held and portfolio.result != "+0.0%" else None


def answer(portfolio: Portfolio, language: Language) -> SkillAnswer:
    """The answer to train on; every number is one of the block."""
    largest, shown = portfolio.held[0], portfolio.lines()
    weight, both, equal = portfolio.weight(largest), shown["Largest two"], shown["Equal holdings"]
    gained = portfolio.result.startswith("+")
    if language == "th":
        insights = (
            f"{largest.symbol} ใหญ่ที่สุด {weight} ของมูลค่า",
            f"ผลตอบแทน {portfolio.result} พอร์ต{'กำไร' if gained else 'ขาดทุน'}",
            f"ดีที่สุด {shown['Best']} แย่ที่สุด {shown['Worst']}",
        )
        risks: tuple[str, ...] = (f"สองตัวใหญ่สุดรวม {both} กระจายเท่ากับหุ้น {equal} ตัวเท่า ๆ กัน",)
    else:
        insights = (
            f"{largest.symbol} is the largest holding, {weight} of the value.",
            f"The return is {portfolio.result}, a {'gain' if gained else 'loss'}.",
            f"Best is {shown['Best']}, worst is {shown['Worst']}.",
        )
        risks = (f"The largest two make up {both}; it is spread like {equal} equal holdings.",)
    return SkillAnswer(
        language=language,
        outcome="GAIN" if gained else "LOSS",
        concentration=portfolio.concentration,
        insights=insights,
        risks=risks,
    )


def row(portfolio: Portfolio, language: Language, phrasing: int) -> Row:
    """Builds one row; it looks at nothing after the close."""
    return Row(
        skill=NAME,
        language=language,
        symbol="",
        as_of=portfolio.as_of,
        instruction=pick_wording(INSTRUCTIONS[language], phrasing),
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
    return {"held": [asdict(holding) for holding in portfolio.held]}


def _portfolio_of(row: Row) -> Portfolio:
    """The portfolio in a row's facts."""
    return Portfolio(row.as_of, tuple(PortfolioHolding(**holding) for holding in row.facts["held"]))


def checker(row: Row) -> Checker:
    """Holds sentences against the row's portfolio."""
    portfolio = _portfolio_of(row)
    listed = (holding.symbol for holding in portfolio.held[:SHOWN])
    return Checker(
        lambda piece: claimed(piece, portfolio),
        tuple(symbol for symbol in listed if symbol.endswith(".")),
    )


def score(row: Row, text: str) -> Score:
    """Scores an answer by gain or loss, concentration, largest holding and return stated, grounded
    numbers, true sentences, the language."""
    given = parse_complete(text, "outcome", "concentration", "insights")
    if given is None:
        return UNPARSED
    portfolio = _portfolio_of(row)
    sentences = check_sentences(given.bullets, row, checker(row))
    return mean_of(
        given.outcome,
        outcome=float(given.outcome == ("GAIN" if portfolio.result.startswith("+") else "LOSS")),
        concentration=float(given.concentration == portfolio.concentration),
        told=len(sentences.stated & {"largest", "result"}) / 2,
        grounded=grounded(given, row.input, sentences),
        truth=sentences.truth,
        language=float(given.language == row.language),
    )


_WORD = re.compile(r"[^\s,;:()฀-๿]+")
_EQUAL = re.compile(r"(?<![\d.])([\d.]+)(?= equal|\s?ตัวเท่า)")
_TWO = re.compile(r"largest two|two largest|top two|สองตัวใหญ่")
_RANK = re.compile(
    r"(?P<largest>\blargest(?! two)|\bbiggest|(?<!สองตัว)ใหญ่ที่สุด)|(?P<best>\bbest|ดีที่สุด)|"
    r"(?P<worst>\bworst|แย่ที่สุด)"
)
_NEXT = re.compile(r"(?:(?!\band\b|และ)[^,])*")
_MOVE = re.compile(
    r"(?P<no>\bnot |n['’]t |\bnever |ไม่)?(?:ได้)?(?:(?P<gain>\bgain|\bprofit|\bearn|กำไร)|"
    r"(?P<loss>\blos[ts]|ขาดทุน))"
)
_RETURN = re.compile(r"\breturn|ผลตอบแทน")


@dataclass(frozen=True)
class _Part:
    """The words of a sentence from a holding's symbol to the next; those before the first have
    none."""

    holding: PortfolioHolding | None
    text: str

    @cached_property
    def gained(self) -> bool | None:
        """What a word such as "lost" says; None without one."""
        match = _MOVE.search(self.text)
        return None if match is None else bool(match["gain"]) != bool(match["no"])


def claimed(piece: str, portfolio: Portfolio) -> list[Claim]:
    """What a sentence claims about a portfolio.

    A number belongs to the symbol before it, else to the one after it; without a symbol to the
    return, to the largest two where they are named, or to the equal holdings. A percentage with a
    sign is a return; one without is a share of the value, or with a word such as "lost" a return.
    "largest" is the largest holding's weight, "result" the return of the whole.
    """
    claims: list[Claim] = []
    if equal := _EQUAL.search(piece):
        claims.append(Claim("equal", equal[1] == f"{portfolio.equal_holdings:.1f}", value=True))
        piece = piece[: equal.start()] + piece[equal.end() :]
    parts = _parts(piece, portfolio)
    both = portfolio.weight(*portfolio.held[:2]) if _TWO.search(piece.lower()) else ""
    for number, part in enumerate(parts):
        later = parts[number + 1].holding if number + 1 < len(parts) else None
        for match in _RANK.finditer(part.text):
            about = later if later and _NEXT.fullmatch(part.text, match.end()) else part.holding
            if about:
                claims.append(Claim("rank", _ranks(about, match.lastgroup or "", portfolio)))
        owner = part.holding or (later if part.gained is None else None)
        if part.gained is not None:
            change = format_percent(owner.close, owner.cost) if owner else portfolio.result
            claims.append(Claim("outcome", part.gained == change.startswith("+")))
        for figure in find_numbers(part.text):
            if both and str(figure) == both:
                claims.append(Claim("two", True, value=True))
            elif owner:
                claims.append(_of_holding(figure, owner, part.gained, portfolio))
            elif part.gained is not None or _RETURN.search(part.text):
                known = (
                    portfolio.result,
                    portfolio.result.lstrip("+-") if part.gained is not None else "",
                )
                claims.append(Claim("result", str(figure) in known, value=True))
            elif both and figure.unit == "%":
                claims.append(Claim("two", False))
    return claims


def _parts(piece: str, portfolio: Portfolio) -> list[_Part]:
    held = {holding.symbol: holding for holding in portfolio.held[:SHOWN]}
    parts, start, holding = [], 0, None
    for match in _WORD.finditer(piece):
        if other := held.get(match[0]) or held.get(match[0].rstrip(".")):
            parts.append(_Part(holding, piece[start : match.start()].lower()))
            start, holding = match.end(), other
    return [*parts, _Part(holding, piece[start:].lower())]


def _ranks(holding: PortfolioHolding, rank: str, portfolio: Portfolio) -> bool:
    """Whether a holding is the largest, or has the best or worst return of those listed; as
    printed, so that ties are both."""
    if rank == "largest":
        return portfolio.weight(holding) == portfolio.weight(portfolio.held[0])
    first = (max if rank == "best" else min)(
        portfolio.held[:SHOWN], key=lambda other: other.close / other.cost
    )
    return format_percent(holding.close, holding.cost) == format_percent(first.close, first.cost)


def _of_holding(
    figure: TextNumber, holding: PortfolioHolding, gained: bool | None, portfolio: Portfolio
) -> Claim:
    change, weight = format_percent(holding.close, holding.cost), portfolio.weight(holding)
    written = str(figure)
    if written == weight and gained is None:
        return Claim(
            "largest" if holding is portfolio.held[0] else holding.symbol, True, value=True
        )
    known = (
        (change, format_price(holding.cost), format_price(holding.close))
        if gained is None
        else (change, change.lstrip("+-"))
    )
    return Claim(holding.symbol, written in known, value=True)
