"""Translates the HTTP errors of providers."""

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from stock_llm.gateway.errors import (
    AccessDenied,
    BadRequest,
    GatewayError,
    Overloaded,
    RateLimited,
    TimedOut,
    Unavailable,
    UnknownModel,
)

_BY_STATUS: dict[int, type[GatewayError]] = {
    400: BadRequest, 401: AccessDenied, 402: AccessDenied, 403: AccessDenied, 404: UnknownModel,
    408: TimedOut, 413: BadRequest, 422: BadRequest, 429: RateLimited, 503: Overloaded,
    504: TimedOut, 529: Overloaded,
}  # fmt: skip
_BILLING = re.compile(
    r"credit balance|usage limit|spend(?:ing)? limit|billing|insufficient[_ ](?:quota|funds)"
    r"|exceeded your current quota",
    re.I,
)


def http_error(
    provider: str,
    status: int | None,
    reason: str,
    retry_after: str | None = None,
    *,
    charged: bool = False,
) -> GatewayError:
    """The error that a status stands for.

    A text about the bill makes a refusal of the request, or of its rate, one of access: nothing is
    wrong with the request, and another provider may take it.

    Args:
        reason: the provider's own text.
        retry_after: value of the header Retry-After.
    """
    kind = _BY_STATUS.get(status or 0, Unavailable)
    if kind in (BadRequest, RateLimited, Unavailable) and _BILLING.search(reason):
        kind = AccessDenied
    return kind(provider, reason, retry_after=retry_seconds(retry_after), charged=charged)


def retry_seconds(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait by the header Retry-After, which holds seconds or a date; None: it says
    nothing."""
    text = (header or "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return None
        date = date.replace(tzinfo=UTC) if date.tzinfo is None else date
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    return seconds if math.isfinite(seconds) and seconds > 0 else None
