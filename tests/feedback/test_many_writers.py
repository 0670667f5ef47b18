"""Many processes write one store at once: nothing is lost, nothing is there twice. `pytest -m soak`.

ITEMS sets how many in all (50,000), WRITERS how many processes (20).
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stock_llm.feedback.store import FeedbackStore

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3 * 3600)]

PROJECT = Path(__file__).parents[2]

WRITER = """
import sys
from datetime import UTC, datetime
from stock_llm.errors import StoreError
from stock_llm.feedback.item import FeedbackItem
from stock_llm.feedback.store import FeedbackStore
url, writer, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = FeedbackStore(url, daily_limit=10**9)
for start in range(0, count, 50):
    numbers = range(start, min(start + 50, count))
    items = [
        FeedbackItem(id=f"{writer}-{n}", instruction=f"q {writer} {n}", response=f"a {n}", thumb="up")
        for n in numbers
    ] + [FeedbackItem(id="shared", instruction="the same", response="for all", thumb="up",
                      created_at=datetime(2026, 1, 1, tzinfo=UTC))]
    for left in (4, 3, 2, 1, 0):
        try:
            store.add(items)
            break
        except StoreError as error:  # SQLite is waited for 30 s; a machine may be busy for longer
            if "locked" not in str(error) or not left:
                raise
"""


def test_nothing_is_lost_and_nothing_doubled(store_url):
    writers = int(os.environ.get("WRITERS", "20"))
    each = int(os.environ.get("ITEMS", "50000")) // writers
    began = time.monotonic()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, store_url, str(writer), str(each)],
            env=os.environ | {"PYTHONPATH": str(PROJECT)},
        )
        for writer in range(writers)
    ]
    assert [process.wait() for process in running] == [0] * writers
    seconds = time.monotonic() - began
    print(f"\n{writers * each} items in {seconds:.0f} s: {writers * each / seconds:.0f} a second")
    store = FeedbackStore(store_url, daily_limit=10**9)
    ids = [item.id for item in store.all(sample=False)]
    assert len(ids) == len(set(ids)) == writers * each + 1
    assert store.unused(sample=False) == writers * each + 1
