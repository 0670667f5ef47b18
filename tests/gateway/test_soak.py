"""Many requests through the real gateway to backends that fail one time in ten: it answers, says
what is so, keeps its budget.

Gateway and backends are processes of their own; faults are injected by benchmarks/mock_backends.py.
A slice runs in `make test`, 50,000 requests in `make soak`.
"""

import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from factories.ports import free_port

BACKENDS = Path(__file__).parents[2] / "benchmarks" / "mock_backends.py"
SERVE = [sys.executable, "-c", "from stock_llm.cli.main import main; main()", "serve"]
FAULTS, CUTS, HANG = 0.10, 0.0045, 20.0
"""Of all calls; of streamed ones, which are a third of the requests: 0.15 % of all; seconds that a
hang lasts."""

STREAMED, URGENT = 1 / 3, 0.05
"""Shares of requests: streamed; so urgent and complex that the Claude API is asked first."""

TIMEOUT = 8
"""Seconds that the gateway gives one provider."""


@dataclass
class Outcome:
    """What callers saw."""

    answered: int = 0
    cut: int = 0
    refused: Counter = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)


@contextmanager
def running(command, url, **environment):
    process = subprocess.Popen(command, env=os.environ | environment)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(url, timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < until, (
                    f"{command[-2:]} did not start"
                )
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        assert process.wait(90) in (0, -15)


async def ask_all(url: str, requests: int, at_once: int) -> Outcome:
    """Asks so many at once until all are asked; a stream counts as answered only if its last line
    says that it is whole."""
    outcome, numbers, chance = Outcome(), iter(range(requests)), random.Random(3)
    timeout = aiohttp.ClientTimeout(total=120)

    async def caller(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            urgent = chance.random() < URGENT
            headers = {"x-stock-llm-urgency": "10", "x-stock-llm-complexity": "9"} if urgent else {}
            stream = not urgent and chance.random() < STREAMED
            body = {
                "model": "auto",
                "stream": stream,
                "messages": [{"role": "user", "content": f"What is a stop-loss? ({number})"}],
            }
            async with session.post(f"{url}/api/chat", json=body, headers=headers) as response:
                if response.status != 200:
                    outcome.refused[f"{response.status} {(await response.text())[:300]}"] += 1
                    continue
                outcome.ids.append(response.headers["x-stock-llm-response-id"].rsplit(".", 1)[0])
                last = json.loads((await response.read()).splitlines()[-1])
                if last.get("done"):
                    outcome.answered += 1
                else:
                    assert "error" in last, last
                    outcome.cut += 1

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=timeout
    ) as session:
        await asyncio.gather(*(caller(session) for _ in range(at_once)))
    return outcome


def soak(home: Path, requests: int, at_once: int, budget: str) -> None:
    port, gateway_port = free_port(), free_port()
    backend, gateway = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{gateway_port}"
    dials = {
        "STOCK_LLM_HOME": str(home), "STOCK_LLM_OLLAMA_HOST": backend, "ANTHROPIC_API_KEY": "a key", "PORT": str(gateway_port),
        "STOCK_LLM_GATEWAY__PORT": str(gateway_port), "STOCK_LLM_GATEWAY__CLAUDE_API": "true",
        "STOCK_LLM_GATEWAY__CLAUDE_API_URL": backend, "STOCK_LLM_GATEWAY__DAILY_DOLLARS": budget,
        "STOCK_LLM_GATEWAY__EMBEDDED": "false", "STOCK_LLM_GATEWAY__PARALLEL": "500", "STOCK_LLM_GATEWAY__QUEUE": "500",
        "STOCK_LLM_GATEWAY__TIMEOUT": str(TIMEOUT), "STOCK_LLM_GATEWAY__MAX_TOKENS": "300",
    }  # fmt: skip
    mock = [sys.executable, str(BACKENDS), str(port), str(FAULTS), str(CUTS), str(HANG)]
    began = time.monotonic()
    with running(mock, f"{backend}/api/version"):
        with running(SERVE, f"{gateway}/healthz", **dials):
            outcome = asyncio.run(ask_all(gateway, requests, at_once))
        backend_counts = json.loads(urllib.request.urlopen(f"{backend}/told").read())
    took = time.monotonic() - began
    with sqlite3.connect(home / "data" / "costs.db") as store:
        store.row_factory = sqlite3.Row
        calls = [
            dict(row) for row in store.execute("SELECT id, status, provider, charged FROM call")
        ]
        spent = store.execute("SELECT coalesce(sum(charged), 0) FROM spent").fetchone()[0] / 1e6
        reserved = store.execute("SELECT count(*) FROM reservation").fetchone()[0]
    statuses = Counter(call["status"] for call in calls)
    print(
        f"\n{requests} requests in {took:.0f} s: {outcome.answered / requests:.3%} answered, {outcome.cut} cut, "
        f"{sum(outcome.refused.values())} refused; injected {backend_counts}; recorded {dict(statuses)}, "
        f"{Counter(call['provider'] for call in calls)}; ${spent:.4f} of ${budget} booked\n{dict(outcome.refused)}"
    )
    injected = sum(backend_counts[kind] for kind in ("503", "garbage", "hang"))
    assert injected > 0.08 * (backend_counts["ollama"] + backend_counts["claude"])
    assert outcome.answered / requests >= 0.995
    assert len(calls) == len({call["id"] for call in calls}) == requests
    assert {call["id"] for call in calls} >= set(outcome.ids)
    assert (
        statuses
        == Counter(ok=outcome.answered, cut=outcome.cut, failed=sum(outcome.refused.values()))
        - Counter()
    )
    assert backend_counts["claude"] > 0 and reserved == 0
    assert backend_counts["dollars"] <= spent <= float(budget)
    assert sum(call["charged"] for call in calls) / 1e6 == pytest.approx(spent)


@pytest.mark.timeout(300)
def test_a_slice(tmp_path):
    soak(tmp_path, 1500, at_once=64, budget="0.08")


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_fifty_thousand(tmp_path):
    soak(tmp_path, 50_000, at_once=128, budget="3")
