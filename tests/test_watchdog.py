"""A child that would outlive its killed parent ends with it."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

PARENT = """
import subprocess, sys, time
from stock_llm.watchdog import end_with_parent
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
end_with_parent(child.pid)
print(child.pid, flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["time.sleep(600)", "sys.exit()"])
def test_a_child_ends_with_its_parent_however_that_ends(end):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(end=end)], stdout=subprocess.PIPE, text=True
    )
    child = psutil.Process(int(parent.stdout.readline()))
    if "sleep" in end:
        os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    give_up = time.monotonic() + 60
    while child.is_running() and time.monotonic() < give_up:
        time.sleep(0.1)
    assert not child.is_running()
