"""How fast collect is and what memory it takes, at N trades and candles and at four times as many.

    python benchmarks/collect.py                                       20,000 trades, 50,000 candles; and 4 times as many
    python benchmarks/collect.py --trades 1000000 --candles 2500000    what the documents quote

Each size runs in a process of its own: the files are made first, then collect is timed alone. Peak memory is that process's
largest resident set; CPU seconds are those of all its threads, which other work on the machine does not stretch. Trades are a
plain CSV file, bought and sold near the close of their day; prices are a random walk; nothing of it is the user's. "One file new"
is a night on which one candle file came and the trades stayed.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SESSIONS = 2500
"""Candles per symbol: ten years."""


def main() -> None:
    """Prints a table with one line per size, and how the time grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trades", type=int, default=20_000)
    parser.add_argument("--candles", type=int, default=50_000)
    parser.add_argument(
        "--times",
        type=int,
        default=4,
        help="how much larger the second size is; 1: measure one size",
    )
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(_measure(given.measure)))
        return
    heads = (
        ("trades", 10),
        ("candles", 11),
        ("seconds", 9),
        ("CPU s", 9),
        ("rows/s", 11),
        ("peak MiB", 10),
    )
    print("".join(name.rjust(width) for name, width in heads) + "   nothing new  one file new")
    seconds, cpu = [], []
    for times in sorted({1, given.times}):
        trades, candles = given.trades * times, given.candles * times
        with tempfile.TemporaryDirectory() as folder:
            _make(Path(folder), trades, candles)
            ran = subprocess.run(
                [sys.executable, __file__, "--measure", folder],
                stdout=subprocess.PIPE,
                stderr=None,
                text=True,
                check=True,
            )
        measured = json.loads(ran.stdout.splitlines()[-1])
        seconds.append(measured["seconds"])
        cpu.append(measured["cpu"])
        rate = (trades + candles) / measured["seconds"]
        print(
            f"{trades:>10,} {candles:>10,} {measured['seconds']:>8.2f} {measured['cpu']:>8.2f} {rate:>10,.0f}"
            f" {measured['peak_mib']:>9,.0f}  {measured['again']:>11.2f}  {measured['one_more']:>12.2f}",
            flush=True,
        )
    if len(seconds) == 2:
        print(
            f"{given.times} times the rows took {seconds[1] / seconds[0]:.2f} times as long, {cpu[1] / cpu[0]:.2f} times the CPU"
        )


def _make(home: Path, trades: int, candles: int) -> None:
    """A trades file and a candle file per symbol."""
    import numpy as np
    import pandas as pd

    chance = np.random.default_rng(7)
    (home / "candles").mkdir()
    symbols = [f"S{number:05d}" for number in range(max(1, candles // SESSIONS))]
    days = pd.bdate_range("2014-01-02", periods=SESSIONS)
    closes = np.empty((len(symbols), SESSIONS))
    for number, symbol in enumerate(symbols):
        close = closes[number] = 50 * np.exp(np.cumsum(chance.normal(0, 0.015, SESSIONS)))
        opened = close * np.exp(chance.normal(0, 0.004, SESSIONS))
        span = np.exp(np.abs(chance.normal(0, 0.006, (2, SESSIONS))))
        frame = pd.DataFrame(
            {
                "Date": days.strftime("%Y-%m-%d"),
                "Open": opened,
                "High": np.maximum(opened, close) * span[0],
                "Low": np.minimum(opened, close) / span[1],
                "Close": close,
                "Adj Close": close * 0.97,
                "Volume": chance.integers(10_000, 9_000_000, SESSIONS),
            }
        )
        frame.to_csv(home / "candles" / f"{symbol}.csv", index=False, float_format="%.6f")
    session, number = (
        np.sort(chance.integers(0, SESSIONS, trades)),
        chance.integers(0, len(symbols), trades),
    )
    at = days[session] + pd.to_timedelta(chance.integers(52_200, 75_600, trades), unit="s")
    price = closes[number, session] * np.exp(chance.normal(0, 0.005, trades))
    pd.DataFrame(
        {
            "trade_id": np.char.add("T", np.arange(trades).astype(str)),
            "date": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "symbol": np.array(symbols)[number],
            "side": chance.choice(["BUY", "SELL"], trades),
            "quantity": chance.integers(1, 500, trades),
            "price": price.round(4),
            "fee": chance.choice(["0", "1.00", "2.50"], trades),
            "currency": "USD",
            "account": chance.choice(["U1234567", "U7654321"], trades),
        }
    ).to_csv(home / "trades.csv", index=False)


def _measure(home: Path) -> dict[str, float]:
    """Seconds and peak memory of the first collect; seconds of one with nothing new, and of one with one candle file more."""
    import os

    os.environ["STOCK_LLM_SECRETS"] = str(home / "secrets")
    from stock_llm import environment
    from stock_llm.settings import load_settings

    environment.prepare()
    from tasks.collect import collect

    def timed() -> float:
        start = time.perf_counter()
        collect.fn(load_settings(home=home, trades=Path("trades.csv"), candles=Path("candles")))
        return time.perf_counter() - start

    used = time.process_time()
    first = timed()
    cpu = time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    again = timed()
    some = next((home / "candles").glob("*.csv"))
    some.with_name("ONEMORE.csv").write_bytes(some.read_bytes())
    return {"seconds": first, "cpu": cpu, "peak_mib": peak, "again": again, "one_more": timed()}


if __name__ == "__main__":
    main()
