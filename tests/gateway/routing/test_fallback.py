"""The retry loop: who is asked when, what it costs, and what the caller is told; with a clock that only tests move."""

import asyncio
import sqlite3
from datetime import UTC, datetime
from decimal import Decimal
from itertools import repeat

import pytest
from fakes.providers import CUT, HANG, Scripted, asked

from stock_llm.gateway.accounting.cost_store import CostStore
from stock_llm.gateway.accounting.prices import load_prices
from stock_llm.gateway.chat import GenerationOptions, TokenUsage
from stock_llm.gateway.errors import (
    BadRequest,
    Busy,
    Cut,
    NobodyAnswered,
    Overloaded,
    RateLimited,
    Refused,
    Unavailable,
    UnknownModel,
)
from stock_llm.gateway.providers.concurrency import ConcurrencyLimit
from stock_llm.gateway.providers.http_errors import http_error
from stock_llm.gateway.query import ProviderChoice, Query
from stock_llm.gateway.routing.circuit_breaker import (
    FAILURE_SPAN,
    FAILURE_THRESHOLD,
    FIRST_COOLDOWN,
    CircuitBreaker,
)
from stock_llm.gateway.routing.fallback import MAX_TRIES, FallbackRouter
from stock_llm.gateway.routing.policy import load_policy

pytestmark = pytest.mark.anyio
PRICES = load_prices()
POLICY = load_policy("service", {"keep_back": Decimal(10)})
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
URGENT = Query(urgency=10, complexity=10)
HARD = Query(complexity=8)
SONNET = ("claude-sonnet-5-5",)


class Stopwatch:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self):
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def build(tmp_path, watch):
    opened = []

    def gateway(*providers, daily=15, monthly=30, timeout=30, max_tokens=1000) -> FallbackRouter:
        costs = CostStore(
            f"sqlite:///{tmp_path}/costs.db", Decimal(daily), Decimal(monthly), lambda: NOON
        )
        opened.append(costs)
        return FallbackRouter(
            providers, policy=POLICY, costs=costs, prices=PRICES, max_tokens=max_tokens, timeout=timeout,
            clock=lambda: NOON, seconds=watch, sleep=watch.sleep,
        )  # fmt: skip

    yield gateway
    for costs in opened:
        costs.close()


async def records(gateway) -> list[dict]:
    await gateway.costs.flush()
    with sqlite3.connect(gateway.costs._engine.url.database) as connection:
        connection.row_factory = sqlite3.Row
        assert connection.execute("SELECT count(*) FROM reservation").fetchone()[0] == 0
        return [dict(row) for row in connection.execute("SELECT * FROM call")]


async def test_the_first_choice_answers_and_is_recorded(build):
    gateway = build(Scripted("ollama", ["hi"]), Scripted("claude-cli", [], "fixed"))
    served = await gateway.answer(asked(), Query(feature="analyze"))
    assert (served.answer.text, served.choice, served.fell_back) == (
        "hi",
        ProviderChoice("ollama", "m:latest"),
        False,
    )
    (row,) = await records(gateway)
    assert row["id"] == served.id
    assert (row["provider"], row["status"], row["path"], row["feature"]) == (
        "ollama",
        "ok",
        "ollama: ok",
        "analyze",
    )
    assert (row["rule"], row["tokens_in"], row["tokens_out"]) == (
        "everything else → local",
        100,
        50,
    )


async def test_a_failure_in_passing_is_tried_again_after_a_growing_wait(build, watch):
    ollama = Scripted(
        "ollama", [Unavailable("ollama", "garbage"), Overloaded("ollama", "503"), "hi"]
    )
    served = await build(ollama, Scripted("claude-cli", [], "fixed")).answer(asked(), Query())
    assert [attempt.failure for attempt in served.attempts] == ["Unavailable", "Overloaded", ""]
    assert not served.fell_back
    assert len(watch.slept) == 2 and watch.slept[0] <= 0.05 and watch.slept[1] <= 0.1


async def test_then_the_next_is_asked_from_local_to_cli_to_api(build):
    ollama = Scripted("ollama", repeat(Unavailable("ollama", "refused")))
    cli = Scripted("claude-cli", repeat(Overloaded("claude-cli", "529", charged=True)), "fixed")
    api = Scripted("claude-api", ["hi"], "usage", SONNET)
    gateway = build(ollama, cli, api)
    served = await gateway.answer(asked(), Query())
    assert [attempt.choice.provider for attempt in served.attempts] == ["ollama"] * MAX_TRIES + [
        "claude-cli",
        "claude-api",
    ]
    assert served.fell_back
    (row,) = await records(gateway)
    assert row["fell_back"] and row["provider"] == "claude-api"
    assert (
        row["path"]
        == "ollama: Unavailable, ollama: Unavailable, ollama: Unavailable, claude-cli: Overloaded, claude-api: ok"
    )


async def test_and_back_from_the_api_to_this_machine(build):
    api = Scripted(
        "claude-api", repeat(RateLimited("claude-api", "429", retry_after=60)), "usage", SONNET
    )
    cli = Scripted("claude-cli", repeat(Unavailable("claude-cli", "empty", charged=True)), "fixed")
    gateway = build(Scripted("ollama", ["hi"]), cli, api)
    served = await gateway.answer(asked(), URGENT)
    assert [attempt.choice.provider for attempt in served.attempts] == [
        "claude-api",
        "claude-cli",
        "ollama",
    ]
    assert served.dollars == 0
    await gateway.costs.flush()
    assert gateway.costs.left().today == Decimal(15)


async def test_a_hang_ends_at_its_time_and_the_next_is_asked(build):
    ollama = Scripted("ollama", repeat(HANG))
    gateway = build(ollama, Scripted("claude-cli", ["hi"], "fixed"), timeout=0.05)
    served = await gateway.answer(asked(), Query())
    assert [attempt.failure for attempt in served.attempts] == ["TimedOut", ""]
    assert ollama.stopped == 1


async def test_a_single_provider_that_hangs_once_is_asked_again(build):
    served = await build(Scripted("ollama", [HANG, "hi"]), timeout=0.05).answer(asked(), Query())
    assert [attempt.failure for attempt in served.attempts] == ["TimedOut", ""]


@pytest.mark.parametrize(
    "failure", [BadRequest("ollama", "no messages"), Refused("ollama", "I will not")]
)
async def test_what_no_other_provider_would_mend_goes_to_the_caller_at_once(build, failure):
    cli = Scripted("claude-cli", [], "fixed")
    gateway = build(Scripted("ollama", [failure]), cli)
    with pytest.raises(type(failure), match=failure.reason):
        await gateway.answer(asked(), Query())
    assert cli.asked == []
    (row,) = await records(gateway)
    assert (row["status"], row["provider"], row["path"]) == (
        "failed",
        "",
        f"ollama: {type(failure).__name__}",
    )


async def test_a_model_that_was_asked_for_and_is_not_there_is_said_one_that_a_rule_chose_is_replaced(
    build,
):
    gone = UnknownModel("ollama", "model 'x' not found")
    gateway = build(Scripted("ollama", [gone, gone]), Scripted("claude-cli", ["hi"], "fixed"))
    with pytest.raises(UnknownModel, match="model 'x' not found"):
        await gateway.answer(asked(), Query(model="x"))
    assert (await gateway.answer(asked(), Query())).choice.provider == "claude-cli"


async def test_nobody_one_clear_error_with_the_reason_of_each(build):
    gateway = build(
        Scripted(
            "ollama", repeat(Unavailable("ollama", "no Ollama answers at http://127.0.0.1:11434"))
        ),
        Scripted("claude-cli", repeat(RateLimited("claude-cli", "429", retry_after=20)), "fixed"),
    )
    with pytest.raises(NobodyAnswered) as error:
        await gateway.answer(asked(), Query())
    assert {reason.provider: reason.kind for reason in error.value.reasons} == {
        "claude-api": "left out", "ollama": "Unavailable", "claude-cli": "resting",
    }  # fmt: skip
    assert "ollama (Unavailable): no Ollama answers at http://127.0.0.1:11434" in str(error.value)
    assert 19 < error.value.retry_after <= 20
    (row,) = await records(gateway)
    assert (row["status"], row["provider"]) == ("failed", "")


async def test_private_requests_go_nowhere_else(build):
    cli = Scripted("claude-cli", repeat("never"), "fixed")
    gateway = build(Scripted("ollama", repeat(Unavailable("ollama", "down"))), cli)
    with pytest.raises(NobodyAnswered, match="the request must stay there"):
        await gateway.answer(asked(), Query(privacy="local", complexity=10, urgency=10))
    assert cli.asked == []


async def test_retry_after_is_kept_to_the_second(build, watch):
    cli = Scripted(
        "claude-cli", [RateLimited("claude-cli", "429", retry_after=30), "back"], "fixed"
    )
    gateway = build(Scripted("ollama", repeat("local")), cli)
    assert (await gateway.answer(asked(), HARD)).choice.provider == "ollama"
    watch.now += 29.9
    assert (await gateway.answer(asked(), HARD)).choice.provider == "ollama"
    assert len(cli.asked) == 1
    watch.now += 0.2
    assert (await gateway.answer(asked(), HARD)).answer.text == "back"


async def test_with_nobody_else_a_short_retry_after_is_waited_for(build, watch):
    ollama = Scripted("ollama", [Overloaded("ollama", "503", retry_after=2), "hi"])
    assert (await build(ollama).answer(asked(), Query())).answer.text == "hi"
    assert watch.slept == [2]


async def test_a_full_queue_is_said_at_once_and_is_not_held_against_the_provider(build, watch):
    ollama = Scripted(
        "ollama", [Busy("ollama", "128 requests are waiting already", retry_after=7), "hi"]
    )
    gateway = build(ollama)
    with pytest.raises(NobodyAnswered) as error:
        await gateway.answer(asked(), Query())
    assert (error.value.retry_after, watch.slept) == (7, [])
    assert (await gateway.answer(asked(), Query())).answer.text == "hi"


async def test_a_provider_that_keeps_failing_is_left_alone_then_probed(build, watch):
    ollama = Scripted(
        "ollama", [Unavailable("ollama", "down")] * FAILURE_THRESHOLD + [HANG, "back", "back"]
    )
    gateway = build(ollama, Scripted("claude-cli", repeat("cloud"), "fixed"), timeout=0.5)
    for _ in range(FAILURE_THRESHOLD // MAX_TRIES):
        assert (await gateway.answer(asked(), Query())).answer.text == "cloud"
        watch.now += FAILURE_SPAN
    assert gateway.resting() == {"ollama": pytest.approx(FIRST_COOLDOWN - FAILURE_SPAN)}
    assert (await gateway.answer(asked(), Query())).answer.text == "cloud"
    assert len(ollama.asked) == FAILURE_THRESHOLD
    watch.now += FIRST_COOLDOWN
    probe = asyncio.create_task(gateway.answer(asked(), Query()))  # hangs
    await asyncio.sleep(0)
    assert (await gateway.answer(asked(), Query())).answer.text == "cloud"  # one probe at a time
    assert (await probe).answer.text == "cloud"
    watch.now += 2 * FIRST_COOLDOWN - 0.1
    assert (await gateway.answer(asked(), Query())).answer.text == "cloud"  # it rests twice as long
    watch.now += 0.2
    assert (await gateway.answer(asked(), Query())).answer.text == "back"
    assert gateway.resting() == {}


def test_a_rest_is_never_longer_than_a_minute_and_ends_with_an_answer():
    breaker, now = CircuitBreaker(), 0.0
    rests = []
    for _ in range(FAILURE_THRESHOLD + 6):
        breaker.fail(breaker.acquire(now), Unavailable("x", "down"), now)
        rests.append(breaker.cooldown(now))
        now += rests[-1] or FAILURE_SPAN
    assert rests == [0.0] * (FAILURE_THRESHOLD - 1) + [5, 10, 20, 40, 60, 60, 60]
    breaker.succeed(now)
    breaker.fail(breaker.acquire(now), Unavailable("x", "down"), now)
    assert breaker.cooldown(now) == 0


def test_calls_that_began_before_a_rest_do_not_make_it_longer():
    breaker = CircuitBreaker()
    permits = [breaker.acquire(0.0) for _ in range(64)]
    for number, permit in enumerate(permits):
        breaker.fail(permit, Unavailable("x", "down"), 4.0 + number / 4)
    opened = 4.0 + FAILURE_SPAN + 0.25  # the sixth
    assert breaker.cooldown(opened) == FIRST_COOLDOWN
    probe = breaker.acquire(opened + FIRST_COOLDOWN)
    assert breaker.acquire(opened + FIRST_COOLDOWN) is None
    breaker.release(permits[0])
    assert breaker.acquire(opened + FIRST_COOLDOWN) is None
    breaker.fail(probe, Unavailable("x", "down"), opened + FIRST_COOLDOWN)
    assert breaker.cooldown(opened + FIRST_COOLDOWN) == 2 * FIRST_COOLDOWN


def test_a_wait_that_was_asked_for_is_kept_although_an_older_call_is_answered():
    breaker = CircuitBreaker()
    older, newer = breaker.acquire(0.0), breaker.acquire(0.0)
    assert older == newer
    breaker.fail(newer, RateLimited("x", "slow down", retry_after=30), 1.0)
    breaker.succeed(2.0)
    assert (breaker.cooldown(2.0), breaker.asked_to_wait) == (29.0, True)
    breaker.succeed(31.0)
    assert (breaker.cooldown(31.0), breaker.asked_to_wait) == (0.0, False)


def test_calls_that_hang_while_others_are_answered_are_not_a_row():
    breaker = CircuitBreaker()
    hanging = [breaker.acquire(0.0) for _ in range(64)]
    breaker.succeed(4.0)
    for number, permit in enumerate(hanging):
        breaker.fail(permit, Unavailable("x", "no answer within 8 s"), 8.0 + number / 4)
    assert breaker.cooldown(24.0) == 0
    later = [
        breaker.acquire(24.0) for _ in range(FAILURE_THRESHOLD)
    ]  # after the last answer, and none of them is answered
    for number, permit in enumerate(later):
        breaker.fail(permit, Unavailable("x", "no answer within 8 s"), 32.0 + number)
    assert breaker.cooldown(32.0 + len(later) - 1) == FIRST_COOLDOWN


def test_many_failures_at_one_instant_are_not_a_row():
    breaker = CircuitBreaker()
    permits = [breaker.acquire(0.0) for _ in range(64)]
    for permit in permits:
        breaker.fail(permit, Unavailable("x", "no answer within 4 s"), 4.0)
    assert breaker.acquire(4.0) is not None
    breaker.succeed(4.0)
    breaker.fail(breaker.acquire(9.0), Unavailable("x", "down"), 9.0)
    assert breaker.cooldown(9.0) == 0


class Queued(Scripted):
    """A provider with a queue in front of it."""

    def __init__(self, *given, limit: ConcurrencyLimit, seconds: float, **more):
        super().__init__(*given, **more)
        self.limit, self.seconds = limit, seconds

    async def answer(self, request):
        async with self.limit.slot(self.name, request.model):
            await asyncio.sleep(self.seconds)
            return await super().answer(request)


async def test_time_in_our_own_queue_is_not_held_against_the_provider(build):
    slow = Queued("ollama", repeat("hi"), limit=ConcurrencyLimit(1, 50), seconds=0.06)
    gateway = build(slow, timeout=0.1)
    answers = await asyncio.gather(
        *(gateway.answer(asked(), Query()) for _ in range(12)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, NobodyAnswered)]
    assert (
        len(answers) - len(refused) >= 2
    )  # the second waited for 0.06 s and then had its whole tenth
    assert refused and {error.reasons[-1].kind for error in refused} == {"Busy"}
    assert gateway.resting() == {}
    assert (slow.limit.running, slow.limit.waiting) == (0, 0)


async def test_over_budget_means_this_machine_before_another_cloud(build):
    api = Scripted("claude-api", [], "usage", SONNET)
    here, command = Scripted("ollama", ["here"]), Scripted("claude-cli", ["command"], "fixed")
    gateway = build(here, command, api, daily=Decimal("0.000001"))
    served = await gateway.answer(asked(), URGENT)
    assert served.answer.text == "here"
    assert [(reason.provider, reason.kind) for reason in served.skipped] == [
        ("claude-api", "over budget")
    ]


async def test_usage_is_paid_by_the_token_and_reserved_before(build):
    api = Scripted("claude-api", ["hi"], "usage", SONNET, usage=TokenUsage(1000, 500))
    gateway = build(Scripted("ollama", []), api)
    served = await gateway.answer(asked(options=GenerationOptions(max_tokens=600)), URGENT)
    assert served.dollars == Decimal("0.007")  # 1000 · $2 + 500 · $10 per million
    await gateway.costs.flush()
    assert gateway.costs.left().today == Decimal("14.993")
    assert api.asked[0].options.max_tokens == 600


async def test_what_can_be_reserved_limits_the_answer(build):
    api = Scripted("claude-api", ["hi"], "usage", SONNET)
    await build(Scripted("ollama", []), api, max_tokens=777).answer(asked(), URGENT)
    assert api.asked[0].options.max_tokens == 777


async def test_over_budget_goes_to_this_machine(build):
    api = Scripted("claude-api", repeat("paid"), "usage", SONNET)
    gateway = build(Scripted("ollama", repeat("local")), api, daily="0.02", max_tokens=1000)
    served = await gateway.answer(asked("x" * 3000), URGENT)  # may cost more than two cents
    assert (served.answer.text, api.asked) == ("local", [])
    (row,) = await records(gateway)
    assert row["path"] == "claude-api: over budget, ollama: ok"


async def test_a_model_without_a_price_is_never_asked(build):
    api = Scripted("claude-api", repeat("free?"), "usage", ("claude-opus-9",))
    gateway = build(Scripted("ollama", repeat("local")), api)
    served = await gateway.answer(asked(), URGENT)
    assert (served.answer.text, api.asked) == ("local", [])
    assert (await records(gateway))[0]["path"] == "claude-api: cannot be paid, ollama: ok"


async def test_a_failed_call_that_may_have_been_charged_counts_in_full(build):
    api = Scripted(
        "claude-api", [Unavailable("claude-api", "garbage", charged=True)], "usage", SONNET
    )
    gateway = build(Scripted("ollama", ["local"]), api)
    served = await gateway.answer(asked(), URGENT)
    assert served.choice.provider == "ollama"
    assert (
        served.dollars
        == PRICES.bound("claude-sonnet-5-5", 2000 + 5 + 64 + 2 + 4 + 2, 1000, NOON)
        > Decimal("0.01")
    )
    (row,) = await records(gateway)
    assert row["charged"] == served.dollars * 1_000_000


async def test_the_dollars_of_a_subscription_are_notional(build):
    gateway = build(
        Scripted("ollama", []), Scripted("claude-cli", ["hi"], "fixed", dollars=Decimal("0.25"))
    )
    served = await gateway.answer(asked(), HARD)
    assert served.dollars == 0
    (row,) = await records(gateway)
    assert (row["charged"], row["notional"]) == (0, 250_000)
    assert gateway.costs.left().today == Decimal(15)


async def test_a_stream_falls_back_before_its_first_piece(build):
    ollama = Scripted("ollama", repeat(Unavailable("ollama", "down")))
    gateway = build(ollama, Scripted("claude-cli", ["one two"], "fixed"))
    stream = await gateway.open(asked(), Query())
    assert (stream.choice.provider, stream.served) == ("claude-cli", None)
    assert [chunk.text async for chunk in stream] == ["one", "two", ""]
    assert stream.served.id == stream.context.id and stream.served.fell_back
    (row,) = await records(gateway)
    assert (row["id"], row["status"], row["provider"]) == (stream.context.id, "ok", "claude-cli")


async def test_after_its_first_piece_a_stream_is_cut_never_repaired(build):
    cli = Scripted("claude-cli", repeat("never"), "fixed")
    gateway = build(Scripted("ollama", [CUT]), cli)
    stream = await gateway.open(asked(), Query())
    got = []
    with pytest.raises(Cut, match="the connection broke"):
        async for chunk in stream:
            got.append(chunk.text)
    await stream.aclose()
    assert (got, cli.asked, stream.served) == (["half"], [], None)
    (row,) = await records(gateway)
    assert (row["status"], row["provider"], row["path"]) == ("cut", "ollama", "ollama: cut")


async def test_a_stream_that_goes_silent_is_cut(build):
    class Silent(Scripted):
        async def stream(self, request):
            async for chunk in super().stream(request):
                yield chunk
                await asyncio.Event().wait()

    gateway = build(Silent("ollama", ["one two"]), timeout=0.05)
    stream = await gateway.open(asked(), Query())
    with pytest.raises(Cut, match=r"no further piece within 0\.05 s"):
        async for _ in stream:
            pass
    assert (await records(gateway))[0]["status"] == "cut"


async def test_a_caller_who_goes_stops_the_generation(build):
    api = Scripted("claude-api", ["one two three"], "usage", SONNET)
    gateway = build(Scripted("ollama", []), api)
    stream = await gateway.open(asked(), URGENT)
    assert (await anext(stream)).text == "one"
    await stream.aclose()
    await stream.aclose()
    assert api.stopped == 1
    (row,) = await records(gateway)
    assert (row["status"], row["provider"]) == ("cancelled", "claude-api")
    full = PRICES.bound("claude-sonnet-5-5", 2077, 1000, NOON)
    assert 0 < Decimal(row["charged"]) / 1_000_000 < full  # the prompt, and what had come


async def test_a_caller_who_goes_before_the_answer_stops_it_too(build):
    ollama = Scripted("ollama", [HANG])
    gateway = build(ollama, timeout=30)
    task = asyncio.create_task(gateway.answer(asked(), Query()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ollama.stopped == 1
    (row,) = await records(gateway)
    assert (row["status"], row["provider"]) == ("cancelled", "ollama")


async def test_a_kept_answer_costs_nothing_and_is_recorded(build):
    api = Scripted("claude-api", ["hi"], "usage", SONNET)
    gateway = build(Scripted("ollama", []), api)
    first = await gateway.answer(asked(), URGENT)
    again = gateway.record_cached(asked(), URGENT, first.answer)
    assert (again.answer.text, again.dollars, again.choice.provider) == ("hi", 0, "cache")
    assert [row["provider"] for row in await records(gateway)] == ["claude-api", "cache"]


async def test_a_fault_of_ours_in_one_provider_is_logged_and_the_next_answers(build, caplog):
    class Broken(Scripted):
        async def answer(self, _):
            raise KeyError("usage")

    api = Broken("claude-api", [], "usage", SONNET)
    gateway = build(Scripted("ollama", ["hi"]), api)
    served = await gateway.answer(asked(), URGENT)
    assert [attempt.failure for attempt in served.attempts] == ["Unavailable", ""]
    assert served.dollars > 0  # nobody knows what was charged
    assert "KeyError: 'usage'" in caplog.text


NAMED = Query(model="m:latest")


async def test_a_named_model_that_is_busy_is_busy_and_never_unknown(build):
    """Others that run the same model are asked; one that does not have it is not, and says nothing about it."""
    busy = Busy("ollama", "128 requests are waiting already", retry_after=7)
    other = Scripted("embedded", [], models=("other:latest",))
    gateway = build(Scripted("ollama", [busy]), other)
    with pytest.raises(NobodyAnswered) as failed:
        await gateway.answer(asked(), NAMED)
    assert (failed.value.status, failed.value.retry_after) == (503, 7)
    assert other.asked == []


async def test_a_named_model_is_not_replaced_and_not_for_money(build):
    paid = Scripted("claude-api", [], "usage", SONNET)
    gateway = build(Scripted("ollama", [UnknownModel("ollama", "model 'm' not found")]), paid)
    with pytest.raises(UnknownModel, match="model 'm' not found"):
        await gateway.answer(asked(), NAMED)
    gateway = build(paid)
    with pytest.raises(UnknownModel, match="model 'gpt-4o' not found"):
        await gateway.answer(asked(), Query(model="gpt-4o"))
    assert paid.asked == []


async def test_a_second_provider_of_a_named_model_answers_for_one_that_lost_it(build):
    gone = UnknownModel("ollama", "model 'm' not found")
    gateway = build(Scripted("ollama", [gone]), Scripted("embedded", ["here"]))
    assert (await gateway.answer(asked(), NAMED)).answer.text == "here"


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_key_or_bill_is_not_repeated_and_others_are_asked(build, status):
    denied = Scripted("claude-api", [http_error("claude-api", status, "no")] * 2, "usage", SONNET)
    gateway = build(Scripted("ollama", ["here"]), denied)
    assert (await gateway.answer(asked(), URGENT)).answer.text == "here"
    assert len(denied.asked) == 1


async def test_the_fault_of_a_request_is_not_counted_as_a_failed_try(build):
    counted = []
    gateway = build(Scripted("ollama", [BadRequest("ollama", "template, line 1: no")] * 20))
    gateway._accounting._attempt_failed = counted.append
    for _ in range(20):
        with pytest.raises(BadRequest):
            await gateway.answer(asked(), Query())
    assert (counted, gateway.resting()) == ([], {})


async def test_a_caller_who_takes_no_piece_loses_the_answer_and_frees_the_slot(build):
    provider = Scripted("ollama", ["one two three"])
    gateway = build(provider)
    stream = await gateway.open(asked(), Query())
    stream._stalled_seconds = 0.05
    assert (await anext(stream)).text == "one"
    await asyncio.sleep(0.2)
    assert provider.stopped == 1
    with pytest.raises(Cut, match="the caller took no piece"):
        await anext(stream)
    await stream.aclose()
    (row,) = await records(gateway)
    assert (row["status"], row["provider"]) == ("cancelled", "ollama")


async def test_a_provider_that_reports_negative_tokens_does_no_harm(build):
    liar = Scripted("claude-api", ["hi"], "usage", SONNET, TokenUsage(-(10**30), -5, -1, None))
    gateway = build(liar)
    await gateway.answer(asked(), URGENT)
    (row,) = await records(gateway)
    assert (row["status"], row["tokens_in"], row["tokens_out"], row["charged"]) == ("ok", 0, 0, 0)
