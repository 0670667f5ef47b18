"""Prices: dates, tiers, cache multipliers; a model without a price is an error."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stock_llm.errors import InputError
from stock_llm.gateway.accounting.prices import load_prices
from stock_llm.gateway.chat import TokenUsage

PRICES = load_prices()
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_in_and_out_by_the_million():
    million = TokenUsage(tokens_in=1_000_000, tokens_out=1_000_000)
    assert PRICES.cost("claude-opus-5-5", million, NOW) == Decimal(24)
    assert PRICES.cost("claude-sonnet-5-5", million, NOW) == Decimal(12)


def test_a_long_prompt_costs_more_on_the_whole_request():
    assert PRICES.cost(
        "claude-haiku-5-5", TokenUsage(tokens_in=100_000, tokens_out=1000), NOW
    ) == Decimal("0.0105")
    assert PRICES.cost(
        "claude-haiku-5-5", TokenUsage(tokens_in=100_001, tokens_out=1000), NOW
    ) == Decimal("0.052501")  # rounded up
    assert PRICES.cost(
        "claude-haiku-5-5", TokenUsage(cached_read=100_001, tokens_out=1000), NOW
    ) == Decimal("0.007501")


def test_cache_multipliers():
    assert PRICES.cost("claude-sonnet-4-6", TokenUsage(cached_read=1_000_000), NOW) == Decimal(
        "0.3"
    )
    assert PRICES.cost("claude-sonnet-4-6", TokenUsage(cached_write=1_000_000), NOW) == Decimal(
        "3.75"
    )
    assert PRICES.cost(
        "claude-sonnet-4-6", TokenUsage(cached_write_hour=1_000_000), NOW
    ) == Decimal(6)


def test_the_day_decides_in_utc():
    read = TokenUsage(cached_read=1_000_000)
    assert PRICES.cost(
        "claude-opus-5-5", read, datetime(2026, 10, 6, 23, 59, tzinfo=UTC)
    ) == Decimal("0.4")
    assert PRICES.cost("claude-opus-5-5", read, datetime(2026, 10, 7, tzinfo=UTC)) == Decimal("0.2")
    bangkok = timezone(timedelta(hours=7))
    assert PRICES.cost(
        "claude-opus-5-5", read, datetime(2026, 10, 7, 6, 59, tzinfo=bangkok)
    ) == Decimal("0.4")


def test_a_dated_name_is_the_model_before_its_date():
    assert PRICES.at("claude-haiku-4-5-20251001", NOW) == PRICES.at("claude-haiku-4-5", NOW)


@pytest.mark.parametrize("model", ["claude-opus-9", "", "haiku"])
def test_an_unknown_model_is_an_error_never_free(model):
    with pytest.raises(InputError, match=f"there is no price for '{model}' on 2026-11-24. Add a"):
        PRICES.cost(model, TokenUsage(tokens_out=1), NOW)


def test_before_its_first_day_a_model_has_no_price():
    with pytest.raises(InputError, match="no price for 'claude-opus-5-5' on 2026-08-31"):
        PRICES.cost("claude-opus-5-5", TokenUsage(), datetime(2026, 8, 31, tzinfo=UTC))


TOKENS = st.integers(0, 300_000)


@given(
    model=st.sampled_from(sorted(PRICES.by_model)),
    parts=st.tuples(TOKENS, TOKENS, TOKENS, TOKENS),
    out=st.integers(0, 64_000),
)
def test_the_bound_is_never_below_the_cost(model, parts, out):
    usage = TokenUsage(parts[0], out, parts[1], parts[2], parts[3])
    assert PRICES.cost(model, usage, NOW) <= PRICES.bound(model, usage.prompt, out, NOW)


BLOCK = """[[price]]
models = ["m"]
effective_from = 2026-01-01
in = 1
out = 1
cache_read = 1
cache_write = 1
cache_write_hour = 1
"""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (BLOCK + BLOCK, "price 2: 'm' has two prices from 2026-01-01 on"),
        (BLOCK + "over = 5\n", "price 1: over, over_in and over_out belong together"),
        (BLOCK.replace("in = 1", "in = 0", 1), "price 1: in: Input should be greater than 0"),
        ("price = [", "cannot be read"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path, text, complaint):
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(InputError) as refusal:
        load_prices(file)
    assert complaint in str(refusal.value)
