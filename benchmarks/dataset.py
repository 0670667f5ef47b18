"""How long a dataset takes to build, how much memory, and whether both grow in line with the rows.

`python benchmarks/dataset.py [ROWS]` makes a market that wanders at random (a stock for every 1,500 rows, 2,000 sessions), an
investor and people who write free text (one row in twenty: half of it feedback, half another's file), and builds datasets of
ROWS / 4 and ROWS rows from it, each in a process of its own. Making the market and collecting it are not counted. The default is
quick; the figures that the documents quote are those of 1000000.
"""

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from stock_llm import environment
from stock_llm.feedback.item import FeedbackItem
from stock_llm.pipeline import history
from stock_llm.pipeline.inputs import open_feedback
from stock_llm.settings import Settings, load_settings

environment.prepare()

SESSIONS = 2000
ROWS_PER_STOCK = 1500
FREE_TEXT = 0.05
WORDS = """
the a this that stock share price market bank oil chip phone car drug deal order profit loss margin sales growth debt cash
dividend buyback forecast guidance report quarter year month week analyst investor board chief plan plant strike storm court
rises falls beats misses cuts raises warns expects doubles halves wins loses opens closes slips jumps holds waits buys sells
never always often early late soon again before after above below while because although until with without against near
""".split()  # noqa: SIM905


def main(rows: int) -> None:
    print(
        f"{'rows':>10}{'free text':>11}{'seconds':>9}{'CPU s':>8}{'rows/s':>9}{'peak MiB':>10}{'file MiB':>10}"
    )
    took = []
    for size in (rows // 4, rows):
        with tempfile.TemporaryDirectory() as home:
            make_inputs(Path(home), size)
            for step in (
                "collect",
                "measure",
            ):  # in a process of its own, so that its memory is its own
                done = subprocess.run(
                    [sys.executable, __file__, step, home, str(size)],
                    check=True,
                    stdout=subprocess.PIPE,
                )
            measured = json.loads(done.stdout.splitlines()[-1])
        took.append(measured)
        print(
            f"{measured['rows']:10,}{measured['free']:11,}{measured['seconds']:9,.1f}{measured['cpu']:8,.1f}"
            f"{measured['rows'] / measured['seconds']:9,.0f}{measured['peak_mib']:10,.0f}{measured['file_mib']:10,.0f}",
            flush=True,
        )
    less, more = took
    print(
        f"{more['rows'] / less['rows']:.2f} times the rows took {more['seconds'] / less['seconds']:.2f} times as long,"
        f" {more['cpu'] / less['cpu']:.2f} times the CPU"
    )


def make_inputs(home: Path, rows: int) -> None:
    """Candles, trades at their closes, a file of other people's texts, and the profiles."""
    shutil.copytree(Path(__file__).parents[1] / "models/profiles", home / "models/profiles")
    chance = np.random.default_rng(1)
    days = np.busday_offset("2016-01-04", np.arange(SESSIONS))
    stocks = [f"S{number:04d}" for number in range(-(-rows // ROWS_PER_STOCK))]
    (home / "candles").mkdir()
    closes = np.empty((len(stocks), SESSIONS))
    for number, symbol in enumerate(stocks):
        close = closes[number] = 100 * np.exp(np.cumsum(chance.normal(0, 0.015, SESSIONS)))
        opening = close * np.exp(chance.normal(0, 0.004, SESSIONS))
        high, low = np.maximum(opening, close) * 1.004, np.minimum(opening, close) * 0.996
        volume = np.round(chance.uniform(1e5, 2e5, SESSIONS))
        columns = {
            "date": days,
            "open": opening,
            "high": high,
            "low": low,
            "close": close,
            "volume": volume,
        }
        pd.DataFrame(columns).to_csv(
            home / "candles" / f"{symbol}.csv", index=False, float_format="%.4f"
        )
    trades = rows // 100
    stock = np.arange(trades) // 2 % min(10, len(stocks))  # bought and sold in turn
    session = np.linspace(250, SESSIONS - 50, trades).astype(int)
    columns = {
        "date": days[session],
        "symbol": np.array(stocks)[stock],
        "side": np.where(np.arange(trades) % 2, "SELL", "BUY"),
        "quantity": chance.integers(1, 9, trades),
        "price": closes[stock, session].round(2),
        "trade_id": np.arange(trades),
    }
    pd.DataFrame(columns).to_csv(home / "trades.csv", index=False)
    words, free = random.Random(3), round(rows * FREE_TEXT)
    with (home / "texts.jsonl").open("w", encoding="utf-8") as stream:
        for _ in range(free - free // 2 + 1000):  # some repeat another
            stream.write(
                json.dumps(
                    {
                        "text": text(words, 25),
                        "label": words.choice(("positive", "negative", "neutral")),
                    }
                )
                + "\n"
            )


def text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words)).capitalize() + "."


def items(count: int, chance: random.Random) -> list[FeedbackItem]:
    """Corrections in people's own words."""
    return [
        FeedbackItem(
            id=f"bench-{number}",
            created_at=datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
            instruction=text(chance, 12),
            response=text(chance, 20),
            correction=text(chance, 30),
        )
        for number in range(count)
    ]


def settings_of(home: Path, rows: int) -> Settings:
    """The settings of one size."""
    source = {
        "path": "texts.jsonl",
        "format": "sentiment",
        "licence": "CC0-1.0",
        "weight": FREE_TEXT / 2,
    }
    wanted = {
        "train_rows": round(rows * (1 - FREE_TEXT)),
        "dataset": {"source": [source]},
    }
    return load_settings(
        home=home, profile="mistral-7b", trades="trades.csv", candles="candles", **wanted
    )


def collect(home: Path, rows: int) -> None:
    """The history, not measured."""
    settings = settings_of(home, rows)
    open_feedback(settings).add(items(round(rows * FREE_TEXT) // 2, random.Random(2)))
    history.current(settings)


def measure(home: Path, rows: int) -> None:
    """Builds one dataset and prints a line of JSON about it."""
    from tasks.build_dataset import build

    settings = settings_of(home, rows)
    known = history.current(settings)
    out = home / "out"
    out.mkdir()
    started, cpu = time.monotonic(), time.process_time()
    made = build(settings, known, "bench", out)
    measured = {
        "rows": made.train_rows + made.holdout_rows + made.correction_rows,
        "free": made.counts["train"].get("follow", 0)
        + made.correction_rows
        + made.counts["train"].get("sentiment", 0),
        "seconds": time.monotonic() - started,
        "cpu": time.process_time() - cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "file_mib": sum(file.stat().st_size for file in out.iterdir()) / (1 << 20),
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        os.environ["STOCK_LLM_SECRETS"] = f"{sys.argv[2]}/secrets"
        {"collect": collect, "measure": measure}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) == 2 else 20_000)
