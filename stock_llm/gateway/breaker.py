"""When a provider is left alone for a while: after it said so (Retry-After), and after it failed many times in a row.

In: what became of each call, and the time. Out: whether the next may be made. After a rest one call is let through as a probe; if
it is answered, the provider is back. One object for each provider; reads no clock, so that it can be tested to the second.
"""

from stock_llm.gateway.failures import BadRequest, Busy, GatewayFailure, Overloaded, RateLimited, Refused

IN_A_ROW = 6
"""Failures, one after the other, after which it rests. Where one call in ten fails by chance, that is one chance in a million."""

REST, LONGEST_REST = 5.0, 60.0
"""Seconds of the first rest; each that follows without an answer between is twice as long, up to the longest."""

LONGEST_WAIT = 600.0
"""Most seconds that a Retry-After is believed."""


class Breaker:
    """One provider's state. Times are seconds of any clock that never goes back."""

    def __init__(self) -> None:
        self.answered()

    def answered(self) -> None:
        """A call was answered: nothing is held against the provider."""
        self._failures = 0
        self._rests = 0
        self._until = 0.0
        self._asked_to_wait = False
        self._resting = False
        self._probing = False

    def rest(self, now: float) -> float:
        """Seconds until it may be asked again; 0 if it may now."""
        if self._probing:
            return REST
        return max(self._until - now, 0.0)

    @property
    def asked_to_wait(self) -> bool:
        """Whether it rests because it said how long to wait, and will then be well."""
        return self._asked_to_wait

    def ask(self, now: float) -> bool:
        """Whether a call may be made now; while it is not known to be well again, one at a time."""
        if self.rest(now) > 0:
            return False
        self._probing = self._resting
        return True

    def failed(self, failure: GatewayFailure, now: float) -> None:
        """A call failed. That a request was wrong, refused or not let through says nothing against the provider."""
        self._probing = False
        if isinstance(failure, BadRequest | Busy | Refused):
            return
        self._failures += 1
        if isinstance(failure, RateLimited | Overloaded) and failure.retry_after:
            self._until = max(self._until, now + min(failure.retry_after, LONGEST_WAIT))
            self._asked_to_wait = True
        elif self._failures >= IN_A_ROW or self._resting:
            self._until = now + min(REST * 2**self._rests, LONGEST_REST)
            self._rests += 1
            self._resting, self._asked_to_wait = True, False

    def let_go(self) -> None:
        """A call was given up before it was known what became of it."""
        self._probing = False
