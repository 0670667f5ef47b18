"""How a call to a provider can fail. Each provider translates its own errors into these, once; the fallback acts on the class.

GatewayFailure (a StockLLMError)
├── RateLimited     429: too many requests from us; others may still be served      → next provider, cool down
├── Overloaded      503/529: the provider itself has too much to do                 → next provider, cool down
│   └── Busy          our own queue before the provider is full                       → next provider
├── TimedOut        no answer within the time given                                 → next provider
├── Unavailable     not there, not switched on, garbage instead of an answer        → next provider
├── BadRequest      the request itself is wrong: no provider would take it          → the caller, no other try
│   └── UnknownModel  the model is not there
├── Refused         the model declined to answer                                    → the caller, no other try
├── Cut             the stream broke after its first byte                           → the caller, who is told
└── NobodyAnswered  every provider failed: the reason of each
"""

from dataclasses import dataclass

from stock_llm.errors import StockLLMError


class GatewayError(StockLLMError):
    """Why one provider did not answer.

    Args:
        provider: the provider's name.
        reason: in its own words where it has any.
        retry_after: seconds after which it may be asked again, where it says so.
        charged: whether the provider may have charged for the failed call (it had begun to generate).
    """

    status = 502
    """The HTTP status that a caller sees when this is the end of it."""

    def __init__(
        self, provider: str, reason: str, *, retry_after: float | None = None, charged: bool = False
    ):
        super().__init__(f"{provider}: {reason}")
        self.provider, self.reason, self.retry_after, self.charged = (
            provider,
            reason,
            retry_after,
            charged,
        )


class RateLimited(GatewayError):
    """The provider takes no more requests from us for now."""

    status = 429


class Overloaded(GatewayError):
    """The provider has too much to do."""

    status = 503


class Busy(Overloaded):
    """Our own queue before the provider is full; the provider itself is well."""


class TimedOut(GatewayError):
    """No whole answer, or no first byte, within the time given."""

    status = 504


class Unavailable(GatewayError):
    """The provider cannot be reached, is not set up, or answered with something that is no answer."""


class BadRequest(GatewayError):
    """The request itself is at fault; to send it elsewhere would not help."""

    status = 400


class UnknownModel(BadRequest):
    """Nobody here has a model of this name."""

    status = 404


class Refused(GatewayError):
    """The model declined to answer; asking another one in its place is the caller's decision."""

    status = 422


class Cut(GatewayError):
    """The stream broke after bytes had gone out; it cannot be repaired in silence."""


@dataclass(frozen=True)
class FailureReason:
    """Why one provider did not take a request."""

    provider: str
    kind: str
    """The failure's class name, or "left out", "resting", "over budget"."""
    text: str


class NobodyAnswered(GatewayError):
    """No provider could take the request; `reasons` holds one entry for each."""

    status = 503

    def __init__(self, reasons: tuple[FailureReason, ...], *, retry_after: float | None = None):
        said = "; ".join(f"{reason.provider} ({reason.kind}): {reason.text}" for reason in reasons)
        super().__init__("gateway", f"no provider could answer. {said}", retry_after=retry_after)
        self.reasons = reasons
