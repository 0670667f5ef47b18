"""What the gateway adds to a call, what it can carry, what it needs: against a backend that answers at once.

`python benchmarks/gateway.py [--seconds 10] [--litellm FOLDER]` starts benchmarks/mock_backends.py and `stock-llm serve` as
processes of their own and asks both from here; all three share the machine's cores. Every call is routed ("auto"), recorded in
SQLite and kept for feedback, as it is by default. Added time: the same percentile through the gateway less that of a direct call,
in turns. `--litellm` asks LiteLLM's proxy in the same way, at a rate that it can bear; it is installed into a virtual environment
in FOLDER unless it is there.
"""

import argparse
import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import aiohttp
import psutil
import uvloop

HERE = Path(__file__).parent
LITELLM = "litellm[proxy]==1.105.0"
QUESTION = "What is a trailing stop, and when would you use number {}?"


@dataclass(frozen=True)
class Load:
    """What came of a number of requests: seconds of each that was answered whole, and how many were not."""

    seconds: Sequence[float]
    failed: int
    wall: float

    @property
    def p50(self) -> float:
        """Milliseconds."""
        return 1000 * quantiles(self.seconds, n=100)[49]

    @property
    def p99(self) -> float:
        """Milliseconds."""
        return 1000 * quantiles(self.seconds, n=100)[98]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.wall

    def __add__(self, other: "Load") -> "Load":
        return Load(
            [*self.seconds, *other.seconds], self.failed + other.failed, self.wall + other.wall
        )


@dataclass(frozen=True)
class Target:
    """Something that can be asked."""

    url: str
    path: str
    model: str
    key: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What lets a caller in."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def body(self, number: int, **more: object) -> dict[str, object]:
        """A request that no cache has seen."""
        messages = [{"role": "user", "content": QUESTION.format(number)}]
        return {"model": self.model, "messages": messages, "stream": False, **more}


async def at_rate(target: Target, rate: float, seconds: float) -> Load:
    """Asks at a fixed rate, whether or not answers come; the time of each counts from when it was due."""
    took: list[float] = []
    failed = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(number: int, due: float) -> None:
            nonlocal failed
            try:
                async with session.post(
                    target.url + target.path, json=target.body(number), headers=target.headers
                ) as response:
                    await response.read()
                    assert response.status == 200, await response.text()
                took.append(loop.time() - due)
            except (aiohttp.ClientError, AssertionError) as error:
                failed += 1
                if failed == 1:
                    print(f"  first failure: {error!r:.200}")

        loop = asyncio.get_running_loop()
        begin = loop.time() + 0.05
        tasks = []
        for number in range(int(rate * seconds)):
            due = begin + number / rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            tasks.append(asyncio.create_task(one(number + int(time.time() * 1e3) % 10**9, due)))
        await asyncio.gather(*tasks)
        return Load(took, failed, loop.time() - begin)


async def flat_out(target: Target, at_once: int, seconds: float) -> Load:
    """Asks as fast as answers come, so many at once."""
    took: list[float] = []
    failed = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        begin = time.perf_counter()

        async def caller(number: int) -> None:
            nonlocal failed
            while time.perf_counter() - begin < seconds:
                number += at_once
                asked = time.perf_counter()
                async with session.post(
                    target.url + target.path, json=target.body(number), headers=target.headers
                ) as response:
                    await response.read()
                    failed += response.status != 200
                took.append(time.perf_counter() - asked)

        await asyncio.gather(*(caller(number) for number in range(at_once)))
        return Load(took, failed, time.perf_counter() - begin)


async def streams(
    target: Target, at_once: int, pause: float, process: psutil.Process
) -> tuple[int, int, float, float]:
    """Opens many streams at once: how many ended whole, the pieces of all, the most MiB that the process held, seconds."""
    whole = pieces = 0
    most = 0.0
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=timeout
    ) as session:

        async def one(number: int) -> None:
            nonlocal whole, pieces
            body = target.body(number, stream=True, options={"x-pause": pause})
            async with session.post(target.url + target.path, json=body) as response:
                last = b""
                async for line in response.content:
                    pieces += 1
                    last = line
                whole += b'"done":true' in last

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, _mib(process))
                await asyncio.sleep(0.1)

        watching = asyncio.create_task(watch())
        began = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(at_once)))
        took = time.perf_counter() - began
        watching.cancel()
        return whole, pieces, most, took


@contextmanager
def running(
    command: Sequence[str], url: str, **environment: str
) -> Iterator[tuple[psutil.Process, float]]:
    """A process that answers at `url`, and the seconds until it did."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        while True:
            try:
                urllib.request.urlopen(url, timeout=1).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit(
                        f"{command[0]} ended: {process.stderr.read().decode()[-2000:]}"
                    ) from None  # type: ignore[union-attr]
                time.sleep(0.02)
        yield psutil.Process(process.pid), time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(60)


def _mib(process: psutil.Process) -> float:
    return (
        sum(each.memory_info().rss for each in [process, *process.children(recursive=True)]) / 2**20
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def in_turns(
    direct: Target, through: Target, rate: float, seconds: float
) -> tuple[Load, Load]:
    """Both at a rate, in four turns each, so that what else the machine does meets both."""
    await at_rate(direct, rate, 1)
    await at_rate(through, rate, 2)
    loads = [Load([], 0, 0.0), Load([], 0, 0.0)]
    for turn in range(4):
        for which, target in sorted(enumerate((direct, through)), reverse=bool(turn % 2)):
            loads[which] += await at_rate(target, rate, seconds / 4)
    return loads[0], loads[1]


def report(name: str, rate: float, direct: Load, through: Load) -> None:
    print(
        f"{name} at {rate:g} requests/s: direct p50 {direct.p50:.1f} p99 {direct.p99:.1f} ms, through p50 {through.p50:.1f}"
        f" p99 {through.p99:.1f} ms, added p50 {through.p50 - direct.p50:+.1f} p99 {through.p99 - direct.p99:+.1f} ms,"
        f" {through.failed} of {through.failed + len(through.seconds)} failed",
        flush=True,
    )


async def measure_gateway(
    direct: Target, through: Target, process: psutil.Process, started: float, seconds: float
) -> None:
    """Everything about the gateway."""
    print(
        f"gateway: first answer {started:.2f} s after its start ({_cpu(process):.2f} s of CPU), {_mib(process):.0f} MiB",
        flush=True,
    )
    for rate in (30, 100):
        report("gateway", rate, *await in_turns(direct, through, rate, seconds))
    for rate in (200, 300, 400, 500):
        load = await at_rate(through, rate, seconds / 2)
        times = f"p50 {load.p50:.1f} p99 {load.p99:.1f} ms"
        print(
            f"gateway at {rate} requests/s: {load.rate:.0f}/s answered, {times}, {load.failed} failed",
            flush=True,
        )
        if load.p99 > 1000 or load.failed:
            break
    before = _cpu(process)
    load = await flat_out(through, 32, seconds / 2)
    spent = 1000 * (_cpu(process) - before) / len(load.seconds)
    times = f"p50 {load.p50:.1f} p99 {load.p99:.1f} ms"
    print(
        f"gateway, 32 callers who never wait: {load.rate:.0f} requests/s, {times}, {spent:.2f} ms of CPU each"
    )
    print(f"gateway: {_mib(process):.0f} MiB after that", flush=True)
    whole, pieces, most, took = await streams(through, 1000, 0.25, process)
    print(
        f"1,000 streams at once: {whole} whole, {pieces} lines, {took:.1f} s (4.8 s of it the backend's), most {most:.0f} MiB",
        flush=True,
    )


async def measure_litellm(direct: Target, backend: str, seconds: float, folder: Path) -> None:
    """LiteLLM's proxy with one worker, in a virtual environment of its own."""
    if not (folder / "venv/bin/litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        subprocess.run([folder / "venv/bin/pip", "install", "-qq", LITELLM], check=True)
    port = _free_port()
    config = folder / "config.yaml"
    config.write_text(
        "model_list:\n  - model_name: mistral\n    litellm_params:\n      model: ollama_chat/mistral:7b\n"
        f"      api_base: {backend}\nlitellm_settings:\n  telemetry: false\n"
    )
    command = [
        str(folder / "venv/bin/litellm"),
        "--config",
        str(config),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    url = f"http://127.0.0.1:{port}"
    key = "sk-of-this-benchmark-0123456789"
    environment = {"LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with running([*command, "--num_workers", "1"], f"{url}/health/liveliness", **environment) as (
        process,
        started,
    ):
        print(
            f"LiteLLM: first answer {started:.1f} s after its start, {_mib(process):.0f} MiB",
            flush=True,
        )
        through = Target(url, "/v1/chat/completions", "mistral", key)
        report("LiteLLM", 30, *await in_turns(direct, through, 30, seconds))


def count_records(home: Path) -> int:
    """Calls in the gateway's cost store."""
    with sqlite3.connect(home / "data" / "costs.db") as connection:
        return connection.execute("SELECT count(*) FROM call").fetchone()[0]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=10, help="of each measurement")
    arguments.add_argument(
        "--litellm",
        type=Path,
        metavar="FOLDER",
        help="measure LiteLLM's proxy beside it, installed here",
    )
    given = arguments.parse_args()
    backend, port = _free_port(), _free_port()
    direct = Target(f"http://127.0.0.1:{backend}", "/api/chat", "mistral:7b")
    through = Target(f"http://127.0.0.1:{port}", "/api/chat", "auto")
    mock = [sys.executable, str(HERE / "mock_backends.py"), str(backend)]
    serve = [
        sys.executable,
        "-c",
        "from stock_llm.cli.main import main; main()",
        "serve",
        "--port",
        str(port),
    ]
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before the start")
    with tempfile.TemporaryDirectory() as folder, running(mock, f"{direct.url}/api/version"):
        home = Path(folder)
        dials = {
            "STOCK_LLM_HOME": folder,
            "STOCK_LLM_SECRETS": f"{folder}/secrets",
            "STOCK_LLM_OLLAMA_HOST": direct.url,
            "STOCK_LLM_GATEWAY__EMBEDDED": "false",
            "STOCK_LLM_GATEWAY__PARALLEL": "2000",  # the backend is no model: nothing is to be spared
            "STOCK_LLM_GATEWAY__QUEUE": "2000",
        }
        with running(serve, f"{through.url}/healthz", **dials) as (process, started):
            uvloop.run(measure_gateway(direct, through, process, started, given.seconds))
        print(f"records in the cost store: {count_records(home)}")
        if given.litellm:
            uvloop.run(measure_litellm(direct, direct.url, given.seconds, given.litellm))
    print(f"load average {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
