"""What the pages show of the project besides the gateway's own records, and what they may change.

The gateway knows nothing of ledger, candles and registry: whoever composes it hands over these
functions. They run in a process of their own (`worker.py`), so functions, arguments and results can
be pickled. Amounts are decimals in the currency that stands beside them, prices are floats, days
ISO 8601.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path


@dataclass(frozen=True)
class PriceLevel:
    """A horizontal line of a chart: "support", "resistance", "cost" (average of the position)."""

    kind: str
    price: float


@dataclass(frozen=True)
class CandleChart:
    """The last candles of a stock.

    Attributes:
        candles: day, open, high, low, close.
    """

    symbol: str
    candles: tuple[tuple[str, float, float, float, float], ...]
    levels: tuple[PriceLevel, ...]


@dataclass(frozen=True)
class Holding:
    """A position, first in first out; None where it has no price.

    Attributes:
        income: dividends and interest.
        charges: fees and taxes.
    """

    instrument: str
    currency: str
    quantity: Decimal
    cost: Decimal
    value: Decimal | None
    unrealised: Decimal | None
    realised: Decimal
    sold_cost: Decimal
    income: Decimal
    charges: Decimal


@dataclass(frozen=True)
class FindingGroup:
    """Findings of one rule that say the same of several symbols."""

    rule: str
    symbols: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Portfolio:
    """What is held and was held, and what is wrong or unclear in the files.

    Attributes:
        last_day: of the candles or, without any, of the ledger.
        is_sample: whether these are the committed, fictional trades.
    """

    holdings: tuple[Holding, ...]
    findings: tuple[FindingGroup, ...]
    last_day: str
    is_sample: bool


@dataclass(frozen=True)
class PreviewLine:
    """A line of what an export holds: "rows", "entries", "quarantined" …, how many, and what."""

    label: str
    count: str
    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class ImportPreview:
    """What an export holds, compared with the ledger.

    Attributes:
        refused: why it would not be kept; empty where it would.
    """

    file: str
    formats: str
    lines: tuple[PreviewLine, ...]
    refused: str = ""


@dataclass(frozen=True)
class KeptImport:
    """Where an export was copied to.

    Attributes:
        note: what has to be set before runs read that folder; empty where nothing has.
    """

    file: str
    note: str = ""


@dataclass(frozen=True)
class ScoreGap:
    """A paired difference of the holdout with its 95 % interval."""

    name: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class ModelVersion:
    """A version with its verdict.

    Attributes:
        created_at: ISO 8601, UTC.
        reasons: sentences of the verdict.
        scores: model (base, champion, challenger) → mean score on the holdout, in [0, 1].
        low, high: 95 % interval of the challenger's score; None where it was not computed.
        rollback_reason: why somebody went back to it.
        run_url: its page in MLflow.
    """

    number: int
    created_at: str
    profile: str
    verdict: str
    reasons: tuple[str, ...]
    aliases: tuple[str, ...]
    scores: dict[str, float]
    gaps: tuple[ScoreGap, ...]
    low: float | None
    high: float | None
    feedback: int
    rollback_reason: str
    run_url: str

    @property
    def is_champion(self) -> bool:
        """Whether it answers as `stock-llm:latest`."""
        return "champion" in self.aliases


@dataclass(frozen=True)
class AnswerPair:
    """One question of the holdout, as champion and challenger answered it; scores in [0, 1]."""

    question: str
    champion: str
    challenger: str
    champion_score: float
    challenger_score: float


@dataclass(frozen=True)
class ModelVersions:
    """All versions, the newest first.

    Attributes:
        pairs: answers that differ, of the newest version and what it was judged against.
        against: what that was: "champion", or "base" where there was no champion.
    """

    versions: tuple[ModelVersion, ...]
    pairs: tuple[AnswerPair, ...]
    against: str
    mlflow_url: str
    prefect_url: str


@dataclass(frozen=True)
class ProjectFunctions:
    """What the pages may ask of the project; each may raise `StockLLMError`.

    Attributes:
        find_chart: a question → the chart of the first stock that it names; None: it names none.
        suggest: questions to begin with, for a language.
        preview_import: a file and its name → what it holds.
        keep_import: the same file, copied into the folder of trades.
        roll_back: makes an earlier version the champion again, for a reason.
    """

    find_chart: Callable[[str], CandleChart | None]
    suggest: Callable[[str], tuple[str, ...]]
    read_portfolio: Callable[[], Portfolio]
    preview_import: Callable[[Path, str], ImportPreview]
    keep_import: Callable[[Path, str], KeptImport]
    read_versions: Callable[[], ModelVersions]
    roll_back: Callable[[int, str], None]
