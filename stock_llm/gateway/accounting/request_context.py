"""The accounting of one request: a reservation before an attempt, its charge after it, one record
at the end."""

import itertools
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from stock_llm.errors import InputError
from stock_llm.gateway.accounting.cost_store import CostStore
from stock_llm.gateway.accounting.prices import PriceList
from stock_llm.gateway.accounting.tables import CallRecord, Reservation
from stock_llm.gateway.chat import ChatAnswer, ChatRequest, TokenUsage
from stock_llm.gateway.errors import BadRequest, FailureReason, GatewayError
from stock_llm.gateway.providers.provider import Billing
from stock_llm.gateway.query import (
    ProviderAttempt,
    ProviderChoice,
    Query,
    RequestStatus,
    RequestTrace,
    RoutingDecision,
)

if TYPE_CHECKING:  # brings NumPy
    from stock_llm.truth.answer_check import AnswerCheck

FRAME, MESSAGE_FRAME = 2000, 64
"""Most bytes that a provider puts around a prompt, and around each message: for what a call can
cost."""


@dataclass
class RequestContext:
    """The state of one request under way."""

    request: ChatRequest
    query: Query
    at: datetime
    began: float
    id: str
    decision: RoutingDecision | None = None
    route_seconds: float = 0.0
    provider_seconds: float = 0.0
    first_seconds: float | None = None
    """To the first piece of a stream, failed tries included."""
    attempts: list[ProviderAttempt] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    """Each provider that was considered, and its result."""
    failures: dict[str, GatewayError] = field(default_factory=dict)
    """The last failure of each provider."""
    reasons: dict[str, FailureReason] = field(default_factory=dict)
    """Why each provider has not answered yet."""
    passed_over: list[FailureReason] = field(default_factory=list)
    """Providers that were skipped when it was their turn."""
    reserved: Reservation | None = None
    """For the attempt under way."""
    charged_reservations: list[Reservation] = field(default_factory=list)
    """Of attempts that were charged; freed when the record is written."""
    charged: Decimal = Decimal(0)

    def add_attempt(
        self, choice: ProviderChoice, seconds: float, failure: str = "", reason: str = ""
    ) -> None:
        """Adds an attempt."""
        self.attempts.append(ProviderAttempt(choice, seconds, failure, reason))
        self.path.append(f"{choice.provider}: {failure or 'ok'}")

    def skip(self, provider: str, kind: str, text: str) -> None:
        """Adds a provider that was not asked."""
        self.path.append(f"{provider}: {kind}")
        self.reasons[provider] = FailureReason(provider, kind, text)
        self.passed_over.append(self.reasons[provider])


class RequestAccounting:
    """Pays and records requests.

    Args:
        billing: provider → how it is paid.
        max_tokens: longest answer of a usage-priced provider where the request sets no limit.
        clock, seconds: wall clock (UTC) and stopwatch.
        attempt_failed: callback for each try that failed by no fault of the request.
        most: provider → how many calls an answer to a request can take, and how many bytes its
            prompt can grow by; a provider that is not named takes one.
    """

    def __init__(
        self,
        costs: CostStore,
        prices: PriceList,
        billing: Mapping[str, Billing],
        max_tokens: int,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        seconds: Callable[[], float] = time.perf_counter,
        attempt_failed: Callable[[ProviderAttempt], None] = lambda _: None,
        most: Mapping[str, Callable[[ChatRequest], tuple[int, int]]] | None = None,
    ):
        self._most = most or {}
        self.costs, self._attempt_failed = costs, attempt_failed
        self._prices, self._billing, self._max_tokens = prices, billing, max_tokens
        self._clock, self.seconds = clock, seconds
        self._id_prefix = uuid.uuid4().hex[:20]  # once: a system call for each id takes longest
        self._number = itertools.count()

    def begin(self, request: ChatRequest, query: Query) -> RequestContext:
        """The context of a new request."""
        id = f"{self._id_prefix}{next(self._number):012x}"
        return RequestContext(request, query, self._clock(), self.seconds(), id)

    async def reserve(self, context: RequestContext, choice: ProviderChoice) -> ChatRequest:
        """The request for this provider; what a usage-priced one can cost at most is reserved
        first.

        Raises:
            BudgetExceeded: a budget has less left.
            InputError: there is no price.
            StoreError: the cost store cannot be written.
        """
        request = context.request.for_model(choice.model)
        if self._billing[choice.provider] != "usage":
            return request
        calls, growth = self._most.get(choice.provider, _one_call)(request)
        limit = request.options.max_tokens or self._max_tokens
        amount = calls * self._prices.bound(choice.model, size(request) + growth, limit, context.at)
        context.reserved = await self.costs.reserve(
            choice.provider, choice.model, context.query.feature, amount
        )
        return replace(request, options=replace(request.options, max_tokens=limit))

    def release(self, context: RequestContext) -> None:
        """Frees what was reserved for an attempt that was not made."""
        if context.reserved:
            self.costs.release(context.reserved)
            context.reserved = None

    def fail(self, context: RequestContext, failure: GatewayError) -> None:
        """Records a failed attempt; all of its reservation is spent if the provider may have
        charged."""
        if not isinstance(failure, BadRequest):
            self._attempt_failed(context.attempts[-1])
        if context.reserved is None:
            return
        if failure.charged:
            context.charged += context.reserved.amount
            context.charged_reservations.append(context.reserved)
        else:
            self.costs.release(context.reserved)
        context.reserved = None

    def finish(self, context: RequestContext, answer: ChatAnswer) -> RequestTrace:
        """Records a request that was answered."""
        assert context.decision is not None
        choice, notional = context.attempts[-1].choice, Decimal(0)
        shown, check = answer, None
        if context.request.reviewer and answer.text:
            text, check = context.request.reviewer.review(answer.text)
            if text != answer.text:
                shown = replace(answer, text=text, raw=b"")
        billing = self._billing.get(choice.provider, "free")
        if billing == "usage":
            context.charged += self._cost(context, choice, answer)
        elif billing == "fixed":
            notional = answer.dollars or Decimal(0)
        seconds = self._record(context, "ok", choice, answer.model, answer.usage, notional, check)
        return RequestTrace(
            context.id,
            context.query,
            context.decision,
            tuple(context.attempts),
            shown,
            context.charged,
            context.route_seconds,
            context.provider_seconds,
            seconds,
            tuple(context.passed_over),
            answer if shown is not answer else None,
            check,
            context.request.grounding,
        )

    def give_up(
        self, context: RequestContext, status: RequestStatus, streamed: int | None = None
    ) -> None:
        """Records a request without a whole answer.

        Args:
            streamed: bytes of the answer that had come; the provider has charged no more tokens
                than that, and its prompt. An answer with tool calls is several calls, whose number
                is not known here: all of its reservation is spent.
        """
        choice, reserved = ProviderChoice(""), context.reserved
        if context.attempts and status != "failed":
            choice = context.attempts[-1].choice
        calls = self._calls(context, reserved) if reserved else 1
        if reserved and streamed is not None and calls == 1:
            prompt = size(context.request.for_model(reserved.model))
            tokens = streamed + MESSAGE_FRAME
            most = self._prices.bound(reserved.model, prompt, tokens, context.at)
            context.charged += min(most, reserved.amount)
        elif reserved:
            context.charged += reserved.amount
        self._record(context, status, choice, choice.model, TokenUsage(), Decimal(0))

    def _calls(self, context: RequestContext, reserved: Reservation) -> int:
        """How many calls of its provider a reservation is for."""
        request = context.request.for_model(reserved.model)
        return self._most.get(reserved.provider, _one_call)(request)[0]

    def _cost(self, context: RequestContext, choice: ProviderChoice, answer: ChatAnswer) -> Decimal:
        """Dollars by the provider's account, else by the price list; without a price by that of the
        model asked for."""
        if answer.dollars is not None:
            return answer.dollars
        try:
            return self._prices.cost(answer.model, answer.usage, context.at)
        except InputError:
            return self._prices.cost(choice.model, answer.usage, context.at)

    def _record(
        self,
        context: RequestContext,
        status: RequestStatus,
        choice: ProviderChoice,
        model: str,
        usage: TokenUsage,
        notional: Decimal,
        check: "AnswerCheck | None" = None,
    ) -> float:
        """Hands over the one record with every open reservation; returns the seconds of the whole
        request."""
        decision, seconds = context.decision, self.seconds() - context.began
        first = decision.choice.provider if decision else ""
        call = CallRecord(
            context.id,
            context.at,
            context.query,
            choice.provider,
            model,
            decision.rule if decision else "nobody may be asked",
            ", ".join(context.path),
            bool(first and choice.provider and choice.provider != first),
            status,
            usage,
            context.charged,
            notional,
            seconds,
            context.provider_seconds,
            context.route_seconds,
            context.first_seconds,
            added.kind if (added := context.request.grounding.added) else "",
            check,
        )
        unsettled = [context.reserved] if context.reserved else []
        self.costs.record(call, [*context.charged_reservations, *unsettled])
        context.reserved = None
        return seconds


def _one_call(_: ChatRequest) -> tuple[int, int]:
    return 1, 0


def size(request: ChatRequest) -> int:
    """Most bytes of a prompt, with what a provider puts around it."""
    messages = sum(
        len(message.content.encode(errors="replace"))
        + MESSAGE_FRAME
        + len(repr(dict(message.extra)))
        for message in request.messages
    )
    return FRAME + messages + len(repr(request.format)) + len(repr(dict(request.extra)))
