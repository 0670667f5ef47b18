"""What `stock-llm up` and `stock-llm status` ask a Prefect server over its HTTP API.

Standard library alone: no Prefect is imported. Source of the routes: docs.prefect.io/v3/api-ref.
"""

import json
import urllib.request
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from typing import Any

import psutil

POOL = "stock-llm"
"""Name of the work pool of prefect.yaml."""

UNDER_WAY = ("RUNNING", "PENDING", "CANCELLING")


@dataclass(frozen=True)
class PlannedRun:
    """A run that a schedule asks for."""

    deployment: str
    at: datetime


@dataclass(frozen=True)
class CurrentRun:
    """A run that was handed to the worker and has not ended."""

    id: str
    name: str
    state: str
    pid: int | None


class PrefectApi:
    """A Prefect server, by the URL of its API, such as http://127.0.0.1:4200/api.

    Every method raises `OSError` when the server does not answer within `seconds`, or refuses.
    """

    def __init__(self, url: str, seconds: float = 5):
        self.url, self._seconds = url.rstrip("/"), seconds
        self._gone_before: set[str] = set()

    def is_healthy(self) -> bool:
        """Whether the server answers and its database is there."""
        try:
            return bool(self._ask("GET", "/health"))
        except OSError:
            return False

    def has_worker(self) -> bool:
        """Whether a worker of the pool is online."""
        try:
            workers = self._ask("POST", f"/work_pools/{POOL}/workers/filter", {})
        except OSError:
            return False
        return any(worker["status"] == "ONLINE" for worker in workers)

    def planned_runs(self, limit: int = 5) -> list[PlannedRun]:
        """The next runs of the schedules, the nearest first, one for each deployment."""
        names = self.deployments()
        runs = self._runs(["SCHEDULED"], "EXPECTED_START_TIME_ASC")
        planned: dict[str, PlannedRun] = {}
        for run in runs:
            name = names.get(run["deployment_id"] or "", "")
            if name and name not in planned and run["next_scheduled_start_time"]:
                at = datetime.fromisoformat(run["next_scheduled_start_time"])
                planned[name] = PlannedRun(name, at)
        return list(planned.values())[:limit]

    def current_runs(self) -> list[CurrentRun]:
        """The runs that are under way."""
        return [_current(run) for run in self._runs(UNDER_WAY, "START_TIME_DESC")]

    def deployments(self) -> dict[str, str]:
        """Id of a deployment → its name."""
        found = self._ask("POST", "/deployments/filter", {})
        return {deployment["id"]: deployment["name"] for deployment in found}

    def crash_lost_runs(self) -> list[str]:
        """Marks runs of the pool as crashed whose process is gone, so that their slots are free.

        To be called while no worker of the pool runs on this machine: a run without a process is
        then nobody's. Returns the names of the runs.
        """
        lost = [run for run in self.current_runs() if run.pid is None or _is_gone(run)]
        return [*self._crash(lost), *self._crash_orphans()]

    def crash_silent_runs(self) -> list[str]:
        """Marks runs as crashed whose process was gone at the last call as well: the worker that
        would have said so was killed too. To be called now and then; returns their names.
        """
        gone = [run for run in self.current_runs() if _is_gone(run)]
        crashed = self._crash([run for run in gone if run.id in self._gone_before])
        self._gone_before = {run.id for run in gone}
        return [*crashed, *self._crash_orphans()]

    def _crash_orphans(self) -> list[str]:
        """Runs inside others, when no run is under way that they could be inside: a killed process
        says nothing of them. A run that was started by hand is in no pool, and counts too.
        """
        inside = self._under_way(inside=True)
        return self._crash(inside) if inside and not self._under_way(inside=False) else []

    def _under_way(self, inside: bool) -> list[CurrentRun]:
        """The runs of all pools and of none that are inside another run, or that are not."""
        asked = {
            "flow_runs": {
                "state": {"type": {"any_": list(UNDER_WAY)}},
                "parent_task_run_id": {"is_null_": not inside},
            }
        }
        return [_current(run) for run in self._ask("POST", "/flow_runs/filter", asked)]

    def _crash(self, runs: list[CurrentRun]) -> list[str]:
        state = {"type": "CRASHED", "message": "The process of this run was ended."}
        for run in runs:
            self._ask("POST", f"/flow_runs/{run.id}/set_state", {"state": state, "force": True})
        return [run.name for run in runs]

    def _runs(self, states: Any, sort: str) -> list[dict[str, Any]]:
        asked = {
            "flow_runs": {"state": {"type": {"any_": list(states)}}},
            "work_pools": {"name": {"any_": [POOL]}},
            "sort": sort,
            "limit": 200,
        }
        return list(self._ask("POST", "/flow_runs/filter", asked))

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=self._seconds) as answer:
                return json.loads(answer.read() or "null")
        except (ValueError, HTTPException) as error:
            raise OSError(f"{self.url}{path} did not answer with JSON: {error}") from None


def answers(url: str, seconds: float = 5) -> bool:
    """Whether a server answers at this URL with success."""
    try:
        with urllib.request.urlopen(url, timeout=seconds):
            return True
    except (OSError, ValueError, HTTPException):
        return False


def _current(run: dict[str, Any]) -> CurrentRun:
    return CurrentRun(run["id"], run["name"], run["state_type"], _pid(run))


def _is_gone(run: CurrentRun) -> bool:
    """Whether the run's process has ended; another process may have got its number since."""
    if run.pid is None:
        return False
    try:
        return psutil.Process(run.pid).environ().get("PREFECT__FLOW_RUN_ID") != run.id
    except (psutil.Error, OSError):
        return True


def _pid(run: dict[str, Any]) -> int | None:
    """The process of a run: Prefect's process worker notes it as `PID` or `HOST:PID`."""
    last = (run.get("infrastructure_pid") or "").rpartition(":")[2]
    return int(last) if last.isdecimal() else None
