"""Where no terminal is watching, a stage says how long it took and long work says once a minute how far it is."""

import os
import pty
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from rich.progress import TextColumn

from stock_llm import progress
from stock_llm.progress import WatchedProgress, duration, timed

PROJECT = Path(__file__).parents[1]

TWO_STAGES = """
import time
from stock_llm.progress import progress, timed
def read(): list(progress(range(3), "reading")); return 7
def fail(): raise ValueError("no")
assert timed(read)() == 7
try: timed(fail)()
except ValueError: print("caught")
"""


def test_a_file_gets_one_line_for_each_stage():
    done = subprocess.run(
        [sys.executable, "-c", TWO_STAGES], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "caught\n"
    lines = done.stderr.splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == ["read: took 0 s"]


def test_a_terminal_gets_bars_and_no_lines():
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TWO_STAGES], cwd=PROJECT, stderr=there, stdout=subprocess.DEVNULL,
        env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(there)
    shown = b""
    with suppress(OSError):  # what Linux says when the other side is closed
        while part := os.read(here, 4096):
            shown += part
    os.close(here)
    assert process.wait() == 0
    assert b"reading" in shown and b"3/3" in shown and b"took" not in shown


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.2)


@pytest.mark.usefixtures("quick")
def test_long_work_says_how_far_it_is(capsys):
    with WatchedProgress(TextColumn("")) as bar:
        task = bar.add_task("tuning", total=4, note="")
        for step in range(4):
            time.sleep(0.15)
            bar.update(task, completed=step + 1, note=f"loss {step}")
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 3
    assert re.match(r"\d\d:\d\d:\d\d tuning: \d of 4, loss \d", lines[0])


@pytest.mark.usefixtures("quick")
def test_a_stage_that_says_nothing_is_said_to_be_under_way(capsys):
    timed(lambda: time.sleep(0.5))()
    lines = capsys.readouterr().err.splitlines()
    assert "under way for" in lines[0] and "took" in lines[-1]


@pytest.mark.usefixtures("quick")
def test_a_stage_that_fails_late_says_so(capsys):
    def fails():
        time.sleep(0.3)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        timed(fails)()
    assert capsys.readouterr().err.splitlines()[-1].endswith("fails: failed after 0 s")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (99, "99 s"), (170, "3 min"), (7500, "2 h 05 min")]
)
def test_durations_are_told_as_people_do(seconds, text):
    assert duration(seconds) == text
