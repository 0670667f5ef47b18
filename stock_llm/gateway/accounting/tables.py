"""The tables of the cost store. Amounts are whole millionths of a dollar, so that sums are
exact."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from stock_llm.gateway.chat import TokenUsage
from stock_llm.gateway.query import Query, RequestStatus
from stock_llm.storage.database import Schema, exclusive_transaction

if TYPE_CHECKING:  # brings NumPy
    from stock_llm.truth.answer_check import AnswerCheck

SCHEMA = Schema(
    "cost store",
    "STOCK_LLM_GATEWAY__COSTS_URL",
    Path(__file__).parent / "migrations",
    lock=7366428,
    version_table="costs_version",
)

META = sa.MetaData()
CALL = sa.Table(
    "call",
    META,
    *(
        sa.Column(name, sa.Text)
        for name in (
            "id",
            "at",
            "feature",
            "type",
            "language",
            "provider",
            "model",
            "rule",
            "path",
            "status",
        )
    ),
    *(
        sa.Column(name, sa.BigInteger)
        for name in (
            "complexity",
            "urgency",
            "tokens_in",
            "tokens_out",
            "cached_read",
            "cached_write",
        )
    ),
    *(sa.Column(name, sa.BigInteger) for name in ("charged", "notional")),
    sa.Column("fell_back", sa.Boolean),
    *(
        sa.Column(name, sa.Float)
        for name in ("seconds", "provider_seconds", "route_seconds", "first_seconds")
    ),
    sa.Column("grounding", sa.Text),
    *(
        sa.Column(name, sa.BigInteger)
        for name in (
            "true_sentences",
            "false_sentences",
            "unchecked_sentences",
            "repaired_sentences",
            "invented_numbers",
        )
    ),
    sa.Column("parses", sa.Boolean),
)
SPENT = sa.Table("spent", META, sa.Column("day", sa.Text), sa.Column("charged", sa.BigInteger))
RESERVATION = sa.Table(
    "reservation",
    META,
    *(
        sa.Column(name, sa.Text)
        for name in ("id", "day", "provider", "model", "feature", "expires_at")
    ),
    sa.Column("amount", sa.BigInteger),
)


@dataclass(frozen=True, slots=True)
class CallRecord:
    """The record of one request.

    Args:
        id: of the response.
        at: when it came in.
        provider, model: of the answer; empty where there is none.
        rule: that chose the provider, in the policy's words.
        path: every provider that was tried, with its failure.
        charged: dollars of usage-priced providers, including failed attempts that were charged.
        notional: dollars that the call was worth by the account of a provider of fixed price.
        seconds, provider_seconds, route_seconds: the whole request, the provider's part, the
            router's part.
        first_seconds: from the request to the first piece; None where nothing was streamed.
        grounding: kind of the numbers that were added to the question; empty where none were.
        check: of the answer's sentences; None where the question shows no numbers.
    """

    id: str
    at: datetime
    query: Query
    provider: str
    model: str
    rule: str
    path: str
    fell_back: bool
    status: RequestStatus | Literal["lost"]
    usage: TokenUsage
    charged: Decimal
    notional: Decimal
    seconds: float
    provider_seconds: float
    route_seconds: float
    first_seconds: float | None = None
    grounding: str = ""
    check: "AnswerCheck | None" = None

    def row(self) -> dict[str, Any]:
        """The row of the table."""
        values = {
            "id": self.id,
            "at": text(self.at),
            "feature": self.query.feature,
            "type": self.query.type,
            "language": self.query.language,
            "complexity": self.query.complexity,
            "urgency": self.query.urgency,
            "provider": self.provider,
            "model": self.model,
            "rule": self.rule,
            "path": self.path,
            "fell_back": self.fell_back,
            "status": self.status,
            "tokens_in": self.usage.tokens_in,
            "tokens_out": self.usage.tokens_out,
            "cached_read": self.usage.cached_read,
            "cached_write": self.usage.cached_write + self.usage.cached_write_hour,
            "charged": micros(self.charged),
            "notional": micros(self.notional),
            "seconds": self.seconds,
            "provider_seconds": self.provider_seconds,
            "route_seconds": self.route_seconds,
            "first_seconds": self.first_seconds,
            "grounding": self.grounding,
            "true_sentences": self.check.count("true") if self.check else None,
            "false_sentences": self.check.count("false") if self.check else None,
            "unchecked_sentences": self.check.count("unchecked") if self.check else None,
            "repaired_sentences": self.check.repaired if self.check else None,
            "invented_numbers": len(self.check.invented) if self.check else None,
            "parses": self.check.parses if self.check else None,
        }
        return {name: storable(value) for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Reservation:
    """Dollars reserved for an attempt under way: more than it can cost."""

    id: str
    day: str
    provider: str
    model: str
    feature: str
    amount: Decimal
    expires_at: str

    def row(self) -> dict[str, Any]:
        """The row of the table."""
        return {item.name: getattr(self, item.name) for item in fields(self)} | {
            "amount": micros(self.amount)
        }


def storable(value: Any) -> Any:
    """A value that every database takes: no NUL and no half of a surrogate pair in texts, no
    integer beyond 64 bits."""
    if isinstance(value, str):
        return value.replace("\0", "").encode(errors="replace").decode()
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-(2**63), min(value, 2**63 - 1))
    return value


def text(time: datetime) -> str:
    """A UTC time as it is stored."""
    return time.isoformat(timespec="microseconds")


def micros(dollars: Decimal) -> int:
    """Millionths of a dollar, rounded up."""
    return int((dollars * 1_000_000).to_integral_value("ROUND_UP"))


def dollars(amount: int) -> Decimal:
    """Dollars of millionths."""
    return Decimal(amount) / 1_000_000


def write_transaction(engine: sa.Engine) -> AbstractContextManager[sa.Connection]:
    """A transaction with no other writer beside it: the budget that it reads still holds when it
    writes. Raises: as `exclusive_transaction`."""
    return exclusive_transaction(engine, SCHEMA, "reservation")
