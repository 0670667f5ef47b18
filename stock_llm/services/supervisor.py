"""Keeps programs running: starts them in order, restarts what ends, and ends all of them.

`run` returns when it is asked to stop. One supervisor at a time per project folder: it holds a lock
that goes with its process, and writes what it sees into `data/up/state.json` for `stock-llm status`
and `stock-llm down`.

Looked at before this was written: honcho ends everything when one program ends; circus needs ZeroMQ
and Tornado and was last released in February 2025; supervisor has no order of starting by health,
and what its programs start in sessions of their own, as Prefect's worker does, outlives it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from filelock import FileLock, Timeout

from stock_llm.errors import InputError
from stock_llm.services.processes import end_all
from stock_llm.services.programs import Program
from stock_llm.storage.atomic import atomic_write

FOLDER = Path("data/up")

LONGEST_WAIT = 60.0
"""Seconds between two starts at most; the first restart comes after one, each further one after
twice as many."""

STEADY_SECONDS = 120.0
"""A program that ran for so long is started again at once when it ends."""

TICK_SECONDS = 0.25
HEALTH_SECONDS = 2.0
TIDY_SECONDS = 60.0

MOST_MISSES = 3
"""Looks in a row without an answer after which a service no longer counts as running: a machine
that trains is slow to answer."""

LARGEST_LOG = 10 * 2**20

Health = Literal["waits", "starts", "runs", "done", "restarts"]


@dataclass
class Service:
    """A program under supervision.

    Attributes:
        health: waits (for others), starts, runs (healthy), done (of a program that runs once),
            restarts (it ended; the next start is at `next_start`).
        failures: how often it ended since it last ran steadily.
        restarts: how often it was started again since `up`.
        misses: looks in a row at which it was not healthy.
        since: when it was started, UTC.
        problem: why it could not be started when that was tried last; empty where it could.
    """

    program: Program
    log: Path
    health: Health = "waits"
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)
    failures: int = 0
    restarts: int = -1
    misses: int = 0
    since: str = ""
    problem: str = ""
    started: float = 0.0
    next_start: float = 0.0


@dataclass(frozen=True)
class ServiceState:
    """A service as `state.json` has it; `problem` says why it cannot be started."""

    name: str
    health: Health
    pid: int | None
    url: str
    log: str
    restarts: int
    since: str
    is_server: bool = False
    problem: str = ""


@dataclass(frozen=True)
class UpState:
    """What the running `stock-llm up` last wrote.

    Attributes:
        started: seconds from the machine's start to that of its process, which is another's where
            the pid was given again; 0 in what an older version wrote.
    """

    pid: int
    started: float
    since: str
    api_url: str
    services: list[ServiceState]


class Supervisor:
    """Runs programs until `stop` is called.

    Args:
        api_url: of Prefect's server, for those who read the state.
    """

    def __init__(
        self,
        home: Path,
        programs: list[Program],
        environment: dict[str, str],
        logs: Path,
        api_url: str = "",
    ):
        self.home, self.api_url, self.since = home, api_url, _now()
        self.services = [Service(program, logs / f"{program.name}.log") for program in programs]
        self._environment, self._stopped = environment, threading.Event()
        self._started = _seconds_from_boot(psutil.Process())

    def stop(self) -> None:
        """Lets `run` end everything and return; callable from a signal handler."""
        self._stopped.set()

    def run(self, show: Callable[[], None] = lambda: None) -> None:
        """Keeps the programs running; `show` is called after each look at them.

        Raises:
            InputError: a port is taken. Nothing was started then.
        """
        _state_file(self.home).unlink(missing_ok=True)
        end_all(self.home)  # what a killed supervisor left
        for service in self.services:
            _require_free(service.program)
        watching = threading.Thread(target=self._watch_health, daemon=True)
        watching.start()
        try:
            while not self._stopped.is_set():
                for service in self.services:
                    self._look(service)
                self._write()
                show()
                self._stopped.wait(TICK_SECONDS)
        finally:
            servers = [
                service.process.pid
                for service in self.services
                if service.process and service.program.is_server
            ]
            end_all(self.home, servers)
            for service in self.services:
                if service.process:
                    service.process.wait()
            _state_file(self.home).unlink(missing_ok=True)

    def is_ready(self) -> bool:
        """Whether everything runs."""
        return all(service.health in ("runs", "done") for service in self.services)

    def state(self) -> list[ServiceState]:
        """The services as they are now."""
        return [
            ServiceState(
                service.program.name,
                service.health,
                service.process.pid if service.process else None,
                service.program.url,
                str(service.log),
                max(0, service.restarts),
                service.since,
                service.program.is_server,
                service.problem,
            )
            for service in self.services
        ]

    def _look(self, service: Service) -> None:
        """Starts a service whose time it is; notes that one has ended."""
        if service.process is None:
            if service.health != "done" and self._may_start(service):
                self._start(service)
            return
        code = service.process.poll()
        if code is None:
            return
        with suppress(ProcessLookupError):  # children that it left would keep its port
            os.killpg(service.process.pid, signal.SIGKILL)
        service.process = None
        if service.program.once and code == 0:
            service.health = "done"
            return
        steady = time.monotonic() - service.started > STEADY_SECONDS
        service.failures = 1 if steady else service.failures + 1
        service.health = "restarts"
        service.next_start = time.monotonic() + min(LONGEST_WAIT, 2 ** (service.failures - 1))
        with suppress(OSError), service.log.open("a", encoding="utf-8") as log:
            log.write(f"{_now()} stock-llm up: {service.program.name} ended with code {code}\n")

    def _may_start(self, service: Service) -> bool:
        others = {other.program.name: other.health for other in self.services}
        ready = all(others.get(name) in ("runs", "done") for name in service.program.after)
        return ready and time.monotonic() >= service.next_start

    def _start(self, service: Service) -> None:
        """Later where that fails: a server that it depends on has just ended, the disk is full, or
        there is no memory for a process. A problem is said when it is another than the last one.
        """
        try:
            service.program.before_start()
            service.process = self._process(service)
        except OSError as error:
            if (problem := str(error) or type(error).__name__) != service.problem:
                service.problem = problem
                print(f"{service.program.name} cannot be started: {problem}", file=sys.stderr)
            service.next_start = time.monotonic() + 1
            return
        service.problem = ""
        service.health, service.since, service.started = "starts", _now(), time.monotonic()
        service.restarts += 1

    def _process(self, service: Service) -> "subprocess.Popen[bytes]":
        service.log.parent.mkdir(parents=True, exist_ok=True)
        if service.log.exists() and service.log.stat().st_size > LARGEST_LOG:
            service.log.replace(service.log.with_suffix(".log.1"))
        with service.log.open("ab") as log:
            return subprocess.Popen(
                service.program.command,
                cwd=self.home,
                env={**self._environment, **service.program.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _watch_health(self) -> None:
        """Asks the services how they are; apart from `run`, because an answer may take seconds."""
        next_tidy = time.monotonic() + TIDY_SECONDS
        while not self._stopped.wait(HEALTH_SECONDS):
            if time.monotonic() >= next_tidy:
                next_tidy = time.monotonic() + TIDY_SECONDS
                self._tidy()
            for service in self.services:
                asked = service.process
                if asked is None or service.program.once:
                    continue
                healthy = service.program.is_healthy()
                if service.process is asked and service.health in ("starts", "runs"):
                    service.misses = 0 if healthy else service.misses + 1
                    if healthy or service.misses >= MOST_MISSES:
                        service.health = "runs" if healthy else "starts"

    def _tidy(self) -> None:
        for service in self.services:
            if service.health == "runs":
                with suppress(OSError):  # its server is just away: in a minute again
                    service.program.tidy()

    def _write(self) -> None:
        """Writes what changed. A disk that is full ends nothing: the next look tries again."""
        state = UpState(os.getpid(), self._started, self.since, self.api_url, self.state())
        text = json.dumps(asdict(state), indent=1)
        file = _state_file(self.home)
        with suppress(OSError):
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                atomic_write(file, text)


@contextmanager
def only_supervisor(home: Path, seconds: float = 1) -> Iterator[None]:
    """Holds the lock of the project folder, so that there is one supervisor.

    Args:
        seconds: how long to wait for the lock; who only asks whether it is free holds it shortly.

    Raises:
        Timeout: another process holds it.
    """
    file = _lock_file(home)
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    lock.acquire(timeout=seconds)
    try:
        yield
    finally:
        lock.release()


def read_state(home: Path) -> UpState | None:
    """What the running supervisor last wrote; None where none runs or none wrote yet."""
    if not is_running(home):
        return None
    try:
        values: dict[str, Any] = json.loads(_state_file(home).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    services = [ServiceState(**service) for service in values.pop("services")]
    # the file of a killed supervisor stays until the next one has begun
    written = UpState(**{"started": 0.0} | values, services=services)
    return written if _process_of(written) else None


def _process_of(state: UpState) -> psutil.Process | None:
    """The supervisor that wrote this; None where it is gone, though its pid may be another's."""
    with suppress(psutil.Error):
        process = psutil.Process(state.pid)
        if not state.started or abs(_seconds_from_boot(process) - state.started) < 1:
            return process
    return None


def _seconds_from_boot(process: psutil.Process) -> float:
    """Unlike the time of day, it stays the same when the clock is set."""
    return process.create_time() - psutil.boot_time()


def is_running(home: Path) -> bool:
    """Whether a supervisor of this folder runs."""
    if not _lock_file(home).exists():
        return False
    try:
        with only_supervisor(home, seconds=0):
            return False
    except Timeout:
        return True


def bring_down(home: Path, seconds: float = 6) -> int:
    """Ends the supervisor of this folder and all that it started; returns how many processes were
    left to end because there was no supervisor, or because it did not end within `seconds`.
    """
    end = time.monotonic() + seconds
    while is_running(home) and time.monotonic() < end:
        if (state := read_state(home)) and (process := _process_of(state)):
            with suppress(psutil.Error):
                process.terminate()
                process.wait(max(0.1, end - time.monotonic()))
        time.sleep(0.1)
    if (state := read_state(home)) and (process := _process_of(state)):
        with suppress(psutil.Error):
            process.kill()
    return end_all(home, seconds=0.5)


def _require_free(program: Program) -> None:
    """
    Raises:
        InputError: something listens on the program's port.
    """
    if program.port is None:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", program.port))
        except OSError as error:
            table = "gateway" if program.name == "gateway" else "services"
            key = "port" if program.name == "gateway" else f"{program.name}_port"
            raise InputError(
                f"{program.name} cannot listen on port {program.port} of 127.0.0.1: "
                f"{error.strerror}",
                remedy=f"End the program that has it, or set {key} in the table [{table}] of "
                "stock-llm.toml",
            ) from None


def _state_file(home: Path) -> Path:
    return home / FOLDER / "state.json"


def _lock_file(home: Path) -> Path:
    return home / FOLDER / "lock"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
