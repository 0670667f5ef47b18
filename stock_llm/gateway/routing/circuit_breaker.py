"""When a provider is left alone for a while: after it said so (Retry-After), and after it failed many times in a row.

In: what became of each call, and the time. Out: whether the next may be made. After a rest one call is let through as a probe; if
it is answered, the provider is back. One object for each provider; reads no clock, so that it can be tested to the second.
"""

from typing import NamedTuple

from stock_llm.gateway.errors import (
    BadRequest,
    Busy,
    GatewayError,
    Overloaded,
    RateLimited,
    Refused,
)

FAILURE_THRESHOLD, FAILURE_SPAN = 6, 1.0
"""Failures, one after the other, and seconds from the first to the last, after which it rests. Where one call in ten fails by
chance, six in a row are one chance in a million; that many at one instant only say that this process was held up."""

FIRST_COOLDOWN, LONGEST_COOLDOWN = 5.0, 60.0
"""Seconds of the first rest; each that follows without an answer between is twice as long, up to the longest."""

LONGEST_RETRY_AFTER = 600.0
"""Most seconds that a Retry-After is believed."""


class Permit(NamedTuple):
    """When a call began: after how many rests, and after how many answers."""

    rests: int
    answers: int


class CircuitBreaker:
    """One provider's state. Times are seconds of any clock that never goes back.

    A call takes a ticket (`ask`) and brings it back (`answered`, `failed` or `let_go`): what fails that had been asked before a
    rest began, or before others were answered, says nothing new.
    """

    def __init__(self) -> None:
        self._ticket = Permit(0, 0)
        self._until = 0.0
        self._well()

    def _well(self) -> None:
        self._failures = self._rests = 0
        self._until = self._first = 0.0
        self._asked_to_wait = self._resting = self._probing = False

    def cooldown(self, now: float) -> float:
        """Seconds until it may be asked again; 0 if it may now."""
        if self._probing:
            return FIRST_COOLDOWN
        return max(self._until - now, 0.0)

    @property
    def ticket(self) -> Permit:
        """What a call that began just now would hold."""
        return self._ticket

    @property
    def asked_to_wait(self) -> bool:
        """Whether it rests because it said how long to wait, and will then be well."""
        return self._asked_to_wait

    def ask(self, now: float) -> Permit | None:
        """A ticket for a call, None while it rests; until it is known to be well again, one at a time."""
        if self.cooldown(now) > 0:
            return None
        self._probing = self._resting
        return self._ticket

    def answered(self, now: float) -> None:
        """A call was answered: nothing is held against the provider, whenever it was asked. A wait it asked for still counts."""
        self._ticket = self._ticket._replace(answers=self._ticket.answers + 1)
        until = self._until if self._asked_to_wait and now < self._until else 0.0
        self._well()
        self._until, self._asked_to_wait = until, until > 0

    def failed(self, ticket: Permit, failure: GatewayError, now: float) -> None:
        """A call failed. That a request was wrong, refused or not let through says nothing against the provider."""
        if ticket.rests != self._ticket.rests:
            return
        self._probing = False
        if isinstance(failure, BadRequest | Busy | Refused):
            return
        told = failure.retry_after if isinstance(failure, RateLimited | Overloaded) else None
        if ticket != self._ticket and not told:
            return
        self._first = self._first if self._failures else now
        self._failures += 1
        in_a_row = self._failures >= FAILURE_THRESHOLD and now - self._first >= FAILURE_SPAN
        if told:
            self._until = max(self._until, now + min(told, LONGEST_RETRY_AFTER))
            self._asked_to_wait = True
        elif in_a_row or self._resting:
            self._until = now + min(FIRST_COOLDOWN * 2**self._rests, LONGEST_COOLDOWN)
            self._rests += 1
            self._ticket = self._ticket._replace(rests=self._ticket.rests + 1)
            self._resting, self._asked_to_wait = True, False

    def release(self, ticket: Permit) -> None:
        """A call was given up before it was known what became of it."""
        if ticket.rests == self._ticket.rests:
            self._probing = False
