"""The books of one request: what is reserved before an attempt, what is gone after it, the one record at the end.

In: a request under way, and what its attempts came to. Out: reservations and a record in the cost store. Does not know who is
asked next, nor why.
"""

import itertools
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

from stock_llm.errors import InputError
from stock_llm.gateway.accounting.cost_store import CostStore
from stock_llm.gateway.accounting.prices import PriceList
from stock_llm.gateway.accounting.tables import CallRecord, Reservation
from stock_llm.gateway.chat import ChatAnswer, ChatRequest, TokenUsage
from stock_llm.gateway.errors import FailureReason, GatewayError
from stock_llm.gateway.providers.provider import Billing
from stock_llm.gateway.query import (
    ProviderAttempt,
    ProviderChoice,
    Query,
    RequestStatus,
    RequestTrace,
    RoutingDecision,
)

FRAME, MESSAGE_FRAME = 2000, 64
"""Bytes that a provider puts around a prompt, and around each message, at most: for what a call can cost."""


@dataclass
class RequestContext:
    """One request while it is worked on."""

    request: ChatRequest
    query: Query
    at: datetime
    began: float
    id: str
    decision: RoutingDecision | None = None
    route_seconds: float = 0.0
    provider_seconds: float = 0.0
    attempts: list[ProviderAttempt] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    """Everybody who was thought of, and what came of it."""
    failures: dict[str, GatewayError] = field(default_factory=dict)
    """The last of each provider."""
    reasons: dict[str, FailureReason] = field(default_factory=dict)
    """Why each provider has not answered yet."""
    passed_over: list[FailureReason] = field(default_factory=list)
    """Providers that were not asked when it was their turn."""
    reserved: Reservation | None = None
    """For the attempt under way."""
    kept: list[Reservation] = field(default_factory=list)
    """Of attempts that were charged; freed when the record is written."""
    charged: Decimal = Decimal(0)

    def tried(
        self, choice: ProviderChoice, seconds: float, failure: str = "", reason: str = ""
    ) -> None:
        """Notes an attempt."""
        self.attempts.append(ProviderAttempt(choice, seconds, failure, reason))
        self.path.append(f"{choice.provider}: {failure or 'ok'}")

    def skipped(self, provider: str, kind: str, text: str) -> None:
        """Notes that a provider was not asked."""
        self.path.append(f"{provider}: {kind}")
        self.reasons[provider] = FailureReason(provider, kind, text)
        self.passed_over.append(self.reasons[provider])


class RequestAccounting:
    """Where requests are paid and recorded.

    Args:
        kinds: how each provider is paid.
        max_tokens: longest answer of a usage-priced provider where the request sets no limit.
        clock, seconds: wall clock (UTC) and stopwatch.
        attempt_failed: is told of each try that failed.
    """

    def __init__(
        self,
        costs: CostStore,
        prices: PriceList,
        kinds: Mapping[str, Billing],
        max_tokens: int,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        seconds: Callable[[], float] = time.perf_counter,
        attempt_failed: Callable[[ProviderAttempt], None] = lambda _: None,
    ):
        self.costs, self._attempt_failed = costs, attempt_failed
        self._prices, self._kinds, self._max_tokens = prices, kinds, max_tokens
        self._clock, self.seconds = clock, seconds
        self._prefix, self._number = (
            uuid.uuid4().hex[:20],
            itertools.count(),
        )  # a syscall for each id is the dearest part of it

    def begin(self, request: ChatRequest, query: Query) -> RequestContext:
        """Opens the account of a request."""
        return RequestContext(
            request,
            query,
            self._clock(),
            self.seconds(),
            f"{self._prefix}{next(self._number):012x}",
        )

    async def reserve(self, run: RequestContext, choice: ProviderChoice) -> ChatRequest:
        """The request as this provider gets it; for a usage-priced one, what it can cost at most is put aside first.

        Raises:
            OverBudget: a budget has less left.
            InputError: there is no price, or the store cannot be written.
        """
        request = run.request.for_model(choice.model)
        if self._kinds[choice.provider] != "usage":
            return request
        limit = request.options.max_tokens or self._max_tokens
        amount = self._prices.bound(choice.model, size(request), limit, run.at)
        run.reserved = await self.costs.reserve(
            choice.provider, choice.model, run.query.feature, amount
        )
        return replace(request, options=replace(request.options, max_tokens=limit))

    def fail(self, run: RequestContext, *, charged: bool) -> None:
        """Tells of an attempt without an answer and ends its reservation: all of it is gone if the provider may have charged."""
        self._attempt_failed(run.attempts[-1])
        if run.reserved is None:
            return
        if charged:
            run.charged += run.reserved.amount
            run.kept.append(run.reserved)
        else:
            self.costs.release(run.reserved)
        run.reserved = None

    def serve(self, run: RequestContext, answer: ChatAnswer) -> RequestTrace:
        """The end of a request that was answered."""
        assert run.decision is not None
        choice, notional = run.attempts[-1].choice, Decimal(0)
        kind = self._kinds.get(choice.provider, "free")
        if kind == "usage":
            run.charged += self._cost(run, choice, answer)
        elif kind == "fixed":
            notional = answer.dollars or Decimal(0)
        seconds = self._record(run, "ok", choice, answer.model, answer.usage, notional)
        return RequestTrace(
            run.id, run.query, run.decision, tuple(run.attempts), answer, run.charged, run.route_seconds, run.provider_seconds,
            seconds, tuple(run.passed_over),
        )  # fmt: skip

    def give_up(
        self, run: RequestContext, status: RequestStatus, streamed: int | None = None
    ) -> None:
        """The end of a request without a whole answer.

        Args:
            streamed: bytes of the answer that had come; the provider has charged no more tokens than that, and its prompt.
        """
        choice = (
            run.attempts[-1].choice if run.attempts and status != "failed" else ProviderChoice("")
        )
        if run.reserved and streamed is not None:
            most = self._prices.bound(
                run.reserved.model,
                size(run.request.for_model(run.reserved.model)),
                streamed + MESSAGE_FRAME,
                run.at,
            )
            run.charged += min(most, run.reserved.amount)
        elif run.reserved:
            run.charged += run.reserved.amount
        self._record(run, status, choice, choice.model, TokenUsage(), Decimal(0))

    def _cost(self, run: RequestContext, choice: ProviderChoice, answer: ChatAnswer) -> Decimal:
        """What the provider says, else its tokens at the price list; the name asked for stands in for one that has no price."""
        if answer.dollars is not None:
            return answer.dollars
        try:
            return self._prices.cost(answer.model, answer.usage, run.at)
        except InputError:
            return self._prices.cost(choice.model, answer.usage, run.at)

    def _record(
        self,
        run: RequestContext,
        status: RequestStatus,
        choice: ProviderChoice,
        model: str,
        usage: TokenUsage,
        notional: Decimal,
    ) -> float:
        """Hands the one record over, and with it every reservation that is still open; returns the seconds of the whole."""
        decision, seconds = run.decision, self.seconds() - run.began
        fell_back = bool(
            decision and choice.provider and choice.provider != decision.choice.provider
        )
        call = CallRecord(
            run.id, run.at, run.query, choice.provider, model, decision.rule if decision else "nobody may be asked",
            ", ".join(run.path), fell_back, status, usage, run.charged, notional, seconds, run.provider_seconds,
            run.route_seconds,
        )  # fmt: skip
        self.costs.record(call, [*run.kept, run.reserved] if run.reserved else run.kept)
        run.reserved = None
        return seconds


def size(request: ChatRequest) -> int:
    """Bytes that a prompt has at most, with what a provider puts around it."""
    messages = sum(
        len(each.content.encode()) + MESSAGE_FRAME + len(repr(dict(each.extra)))
        for each in request.messages
    )
    return FRAME + messages + len(repr(request.format)) + len(repr(dict(request.extra)))
