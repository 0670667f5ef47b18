"""What the router decides on, what it decides, and the trace of a request.

`Query` describes a request to the routing rules, without its text. `RoutingDecision` names the
provider, the reason, and the fallback. `RequestTrace` holds what happened, for headers, the last
event of a stream and the cost record.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from stock_llm.gateway.chat import NOTHING_ADDED, ChatAnswer, Grounding
from stock_llm.gateway.errors import FailureReason

if TYPE_CHECKING:  # brings NumPy
    from stock_llm.truth.answer_check import AnswerCheck

QueryType = Literal["analysis", "code", "translation", "chat"]
QUERY_TYPES: tuple[QueryType, ...] = ("analysis", "code", "translation", "chat")

Privacy = Literal["any", "local"]

RequestStatus = Literal["ok", "failed", "cut", "cancelled"]


@dataclass(frozen=True, slots=True)
class Query:
    """A request as the routing rules see it.

    Args:
        type: what is wanted.
        complexity, urgency: 1 to 10.
        data_length: characters of the data that came with it (candles, code, a table, the text
            itself).
        language: ISO 639-1 of the text, "en" or "th".
        privacy: "local" never leaves this machine.
        model: the model that was asked for; "auto" lets the rules choose.
        feature: the part of the service that asks ("chat", "analyze" …), for the cost record.
        needs: capabilities that a provider must have ("json-schema", "tools", "images").
        estimated: names of those fields above that the classifier filled in.
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
    """The provider to ask first, the rule that chose it, and the fallback."""

    choice: ProviderChoice
    rule: str
    """The rule's own words, as in the policy file."""
    policy: str
    notes: tuple[str, ...] = ()
    """Other reasons: "claude-api is switched off: local instead" …"""
    fallback: tuple[ProviderChoice, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    """Providers that may not be asked for this request, each with the reason."""


@dataclass(frozen=True, slots=True)
class ProviderAttempt:
    """One try at one provider."""

    choice: ProviderChoice
    seconds: float
    failure: str = ""
    """Class name of the error; empty where it answered."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RemainingBudget:
    """Dollars left for usage-priced providers; reservations of calls under way are taken off."""

    today: Decimal
    month: Decimal

    @property
    def spent(self) -> bool:
        """Whether nothing is left of one of the budgets."""
        return min(self.today, self.month) <= 0


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """What happened to one answered request."""

    id: str
    """Of the cost record and of the response."""
    query: Query
    decision: RoutingDecision
    attempts: tuple[ProviderAttempt, ...]
    answer: ChatAnswer
    dollars: Decimal
    route_seconds: float
    provider_seconds: float
    total_seconds: float
    skipped: tuple[FailureReason, ...] = ()
    """Providers that were passed over, each with the reason."""
    generated: ChatAnswer | None = None
    """The answer as it was generated, where a sentence of it was replaced."""
    check: "AnswerCheck | None" = None
    """What is known of its sentences; None where the question shows no numbers."""
    grounding: Grounding = NOTHING_ADDED

    @property
    def choice(self) -> ProviderChoice:
        """The provider that answered."""
        return self.attempts[-1].choice

    @property
    def fell_back(self) -> bool:
        """Whether another provider than the first choice answered."""
        return self.choice.provider != self.decision.choice.provider


def same_model(name: str, other: str) -> bool:
    """Whether two names mean one model: a name without a tag has the tag `latest`, as in Ollama."""
    return _tagged(name) == _tagged(other)


def _tagged(name: str) -> str:
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"
