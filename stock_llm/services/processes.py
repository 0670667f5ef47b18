"""Finds and ends the processes that `stock-llm up` started for a project folder.

Each of them has the folder in the variable `MARK` of its environment, which children inherit.
Prefect's worker starts runs in sessions of their own, so neither a process group nor the tree of
parents finds all of them once the worker is gone.
"""

import os
import signal
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
    asked = list(processes)
    for process in asked:
        _send(process, signal.SIGTERM)
    return psutil.wait_procs(asked, timeout=seconds)[1]


def kill(processes: Iterable[psutil.Process], seconds: float = 2) -> None:
    """Kills processes and waits until they are gone."""
    killed = list(processes)
    for process in killed:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(killed, timeout=seconds)


def end_all(home: Path, servers: Iterable[int] = (), seconds: float = 3) -> int:
    """Ends everything that was started for the folder; returns how many processes that were.

    Servers end last, so that a run can still tell them that it was stopped. Takes twice `seconds`
    and two more at most.

    Args:
        servers: process ids of the servers.
    """
    last, everything = set(servers), marked(home)
    kill(end([process for process in everything if process.pid not in last], seconds))
    kill(end([process for process in everything if process.pid in last], seconds))
    kill(marked(home))  # what was started meanwhile
    return len(everything)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.Error):
        process.send_signal(number)
