"""A child that would outlive its killed parent ends with it."""

import inspect
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from flows import embedded_server
from stock_llm.watchdog import end_with_parent

PARENT = """
import subprocess, sys, time
from stock_llm.watchdog import end_with_parent
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
end_with_parent(child.pid)
print(child.pid, flush=True)
{end}
"""

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


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


def test_what_reads_a_killed_parents_output_does_not_wait_for_the_watchdog():
    stubborn = PARENT.replace("import time; time.sleep(600)", STUBBORN).replace(
        '"])\n', '"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n', 1
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", stubborn.format(end="time.sleep(600)")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    started = time.monotonic()
    assert parent.stdout.read() == ""
    assert time.monotonic() - started < 10
    child.kill()
    parent.wait()


def test_a_watchdog_ends_with_its_child():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    before = psutil.Process().children()
    end_with_parent(child.pid)
    (watchdog,) = [process for process in psutil.Process().children() if process not in before]
    child.kill()  # and is a zombie until somebody waits for it
    assert watchdog.wait(30) == 0
    child.wait()


def test_prefect_starts_its_server_where_the_watchdog_is_set(monkeypatch):
    from prefect.server.api.server import SubprocessASGIServer

    monkeypatch.setattr(
        embedded_server, "determine_server_type", lambda: embedded_server.ServerType.EPHEMERAL
    )
    monkeypatch.setattr(SubprocessASGIServer, "_instances", {})
    embedded_server.prepare_embedded_server()
    (server,) = SubprocessASGIServer._instances.values()
    assert type(server).__name__ == "WatchedServer"
    assert "_run_uvicorn_command" in inspect.getsource(SubprocessASGIServer.start)


def test_a_prefect_that_starts_its_server_otherwise_is_reported(monkeypatch, capsys):
    from prefect.server.api.server import SubprocessASGIServer

    monkeypatch.setattr(
        embedded_server, "determine_server_type", lambda: embedded_server.ServerType.EPHEMERAL
    )
    monkeypatch.setattr(SubprocessASGIServer, "_instances", {})
    monkeypatch.delattr(SubprocessASGIServer, "_run_uvicorn_command")
    embedded_server.prepare_embedded_server()
    assert not SubprocessASGIServer._instances
    assert "Install the pinned Prefect" in capsys.readouterr().err
