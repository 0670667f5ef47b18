"""The one retry loop: answers a request, or fails with one clear error, whatever providers do
meanwhile.

The decision names the first provider and the fallback. Transient failures are retried with jittered
exponential backoff; then the next provider is asked; at the end those that may have recovered
again. Nothing is retried after the first piece of a stream has been sent.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar, cast

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from stock_llm.errors import InputError, StockLLMError, StoreError
from stock_llm.gateway.accounting.cost_store import BudgetExceeded, CostStore
from stock_llm.gateway.accounting.prices import PriceList
from stock_llm.gateway.accounting.request_context import RequestAccounting, RequestContext
from stock_llm.gateway.chat import AnswerChunk, ChatAnswer, ChatRequest, TokenUsage
from stock_llm.gateway.errors import (
    STORE_FAILED,
    AccessDenied,
    BadRequest,
    Busy,
    FailureReason,
    GatewayError,
    NobodyAnswered,
    Overloaded,
    Refused,
    TimedOut,
    Unavailable,
    UnknownModel,
)
from stock_llm.gateway.providers.concurrency import SlotTimeout
from stock_llm.gateway.providers.provider import Embedder, Provider
from stock_llm.gateway.providers.tool_loop import ToolCallingProvider
from stock_llm.gateway.query import (
    ProviderAttempt,
    ProviderChoice,
    Query,
    RequestStatus,
    RequestTrace,
    RoutingDecision,
)
from stock_llm.gateway.routing.circuit_breaker import CircuitBreaker, Permit
from stock_llm.gateway.routing.cloud_filter import CloudFilter
from stock_llm.gateway.routing.policy import RoutingPolicy
from stock_llm.gateway.routing.router import ProviderProfile, decide
from stock_llm.gateway.routing.stream import AnswerStream, close

MAX_TRIES, MAX_TRIES_PAID = 3, 2
"""Tries at one provider before the next is asked: one that is free, one that is not."""

MAX_ROUNDS = 3
"""How often all providers are gone through, while there is time."""

LATEST_TRY = 2.5
"""No try begins after so many times the seconds that one provider has."""

FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0
"""Seconds between two tries at one provider: a random part of the first, doubled each time, up to
the longest."""

LONGEST_COOLDOWN_WAIT = 3.0
"""Most seconds that a request waits for a provider that said when it will be back, once there is no
other left."""

_log = logging.getLogger(__name__)

T = TypeVar("T")
Ask = Callable[[Provider, ChatRequest], Awaitable[T]]


class _Skipped(Exception):
    """The provider was not asked this time; the context holds the reason."""


class _TooExpensive(_Skipped):
    """What it can cost at most is more than a budget has left."""


class FallbackRouter:
    """All providers, their retries and their fallback.

    Args:
        providers: those that are switched on; of several on this machine, the first is preferred.
        max_tokens: longest answer of a usage-priced provider where the request sets no limit.
        timeout: seconds that one provider has for a whole answer, or for the next piece of a
            stream; and that a request waits for a slot.
        clock, seconds, sleep: wall clock (UTC), stopwatch and pause; tests pass their own.
        attempt_failed: callback for each try that failed, also where the request was answered
            elsewhere.
        cloud_filter: what of a request may leave this machine.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        policy: RoutingPolicy,
        costs: CostStore,
        prices: PriceList,
        max_tokens: int,
        timeout: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        seconds: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        attempt_failed: Callable[[ProviderAttempt], None] = lambda _: None,
        cloud_filter: CloudFilter | None = None,
    ):
        self._cloud_filter = cloud_filter or CloudFilter("nothing")
        self.providers = {provider.name: provider for provider in providers}
        self.policy, self.costs = policy, costs
        billing = {provider.name: provider.kind for provider in providers}
        most = {each.name: each.most for each in providers if isinstance(each, ToolCallingProvider)}
        self._accounting = RequestAccounting(
            costs, prices, billing, max_tokens, clock, seconds, attempt_failed, most
        )
        self._timeout, self._seconds, self._sleep = timeout, seconds, sleep
        self._breakers = {name: CircuitBreaker() for name in self.providers}
        self._retries = {provider.name: self._retries_of(provider) for provider in providers}

    def decide(self, query: Query) -> RoutingDecision:
        """The provider that would be asked now, and why. Raises: as `router.decide`."""
        profiles = [
            ProviderProfile(each.name, each.kind, each.local, each.models, each.capabilities)
            for each in self.providers.values()
        ]
        return decide(query, self.policy, profiles, self.costs.left())

    def resting(self) -> dict[str, float]:
        """Providers in a cooldown, with the seconds until they are asked again."""
        now = self._seconds()
        cooldowns = {name: breaker.cooldown(now) for name, breaker in self._breakers.items()}
        return {name: seconds for name, seconds in cooldowns.items() if seconds > 0}

    async def answer(self, request: ChatRequest, query: Query) -> RequestTrace:
        """One whole answer.

        Raises:
            GatewayError: `BadRequest` or `Refused` from the provider that said so, `UnknownModel`
                where no provider has the model that was asked for, else `NobodyAnswered`.
        """
        context = self._accounting.begin(request, query)
        answer = await self._ask_all(context, lambda provider, adapted: provider.answer(adapted))
        return self._accounting.finish(context, answer)

    async def embed(self, request: ChatRequest, query: Query) -> RequestTrace:
        """Embeddings of texts, from the model that was asked for and no other; `query` needs
        `router.EMBED`.

        Raises:
            GatewayError: as `answer`.
        """
        context = self._accounting.begin(request, query)
        answer = await self._ask_all(
            context, lambda provider, adapted: cast(Embedder, provider).embed(adapted)
        )
        return self._accounting.finish(context, answer)

    async def open(self, request: ChatRequest, query: Query) -> AnswerStream:
        """The answer in pieces, once the first piece is there.

        Raises:
            GatewayError: as `answer`; nothing has been streamed then.
        """

        async def ask(
            provider: Provider, adapted: ChatRequest
        ) -> tuple[AsyncIterator[AnswerChunk], AnswerChunk]:
            pieces = provider.stream(adapted)
            try:
                return pieces, await anext(pieces)
            except StopAsyncIteration:
                raise Unavailable(provider.name, "the stream was empty", charged=True) from None
            except BaseException:
                await close(pieces)
                raise

        context = self._accounting.begin(request, query)
        pieces, first = await self._ask_all(context, ask)
        breaker = self._breakers[context.attempts[-1].choice.provider]
        return AnswerStream(self._accounting, context, breaker, pieces, first, self._timeout)

    def record_cached(self, request: ChatRequest, query: Query, answer: ChatAnswer) -> RequestTrace:
        """Records that an answer came from the cache: no provider was asked, and it cost
        nothing."""
        context = self._accounting.begin(request, query)
        choice = ProviderChoice("cache", answer.model)
        rule = "the same request was answered before"
        context.decision = RoutingDecision(choice, rule, self.policy.name)
        context.add_attempt(choice, 0.0)
        return self._accounting.finish(context, replace(answer, usage=TokenUsage(), dollars=None))

    async def _ask_all(self, context: RequestContext, ask: Ask[T]) -> T:
        """An answer; a request without one is recorded here."""
        try:
            return await self._ask_in_rounds(context, ask)
        except BaseException as error:
            is_cancelled = isinstance(error, asyncio.CancelledError)
            status: RequestStatus = "cancelled" if is_cancelled else "failed"
            self._accounting.give_up(context, status)
            raise

    async def _ask_in_rounds(self, context: RequestContext, ask: Ask[T]) -> T:
        """Asks one provider after the other; then again those that may have recovered."""
        decision = context.decision = self.decide(context.query)
        context.route_seconds = self._seconds() - context.began
        for name, why in decision.left_out:
            context.reasons[name] = FailureReason(name, "left out", why)
        choices = [decision.choice, *decision.fallback]
        for _ in range(MAX_ROUNDS):
            left = list(choices)
            while left:
                choice = left.pop(0)
                try:
                    return await self._ask_with_retries(context, choice, ask)
                except _TooExpensive:
                    left.sort(key=lambda choice: not self.providers[choice.provider].local)
                except _Skipped:
                    continue
                except GatewayError as failure:
                    if _is_final(failure):
                        raise
            choices = [choice for choice in choices if self._may_recover(context, choice)]
            now = self._seconds()
            cooldowns = [self._breakers[choice.provider].cooldown(now) for choice in choices]
            if not choices or min(cooldowns) > LONGEST_COOLDOWN_WAIT:
                break
            if wait := min(cooldowns):
                await self._sleep(wait)
        raise self._failure(context)

    async def _ask_with_retries(
        self, context: RequestContext, choice: ProviderChoice, ask: Ask[T]
    ) -> T:
        """Asks one provider; transient failures are retried."""
        async for attempt in self._retries[choice.provider].copy():
            with attempt:
                return await self._ask_once(context, choice, ask)
        raise AssertionError("tenacity ends with an answer or with the last failure")

    def _retries_of(self, provider: Provider) -> AsyncRetrying:
        """The retries of one provider: exponential backoff with full jitter."""

        def is_transient(failure: BaseException) -> bool:
            if not isinstance(failure, Unavailable | Overloaded):
                return False
            if isinstance(failure, Busy | AccessDenied) or failure.retry_after:
                return False
            return provider.kind == "free" or not failure.charged

        return AsyncRetrying(
            retry=retry_if_exception(is_transient),
            stop=stop_after_attempt(MAX_TRIES if provider.kind == "free" else MAX_TRIES_PAID),
            wait=wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT),
            sleep=self._sleep,
            reraise=True,
        )

    async def _ask_once(self, context: RequestContext, choice: ProviderChoice, ask: Ask[T]) -> T:
        """One try within the timeout, paid for beforehand; its result is recorded."""
        name = choice.provider
        provider, breaker = self.providers[name], self._breakers[name]
        permit, request = await self._admit(context, choice, breaker)
        try:
            if not provider.local:
                request = await self._for_cloud(context, name, request)
        except BaseException:
            breaker.release(permit)
            raise
        began = self._seconds()
        timeout = SlotTimeout(self._timeout)
        try:
            async with timeout.running():
                result = await ask(provider, request)
        except TimeoutError:
            failure: GatewayError = TimedOut(
                name, f"no answer within {self._timeout:g} s", charged=True
            )
            if timeout.is_queued:
                reason = f"no slot was free within {self._timeout:g} s"
                failure = Busy(name, reason, retry_after=self._timeout)
        except GatewayError as error:
            failure = error
        except Exception as error:  # a fault in one provider's code leaves the others
            _log.exception("internal error in the provider %s", name)
            reason = f"internal gateway error: {error!r}"[:300]
            failure = Unavailable(name, reason, charged=True)
        except BaseException as error:
            breaker.release(permit)
            context.add_attempt(choice, self._seconds() - began, type(error).__name__)
            raise
        else:
            breaker.succeed(self._seconds())
            context.provider_seconds = self._seconds() - began
            context.add_attempt(choice, context.provider_seconds)
            return result
        kind = type(failure).__name__
        breaker.fail(permit, failure, self._seconds())
        context.add_attempt(choice, self._seconds() - began, kind, failure.reason)
        context.failures[name] = failure
        context.reasons[name] = FailureReason(name, kind, failure.reason)
        self._accounting.fail(context, failure)
        raise failure

    async def _admit(
        self, context: RequestContext, choice: ProviderChoice, breaker: CircuitBreaker
    ) -> tuple[Permit, ChatRequest]:
        """The breaker's permit and the request for the provider, if it may be asked at all now."""
        name, now, latest = choice.provider, self._seconds(), LATEST_TRY * self._timeout
        if now - context.began > latest:
            context.skip(name, "too late", f"no try begins after {latest:g} s")
            raise _Skipped
        cooldown, permit = breaker.cooldown(now), breaker.acquire(now)
        if permit is None:
            reason = f"it failed before, and is asked again in {cooldown:.1f} s"
            context.skip(name, "resting", reason)
            raise _Skipped
        try:
            return permit, await self._accounting.reserve(context, choice)
        except (BudgetExceeded, InputError, StoreError) as error:
            breaker.release(permit)
            is_over = isinstance(error, BudgetExceeded)
            text = STORE_FAILED if isinstance(error, StoreError) else str(error)
            context.skip(name, "over budget" if is_over else "cannot be paid", text)
            raise (_TooExpensive if is_over else _Skipped) from None
        except BaseException:
            breaker.release(permit)
            raise

    async def _for_cloud(
        self, context: RequestContext, provider: str, request: ChatRequest
    ) -> ChatRequest:
        """The request as it may leave this machine."""
        try:
            ready = await asyncio.to_thread(self._cloud_filter.apply, request)
        except StockLLMError as error:
            context.skip(provider, "may not leave this machine", str(error))
            self._accounting.release(context)
            raise _Skipped from None
        if ready.withheld:
            grounding = context.request.grounding
            note = f"numbers of the ledger did not go to {provider} (gateway.ledger_to_cloud)"
            if note not in grounding.notes:
                grounding = replace(grounding, notes=(*grounding.notes, note))
                context.request = replace(context.request, grounding=grounding)
        return ready.request

    def _may_recover(self, context: RequestContext, choice: ProviderChoice) -> bool:
        """Whether a provider may answer in the next round."""
        name = choice.provider
        failure, reason = context.failures.get(name), context.reasons.get(name)
        if reason and reason.kind == "resting":
            return self._breakers[name].asked_to_wait
        if failure is None or isinstance(failure, UnknownModel | Busy | AccessDenied):
            return False
        return self.providers[name].kind == "free" or not failure.charged

    def _failure(self, context: RequestContext) -> GatewayError:
        """The one clear error: the reason of each provider, and the earliest time at which one may
        be back."""
        failures = list(context.failures.values())
        unknown = [failure for failure in failures if isinstance(failure, UnknownModel)]
        if context.query.model != "auto" and unknown and len(unknown) == len(failures):
            return unknown[0]
        now = self._seconds()
        waits = [failure.retry_after for failure in failures if failure.retry_after]
        names = [name for name in context.reasons if name in self._breakers]
        cooldowns = [self._breakers[name].cooldown(now) for name in names]
        waits += [seconds for seconds in cooldowns if seconds > 0]
        return NobodyAnswered(tuple(context.reasons.values()), retry_after=min(waits, default=None))


def _is_final(failure: GatewayError) -> bool:
    """Whether another provider would not help, or is not ours to choose."""
    return isinstance(failure, BadRequest | Refused) and not isinstance(failure, UnknownModel)
