"""A progress bar for questions of which several are asked at once: how long it says the rest takes.

Rows that are asked together end together, so that the time between two ends says nothing of the
time that is left.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from stock_llm.progress import WatchedProgress, duration, say


@contextmanager
def progress(
    total: int, description: str, at_once: int, seconds: float | None
) -> Iterator[Callable[[], None]]:
    """A bar for items of which several are worked on at once. Yields a function that is called when
    an item has ended.

    Args:
        at_once: items that are worked on at the same time.
        seconds: that all items are expected to take; None: not known.
    """
    with _Bar(at_once, seconds) as bar:
        if seconds is not None and not bar.console.is_terminal:
            say(f"{description}: {total}, about {duration(seconds)}")
        task = bar.add_task(description, total=total)

        def ended() -> None:
            bar.last = time.monotonic()
            bar.advance(task)

        yield ended


class _Bar(WatchedProgress):
    """One task. `last` is when an item ended last, on the monotonic clock."""

    def __init__(self, at_once: int, seconds: float | None):
        self._at_once, self._expected = at_once, seconds
        self._started = self.last = time.monotonic()
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            _Left(self),
        )

    def seconds_left(self, task: Task) -> float | None:
        """As the function of this name has it."""
        return seconds_left(
            time.monotonic() - self._started,
            self.last - self._started,
            int(task.completed),
            int(task.total or 0),
            self._at_once,
            self._expected,
        )


class _Left(ProgressColumn):
    """The time that is left, twice a second."""

    max_refresh = 0.5

    def __init__(self, bar: _Bar):
        super().__init__()
        self._bar = bar

    def render(self, task: Task) -> Text:
        """As rich's columns do."""
        left = self._bar.seconds_left(task)
        return Text("-:--:--" if left is None else clock(left), style="progress.remaining")


def seconds_left(
    elapsed: float, last: float, done: int, total: int, at_once: int, expected: float | None
) -> float | None:
    """How long the rest takes: by what was done until the last end, and, while that is little, by
    what was expected, which weighs as much as half a round; None where neither tells.

    Args:
        last: seconds from the beginning to the last item's end.
        expected: seconds for all items; None: not known.
    """
    if done >= total:
        return 0.0
    if expected is not None:
        weight = at_once / 2
        each = (last + weight * expected / total) / (done + weight)
    elif done:
        each = last / done
    else:
        return None
    return max(each, each * (total - done) - (elapsed - last))


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
