"""Finds and ends the processes that `stock-llm up` started for a project folder.

Each of them has the folder in the variable `MARK` of its environment, which children inherit.
Prefect's worker starts runs in sessions of their own, so neither a process group nor the tree of
parents finds all of them once the worker is gone.
"""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "STOCK_LLM_STARTED_BY_UP"


def marked(home: Path) -> list[psutil.Process]:
    """The running processes that were started for this folder, this one apart."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if (
                process.pid != os.getpid()
                and process.environ().get(MARK) == str(home)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
    return found


def end(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Asks processes to end; returns those that are left after so many seconds."""
    return _signal(processes, signal.SIGTERM, seconds)


def kill(processes: Iterable[psutil.Process], seconds: float = 2) -> list[psutil.Process]:
    """Kills processes; returns those that are left after so many seconds."""
    return _signal(processes, signal.SIGKILL, seconds)


def end_all(home: Path, servers: Iterable[int] = (), seconds: float = 2) -> int:
    """Ends everything that was started for the folder; returns how many processes that were.

    Servers are asked last, so that a run can still tell them that it was stopped; what is left then
    is killed. Takes twice `seconds` and two more at most.

    Args:
        servers: process ids of the servers; what these started counts as theirs.
    """
    last, everything = _with_children(servers), marked(home)
    left = end([process for process in everything if process.pid not in last], seconds)
    left += end([process for process in everything if process.pid in last], seconds)
    until = time.monotonic() + 2
    kill(left)
    kill(marked(home), until - time.monotonic())  # what was started meanwhile
    return len(everything)


def _with_children(servers: Iterable[int]) -> set[int]:
    """MLflow's command, for one, starts its server as a child."""
    found = set(servers)
    for pid in list(found):
        with suppress(psutil.Error):
            found |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
    return found


def _signal(
    processes: Iterable[psutil.Process], number: signal.Signals, seconds: float
) -> list[psutil.Process]:
    """Sends a signal to all at once; returns those that still run after so many seconds."""
    left = list(processes)
    for process in left:
        with suppress(psutil.Error):
            process.send_signal(number)
    until = time.monotonic() + seconds
    while (left := list(filter(_runs, left))) and time.monotonic() < until:
        time.sleep(0.02)
    return left


def _runs(process: psutil.Process) -> bool:
    """A zombie does not: it waits for its parent, which may be about to end itself."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
