"""What Prefect's page shows of a run besides its artifacts: a name and tags that say how it ended,
how far it is, and the form that starts one.

A page that cannot be written, for whatever reason, ends no training: it is said and no more.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from stock_llm.llm.profiles import profile_names
from stock_llm.progress import listening
from stock_llm.settings import load_settings

UPDATE_SECONDS = 5.0
"""Between two updates of the progress artifact."""


class _Profiles:
    """Makes a form offer the base models that are here when the flows are deployed."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        known = profile_names(load_settings().home)
        return {**handler(schema), **({"enum": known} if known else {})}


ProfileName = Annotated[str, _Profiles()] | None
"""A base model as a parameter of a flow; None: that of the settings."""


def name_run(name: str, *tags: str) -> None:
    """Names the run under way after what happened in it, and tags it so that it can be found."""
    if run := flow_run.id:
        with _said_only("the run could not be named"), get_client(sync_client=True) as client:
            client.update_flow_run(UUID(run), name=name, tags=[*flow_run.tags, *tags])


class RunProgress:
    """A progress artifact over the stages of a run, and the work that each of them tells of.

    Args:
        stages: their names, in the order in which they run.
    """

    def __init__(self, stages: tuple[str, ...]):
        self._stages, self._percent, self._next = stages, 0.0, 0.0
        self._stage = stages[0]
        self._artifact: UUID | None = None
        with _said_only("Prefect's page shows no progress"):
            made = create_progress_artifact(progress=0.0, key="progress", description=self._stage)
            self._artifact = cast(UUID, made)  # it is a coroutine in asynchronous code only

    def tell(self, work: str, share: float) -> None:
        """Notes that a stage begins, or how much of its work is done.

        Args:
            work: a stage, or what a stage is busy with.
            share: from 0 to 1.
        """
        begins = work in self._stages
        if begins:
            self._stage = work
        done = self._stages.index(self._stage) + (0.0 if begins else share)
        self._percent = max(self._percent, 100 * done / len(self._stages))
        text = self._stage if begins else f"{self._stage}: {work}, {100 * share:.0f} %"
        self._update(text, at_once=begins)

    def end(self, text: str) -> None:
        """Everything is done."""
        self._percent = 100.0
        self._update(text, at_once=True)

    def _update(self, text: str, at_once: bool) -> None:
        if self._artifact is None or (time.monotonic() < self._next and not at_once):
            return
        self._next = time.monotonic() + UPDATE_SECONDS
        with _said_only("Prefect's page does not show the progress"):
            update_progress_artifact(self._artifact, progress=self._percent, description=text)


@contextmanager
def run_progress(stages: tuple[str, ...]) -> Iterator[RunProgress]:
    """The progress of the run under way, which the stages inside tell by themselves."""
    progress = RunProgress(stages)
    with listening(progress.tell):
        yield progress


@contextmanager
def _said_only(problem: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        print(f"{problem}: {type(error).__name__}: {error}")
