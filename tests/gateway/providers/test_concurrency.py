"""Turns at a backend, and the store of answers, alone."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from stock_llm.gateway.accounting.answer_log import AnswerLog, AnswerRecord
from stock_llm.gateway.accounting.tables import SCHEMA
from stock_llm.gateway.errors import Busy
from stock_llm.gateway.providers.concurrency import ConcurrencyLimit


def run(work):
    async def within_a_second():
        async with asyncio.timeout(5):
            return await work

    return asyncio.run(within_a_second())


def test_turns_go_in_order_of_arrival_and_no_model_overtakes():
    order = []

    async def ask(limit, model):
        async with limit.slot("ollama", model):
            order.append(model)
            await asyncio.sleep(0.01)

    async def all_of_them():
        limit = ConcurrencyLimit(2, 10)
        await asyncio.gather(*(ask(limit, model) for model in ("a", "b", "a", "b", "b")))
        assert (limit.running, limit.waiting) == (0, 0)

    run(all_of_them())
    assert order == ["a", "b", "a", "b", "b"]


def test_whoever_gives_up_waiting_lets_the_next_one_in():
    async def given_up():
        limit = ConcurrencyLimit(2, 10)
        async with limit.slot("ollama", "a"):

            async def wait(model):
                async with limit.slot("ollama", model) as seconds:
                    return seconds

            other = asyncio.create_task(wait("b"))
            same = asyncio.create_task(wait("a"))
            await asyncio.sleep(0)
            assert limit.waiting == 2
            other.cancel()
            assert await same > 0
            # "b" was all that it waited for: the first call still has its slot
            assert (limit.running, limit.waiting) == (1, 0)
        with pytest.raises(asyncio.CancelledError):
            await other
        assert (limit.running, limit.waiting) == (0, 0)

    run(given_up())


def test_all_who_wait_may_leave_in_the_same_instant():
    async def all_gone():
        limit = ConcurrencyLimit(2, 10)

        async def ask():
            async with limit.slot("ollama", "a"):
                await asyncio.Event().wait()

        tasks = [asyncio.create_task(ask()) for _ in range(8)]
        await asyncio.sleep(0)
        assert (limit.running, limit.waiting) == (2, 6)
        for task in tasks:
            task.cancel()
        gone = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in gone), gone
        assert (limit.running, limit.waiting) == (0, 0)
        async with limit.slot("ollama", "b"):
            pass

    run(all_gone())


def test_models_of_one_name_at_two_servers_are_two_models():
    async def both():
        limit = ConcurrencyLimit(2, 0)
        async with limit.slot("ollama", "m"):
            with pytest.raises(Busy):
                async with limit.slot("lm-studio", "m"):
                    pass

    run(both())


def test_a_turn_given_to_somebody_who_has_just_gone_goes_to_the_next():
    async def raced():
        limit = ConcurrencyLimit(1, 10)
        turn = limit.slot("ollama", "a")
        await turn.__aenter__()

        async def wait():
            async with limit.slot("ollama", "a"):
                return True

        gone, next_one = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0)
        await turn.__aexit__(
            None, None, None
        )  # the turn is given to `gone`, which has not run since
        gone.cancel()
        assert await next_one
        assert (limit.running, limit.waiting) == (0, 0)

    run(raced())


def test_a_full_queue_says_when_to_come_back():
    async def full():
        limit = ConcurrencyLimit(1, 0)
        async with limit.slot("ollama", "a"):
            with pytest.raises(Busy, match="0 requests are waiting already") as refused:
                async with limit.slot("ollama", "a"):
                    pass
        assert refused.value.retry_after >= 1

    run(full())


def answer_record(id, at=None, **changes):
    texts = dict.fromkeys(
        ("feature", "skill", "language", "symbol", "as_of", "input", "provider", "model"), ""
    )
    return AnswerRecord(
        id,
        at or datetime.now(UTC),
        **(texts | {"instruction": "What is RSI?", "response": "A number."} | changes),
    )


def test_answers_are_found_until_they_are_old(tmp_path):
    async def kept_for_a_day():
        kept = AnswerLog(f"sqlite:///{tmp_path}/costs.db", b"key", days=1)
        old, new = answer_record("old", datetime.now(UTC) - timedelta(days=2)), answer_record("new")
        kept.add(old)
        assert await kept.find("old") is None  # forgotten as soon as it was written
        kept.add(new)
        kept.add(answer_record("long", response="x" * 200_000))
        assert await kept.find("new") == new
        assert await kept.find("long") is None
        await kept.close()

    run(kept_for_a_day())


def test_an_old_answer_is_not_found_although_it_lies_there_still(tmp_path):
    async def kept_for_two_seconds():
        kept = AnswerLog(f"sqlite:///{tmp_path}/costs.db", b"key", days=2 / 86400)
        kept.add(answer_record("first"))
        assert await kept.find("first")  # old ones are deleted now, and again in an hour
        kept.add(answer_record("old", datetime.now(UTC) - timedelta(seconds=3)))
        assert await kept.find("old") is None
        await kept.close()
        for_ever = AnswerLog(f"sqlite:///{tmp_path}/costs.db", b"key", days=1e12)
        assert await for_ever.find("old")
        await for_ever.close()

    run(kept_for_two_seconds())


def test_a_signature_of_another_key_is_none(tmp_path):
    async def signed():
        ours, theirs = (
            AnswerLog(f"sqlite:///{tmp_path}/{name}.db", name.encode(), days=1)
            for name in ("ours", "theirs")
        )
        assert ours.unsign(ours.sign("a1")) == "a1"
        assert ours.unsign(theirs.sign("a1")) is None
        assert ours.unsign("a1") is None
        assert ours.unsign("ก.ข") is None
        await ours.close()
        await theirs.close()

    run(signed())


def test_a_database_of_the_first_schema_is_brought_up_to_date(tmp_path):
    url = f"sqlite:///{tmp_path}/costs.db"
    config = Config()
    config.set_main_option("script_location", str(SCHEMA.migrations))
    config.set_main_option("path_separator", "os")
    with sa.create_engine(url).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        assert "answer" not in sa.inspect(connection).get_table_names()

    async def used():
        kept = AnswerLog(url, b"key", days=1)
        kept.add(answer_record("a"))
        assert (await kept.find("a")).response == "A number."
        await kept.close()

    run(used())
