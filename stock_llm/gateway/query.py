"""What the router looks at, what it decides, and what became of it.

`Query` is a request seen from outside: its kind and its scores, not its words. `Decision` says who is asked, why, and who comes
next. `Served` is the whole story of one request, for headers, for the final event of a stream and for the cost record.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from stock_llm.gateway.chat import ChatAnswer
from stock_llm.gateway.errors import FailureReason

QueryType = Literal["analysis", "code", "translation", "chat"]
QUERY_TYPES: tuple[QueryType, ...] = ("analysis", "code", "translation", "chat")

Privacy = Literal["any", "local"]

RequestStatus = Literal["ok", "failed", "cut", "cancelled"]


@dataclass(frozen=True, slots=True)
class Query:
    """A request to the gateway, as the routing rules see it.

    Args:
        type: what is wanted.
        complexity, urgency: 1 to 10.
        data_length: characters of the data that came along (candles, code, a table, the text itself).
        language: ISO 639-1 of the text, "en" or "th".
        privacy: "local" never leaves the machine.
        model: the model that was asked for; "auto" lets the rules choose.
        feature: which part of the service asks ("chat", "analyze", "generate-code" …), for the cost record.
        needs: capabilities that a provider must have for this request ("json-schema", "tools", "images").
        estimated: the names of those fields above that nobody gave and rules estimated.
    """

    type: QueryType = "chat"
    complexity: int = 1
    urgency: int = 1
    data_length: int = 0
    language: str = "en"
    privacy: Privacy = "any"
    model: str = "auto"
    feature: str = "chat"
    needs: frozenset[str] = frozenset()
    estimated: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ProviderChoice:
    """A provider and the name of one of its models ("" for its default)."""

    provider: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class RoutingDecision:
    """Who is asked first, by which rule, and who comes next when that one fails."""

    choice: ProviderChoice
    rule: str
    """The rule's own words, as in the policy file."""
    policy: str
    notes: tuple[str, ...] = ()
    """What else decided: "claude-api is off: local instead", "daily budget: $0.00 of $15.00 left" …"""
    fallback: tuple[ProviderChoice, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    """Providers that may not be asked for this request, each with the reason."""


@dataclass(frozen=True, slots=True)
class ProviderAttempt:
    """One try at one provider."""

    choice: ProviderChoice
    seconds: float
    failure: str = ""
    """Class name of the failure; empty where it answered."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """The story of one request."""

    id: str
    """Of the cost record, and of the response."""
    query: Query
    decision: RoutingDecision
    attempts: tuple[ProviderAttempt, ...]
    answer: ChatAnswer
    dollars: Decimal
    route_seconds: float
    provider_seconds: float
    total_seconds: float
    skipped: tuple[FailureReason, ...] = ()
    """Providers that came before it in the row and were not asked, each with the reason."""

    @property
    def choice(self) -> ProviderChoice:
        """Who answered."""
        return self.attempts[-1].choice

    @property
    def fell_back(self) -> bool:
        """Whether another than the first choice answered."""
        return self.choice.provider != self.decision.choice.provider
