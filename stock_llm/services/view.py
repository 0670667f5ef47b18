"""What `stock-llm up` shows: the services, the next runs and the runs under way, for a terminal;
elsewhere a line for each change.
"""

import sys
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from stock_llm.services.prefect_api import CurrentRun, PlannedRun, PrefectApi
from stock_llm.services.supervisor import ServiceState

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_SECONDS = 10.0

_COLOURS = {"runs": "green", "done": "green", "restarts": "red", "starts": "yellow"}


class RunsWatch:
    """Asks Prefect's server for its runs now and then, apart from the loop that shows them."""

    def __init__(self, api: PrefectApi):
        self.planned: list[PlannedRun] = []
        self.current: list[CurrentRun] = []
        self._api, self._ended = api, threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self) -> None:
        """Asks no more."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(REFRESH_SECONDS):
            try:
                self.planned, self.current = self._api.planned_runs(), self._api.current_runs()
            except OSError:
                continue  # not there yet, or starting again


class TerminalView:
    """The view that is drawn again and again while `up` runs in a terminal."""

    def __init__(
        self, states: Callable[[], list[ServiceState]], watch: RunsWatch, home: Path, timezone: str
    ):
        from rich.console import Console
        from rich.live import Live

        self._states, self._watch, self._home, self._timezone = states, watch, home, timezone
        self._live = Live(
            get_renderable=self._draw, console=Console(), refresh_per_second=2, transient=False
        )

    def __enter__(self) -> "TerminalView":
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self) -> None:
        """Nothing to do: the terminal is drawn by a thread of rich."""

    def _draw(self) -> "RenderableType":
        from rich.console import Group

        table = services_table(self._states(), self._home)
        runs = runs_text(self._watch.planned, self._watch.current, self._timezone)
        return Group(table, runs, "[dim]Ctrl-C or `stock-llm down` ends all of it[/]")


class LineView:
    """The view where no terminal is watching: a line for each change."""

    def __init__(self, states: Callable[[], list[ServiceState]]):
        self._states = states
        self._last: dict[str, str] = {}

    def __enter__(self) -> "LineView":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def show(self) -> None:
        """Prints what changed since the last time."""
        for state in self._states():
            if self._last.get(state.name) == state.health:
                continue
            self._last[state.name] = state.health
            if state.health != "waits":
                now = datetime.now().astimezone()
                print(f"{now:%Y-%m-%d %H:%M:%S} {state.name} {state.health} {state.url}".rstrip())
                sys.stdout.flush()


def services_table(states: list[ServiceState], home: Path) -> "RenderableType":
    """The services with state, address and log, for 60 columns and more."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("service", "state"):
        table.add_column(head, no_wrap=True)
    table.add_column("address", overflow="fold")
    table.add_column("log", overflow="fold")
    for state in states:
        again = f", {state.restarts} times restarted" if state.restarts else ""
        colour = _COLOURS.get(state.health, "dim")
        log = Path(state.log)
        table.add_row(
            state.name,
            f"[{colour}]{state.health}[/]{again}",
            state.url,
            str(log.relative_to(home) if log.is_relative_to(home) else log),
        )
    return table


def runs_text(planned: list[PlannedRun], current: list[CurrentRun], timezone: str) -> str:
    """The runs under way and the next run of each deployment, in the time zone of the schedules."""
    zone = ZoneInfo(timezone)
    coming = [f"{run.deployment} {run.at.astimezone(zone):%a %d %b %H:%M}" for run in planned]
    lines = [f"next runs ({timezone}): {', '.join(coming) or 'none known yet'}"]
    lines += [f"run under way: {run.name} ({run.state.lower()})" for run in current]
    return "\n".join(lines)
