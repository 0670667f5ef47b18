"""What the numbers of the user's own data add to a request through the gateway.

`python benchmarks/grounding.py [--trades 10000] [--symbols 500] [--sessions 2500] [--requests 400]` makes files of trades and candles,
starts benchmarks/mock_backends.py and `stock-llm serve` before them, and asks one question after the other, each with and without
numbers in turns: a symbol by chance, the portfolio, the last trade. Milliseconds are what a caller waits, the CPU that of the
gateway. The time until the first question is answered with numbers holds the reading of all files.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

import collect
import httpx
from gateway import HERE, _cpu, _free_port, _mib, running


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trades", type=int, default=10_000)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--sessions", type=int, default=2500, help="candles of a symbol")
    parser.add_argument("--requests", type=int, default=400, help="of each kind")
    given = parser.parse_args()
    backend, port = _free_port(), _free_port()
    host, url = f"http://127.0.0.1:{backend}", f"http://127.0.0.1:{port}"
    mock = [sys.executable, str(HERE / "mock_backends.py"), str(backend)]
    command = "from stock_llm.cli.main import main; main()"
    serve = [sys.executable, "-c", command, "serve", "--port", str(port)]
    with tempfile.TemporaryDirectory() as folder, running(mock, f"{host}/api/version"):
        collect.SESSIONS = given.sessions
        collect._make(Path(folder), given.trades, given.symbols * given.sessions)
        dials = {
            "STOCK_LLM_HOME": folder,
            "STOCK_LLM_SECRETS": f"{folder}/secrets",
            "STOCK_LLM_TRADES": "trades.csv",
            "STOCK_LLM_CANDLES": "candles",
            "STOCK_LLM_OLLAMA_HOST": host,
            "STOCK_LLM_GATEWAY__EMBEDDED": "false",
        }
        with running(serve, f"{url}/healthz", **dials) as (process, _), httpx.Client(base_url=url, timeout=60) as http:  # fmt: skip
            symbols = [f"S{number:05d}" for number in range(given.symbols)]
            began = time.perf_counter()
            while "x-stock-llm-grounding" not in ask(http, f"Analyze {symbols[0]}.", "auto").headers:  # fmt: skip
                time.sleep(0.5)
            took = time.perf_counter() - began
            print(f"numbers of {given.symbols} symbols and {given.trades:,} trades read after {took:.1f} s, {_mib(process):.0f} MiB")  # fmt: skip
            chance = random.Random(7)
            for name, question in (
                ("a symbol", lambda: f"Analyze {chance.choice(symbols)}."),
                ("the last trade", lambda: f"Review my trade in {chance.choice(symbols)}."),
                ("none of them", lambda: "What is a trailing stop?"),
            ):
                report(name, *measure(http, process, question, given.requests))


def ask(http: httpx.Client, text: str, grounding: str) -> httpx.Response:
    """The answer to a question."""
    body = {"model": "auto", "stream": False, "messages": [{"role": "user", "content": text}]}
    answered = http.post("/api/chat", json=body, headers={"x-stock-llm-grounding": grounding})
    assert answered.status_code == 200, answered.text
    return answered


def measure(http, process, question, requests):
    """Milliseconds and CPU milliseconds of each request without and with numbers."""
    took: dict[str, list[float]] = {"off": [], "auto": []}
    spent = {"off": 0.0, "auto": 0.0}
    for number in range(requests):
        text = question()
        for grounding in ("off", "auto") if number % 2 else ("auto", "off"):
            before, began = _cpu(process), time.perf_counter()
            ask(http, text, grounding)
            took[grounding].append(1000 * (time.perf_counter() - began))
            spent[grounding] += 1000 * (_cpu(process) - before)
    return took, {grounding: total / requests for grounding, total in spent.items()}


def report(name, took, spent) -> None:
    """Prints what numbers added."""
    (plain, grounded), p99 = (took["off"], took["auto"]), lambda times: quantiles(times, n=100)[98]
    print(
        f"{name}: without p50 {median(plain):.1f} p99 {p99(plain):.1f} ms, with p50 {median(grounded):.1f} p99 {p99(grounded):.1f} ms;"
        f" added p50 {median(grounded) - median(plain):+.1f} ms, CPU {spent['off']:.2f} and {spent['auto']:.2f} ms a request",
        flush=True,
    )


if __name__ == "__main__":
    main()
