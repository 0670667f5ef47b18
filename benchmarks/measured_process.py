"""Runs a command and measures its process: seconds, processor, peak memory, and how much disk its files took.

Two numbers of memory are given, both peaks. "Resident" is what the kernel counts (`ru_maxrss`); pages of mapped files are in it,
which the kernel takes back when memory is short. "Its own" is anonymous memory (`RssAnon` of /proc/PID/status, looked at 50 times a
second), which it cannot take back: what a machine has to have.
"""

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stock_llm.errors import StockLLMError

GIB = 1 << 30

_SECONDS_BETWEEN_LOOKS = 0.02
_LOOKS_AT_DISK = 25
"""The disk is looked at once in so many looks at memory."""


@dataclass(frozen=True)
class Measured:
    """One process.

    Attributes:
        seconds: by the clock; `cpu_seconds`: of the processor, all threads.
        resident, anonymous: peaks of memory, in bytes.
        disk: most bytes that lay in the watched folder at once, those of before included.
        note: the last line that the process printed.
    """

    seconds: float
    cpu_seconds: float
    resident: int
    anonymous: int
    disk: int
    note: str


def run_measured(
    name: str,
    command: list[str],
    said: Path,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Measured:
    """Runs a command and measures its process, not those that it starts.

    Args:
        name: as the message of a failure has it.
        said: the file that gets what it prints; the folder of this file is watched.
        folder: where it runs; None: here.
        environment: variables besides those of this process.

    Raises:
        StockLLMError: it failed; what it said is in the message.
    """
    started, anonymous, disk, looks = time.monotonic(), 0, 0, 0
    with said.open("w") as out:
        child = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
        try:
            while True:
                finished, status, usage = os.wait4(child.pid, os.WNOHANG)
                if finished:
                    break
                anonymous = max(anonymous, anonymous_memory(child.pid))
                if looks % _LOOKS_AT_DISK == 0:
                    disk = max(disk, disk_usage(said.parent))
                looks += 1
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        except BaseException:  # Ctrl-C: a stage that nobody measures is of no use
            child.kill()
            raise
    child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    lines = said.read_text(errors="replace").strip().splitlines()
    if child.returncode:
        raise StockLLMError(f"{name} ended with {child.returncode}:\n" + "\n".join(lines[-20:]))
    return Measured(
        seconds,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss << 10,
        anonymous,
        max(disk, disk_usage(said.parent)),
        lines[-1] if lines else "",
    )


def anonymous_memory(pid: int) -> int:
    """Bytes of anonymous memory that a process has in use; 0 when it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    kib = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
    return int(kib[0]) << 10 if kib else 0


def disk_usage(folder: Path) -> int:
    """Bytes that the files in a folder and below take on the disk."""
    total = 0
    for path, _, files in os.walk(folder):
        for file in files:
            try:
                total += 512 * (Path(path) / file).lstat().st_blocks
            except FileNotFoundError:  # deleted or renamed meanwhile
                continue
    return total
