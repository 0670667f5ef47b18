"""What a caller is told about an answer: who gave it, by which rule, for how much, how long each part took.

In: what the fallback knows of a request. Out: response headers, and for a stream a field of its final event. Does not know which
API is spoken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from stock_llm.gateway.errors import FailureReason
from stock_llm.gateway.query import ProviderAttempt, ProviderChoice, RequestTrace, RoutingDecision

_PREFIX = "x-stock-llm-"


@dataclass(frozen=True, slots=True)
class ResponseMetadata:
    """A request as far as it has come.

    Attributes:
        response_id: signed; what feedback refers to.
        skipped: who was not asked although it was their turn, and why.
        served: None while the answer is still coming.
        cached: whether the answer was given before and is given again.
    """

    response_id: str
    decision: RoutingDecision
    choice: ProviderChoice
    attempts: Sequence[ProviderAttempt]
    skipped: Sequence[FailureReason] = ()
    served: RequestTrace | None = None
    cached: bool = False

    @property
    def dollars(self) -> Decimal:
        """What this answer cost."""
        return self.served.dollars if self.served and not self.cached else Decimal(0)

    def headers(self) -> dict[str, str]:
        """The response headers; cost and times only where the answer is whole."""
        told = {
            "response-id": self.response_id,
            "provider": self.choice.provider,
            "model": self._model,
            "rule": self.decision.rule,
            "policy": self.decision.policy,
            "fallback": "; ".join(self._failed()),
            "note": "; ".join(self._notes()),
            "cache": "hit" if self.cached else "",
        }
        if self.served:
            told["cost"] = f"{self.dollars:f}"
            told["time"] = ", ".join(
                f"{part}={spent:.1f}" for part, spent in self.milliseconds().items()
            )
        return {_PREFIX + name: _one_line(text) for name, text in told.items() if text}

    def event(self) -> dict[str, Any]:
        """The same as JSON, for the final event of a stream and for the service's own answers."""
        return {
            "response_id": self.response_id,
            "provider": self.choice.provider,
            "model": self._model,
            "rule": self.decision.rule,
            "policy": self.decision.policy,
            "cost_usd": float(self.dollars),
            "fallback": self._failed(),
            "notes": self._notes(),
            "cached": self.cached,
            "milliseconds": {part: round(spent, 1) for part, spent in self.milliseconds().items()},
        }

    def milliseconds(self) -> Mapping[str, float]:
        """How long each part took."""
        if self.served is None or self.cached:
            return {}
        timings = self.served.answer.timings
        parts = {
            "route": self.served.route_seconds,
            "queue": timings.queue,
            "load": timings.load,
            "prompt": timings.prompt,
            "generate": timings.generate,
            "provider": self.served.provider_seconds,
            "total": self.served.total_seconds,
        }
        return {part: seconds * 1000 for part, seconds in parts.items() if seconds is not None}

    @property
    def _model(self) -> str:
        return self.served.answer.model if self.served else self.choice.model

    def _failed(self) -> list[str]:
        failed = [
            f"{one.choice.provider} ({one.failure}): {one.reason}"
            for one in self.attempts
            if one.failure
        ]
        return failed + [f"{one.provider} ({one.kind}): {one.text}" for one in self.skipped]

    def _notes(self) -> list[str]:
        return [*self.decision.notes, *(self.served.answer.notes if self.served else ())]


def _one_line(text: str) -> str:
    """Text as a header can carry it: one line of ASCII."""
    plain = " ".join(text.replace("→", "->").replace("≥", ">=").replace("≤", "<=").split())
    return plain.encode("ascii", "replace").decode()
