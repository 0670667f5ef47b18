"""The MLflow run of a line, from its first stage on: how far it is, how long each stage took, and
the loss of training as it falls.

One run spans the whole line. Its stages are metrics, `seconds/finetune` and the like, and no nested
runs: so a version is one row of MLflow's table, and stages compare across versions as scores do.
A thread writes every few seconds. An MLflow that is away holds nothing up: `tasks/register.py`
writes the same points, at the same steps and times, once there is a version.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stock_llm.errors import LeakageError, ParityError
from stock_llm.pipeline import registry
from stock_llm.pipeline.registry import CANDIDATE
from stock_llm.progress import listening
from stock_llm.settings import Settings
from stock_llm.storage.checksums import digest_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

EXPERIMENT = "stock-llm"

PLAN = "plan"
"""Tag with the digest of all that the line depends on, by which it finds its run after a kill."""

FOLDER = "folder"
"""Tag with the digest of the project folder and the machine that work on the run."""

STAGE = "stage"
"""Tag of a run under way: what it is busy with."""

TRAINING = "fine-tuning"
"""The work whose losses are metrics `training/…`."""

CURVE = ("loss", "learning_rate", "seconds")
"""What of each step of the training is kept."""

WRITE_SECONDS = 3.0
"""Between two writes while a run is under way."""

PATIENCE_SECONDS = 10.0
"""How long the end of a run waits for what is not written yet."""

_BATCH = 500
"""Steps of one write, up to three points each."""


def experiment_id(client: "MlflowClient", settings: Settings) -> str:
    """The experiment of all runs, made where there is none."""
    if experiment := client.get_experiment_by_name(EXPERIMENT):
        return experiment.experiment_id
    local = settings.mlflow_uri.startswith("sqlite:")
    return client.create_experiment(
        EXPERIMENT, settings.path("mlflow/artifacts").as_uri() if local else None
    )


def run_of_plan(client: "MlflowClient", experiment: str, plan: str) -> "Run | None":
    """The run that began with this plan: under way, or what a killed one left."""
    runs = client.search_runs([experiment], f"tags.{PLAN} = '{plan}'")
    return runs[0] if runs else None


def curve_points(started: int, entry: Mapping[str, float]) -> "list[Metric]":
    """One step of a training as metrics: written twice they are the same.

    Args:
        started: when the run began, in milliseconds since 1970.
        entry: its step, the seconds since the training began, and what was measured.
    """
    from mlflow.entities import Metric

    moment = started + round(1000 * entry["seconds"])
    return [
        Metric(f"training/{name}", float(entry[name]), moment, int(entry["step"]))
        for name in CURVE
        if name in entry
    ]


class TrackedRun:
    """The run of a line that is under way.

    Args:
        stages: their names, in the order in which they run.
    """

    def __init__(self, settings: Settings, stages: tuple[str, ...], started_at: datetime):
        self._settings, self._stages = settings, stages
        self._started_at = round(started_at.timestamp() * 1000)
        self._plan = self._run_id = ""
        self._client: MlflowClient | None = None
        self._stage, self._stage_began = "", time.monotonic()
        self._entries: list[dict[str, float]] = []
        self._seconds: dict[str, float] = {}
        self._tags: dict[str, str] = {}
        self._end: tuple[str, str, str] | None = None
        self._lock = threading.Lock()
        self._wake, self._written = threading.Event(), threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="MLflow")
        self._complained = False

    def begin(self, plan: str) -> None:
        """Opens the run of this plan, the one of an earlier attempt if there is one."""
        self._plan = plan
        try:
            self._client = registry.connect(self._settings)
        except Exception as error:
            self._complain(error)
            return
        self._thread.start()

    def tell(self, work: str, _share: float) -> None:
        """Notes that a stage begins."""
        if work not in self._stages:
            return
        with self._lock:
            self._end_stage()
            self._stage = self._tags[STAGE] = work

    def measure(self, work: str, step: int, values: Mapping[str, float]) -> None:
        """Notes what was measured at a step of the training."""
        if work == TRAINING:
            with self._lock:
                self._entries.append({**values, "step": step})

    def flush(self) -> None:
        """Writes what is not written yet, if that takes no longer than people are patient."""
        if self._thread.is_alive():
            self._written.clear()
            self._wake.set()
            self._written.wait(PATIENCE_SECONDS)

    def close(self, error: BaseException | None) -> None:
        """Ends the run: it was registered, or it ended with an error."""
        with self._lock:
            self._end_stage()
            self._end = _ending(error)
        if self._thread.is_alive():
            self._wake.set()
            self._thread.join(PATIENCE_SECONDS)
            self._stopped.set()  # what is being written is the last
            self._wake.set()

    def _end_stage(self) -> None:
        now = time.monotonic()
        if self._stage:
            self._seconds[self._stage] = now - self._stage_began
        self._stage, self._stage_began = "", now

    def _work(self) -> None:
        closed = False
        while not closed:
            self._wake.wait(WRITE_SECONDS)
            self._wake.clear()
            if self._stopped.is_set():
                return
            try:
                closed = self._write()
            except Exception as error:
                self._complain(error)

    def _write(self) -> bool:
        """Writes what there is; says whether the run was closed."""
        client = self._client
        assert client is not None
        from mlflow.entities import Metric, RunTag

        if not self._run_id:
            self._run_id = self._open(client)
        with self._lock:
            ending, entries = self._end, self._entries[:_BATCH]
            seconds, tags = dict(self._seconds), dict(self._tags)
        now = round(time.time() * 1000)
        points = [point for entry in entries for point in curve_points(self._started_at, entry)]
        points += [Metric(f"seconds/{stage}", took, now, 0) for stage, took in seconds.items()]
        for start in range(0, len(points), 1000):  # MLflow's limit per call
            client.log_batch(self._run_id, metrics=points[start : start + 1000])
        if tags:
            client.log_batch(self._run_id, tags=[RunTag(*tag) for tag in tags.items()])
        with self._lock:
            del self._entries[: len(entries)]
            self._seconds = {
                name: took for name, took in self._seconds.items() if seconds.get(name) != took
            }
            self._tags = {name: text for name, text in self._tags.items() if tags.get(name) != text}
            if self._entries or self._seconds or self._tags:
                self._wake.set()
                return False
        self._written.set()
        if ending:
            self._close(client, *ending)
        return ending is not None

    def _open(self, client: "MlflowClient") -> str:
        """The id of the run. Others that a kill left under way here are marked as killed."""
        experiment = experiment_id(client, self._settings)
        folder = digest_of(folder=str(self._settings.home), machine=os.uname().nodename)
        for left in client.search_runs([experiment], f"tags.{FOLDER} = '{folder}'"):
            if left.info.status == "RUNNING" and left.data.tags.get(PLAN) != self._plan:
                if STAGE in left.data.tags:
                    client.delete_tag(left.info.run_id, STAGE)
                name = (left.info.run_name or "").replace("under way:", "ended:")
                client.update_run(left.info.run_id, name=name)
                client.set_terminated(left.info.run_id, "KILLED")
        if known := run_of_plan(client, experiment, self._plan):
            self._started_at = known.info.start_time
            if known.info.status != "FINISHED":
                client.update_run(known.info.run_id, "RUNNING", f"under way: {self._began}")
            return known.info.run_id
        made = client.create_run(
            experiment,
            start_time=self._started_at,
            tags={PLAN: self._plan, FOLDER: folder},
            run_name=f"under way: {self._began}",
        )
        return made.info.run_id

    def _close(self, client: "MlflowClient", status: str, word: str, note: str) -> None:
        """Ends the run. One that bears a version keeps its name, note and verdict; one whose
        candidate has a version of an earlier run is not kept.
        """
        from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

        run = client.get_run(self._run_id)
        if STAGE in run.data.tags:
            client.delete_tag(self._run_id, STAGE)
        has_candidate = CANDIDATE in run.data.tags
        if status == "FINISHED" and not has_candidate:
            client.delete_run(self._run_id)
        elif status == "FINISHED" or (has_candidate and run.info.status == "FINISHED"):
            client.set_terminated(self._run_id, "FINISHED")
        else:
            client.set_tag(self._run_id, "verdict", word)
            client.set_tag(self._run_id, MLFLOW_RUN_NOTE, note)
            client.update_run(self._run_id, name=f"{word}: {self._began}")
            client.set_terminated(self._run_id, status)

    @property
    def _began(self) -> str:
        return f"{datetime.fromtimestamp(self._started_at / 1000, UTC):%Y-%m-%d %H:%M} UTC"

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            first = (str(error).splitlines() or [""])[0]
            print(
                "MLflow does not show this run while it is under way: "
                f"{type(error).__name__}: {first}"
            )
        self._complained = True


@contextmanager
def tracked_run(
    settings: Settings, stages: tuple[str, ...], started_at: datetime
) -> Iterator[TrackedRun]:
    """The run in MLflow of the line inside, which the stages tell how far they are."""
    run = TrackedRun(settings, stages, started_at)
    try:
        with listening(run.tell, run.measure):
            yield run
    except BaseException as error:
        run.close(error)
        raise
    run.close(None)


def _ending(error: BaseException | None) -> tuple[str, str, str]:
    """MLflow's word for how a run ended, ours, and why."""
    if error is None:
        return "FINISHED", "", ""
    if isinstance(error, ParityError | LeakageError):
        return "FAILED", "blocked", str(error)
    text = f"{type(error).__name__}: {error}"
    return ("FAILED", "failed", text) if isinstance(error, Exception) else ("KILLED", "ended", text)
