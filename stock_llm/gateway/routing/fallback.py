"""The one retry loop: a request in, an answer or one clear error out, whatever providers do meanwhile.

The decision names who is asked first and who comes next. A provider that fails in passing is tried again after a short, growing,
random wait; then the next is asked; at the end those that may have recovered again. Nothing is tried again after the first
piece of a stream has gone out. Does not know HTTP, what providers are inside, or what an attempt costs.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar, cast

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from stock_llm.errors import InputError
from stock_llm.gateway.accounting.cost_store import BudgetExceeded, CostStore
from stock_llm.gateway.accounting.prices import PriceList
from stock_llm.gateway.accounting.request_context import RequestAccounting, RequestContext
from stock_llm.gateway.chat import AnswerChunk, ChatAnswer, ChatRequest, TokenUsage
from stock_llm.gateway.errors import (
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
from stock_llm.gateway.query import (
    ProviderAttempt,
    ProviderChoice,
    Query,
    RequestStatus,
    RequestTrace,
    RoutingDecision,
)
from stock_llm.gateway.routing.circuit_breaker import CircuitBreaker, Permit
from stock_llm.gateway.routing.policy import RoutingPolicy
from stock_llm.gateway.routing.router import ProviderProfile, decide
from stock_llm.gateway.routing.stream import AnswerStream, close

MAX_TRIES, MAX_TRIES_PAID = 3, 2
"""At one provider before the next is asked: one that is free, one that is not."""

MAX_ROUNDS = 3
"""How often the whole row is gone through, while there is time."""

LATEST_TRY = 2.5
"""No try begins after so many times the seconds that one provider has."""

FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0
"""Seconds between two tries at one provider: a random part of the first, doubled each time, up to the longest."""

LONGEST_COOLDOWN_WAIT = 3.0
"""Most seconds that a request waits for a provider that said when it will be back, once there is nobody else to ask."""

_log = logging.getLogger(__name__)

T = TypeVar("T")
Ask = Callable[[Provider, ChatRequest], Awaitable[T]]


class _Skipped(Exception):
    """The provider was not asked this time; the reason is noted in the run."""


class _TooDear(_Skipped):
    """What it can cost at most is more than a budget has left."""


class FallbackRouter:
    """Providers behind one door.

    Args:
        providers: those that are switched on; of several on this machine, the first is preferred.
        max_tokens: longest answer of a usage-priced provider where the request sets no limit.
        timeout: seconds that one provider has for a whole answer, or for the next piece of a stream; and that a request waits for
            its turn at one.
        clock, seconds, sleep: wall clock (UTC), stopwatch and pause; tests put their own.
        attempt_failed: is told of each try that failed, also where the request got an answer elsewhere.
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
    ):
        self.providers = {provider.name: provider for provider in providers}
        self.policy, self.costs = policy, costs
        kinds = {each.name: each.kind for each in providers}
        self._books = RequestAccounting(
            costs, prices, kinds, max_tokens, clock, seconds, attempt_failed
        )
        self._timeout, self._seconds, self._sleep = timeout, seconds, sleep
        self._breakers = {name: CircuitBreaker() for name in self.providers}
        self._retrying = {provider.name: self._patience_with(provider) for provider in providers}

    def decide(self, query: Query) -> RoutingDecision:
        """Who would be asked now, and why.

        Raises:
            NobodyAnswered: no provider that is on may be asked for this.
        """
        offers = [
            ProviderProfile(each.name, each.kind, each.local, each.models, each.capabilities)
            for each in self.providers.values()
        ]
        return decide(query, self.policy, offers, self.costs.left())

    def resting(self) -> dict[str, float]:
        """Providers that are left alone for now, with the seconds until they are asked again."""
        now = self._seconds()
        return {
            name: rest
            for name, breaker in self._breakers.items()
            if (rest := breaker.cooldown(now)) > 0
        }

    async def answer(self, request: ChatRequest, query: Query) -> RequestTrace:
        """One whole answer.

        Raises:
            GatewayFailure: `BadRequest`, `UnknownModel` or `Refused` from the provider that said so, else `NobodyAnswered`.
        """

        async def ask(provider: Provider, asked: ChatRequest) -> ChatAnswer:
            return await provider.answer(asked)

        run = self._books.begin(request, query)
        return self._books.serve(run, await self._ask_all(run, ask))

    async def embed(self, request: ChatRequest, query: Query) -> RequestTrace:
        """Vectors of texts, from the model that was asked for and no other; `query` needs `route.EMBED`.

        Raises:
            GatewayFailure: as `answer`.
        """

        async def ask(provider: Provider, asked: ChatRequest) -> ChatAnswer:
            if asked.model != query.model and query.model not in ("auto", provider.name):
                raise _no_vectors(provider.name, query.model)
            return await cast(Embedder, provider).embed(asked)

        run = self._books.begin(request, query)
        return self._books.serve(run, await self._ask_all(run, ask))

    async def open(self, request: ChatRequest, query: Query) -> AnswerStream:
        """The same answer in pieces, once the first piece is there.

        Raises:
            GatewayFailure: as `answer`; nothing has been streamed then.
        """

        async def ask(
            provider: Provider, asked: ChatRequest
        ) -> tuple[AsyncIterator[AnswerChunk], AnswerChunk]:
            pieces = provider.stream(asked)
            try:
                return pieces, await anext(pieces)
            except StopAsyncIteration:
                raise Unavailable(provider.name, "the stream was empty", charged=True) from None
            except BaseException:
                await close(pieces)
                raise

        run = self._books.begin(request, query)
        pieces, first = await self._ask_all(run, ask)
        return AnswerStream(
            self._books,
            run,
            self._breakers[run.attempts[-1].choice.provider],
            pieces,
            first,
            self._timeout,
        )

    def record_cached(self, request: ChatRequest, query: Query, answer: ChatAnswer) -> RequestTrace:
        """Records that a kept answer was given again: nobody was asked, and it cost nothing."""
        run = self._books.begin(request, query)
        choice = ProviderChoice("cache", answer.model)
        run.decision = RoutingDecision(
            choice, "the same request was answered before", self.policy.name
        )
        run.tried(choice, 0.0)
        return self._books.serve(run, replace(answer, usage=TokenUsage(), dollars=None))

    async def _ask_all(self, run: RequestContext, ask: Ask[T]) -> T:
        """An answer, or the one record of a request that got none."""
        try:
            return await self._go_round(run, ask)
        except BaseException as error:
            status: RequestStatus = (
                "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"
            )
            self._books.give_up(run, status)
            raise

    async def _go_round(self, run: RequestContext, ask: Ask[T]) -> T:
        """Goes through the row until somebody answers; then again through those that may have recovered."""
        run.decision = self.decide(run.query)
        run.route_seconds = self._seconds() - run.began
        for name, why in run.decision.left_out:
            run.reasons[name] = FailureReason(name, "left out", why)
        row = [run.decision.choice, *run.decision.fallback]
        for _ in range(MAX_ROUNDS):
            left = list(row)
            while left:
                choice = left.pop(0)
                try:
                    return await self._ask_patiently(run, choice, ask)
                except _TooDear:
                    left.sort(key=lambda choice: not self.providers[choice.provider].local)
                except _Skipped:
                    continue
                except GatewayError as failure:
                    if _final(failure, run.query):
                        raise
            row = [choice for choice in row if self._worth_another(run, choice)]
            wait = min(
                (self._breakers[choice.provider].cooldown(self._seconds()) for choice in row),
                default=0.0,
            )
            if not row or wait > LONGEST_COOLDOWN_WAIT:
                break
            if wait:
                await self._sleep(wait)
        raise self._nobody(run)

    async def _ask_patiently(self, run: RequestContext, choice: ProviderChoice, ask: Ask[T]) -> T:
        """Asks one provider, and again when it failed in passing."""
        async for attempt in self._retrying[choice.provider].copy():
            with attempt:
                return await self._ask_once(run, choice, ask)
        raise AssertionError("tenacity ends with an answer or with the last failure")

    def _patience_with(self, provider: Provider) -> AsyncRetrying:
        """How often, and after which waits, one provider is asked again: exponential with full jitter."""

        def in_passing(failure: BaseException) -> bool:
            if (
                not isinstance(failure, Unavailable | Overloaded)
                or isinstance(failure, Busy)
                or failure.retry_after
            ):
                return False
            return provider.kind == "free" or not failure.charged

        return AsyncRetrying(
            retry=retry_if_exception(in_passing),
            stop=stop_after_attempt(MAX_TRIES if provider.kind == "free" else MAX_TRIES_PAID),
            wait=wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT),
            sleep=self._sleep,
            reraise=True,
        )

    async def _ask_once(self, run: RequestContext, choice: ProviderChoice, ask: Ask[T]) -> T:
        """One try within the time given, paid for beforehand; whatever comes of it is noted."""
        provider, breaker = self.providers[choice.provider], self._breakers[choice.provider]
        ticket, request = await self._let_through(run, choice, breaker)
        began = self._seconds()
        turn = SlotTimeout(self._timeout)
        try:
            async with turn.time():
                found = await ask(provider, request)
        except TimeoutError:
            failure: GatewayError = TimedOut(
                choice.provider, f"no answer within {self._timeout:g} s", charged=True
            )
            if turn.waits:
                failure = Busy(
                    choice.provider,
                    f"no turn within {self._timeout:g} s",
                    retry_after=self._timeout,
                )
        except GatewayError as error:
            failure = error
        except (
            Exception
        ) as error:  # a fault of ours in one provider does not keep the others from answering
            _log.exception("%s failed in a way that it should not", choice.provider)
            failure = Unavailable(
                choice.provider, f"a fault in the gateway: {error!r}"[:300], charged=True
            )
        except BaseException as error:
            breaker.release(ticket)
            run.tried(choice, self._seconds() - began, type(error).__name__)
            raise
        else:
            breaker.answered(self._seconds())
            run.provider_seconds = self._seconds() - began
            run.tried(choice, run.provider_seconds)
            return found
        kind = type(failure).__name__
        breaker.failed(ticket, failure, self._seconds())
        run.tried(choice, self._seconds() - began, kind, failure.reason)
        run.failures[choice.provider] = failure
        run.reasons[choice.provider] = FailureReason(choice.provider, kind, failure.reason)
        self._books.fail(run, charged=failure.charged)
        raise failure

    async def _let_through(
        self, run: RequestContext, choice: ProviderChoice, breaker: CircuitBreaker
    ) -> tuple[Permit, ChatRequest]:
        """The breaker's ticket and the request as the provider gets it, if it may be asked at all now."""
        now = self._seconds()
        if now - run.began > LATEST_TRY * self._timeout:
            run.skipped(
                choice.provider, "too late", f"no try begins after {LATEST_TRY * self._timeout:g} s"
            )
            raise _Skipped
        rest, ticket = breaker.cooldown(now), breaker.ask(now)
        if ticket is None:
            run.skipped(
                choice.provider, "resting", f"it failed before, and is asked again in {rest:.1f} s"
            )
            raise _Skipped
        try:
            return ticket, await self._books.reserve(run, choice)
        except (BudgetExceeded, InputError) as error:
            breaker.release(ticket)
            dear = isinstance(error, BudgetExceeded)
            run.skipped(choice.provider, "over budget" if dear else "cannot be paid", str(error))
            raise (_TooDear if dear else _Skipped) from None
        except BaseException:
            breaker.release(ticket)
            raise

    def _worth_another(self, run: RequestContext, choice: ProviderChoice) -> bool:
        """Whether a provider may answer in the next round."""
        failure, reason = run.failures.get(choice.provider), run.reasons.get(choice.provider)
        if reason and reason.kind == "resting":
            return self._breakers[choice.provider].asked_to_wait
        if failure is None or isinstance(failure, UnknownModel | Busy):
            return False
        return self.providers[choice.provider].kind == "free" or not failure.charged

    def _nobody(self, run: RequestContext) -> NobodyAnswered:
        """The one clear error: the reason of each, and the earliest time at which one of them may be back."""
        now = self._seconds()
        waits = [failure.retry_after for failure in run.failures.values() if failure.retry_after]
        waits += [
            rest
            for name in run.reasons
            if name in self._breakers and (rest := self._breakers[name].cooldown(now)) > 0
        ]
        return NobodyAnswered(tuple(run.reasons.values()), retry_after=min(waits, default=None))


def _no_vectors(provider: str, model: str) -> GatewayError:
    failure = BadRequest(provider, f"the provider of '{model}' does not support embeddings")
    failure.status = 501
    return failure


def _final(failure: GatewayError, query: Query) -> bool:
    """Whether asking somebody else would not help, or is not ours to decide. A model that a rule chose may just be missing."""
    if isinstance(failure, UnknownModel):
        return query.model != "auto"
    return isinstance(failure, BadRequest | Refused)
