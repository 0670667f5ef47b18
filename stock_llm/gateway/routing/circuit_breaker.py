"""Leaves a provider alone for a while: after it said so (Retry-After), and after many failures in a
row.

After a cooldown one call is let through as a probe; if it is answered, the provider is back. One
object for each provider; it reads no clock, so that it can be tested to the second.
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
"""Failures in a row, and seconds from the first to the last, after which a cooldown starts. Where
one call in ten fails by chance, six in a row are one chance in a million; that many at one instant
only mean that this process was held up."""

FIRST_COOLDOWN, LONGEST_COOLDOWN = 5.0, 60.0
"""Seconds of the first cooldown; each that follows without an answer between is twice as long, up
to the longest."""

LONGEST_RETRY_AFTER = 600.0
"""Most seconds that a Retry-After is believed."""


class Permit(NamedTuple):
    """When a call began: after how many cooldowns, and after how many answers."""

    cooldowns: int
    answers: int


class CircuitBreaker:
    """The state of one provider. Times are seconds of any clock that never goes back.

    A call takes a permit (`acquire`) and gives it back (`succeed`, `fail` or `release`). A failed
    call that began before a cooldown, or before others were answered, is not counted.
    """

    def __init__(self) -> None:
        self._permit = Permit(0, 0)
        self._until = 0.0
        self._reset()

    def _reset(self) -> None:
        self._failures = self._cooldowns = 0
        self._until = self._first = 0.0
        self._asked_to_wait = self._is_open = self._is_probing = False

    def cooldown(self, now: float) -> float:
        """Seconds until it may be asked again; 0 if it may now."""
        if self._is_probing:
            return FIRST_COOLDOWN
        return max(self._until - now, 0.0)

    @property
    def permit(self) -> Permit:
        """The permit of a call that began just now."""
        return self._permit

    @property
    def asked_to_wait(self) -> bool:
        """Whether it cools down because it said how long to wait, and will then be well."""
        return self._asked_to_wait

    def acquire(self, now: float) -> Permit | None:
        """A permit for a call, None during a cooldown; one at a time until it is known to be well
        again."""
        if self.cooldown(now) > 0:
            return None
        self._is_probing = self._is_open
        return self._permit

    def succeed(self, now: float) -> None:
        """Records an answer: earlier failures no longer count. A wait that it asked for still
        does."""
        self._permit = self._permit._replace(answers=self._permit.answers + 1)
        until = self._until if self._asked_to_wait and now < self._until else 0.0
        self._reset()
        self._until, self._asked_to_wait = until, until > 0

    def fail(self, permit: Permit, failure: GatewayError, now: float) -> None:
        """Records a failure. A request that was wrong, refused or queued out does not count against
        the provider."""
        if permit.cooldowns != self._permit.cooldowns:
            return
        self._is_probing = False
        if isinstance(failure, BadRequest | Busy | Refused):
            return
        wait = failure.retry_after if isinstance(failure, RateLimited | Overloaded) else None
        if permit != self._permit and not wait:
            return
        self._first = self._first if self._failures else now
        self._failures += 1
        is_row = self._failures >= FAILURE_THRESHOLD and now - self._first >= FAILURE_SPAN
        if wait:
            self._until = max(self._until, now + min(wait, LONGEST_RETRY_AFTER))
            self._asked_to_wait = True
        elif is_row or self._is_open:
            self._until = now + min(FIRST_COOLDOWN * 2**self._cooldowns, LONGEST_COOLDOWN)
            self._cooldowns += 1
            self._permit = self._permit._replace(cooldowns=self._permit.cooldowns + 1)
            self._is_open, self._asked_to_wait = True, False

    def release(self, permit: Permit) -> None:
        """Gives back the permit of a call that was given up before its result was known."""
        if permit.cooldowns == self._permit.cooldowns:
            self._is_probing = False
