"""Ends a child process when its parent is gone, however the parent ended.

Run as `python -m stock_llm.watchdog PID` with a pipe on standard input that only the parent holds
open: a killed process cannot stop its children, but its end closes the pipe. Ends when the child
does.
"""

import os
import subprocess
import sys
import threading
from contextlib import suppress

GRACE_SECONDS = 30.0
"""What a process may take to finish what it is writing, such as a migration of its database, before
it is killed.
"""

CHECK_SECONDS = 1.0
"""How often a watchdog looks whether its child has ended by itself."""

_watchdogs: list[subprocess.Popen[bytes]] = []
"""Held, because a pipe that is collected is closed."""


def end_with_parent(pid: int) -> None:
    """Ends the process `pid` when this process ends."""
    command = [sys.executable, "-m", "stock_llm.watchdog", str(pid)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,  # what the parent writes to, such as `tee`, ends with the parent
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _watchdogs.append(process)


def _wait_for_end(parent_ended: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    parent_ended.set()


def _main() -> None:
    import psutil

    with suppress(psutil.NoSuchProcess):
        child = psutil.Process(
            int(sys.argv[1])
        )  # knows it by its start time too: the number may be given away again
        parent_ended = threading.Event()
        threading.Thread(target=_wait_for_end, args=[parent_ended], daemon=True).start()
        while not parent_ended.wait(CHECK_SECONDS):
            if not child.is_running() or child.status() == psutil.STATUS_ZOMBIE:
                return
        child.terminate()
        try:
            child.wait(GRACE_SECONDS)
        except psutil.TimeoutExpired:
            child.kill()


if __name__ == "__main__":
    _main()
