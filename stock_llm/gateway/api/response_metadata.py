"""What a caller learns about an answer: who gave it, by which rule, what it cost, how long each
part took.

In: what the router knows of a request. Out: response headers, and a field of the last event of a
stream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from stock_llm.gateway.chat import NOTHING_ADDED, Grounding
from stock_llm.gateway.errors import FailureReason
from stock_llm.gateway.query import ProviderAttempt, ProviderChoice, RequestTrace, RoutingDecision

if TYPE_CHECKING:  # brings NumPy
    from stock_llm.truth.answer_check import AnswerCheck

_PREFIX = "x-stock-llm-"
_LONGEST = 2000
"""Characters of a header; clients refuse heads of more than some thousands."""


@dataclass(frozen=True, slots=True)
class ResponseMetadata:
    """What is known of a request so far.

    Attributes:
        response_id: signed; feedback refers to it.
        skipped: providers that were not asked when it was their turn, and why.
        trace: the finished request; None while the answer is still coming.
        cached: whether the answer came from the cache.
        grounding: what was added to the question.
    """

    response_id: str
    decision: RoutingDecision
    choice: ProviderChoice
    attempts: Sequence[ProviderAttempt]
    skipped: Sequence[FailureReason] = ()
    trace: RequestTrace | None = None
    cached: bool = False
    grounding: Grounding = NOTHING_ADDED

    @property
    def dollars(self) -> Decimal:
        """What this answer cost."""
        return self.trace.dollars if self.trace and not self.cached else Decimal(0)

    def headers(self) -> dict[str, str]:
        """The response headers; cost and times only when the answer is complete."""
        values = {
            "response-id": self.response_id,
            "provider": self.choice.provider,
            "model": self._model,
            "rule": self.decision.rule,
            "policy": self.decision.policy,
            "fallback": "; ".join(self._failed()),
            "note": "; ".join(self._notes()),
            "cache": "hit" if self.cached else "",
            "grounding": self._grounded_by,
        }
        if self.trace and (check := self.trace.check):
            values["sentences"] = ", ".join(f"{name}={each}" for name, each in _counts(check))
        if self.trace:
            times = self.milliseconds().items()
            values["cost"] = f"{self.dollars:f}"
            values["time"] = ", ".join(f"{part}={spent:.1f}" for part, spent in times)
        return {_PREFIX + name: _one_line(text) for name, text in values.items() if text}

    def event(self) -> dict[str, Any]:
        """The same as JSON, for the last event of a stream and for the service's own answers."""
        times = self.milliseconds().items()
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
            "milliseconds": {part: round(spent, 1) for part, spent in times},
        } | self._truth()

    @property
    def is_grounded(self) -> bool:
        """Whether something was added to the question, or is known of the answer's sentences."""
        return bool(self.grounding.added or (self.trace and self.trace.check))

    @property
    def _grounded_by(self) -> str:
        if (block := self.grounding.added) is None:
            return ""
        return " ".join(part for part in (block.kind, block.symbol, f"as of {block.as_of}") if part)

    def _truth(self) -> dict[str, Any]:
        """What was added to the question, and what is known of the answer's sentences."""
        values: dict[str, Any] = {"grounding": None, "check": None}
        if block := self.grounding.added:
            values["grounding"] = {
                "kind": block.kind,
                "symbol": block.symbol,
                "as_of": block.as_of,
                "old": bool(block.note),
                "numbers": block.text,
            }
        if self.trace and (check := self.trace.check):
            values["check"] = dict(_counts(check)) | {
                "false_sentences": [
                    {"sentence": each.sentence, "true_sentence": each.correction}
                    for each in check.false
                ],
                "invented": list(check.invented),
                "parses": check.parses,
            }
        return values

    def milliseconds(self) -> Mapping[str, float]:
        """How long each part took."""
        if self.trace is None or self.cached:
            return {}
        timings = self.trace.answer.timings
        parts = {
            "route": self.trace.route_seconds,
            "queue": timings.queue,
            "load": timings.load,
            "prompt": timings.prompt,
            "generate": timings.generate,
            "provider": self.trace.provider_seconds,
            "total": self.trace.total_seconds,
        }
        return {part: seconds * 1000 for part, seconds in parts.items() if seconds is not None}

    @property
    def _model(self) -> str:
        return self.trace.answer.model if self.trace else self.choice.model

    def _failed(self) -> list[str]:
        failed = [
            f"{attempt.choice.provider} ({attempt.failure}): {attempt.reason}"
            for attempt in self.attempts
            if attempt.failure
        ]
        return failed + [
            f"{reason.provider} ({reason.kind}): {reason.text}" for reason in self.skipped
        ]

    def _notes(self) -> list[str]:
        said = self.trace.answer.notes if self.trace else ()
        return [*self.decision.notes, *self.grounding.notes, *said]


def _one_line(text: str) -> str:
    """Text as a header can carry it: one line of ASCII, not too long for any client."""
    plain = " ".join(
        text[:_LONGEST].replace("→", "->").replace("≥", ">=").replace("≤", "<=").split()
    )
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in plain)


def _counts(check: "AnswerCheck") -> list[tuple[str, int]]:
    counts = [(name, check.count(name)) for name in ("true", "false", "unchecked")]
    return [*counts, ("replaced", check.repaired)]
