"""Ends a child process when its parent is gone, however the parent ended.

Run as `python -m stock_llm.watchdog PID` with a pipe on standard input that only the parent holds
open: a killed process cannot stop its children, but its end closes the pipe.
"""

import subprocess
import sys
from contextlib import suppress

GRACE_SECONDS = 30.0
"""What a process may take to finish what it is writing, such as a migration of its database, before
it is killed.
"""

_watchdogs: list[subprocess.Popen[bytes]] = []
"""Held, because a pipe that is collected is closed."""


def end_with_parent(pid: int) -> None:
    """Ends the process `pid` when this process ends."""
    command = [sys.executable, "-m", "stock_llm.watchdog", str(pid)]
    _watchdogs.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))


def _main() -> None:
    import psutil

    with suppress(psutil.NoSuchProcess):
        # knows it by its start time too: the number may be given away again
        child = psutil.Process(int(sys.argv[1]))
        sys.stdin.buffer.read()
        child.terminate()
        try:
            child.wait(GRACE_SECONDS)
        except psutil.TimeoutExpired:
            child.kill()


if __name__ == "__main__":
    _main()
