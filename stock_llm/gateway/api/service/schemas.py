"""What the stock service is asked and what it answers, as JSON: checked on the way in, documented
at GET /docs.

Nothing but shapes. Dates are ISO, prices in the instrument's currency, amounts of money in US
dollars.
"""

from datetime import date as Date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from stock_llm.evaluation.answers import Language
from stock_llm.gateway.query import Privacy, QueryType

Text = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=100_000, pattern=r"^[^\x00]*$"
    ),
]
Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.\-]{0,19}$")]
Price = Annotated[float, Field(gt=0, lt=1e12, allow_inf_nan=False)]
Number = Annotated[float, Field(gt=-1e12, lt=1e12, allow_inf_nan=False)]
Score = Annotated[int, Field(ge=1, le=10)]
UserName = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HintFields(_Model):
    """What every request may say about itself; what it does not say is estimated."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=200)] = "auto"
    complexity: Score | None = None
    urgency: Score | None = None
    privacy: Privacy = "any"

    def hints(self, type: QueryType) -> dict[str, Any]:
        """The fields of a query that the body gives."""
        return {"type": type, "complexity": self.complexity, "urgency": self.urgency}


class CandleFields(_Model):
    """One session."""

    date: Date
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Annotated[float, Field(ge=0, lt=1e15, allow_inf_nan=False)] = 0


class PositionFields(_Model):
    """What the asker holds of it."""

    quantity: Price
    cost: Price


class IndicatorFields(_Model):
    """Values at a close, as stock_llm/market/indicators.py defines them, for callers who compute
    them themselves."""

    date: Date
    close: Price
    sma20: Price
    sma50: Price
    rsi14: Annotated[float, Field(ge=0, le=100)]
    macd: Number
    macd_signal: Number
    atr14: Price
    band_low: Price
    band_high: Price
    volume: Annotated[float, Field(ge=0, lt=1e6)]
    support: Price
    resistance: Price


class AnalyzeRequest(HintFields):
    """A symbol with its candles or its indicators; with neither, a symbol of the gateway's own
    candles."""

    symbol: Symbol
    candles: list[CandleFields] | None = Field(default=None, min_length=101, max_length=10_000)
    indicators: IndicatorFields | None = None
    position: PositionFields | None = None
    language: Language = "en"

    @model_validator(mode="after")
    def _one_of_both(self) -> "AnalyzeRequest":
        if self.candles is not None and self.indicators is not None:
            raise ValueError("give candles (at least 101 sessions) or indicators, one of the two")
        if self.candles and any(
            late.date <= early.date
            for early, late in zip(self.candles, self.candles[1:], strict=False)
        ):
            raise ValueError("candles must be ascending in date, one a day")
        if self.candles and any(
            not day.low <= min(day.open, day.close) <= max(day.open, day.close) <= day.high
            for day in self.candles
        ):
            raise ValueError("a candle's high must be its highest and its low its lowest price")
        return self


class Levels(BaseModel):
    """Prices as the answer has them."""

    support: str | None
    resistance: str | None


class AnswerChecks(BaseModel):
    """What code found out about the answer.

    Attributes:
        grounded: share of the numbers in the answer that stand in the numbers that the model was
            given.
        invented: the others.
        truth: share of the sentences in which code could check something and nothing is false.
        problem: why the answer could not be read, or what it lacks; empty where nothing is wrong
            with it.
    """

    grounded: float
    invented: list[str]
    truth: float
    problem: str = ""


class AnalyzeResponse(BaseModel):
    """An analysis. Fields are null where the model did not give them."""

    symbol: str
    as_of: str
    recommendation: Literal["BUY", "HOLD", "SELL"] | None
    confidence: int | None
    trend: str | None
    insights: list[str]
    risks: list[str]
    levels: Levels
    indicators: dict[str, str]
    text: str
    checks: AnswerChecks
    stock_llm: dict[str, Any]


class CodeRequest(HintFields):
    """What the code is to do."""

    description: Text
    language: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9+#. ]{0,29}$")] = (
        "python"
    )


class CodeResponse(BaseModel):
    """Code. `valid`: whether it can be parsed; null for languages that are not checked. It was not
    run."""

    language: str
    code: str
    valid: bool | None
    text: str
    stock_llm: dict[str, Any]


class TranslateRequest(HintFields):
    """A text and the language that it is wanted in."""

    text: Text
    to: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z \-]{0,29}$")]


class TranslateResponse(BaseModel):
    """The text in the other language."""

    text: str
    stock_llm: dict[str, Any]


class FeedbackRequest(_Model):
    """What somebody says about an answer of this gateway: at least one of the four."""

    response_id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    rating: Annotated[int, Field(ge=1, le=5)] | None = None
    thumb: Literal["up", "down"] | None = None
    correction: Text | None = None
    comment: Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")] = ""

    @model_validator(mode="after")
    def _says_something(self) -> "FeedbackRequest":
        if (
            self.rating is None
            and self.thumb is None
            and self.correction is None
            and not self.comment.strip()
        ):
            raise ValueError("give a rating, a thumb, a correction or a comment")
        return self


class FeedbackResponse(BaseModel):
    """Whether it was new, and how many items no judged model has learnt from."""

    id: str
    new: bool
    unused: int


class RouteRequest(_Model):
    """A question that is to be routed and not answered. What is not given is estimated from the
    text."""

    text: Annotated[str, StringConstraints(max_length=1_000_000)] = ""
    model: Annotated[str, StringConstraints(min_length=1, max_length=200)] = "auto"
    type: QueryType | None = None
    complexity: Score | None = None
    urgency: Score | None = None
    data_length: Annotated[int, Field(ge=0, le=2**31)] | None = None
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}$")] | None = None
    privacy: Privacy = "any"


class RouteResponse(BaseModel):
    """A decision with its reasons. Nothing was executed."""

    provider: str
    model: str
    rule: str
    policy: str
    notes: list[str]
    fallback: list[str]
    left_out: dict[str, str]
    query: dict[str, Any]
    estimated: list[str]
    budget_left: dict[str, float]
    resting: dict[str, float]


_INDICATORS = {
    "date": "2026-01-30",
    "close": 104.2,
    "sma20": 102.5,
    "sma50": 99.1,
    "rsi14": 61.3,
    "macd": 1.24,
    "macd_signal": 0.98,
    "atr14": 2.1,
    "band_low": 97.8,
    "band_high": 107.2,
    "volume": 1.2,
    "support": 98.4,
    "resistance": 106.0,
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "analyze": {
        "own": {"summary": "A symbol of your own candles", "value": {"symbol": "KESTRO"}},
        "indicators": {
            "summary": "From indicators",
            "value": {"symbol": "KESTRO", "indicators": _INDICATORS},
        },
        "thai": {
            "summary": "In Thai, on this machine",
            "value": {
                "symbol": "KESTRO",
                "indicators": _INDICATORS,
                "language": "th",
                "privacy": "local",
            },
        },
    },
    "generate-code": {
        "python": {
            "value": {
                "description": "Buy when RSI14 is below 30, sell when it is above 70, else hold."
            }
        },
        "pine": {
            "value": {"description": "A 20/50 moving average crossover", "language": "pine script"}
        },
    },
    "translate": {"thai": {"value": {"text": "The close is above SMA50.", "to": "th"}}},
    "feedback": {
        "thumb": {"value": {"response_id": "3f0c….q9X…", "thumb": "up"}},
        "correction": {
            "value": {"response_id": "3f0c….q9X…", "correction": "Recommendation: HOLD\n…"}
        },
    },
    "route": {
        "hard": {
            "value": {
                "text": "Why did my portfolio lose 8% in March?",
                "complexity": 9,
                "urgency": 3,
            }
        }
    },
}
"""What GET /docs shows."""
