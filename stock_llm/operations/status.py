"""How everything is, for `stock-llm status`: services, runs, champion, feedback, disk, schemas.

Migrates nothing: a store that the next run would migrate is not opened.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stock_llm.errors import StockLLMError
from stock_llm.feedback.batches import FeedbackCounts
from stock_llm.machine import free_disk
from stock_llm.operations.databases import DatabaseVersion, database_versions
from stock_llm.pipeline import registry
from stock_llm.pipeline.inputs import open_feedback
from stock_llm.pipeline.registry import VersionInfo
from stock_llm.services.prefect_api import CurrentRun, PlannedRun, PrefectApi
from stock_llm.services.supervisor import UpState, read_state
from stock_llm.settings import Settings

if TYPE_CHECKING:
    from rich.console import RenderableType

LAST_VERDICTS = 5

_FOLDERS = ("data/artifacts", "models/ollama", "mlflow", "data/prefect", "data/logs")


@dataclass(frozen=True)
class FeedbackStatus:
    """How much feedback is ready, how much a retrain needs, and how much waits for review."""

    counts: FeedbackCounts
    needed: int
    waiting: int


@dataclass(frozen=True)
class ProjectStatus:
    """The state of a project folder.

    Attributes:
        up: the services; None where `stock-llm up` does not run.
        planned: next runs; `current`: those under way; empty where no Prefect server runs.
        last: the newest versions, the newest first.
        feedback: None where the store waits to be migrated or cannot be read.
        disk_free: bytes; `disk_used`: folder → bytes in it.
        problems: what could not be looked at, and why.
    """

    home: Path
    up: UpState | None
    planned: list[PlannedRun]
    current: list[CurrentRun]
    champion: VersionInfo | None
    last: list[VersionInfo]
    feedback: FeedbackStatus | None
    disk_free: int
    disk_used: dict[str, int]
    databases: list[DatabaseVersion]
    problems: list[str]


def project_status(settings: Settings) -> ProjectStatus:
    """Looks at everything."""
    problems: list[str] = []
    databases = database_versions(settings)
    up = read_state(settings.home)
    planned: list[PlannedRun] = []
    current: list[CurrentRun] = []
    if up:
        try:
            api = PrefectApi(up.api_url)
            planned, current = api.planned_runs(), api.current_runs()
        except OSError as error:
            problems.append(f"Prefect's server does not answer: {error}")
    versions: list[VersionInfo] = []
    try:
        versions = registry.versions(settings)
    except StockLLMError as error:
        problems.append(str(error))
    feedback = None
    if not any(database.is_behind and database.name == "feedback" for database in databases):
        try:
            feedback = _feedback(settings)
        except StockLLMError as error:
            problems.append(str(error))
    return ProjectStatus(
        home=settings.home,
        up=up,
        planned=planned,
        current=current,
        champion=next((item for item in versions if registry.CHAMPION in item.aliases), None),
        last=versions[:LAST_VERDICTS],
        feedback=feedback,
        disk_free=free_disk(settings.home),
        disk_used={
            name: size for name in _FOLDERS if (size := _size(settings.home / name)) is not None
        },
        databases=databases,
        problems=problems,
    )


def _feedback(settings: Settings) -> FeedbackStatus:
    store = open_feedback(settings)
    waiting = sum(len(group.items) for group in store.waiting())
    counts = store.counts(settings.uses_sample)
    return FeedbackStatus(counts, settings.retrain_after + 1, waiting)


def _size(folder: Path) -> int | None:
    """Bytes of the files in a folder, each counted once; None where there is no folder."""
    if not folder.is_dir():
        return None
    sizes = {}
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                seen = path.stat()
                sizes[seen.st_dev, seen.st_ino] = seen.st_size
        except FileNotFoundError:
            continue  # a run has just removed it
    return sum(sizes.values())


def status_view(status: ProjectStatus, timezone: str) -> "RenderableType":
    """The status for a terminal of 60 columns and more."""
    from rich.console import Group
    from rich.filesize import decimal
    from rich.markup import escape

    from stock_llm.services.view import runs_text, services_table

    parts: list[RenderableType] = []
    if status.up:
        parts += [services_table(status.up.services, status.home)]
        parts += [runs_text(status.planned, status.current, timezone)]
    else:
        parts.append("servers     none run here: stock-llm up")
    parts += [
        f"champion    {_champion(status.champion)}",
        f"feedback    {_feedback_line(status.feedback)}",
    ]
    for place, version in enumerate(status.last):
        head = "verdicts" if place == 0 else ""
        reason = version.reasons[0] if version.reasons else ""
        parts.append(f"{head:12}v{version.number} {version.verdict}: {escape(reason)}")
    used = ", ".join(f"{name} {decimal(size)}" for name, size in status.disk_used.items())
    parts.append(f"disk        {decimal(status.disk_free)} free; {used or 'nothing made yet'}")
    for place, database in enumerate(status.databases):
        parts.append(f"{'databases' if place == 0 else '':12}{_database_line(database)}")
    parts += [f"[red]problem[/]     {escape(problem)}" for problem in status.problems]
    return Group(*parts)


def _champion(champion: VersionInfo | None) -> str:
    if champion is None:
        return "none yet: stock-llm run"
    score = champion.scores.get("challenger")
    points = f", score {score:.3f}" if score is not None else ""
    return f"v{champion.number} of {champion.profile}, {champion.created_at:%Y-%m-%d}{points}"


def _feedback_line(feedback: FeedbackStatus | None) -> str:
    if feedback is None:
        return "not read"
    counts = feedback.counts
    others = [
        f"{number} {what}"
        for number, what in (
            (counts.training, "in a training"),
            (counts.passed_over, "left out by the last datasets"),
            (feedback.waiting, "wait for review"),
        )
        if number
    ]
    more = f"; {', '.join(others)}" if others else ""
    return f"{counts.ready} of {feedback.needed - 1} ready{more} (stock-llm retrain --why)"


def _database_line(database: DatabaseVersion) -> str:
    from rich.markup import escape

    place = escape(database.place)
    if database.problem:
        return f"{database.name}: [red]{escape(database.problem)}[/] ({place})"
    if not database.current:
        return f"{database.name}: not made yet"
    if database.is_behind:
        return (
            f"{database.name}: [yellow]{database.current}, the next start migrates it to "
            f"{database.newest}[/] ({place})"
        )
    return f"{database.name}: {database.current}, up to date"
