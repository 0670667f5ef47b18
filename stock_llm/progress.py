"""How far work is, on standard error: bars on a terminal, lines where the output goes to a file.

A bar says nothing in a file until it is full. There, a stage says how long it took when it ends,
and what takes longer says once a minute how far it is.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

T = TypeVar("T")
P = ParamSpec("P")

LINE_SECONDS = 60.0
"""Seconds between two lines about the same work."""

_last_line = 0.0
"""When the last line was written, on the monotonic clock."""

Listener = Callable[[str, float], None]
"""Takes what is worked on and the share of it that is done, from 0 to 1."""

Meter = Callable[[str, int, Mapping[str, float]], None]
"""Takes what is worked on, its step, and what was measured there by name."""

_listeners: list[Listener] = []
_meters: list[Meter] = []


@contextmanager
def listening(listener: Listener, meter: Meter | None = None) -> Iterator[None]:
    """Inside, the listener is told when a stage begins and how far long work is, and the meter what
    is measured meanwhile.
    """
    meters = [meter] if meter else []
    _listeners.append(listener)
    _meters.extend(meters)
    try:
        yield
    finally:
        _listeners.remove(listener)
        for each in meters:
            _meters.remove(each)


def measured(work: str, step: int, values: Mapping[str, float]) -> None:
    """Tells those who listen what was measured at a step of some work."""
    for meter in _meters:
        meter(work, step, values)


class WatchedProgress(Progress):
    """rich's Progress on standard error; where that is no terminal, a line a minute for the task
    that moves.

    A line has the task's description, how much is done, its field `note` and the time left.
    """

    def __init__(self, *columns: str | ProgressColumn):
        console = Console(stderr=True)
        super().__init__(*columns, console=console, disable=not console.is_terminal)
        self._next_line = time.monotonic() + LINE_SECONDS

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """As rich's."""
        super().update(task_id, **changes)
        self._say(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """As rich's."""
        super().advance(task_id, advance)
        self._say(task_id)

    def seconds_left(self, task: Task) -> float | None:
        """How long a task still takes, as far as that can be told."""
        return task.time_remaining

    def _say(self, task_id: TaskID) -> None:
        seen = self._tasks[task_id]
        for listener in _listeners if seen.total else ():
            listener(seen.description, min(1.0, seen.completed / (seen.total or 1)))
        if self.console.is_terminal or time.monotonic() < self._next_line:
            return
        self._next_line = time.monotonic() + LINE_SECONDS
        task = self._tasks[task_id]
        parts = [f"{task.completed:.0f} of {task.total:.0f}" if task.total else ""]
        parts.append(str(task.fields.get("note", "")))
        if (left := self.seconds_left(task)) is not None:
            parts.append(f"{duration(left)} left")
        say(f"{task.description}: {', '.join(filter(None, parts))}")


def progress(items: Sequence[T], description: str) -> Iterator[T]:
    """The items, one by one, with a bar, the count, and the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with WatchedProgress(*columns) as bar:
        task = bar.add_task(description, total=len(items))
        for item in items:
            yield item
            bar.advance(task)


@contextmanager
def transfer_progress(description: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for bytes on their way: a function that takes what is under way and how many bytes of
    it are there, of how many.

    Each thing that is told of has its own line, and a total of 0 has none.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    print(description, file=sys.stderr)
    with WatchedProgress(*columns) as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, there: int, total: int) -> None:
            if total:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=total)
                bar.update(tasks[what], completed=there)

        yield show


def timed(stage: Callable[P, T]) -> Callable[P, T]:
    """The stage, which says where no terminal is watching how long it took, or after how long it
    failed.
    """
    name = str(getattr(stage, "name", None) or getattr(stage, "__name__", "stage"))

    @wraps(stage, updated=())
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        for listener in _listeners:
            listener(name, 0.0)
        with _timing(name):
            return stage(*args, **kwargs)

    return run


def say(line: str) -> None:
    """Writes a line with the time of day."""
    global _last_line
    _last_line = time.monotonic()
    print(f"{datetime.now().astimezone():%H:%M:%S} {line}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours as people say them: 48 s, 3 min, 2 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


@contextmanager
def _timing(name: str) -> Iterator[None]:
    if sys.stderr.isatty():
        yield
        return
    began, ended = time.monotonic(), threading.Event()

    def say_now_and_then() -> None:
        """For work that says nothing itself."""
        while not ended.wait(LINE_SECONDS / 4):
            now = time.monotonic()
            if now - max(began, _last_line) >= LINE_SECONDS:
                say(f"{name}: under way for {duration(now - began)}")

    threading.Thread(target=say_now_and_then, daemon=True).start()
    try:
        yield
    except BaseException:
        if time.monotonic() - began >= LINE_SECONDS:  # else the error alone says it
            say(f"{name}: failed after {duration(time.monotonic() - began)}")
        raise
    else:
        say(f"{name}: took {duration(time.monotonic() - began)}")
    finally:
        ended.set()
