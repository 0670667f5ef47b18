"""Statuses and Retry-After of providers, whatever they put into them."""

import json
from datetime import UTC, datetime

import pytest

from stock_llm.gateway.errors import (
    AccessDenied,
    BadRequest,
    Overloaded,
    RateLimited,
    Unavailable,
    UnknownModel,
)
from stock_llm.gateway.providers.http_errors import http_error, retry_seconds
from stock_llm.gateway.providers.ollama_codec import decode_error

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
LIMITS = "You have reached your specified API usage limits. You will regain access on 2026-12-01."


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7),
        ("1.5", 1.5),
        ("Fri, 27 Nov 2026 12:01:30 GMT", 90),
        ("Fri, 27 Nov 2026 12:01:30", 90),
        ("Fri, 27 Nov 2026 11:00:00 GMT", None),
        ("-3", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("Fri, 99 Nov 2026 12:01:30 GMT", None),
    ],
)
def test_retry_after_holds_seconds_or_a_date(header, seconds):
    assert retry_seconds(header, NOON) == seconds


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "bad", BadRequest),
        (400, "Your credit balance is too low", AccessDenied),
        (400, LIMITS, AccessDenied),
        (429, "slow down", RateLimited),
        (429, "You exceeded your current quota, please check your plan", AccessDenied),
        (401, "invalid key", AccessDenied),
        (402, "payment required", AccessDenied),
        (403, "no", AccessDenied),
        (404, "no such model", UnknownModel),
        (500, "boom", Unavailable),
        (529, "overloaded", Overloaded),
        (None, "Claude AI usage limit reached", AccessDenied),
        (418, "?", Unavailable),
    ],
)
def test_a_refusal_about_the_bill_is_no_fault_of_the_request(status, text, kind):
    assert type(http_error("x", status, text)) is kind


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "invalid model name", BadRequest),
        (500, 'option "seed" must be of type integer', BadRequest),
        (500, "boom", Unavailable),
        (404, "model 'm' not found", UnknownModel),
        (403, "", AccessDenied),
        (429, "slow", RateLimited),
        (503, "busy", Overloaded),
        (307, "", Unavailable),
        (418, "teapot", BadRequest),
    ],
)
def test_ollamas_refusals_have_their_kind(status, text, kind):
    raw = json.dumps({"error": text}).encode()
    assert type(decode_error("ollama", status, raw, "5")) is kind
