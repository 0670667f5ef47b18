"""The ways in which a call to a provider can fail.

Each provider translates its own errors into these; the fallback acts on the class.

GatewayError (a StockLLMError)
├── RateLimited      429: too many requests from us               → next provider, cooldown
├── Overloaded       503/529: the provider has too much to do     → next provider, cooldown
│   └── Busy         our queue in front of the provider is full   → next provider
├── TimedOut         no answer within the time given              → next provider
├── Unavailable      not there, or garbage instead of an answer   → tried again, next provider
│   └── AccessDenied 401/402/403, a spent credit or usage limit   → next provider
├── BadRequest       no provider would take the request           → the caller
│   └── UnknownModel the model is not there                       → the caller
├── Refused          the model declined to answer                 → the caller
├── Cut              the stream broke after its first byte        → the caller
└── NobodyAnswered   every provider failed: the reason of each    → the caller
"""

from dataclasses import dataclass

from stock_llm.errors import StockLLMError

STORE_FAILED = "a database of the gateway cannot be used; see its log"
"""What callers are told of a `StoreError`, which names a file of this machine."""


class GatewayError(StockLLMError):
    """A provider did not answer.

    Args:
        provider: the provider's name.
        reason: in its own words where it has any.
        retry_after: seconds after which it may be asked again, where it says so.
        charged: whether the provider may have charged for the failed call (it had begun to
            generate).
    """

    status = 502
    """The HTTP status of the response where the request ends with this error."""

    def __init__(
        self,
        provider: str,
        reason: str,
        *,
        retry_after: float | None = None,
        charged: bool = False,
    ):
        super().__init__(f"{provider}: {reason}")
        self.provider, self.reason = provider, reason
        self.retry_after, self.charged = retry_after, charged


class RateLimited(GatewayError):
    """The provider takes no more requests from us for now."""

    status = 429


class Overloaded(GatewayError):
    """The provider has too much to do."""

    status = 503


class Busy(Overloaded):
    """The gateway's own queue in front of the provider is full; the provider itself is well."""


class TimedOut(GatewayError):
    """No whole answer, or no first byte, came within the time given."""

    status = 504


class Unavailable(GatewayError):
    """The provider cannot be reached, is not set up, or answered with something that is no
    answer."""


class AccessDenied(Unavailable):
    """The provider refuses the key or the bill; asking again does not help, another provider
    may."""


class BadRequest(GatewayError):
    """The request itself is at fault; sending it elsewhere would not help."""

    status = 400


class UnknownModel(BadRequest):
    """Nobody here has a model of this name."""

    status = 404


class Refused(GatewayError):
    """The model declined to answer; asking another one instead is the caller's decision."""

    status = 422


class Cut(GatewayError):
    """The stream broke after its first bytes had been sent."""


@dataclass(frozen=True)
class FailureReason:
    """Why one provider did not take a request."""

    provider: str
    kind: str
    """The error's class name, or "left out", "resting", "over budget"."""
    text: str


class NobodyAnswered(GatewayError):
    """No provider could take the request; `reasons` holds one entry for each."""

    status = 503

    def __init__(self, reasons: tuple[FailureReason, ...], *, retry_after: float | None = None):
        texts = "; ".join(f"{reason.provider} ({reason.kind}): {reason.text}" for reason in reasons)
        super().__init__("gateway", f"no provider could answer. {texts}", retry_after=retry_after)
        self.reasons = reasons
