"""How long a dataset takes to build, how much memory, and whether both grow in line with the rows.

`python benchmarks/dataset.py [ROWS]` makes a market that wanders at random (a stock for every 1,500 rows, 2,000 sessions), an
investor and people who write free text (one row in twenty: half of it feedback, half another's file), and builds datasets of
ROWS / 4 and ROWS rows from it, each in a process of its own. Making the market is not counted. The default is quick; the figures
that the documents quote are those of 1000000.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stock_llm import environment
from stock_llm.accounts.ledger import LEDGER_SCHEMA
from stock_llm.artifacts import History
from stock_llm.feedback_item import FeedbackItem, write_parquet
from stock_llm.market.candles import CANDLE_SCHEMA

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
    print(f"{'rows':>10}{'free text':>11}{'seconds':>9}{'CPU s':>8}{'rows/s':>9}{'peak MiB':>10}{'file MiB':>10}")
    for size in (rows // 4, rows):
        with tempfile.TemporaryDirectory() as home:
            make_inputs(Path(home), size)
            command = [sys.executable, __file__, home, str(size)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            told = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{told['rows']:10,}{told['free']:11,}{told['seconds']:9,.1f}{told['cpu']:8,.1f}"
            f"{told['rows'] / told['seconds']:9,.0f}{told['peak_mib']:10,.0f}{told['file_mib']:10,.0f}",
            flush=True,
        )


def make_inputs(home: Path, rows: int) -> None:
    """A history as collect leaves it, and a file of other people's texts."""
    chance = np.random.default_rng(1)
    days = np.busday_offset("2016-01-04", np.arange(SESSIONS))
    stocks = [f"S{number:04d}" for number in range(-(-rows // ROWS_PER_STOCK))]
    with pq.ParquetWriter(home / "candles.parquet", CANDLE_SCHEMA, compression="zstd") as writer:
        for symbol in stocks:
            close = 100 * np.exp(np.cumsum(chance.normal(0, 0.015, SESSIONS)))
            opening = close * np.exp(chance.normal(0, 0.004, SESSIONS))
            high, low = np.maximum(opening, close) * 1.004, np.minimum(opening, close) * 0.996
            prices = [pa.array(np.round(values, 2)) for values in (opening, high, low, close)]
            volume = pa.array(np.round(chance.uniform(1e5, 2e5, SESSIONS)))
            ones, rows_of = pa.array(np.ones(SESSIONS)), pa.array(np.arange(2, SESSIONS + 2))
            names, file = pa.array([symbol] * SESSIONS), pa.array([f"{symbol}.csv"] * SESSIONS)
            columns = [names, pa.array(days, pa.date32()), *prices, volume, ones, file, rows_of]
            writer.write_table(pa.Table.from_arrays(columns, schema=CANDLE_SCHEMA))
    pq.write_table(ledger(stocks[:10], rows // 100, random.Random(1)), home / "ledger.parquet", compression="zstd")
    free = round(rows * FREE_TEXT)
    write_parquet(items(free // 2, random.Random(2)), home / "feedback.parquet")
    words = random.Random(3)
    with (home / "texts.jsonl").open("w", encoding="utf-8") as stream:
        for _ in range(free - free // 2 + 1000):  # some repeat another
            stream.write(json.dumps({"text": text(words, 25), "label": words.choice(("positive", "negative", "neutral"))}) + "\n")


def text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words)).capitalize() + "."


def ledger(stocks: list[str], trades: int, chance: random.Random) -> pa.Table:
    """Purchases and sales in turn."""
    first = datetime(2017, 1, 2, 15, tzinfo=UTC)
    entries = [
        {
            "entry_id": f"bench:{number}", "account": "a", "kind": "BUY" if number % 2 == 0 else "SELL", "asset_class": "STOCK",
            "symbol": stocks[number // 2 % len(stocks)], "isin": "", "name": "", "quantity": Decimal(chance.randint(1, 9)),
            "price": Decimal(chance.randint(50, 150)), "amount": None, "fee": Decimal(1), "tax": Decimal(0), "currency": "USD",
            "executed_at": first + timedelta(days=2500 * number / trades), "time_known": True, "source_format": "bench",
            "source_file": "trades.csv", "source_row": number + 2,
        }
        for number in range(trades)
    ]  # fmt: skip
    return pa.Table.from_pylist(entries, schema=LEDGER_SCHEMA)


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


def measure(home: Path, rows: int) -> None:
    """Builds one dataset and prints a line of JSON about it."""
    from stock_llm.settings import load_settings
    from tasks.build_dataset import build

    stocks = -(-rows // ROWS_PER_STOCK)
    source = {"path": "texts.jsonl", "format": "sentiment", "licence": "CC0-1.0", "weight": FREE_TEXT / 2}
    settings = load_settings(home=home, train_rows=round(rows * (1 - FREE_TEXT)), holdout_rows=1000, dataset={"source": [source]})
    kept = {"trades": rows // 100, "candles": stocks * SESSIONS, "feedback": round(rows * FREE_TEXT) // 2}
    history = History(
        digest="bench", folder=home, trades=home / "ledger.parquet", candles=home / "candles.parquet",
        feedback=home / "feedback.parquet", quarantine=home / "none", rows_read=kept, rows_kept=kept, rows_quarantined={},
        symbols=[f"S{number:04d}" for number in range(stocks)], first_day="2016-01-04", last_day="2023-09-01", feedback_ids=[],
    )  # fmt: skip
    out = home / "out"
    out.mkdir()
    started, cpu = time.monotonic(), time.process_time()
    made = build(settings, history, "bench", out)
    told = {
        "rows": made.train_rows + made.holdout_rows + made.correction_rows,
        "free": made.counts["train"].get("follow", 0) + made.correction_rows + made.counts["train"].get("sentiment", 0),
        "seconds": time.monotonic() - started,
        "cpu": time.process_time() - cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "file_mib": sum(file.stat().st_size for file in out.iterdir()) / (1 << 20),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        measure(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) == 2 else 20_000)
