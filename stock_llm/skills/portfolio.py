"""Review of the user's portfolio at a close: how it is spread, what it gained, its best and worst
holding.

Everything is computed from the positions; shares of the value are shown, amounts of money are not.
Concentration follows a rule, and the row says so (source kind "positions", label by
`PortfolioView.concentration`).
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

from stock_llm.evaluation.answers import VERDICTS, Language, SkillAnswer
from stock_llm.evaluation.numbers_in_text import TextNumber, find_numbers
from stock_llm.market.situation import format_percent, format_price, format_ratio, read_lines
from stock_llm.skills.claims import Claim
from stock_llm.skills.decision_rows import (
    Subject,
    check_sentences,
    grounded,
    parse_complete,
    pick_wording,
)
from stock_llm.skills.row import UNPARSED, Row, Score, mean_of
from stock_llm.skills.statements import Statement
from stock_llm.tabular.numbers import FIAT

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

    def weight(self, *held: PortfolioHolding) -> str:
        """Share of the value, in percent."""
        return format_ratio(sum(holding.value for holding in held), self.value)

    @property
    def view(self) -> "PortfolioView":
        """What is shown of it."""
        return PortfolioView(
            as_of=self.as_of,
            count=len(self.held),
            held=tuple(
                ShownHolding(holding.symbol, self.weight(holding), holding.cost, holding.close)
                for holding in self.held[:SHOWN]
            ),
            others=self.weight(*rest) if (rest := self.held[SHOWN:]) else "",
            result=self.result,
            both=self.weight(*self.held[:2]),
            equal=f"{self.equal_holdings:.1f}",
        )


@dataclass(frozen=True)
class ShownHolding:
    """A holding as it is shown: its share of the value in percent, prices of a unit."""

    symbol: str
    weight: str
    cost: float
    close: float

    @property
    def change(self) -> str:
        """Return in percent, signed."""
        return format_percent(self.close, self.cost)

    def __str__(self) -> str:
        return f"{self.symbol} {self.change}"


@dataclass(frozen=True)
class PortfolioView:
    """A portfolio as it is shown, in percent.

    Attributes:
        count: how many holdings there are.
        held: the largest of them.
        others: share of the rest; empty where there is none.
        result: return of the whole, signed.
        both: share of the largest two.
        equal: how many holdings of equal size would be spread as widely.
    """

    as_of: str
    count: int
    held: tuple[ShownHolding, ...]
    others: str
    result: str
    both: str
    equal: str

    @property
    def gained(self) -> bool:
        return self.result.startswith("+")

    @property
    def concentration(self) -> str:
        """HIGH below 2.5 equal holdings, LOW from 5 on, else MODERATE."""
        equal = float(self.equal)
        return "HIGH" if equal < 2.5 else "LOW" if equal >= 5 else "MODERATE"

    @property
    def best(self) -> ShownHolding:
        return max(self.held, key=lambda holding: (holding.close / holding.cost, holding.symbol))

    @property
    def worst(self) -> ShownHolding:
        return min(self.held, key=lambda holding: (holding.close / holding.cost, holding.symbol))

    def block(self) -> str:
        """The row's input."""
        lines = [
            f"Portfolio: {self.as_of}",
            f"Holdings: {self.count}",
            *(
                f"- {holding.symbol}: {holding.weight}, {format_price(holding.cost)} to "
                f"{format_price(holding.close)} ({holding.change})"
                for holding in self.held
            ),
            *([f"Others: {self.others}"] if self.others else []),
            f"Best: {self.best}",
            f"Worst: {self.worst}",
            f"Return: {self.result}",
            f"Largest two: {self.both}",
            f"Equal holdings: {self.equal}, {self.concentration.lower()}",
        ]
        return "\n".join(lines)


_HOLDING = re.compile(r"^- (.+): (\S+), (\d+\.\d+) to (\d+\.\d+) \(", re.MULTILINE)


def read_portfolio(block: str) -> PortfolioView | None:
    """Reads back a block; None for any other text."""
    lines = read_lines(block)
    try:
        view = PortfolioView(
            as_of=lines["Portfolio"],
            count=int(lines["Holdings"]),
            held=tuple(
                ShownHolding(symbol, weight, float(cost), float(close))
                for symbol, weight, cost, close in _HOLDING.findall(block)
            ),
            others=lines.get("Others", ""),
            result=lines["Return"],
            both=lines["Largest two"],
            equal=lines["Equal holdings"].partition(",")[0],
        )
        return view if view.held and view.block() == block else None
    except (KeyError, ValueError, ZeroDivisionError):
        return None


def portfolio_of(as_of: str, held: list[PortfolioHolding]) -> Portfolio | None:
    """The portfolio to review; None where nothing is held, or there is no gain and no loss."""
    portfolio = Portfolio(
        as_of, tuple(sorted(held, key=lambda holding: (-holding.value, holding.symbol)))
    )
    return portfolio if held and portfolio.result != "+0.0%" else None


def answer(view: PortfolioView, language: Language) -> SkillAnswer:
    """The answer to train on; every number is one of the block."""
    return SkillAnswer(
        language=language,
        outcome="GAIN" if view.gained else "LOSS",
        concentration=view.concentration,
        insights=(_largest(view, language), _came(view, language), _extremes(view, language)),
        risks=(_spread(view, language),),
    )


def _largest(view: PortfolioView, language: Language) -> str:
    largest = view.held[0]
    if language == "th":
        return f"{largest.symbol} ใหญ่ที่สุด {largest.weight} ของมูลค่า"
    return f"{largest.symbol} is the largest holding, {largest.weight} of the value."


def _came(view: PortfolioView, language: Language) -> str:
    if language == "th":
        return f"ผลตอบแทน {view.result} พอร์ต{'กำไร' if view.gained else 'ขาดทุน'}"
    return f"The return is {view.result}, a {'gain' if view.gained else 'loss'}."


def _extremes(view: PortfolioView, language: Language) -> str:
    if language == "th":
        return f"ดีที่สุด {view.best} แย่ที่สุด {view.worst}"
    return f"Best is {view.best}, worst is {view.worst}."


def _spread(view: PortfolioView, language: Language) -> str:
    if language == "th":
        return f"สองตัวใหญ่สุดรวม {view.both} กระจายเท่ากับหุ้น {view.equal} ตัวเท่า ๆ กัน"
    return f"The largest two make up {view.both}; it is spread like {view.equal} equal holdings."


def _holding(holding: ShownHolding, language: Language) -> str:
    if language == "th":
        return f"{holding.symbol} {holding.weight} ของมูลค่า {holding.change}"
    return f"{holding.symbol} is {holding.weight} of the value, {holding.change}."


def _statements(view: PortfolioView, language: Language) -> list[Statement]:
    return [
        Statement(_largest(view, language), frozenset({"largest"})),
        Statement(_came(view, language), frozenset({"result"})),
        Statement(_extremes(view, language), frozenset({"best", "worst"})),
        Statement(_spread(view, language), frozenset({"two", "equal"})),
        *(
            Statement(_holding(holding, language), frozenset({holding.symbol}))
            for holding in view.held
        ),
    ]


def row(portfolio: Portfolio, language: Language, phrasing: int) -> Row:
    """Builds one row; it looks at nothing after the close."""
    return Row(
        skill=NAME,
        language=language,
        symbol="",
        as_of=portfolio.as_of,
        instruction=pick_wording(INSTRUCTIONS[language], phrasing),
        input=portfolio.view.block(),
        output=answer(portfolio.view, language).text(),
        source={"kind": "positions", "ref": f"portfolio {portfolio.as_of}"},
        label=portfolio.view.concentration,
        label_from=portfolio.as_of,
        label_until=portfolio.as_of,
        facts={"held": [asdict(holding) for holding in portfolio.held]},  # also those not shown
    )


def subject(row: Row) -> Subject:
    """What the row's question is about."""
    view = read_portfolio(row.input)
    assert view, f"{row.id} has no block of a portfolio"
    return subject_of(view, row.input)


def subject_of(view: PortfolioView, source: str) -> Subject:
    """A portfolio."""
    return Subject(
        source,
        lambda piece: claimed(piece, view),
        lambda language: _statements(view, language),
        lambda language: [answer(view, language)],
        tuple(holding.symbol for holding in view.held if holding.symbol.endswith(".")),
    )


def score(row: Row, text: str) -> Score:
    """Scores an answer by gain or loss, concentration, largest holding and return stated, grounded
    numbers, true sentences, the language."""
    given = parse_complete(text, "outcome", "concentration", "insights")
    if given is None:
        return UNPARSED
    about = subject(row)
    (right,) = about.answers("en")
    sentences = check_sentences(given.bullets, about)
    return mean_of(
        given.outcome,
        outcome=float(given.outcome == right.outcome),
        concentration=float(given.concentration == right.concentration),
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

    holding: ShownHolding | None
    text: str

    @cached_property
    def gained(self) -> bool | None:
        """What a word such as "lost" says; None without one."""
        match = _MOVE.search(self.text)
        return None if match is None else bool(match["gain"]) != bool(match["no"])


def claimed(piece: str, view: PortfolioView) -> list[Claim]:
    """What a sentence claims about a portfolio.

    A number belongs to the symbol before it, else to the one after it; without a symbol to the
    return, to the largest two where they are named, or to the equal holdings. A percentage with a
    sign is a return, unless it is told to be of the value; one without is a share of the value, or
    with a word such as "lost" a return.
    A symbol that is not held, told to be the largest, the best, or so much of the value, is false,
    provided that all holdings are listed. "largest" is the largest holding's weight, "result" the
    return of the whole.
    """
    claims: list[Claim] = []
    if equal := _EQUAL.search(piece):
        claims.append(Claim("equal", equal[1] == view.equal, value=True))
        piece = piece[: equal.start()] + piece[equal.end() :]
    parts = _parts(piece, view)
    if not view.others and _names_a_stranger(piece, view):
        place = _RANK.search(piece.lower())
        claims.append(Claim((place and place.lastgroup) or "largest", False))
    both = view.both if _TWO.search(piece.lower()) else ""
    for number, part in enumerate(parts):
        later = parts[number + 1].holding if number + 1 < len(parts) else None
        for match in _RANK.finditer(part.text):
            about = later if later and _NEXT.fullmatch(part.text, match.end()) else part.holding
            if about:
                rank = match.lastgroup or ""
                claims.append(Claim("rank", _ranks(about, rank, view), other=rank))
        owner = part.holding or (later if part.gained is None else None)
        if part.gained is not None:
            change, whose = (owner.change, owner.symbol) if owner else (view.result, "result")
            claims.append(Claim("outcome", part.gained == change.startswith("+"), other=whose))
        for figure in find_numbers(part.text):
            if both and str(figure) == both:
                claims.append(Claim("two", True, value=True))
            elif owner and _is_share(figure, part.text):
                right = str(figure) == owner.weight
                whose = "largest" if owner is view.held[0] else owner.symbol
                claims.append(Claim(whose, right, value=True))
            elif owner:
                claims.append(_of_holding(figure, owner, part.gained, view))
            elif part.gained is not None or _RETURN.search(part.text):
                known = (
                    view.result,
                    view.result.lstrip("+-") if part.gained is not None else "",
                )
                claims.append(Claim("result", str(figure) in known, value=True))
            elif both and figure.unit == "%":
                claims.append(Claim("two", False))
    return claims


_SYMBOL = re.compile(r"(?<![\w.])[A-Z][A-Z0-9]+(?:[.-][A-Z0-9]+)?(?![\w'’])")
_NO_SYMBOLS = FIAT.union(*VERDICTS.values(), ("ETF", "EU", "UK", "US", "USA"))
"""Capital words that are written beside holdings."""
_SHARE = r"\s*(?:of the value|ของมูลค่า)"
_OF_THE_VALUE = re.compile(f"%{_SHARE}")
_CLAUSE_END = re.compile(r",\s|;|\band\b|และ")


def _names_a_stranger(piece: str, view: PortfolioView) -> bool:
    """Whether a sentence says of a symbol that is not held what is said of a holding."""
    held = {holding.symbol for holding in view.held}

    def is_held(word: str) -> bool:
        return word in held or word.rstrip(".") in held

    named = [
        match
        for match in _WORD.finditer(piece)
        if is_held(match[0])
        or (_SYMBOL.match(match[0]) and match[0].rstrip(".") not in _NO_SYMBOLS)
    ]
    said = (*_RANK.finditer(piece.lower()), *_OF_THE_VALUE.finditer(piece))
    about = (_symbol_of(match, named, piece) for match in said)
    return any(word and not is_held(word) for word in about)


def _symbol_of(said: re.Match[str], named: Sequence[re.Match[str]], piece: str) -> str:
    """The symbol that a rank or share is said of: the nearest before it in its clause, else the
    nearest behind it there, else the nearest outside; empty without any."""
    ends = [0, *(match.start() for match in _CLAUSE_END.finditer(piece)), len(piece)]
    start = max(end for end in ends if end <= said.start())
    end = min(end for end in ends if end >= said.end())
    before = [match for match in named if match.start() < said.start()]
    after = [match for match in named if match.start() >= said.start()]
    if before and (before[-1].start() >= start or not after or after[0].start() >= end):
        return before[-1][0]
    return after[0][0] if after else ""


def _is_share(figure: TextNumber, text: str) -> bool:
    return re.search(rf"(?<![\d.]){re.escape(str(figure))}{_SHARE}", text) is not None


def _parts(piece: str, view: PortfolioView) -> list[_Part]:
    held = {holding.symbol: holding for holding in view.held}
    parts: list[_Part] = []
    start, holding = 0, None
    for match in _WORD.finditer(piece):
        if other := held.get(match[0]) or held.get(match[0].rstrip(".")):
            parts.append(_Part(holding, piece[start : match.start()].lower()))
            start, holding = match.end(), other
    return [*parts, _Part(holding, piece[start:].lower())]


def _ranks(holding: ShownHolding, rank: str, view: PortfolioView) -> bool:
    """Whether a holding is the largest, or has the best or worst return of those listed; as
    printed, so that ties are both."""
    if rank == "largest":
        return holding.weight == view.held[0].weight
    return holding.change == (view.best if rank == "best" else view.worst).change


def _of_holding(
    figure: TextNumber, holding: ShownHolding, gained: bool | None, view: PortfolioView
) -> Claim:
    change, written = holding.change, str(figure)
    if written == holding.weight and gained is None:
        return Claim("largest" if holding is view.held[0] else holding.symbol, True, value=True)
    known = (
        (change, format_price(holding.cost), format_price(holding.close))
        if gained is None
        else (change, change.lstrip("+-"))
    )
    return Claim(holding.symbol, written in known, value=True)
