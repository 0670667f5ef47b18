"""The model registry in MLflow: versions, their verdicts, and which of them is the champion.

The facts of a version are tags of its MLflow run, and a few words for people are tags of the model
version itself; both are written by tasks/register.py under the names that stand here. Importing
mlflow takes seconds: it is imported inside functions, and not at all while there is no database.
"""

import errno
import json
import logging
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from stock_llm import environment
from stock_llm.artifacts import Adapter, Candidate, Dataset, Scorecard
from stock_llm.dataset import forgotten
from stock_llm.errors import InputError, MissingExtra, PublishError
from stock_llm.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MODEL = "stock-llm"

WAIT_SECONDS = (10, 60, 300, 900)
"""How long a stage waits for a registry or a disk that is away before it tries again."""


class _RetryOptions(TypedDict):
    """Arguments of Prefect's `task`."""

    retries: int
    retry_delay_seconds: list[float]
    retry_condition_fn: Callable[[Any, Any, Any], bool]


def _ended_by_outage(_task: Any, _run: Any, state: Any) -> bool:
    return outage(state.data) is not None


RETRY: _RetryOptions = {
    "retries": len(WAIT_SECONDS),
    "retry_delay_seconds": list(WAIT_SECONDS),
    "retry_condition_fn": _ended_by_outage,
}
"""Of every task that needs the registry."""

_OUTAGES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS, errno.ENOTCONN)
"""Of a disk that is full or was taken away."""

CHAMPION = "champion"
CHALLENGER = "challenger"

CANDIDATE = "candidate"
"""Tag with the candidate's digest, on run, logged model and version alike: what makes registering
idempotent.
"""

ROLLBACK_REASON = "rollback_reason"
"""Tag of a version that somebody went back to: why."""

PROMOTE_REASON = "promote_reason"
"""Tag of a version that somebody made the champion: why."""

REPLACED = "replaced"
"""Tag of a champion's run: the version that was champion before it."""

FORGOTTEN = "forgotten"
"""Tag of a version that learnt from what was to be forgotten later: what it was, as JSON."""

SPEED = "tokens/s"
"""Of an answer after its first token, to one question at a time."""
FIRST_WORD = "first word s"
"""Seconds to the first word of an answer, the whole prompt included."""
MEMORY = "memory MiB"
"""Most that the process that answers had, the GPU's included."""
SPEED_METRICS = (SPEED, FIRST_WORD, MEMORY)
"""Metrics of the holdout table that a version keeps beside its scores."""


@dataclass(frozen=True)
class VersionInfo:
    """One registered version.

    Attributes:
        number: N of `stock-llm:vN`.
        verdict: promote, keep or reject, as it was judged last.
        aliases: champion, challenger, both or none.
        scores: model (base, champion, challenger) → mean score on the holdout, in [0, 1].
        champion_then: the version that it was judged against; None: the untuned base.
        profile: the base model's profile.
        feedback: how many feedback items its dataset has.
        gguf: the file; `gguf_sha256` is its digest.
        adapter, scorecard: digests of what it was made and judged with.
        rollback_reason, promote_reason: why somebody went back to it, or made it the champion;
            empty where nobody did, or said why.
        replaced: the champion before it; None where it was never champion, or the first one.
        speed: of the file where it was judged, by the names of the holdout table; empty where it
            was not measured.
    """

    number: int
    created_at: datetime
    verdict: str
    reasons: list[str]
    aliases: tuple[str, ...]
    scores: dict[str, float]
    champion_then: int | None
    profile: str
    feedback: int
    candidate: str
    dataset: str
    run_id: str
    gguf: Path
    gguf_sha256: str
    adapter: str = ""
    scorecard: str = ""
    rollback_reason: str = ""
    promote_reason: str = ""
    replaced: int | None = None
    speed: dict[str, float] = field(default_factory=dict)


def versions(settings: Settings) -> list[VersionInfo]:
    """All versions, the newest first; none where nothing was registered yet."""
    if not _exists(settings):
        return []
    client = connect(settings)
    aliases = _aliases(client)
    page = client.search_model_versions(f"name='{MODEL}'")
    registered = list(page)
    while page.token:
        page = client.search_model_versions(f"name='{MODEL}'", page_token=page.token)
        registered += page
    facts = _run_tags(client, {version.run_id for version in registered if version.run_id})
    found = []
    for version in registered:
        tags = facts.get(version.run_id or "", {}) | version.tags
        if CANDIDATE in tags:
            found.append(_info(settings, version, tags, aliases))
        else:
            print(
                f"v{version.version} is left out: its run was removed from MLflow", file=sys.stderr
            )
    return sorted(found, key=lambda version: -version.number)


def champion(settings: Settings) -> VersionInfo | None:
    """The version behind `stock-llm:latest`; None until one was promoted."""
    return next((item for item in versions(settings) if CHAMPION in item.aliases), None)


def find(settings: Settings, candidate: str) -> VersionInfo | None:
    """The version of the candidate with this digest."""
    return next((item for item in versions(settings) if item.candidate == candidate), None)


def promote(settings: Settings, number: int) -> None:
    """Makes version `number` the champion; a tag of its run notes the version that it replaced, or,
    where the run was deleted, a tag of the version.

    Raises:
        InputError: there is no such version.
    """
    if number not in {item.number for item in versions(settings)}:
        raise InputError(
            f"there is no version {number}", remedy="See which there are: stock-llm history"
        )
    client = connect(settings)
    before = _aliases(client).get(CHAMPION)
    if before == number:
        return
    _note_replaced(client, client.get_model_version(MODEL, str(number)), str(before or "none"))
    client.set_registered_model_alias(MODEL, CHAMPION, str(number))


def _note_replaced(client: "MlflowClient", version: "ModelVersion", before: str) -> None:
    """Note the version that another one replaces, in one place."""
    from mlflow.exceptions import MlflowException

    if version.run_id:
        try:
            client.set_tag(version.run_id, REPLACED, before)
        except MlflowException:  # it refuses tags on a run that was deleted
            client.set_model_version_tag(MODEL, str(version.version), REPLACED, before)
            return
    if REPLACED in version.tags:  # where it stood once; people read those
        client.delete_model_version_tag(MODEL, str(version.version), REPLACED)


def mark(settings: Settings, number: int, tag: str, value: str) -> None:
    """Sets a tag of a version."""
    connect(settings).set_model_version_tag(MODEL, str(number), tag, value)


def summary_tags(dataset: Dataset, adapter: Adapter, scorecard: Scorecard) -> dict[str, str]:
    """What MLflow's table of versions shows: how it was judged, in a few words."""
    reference = "champion" if scorecard.champion else "base"
    against = f"v{scorecard.champion}" if scorecard.champion else "base"
    gap = scorecard.differences.get(f"challenger - {reference}")
    score = scorecard.table.get("challenger", {}).get("score")
    return {
        "verdict": scorecard.verdict,
        "base": adapter.profile,
        "score": "–" if score is None else f"{score:.3f}",
        "interval": f"{gap['low']:+.2f} to {gap['high']:+.2f} vs {against}" if gap else "–",
        "feedback": str(len(dataset.feedback_ids)),
        **({FORGOTTEN: marks} if (marks := forgotten.read(dataset.folder)) else {}),
    }


def models_page(settings: Settings) -> str:
    """Where MLflow shows all versions: on the registry's server, or on the one that `stock-llm up`
    starts.

    MLflow hides versions from its first view, GenAI's.
    """
    uri = settings.mlflow_uri.rstrip("/")
    server = uri if uri.startswith("http") else f"http://127.0.0.1:{settings.services.mlflow_port}"
    return f"{without_password(server)}/#/models/{MODEL}?workflowType=machine_learning"


def outage(error: BaseException | None) -> Literal["registry", "disk", "database"] | None:
    """What is worth waiting for: the registry's server, which does not answer, a disk that is full
    or gone, or a database that another process has locked. None for other errors.

    An error that was raised while another was handled is looked at first, then that other one. An
    Ollama or another server that goes away is no outage: it is asked through httpx, and MLflow
    through requests.
    """
    while error is not None:
        if isinstance(error, PublishError) or type(error).__module__.startswith("httpx"):
            return None
        if isinstance(error, ConnectionError) or type(error).__module__ == "requests.exceptions":
            return "registry"
        if isinstance(error, OSError) and error.errno in _OUTAGES:
            return "disk"
        if isinstance(error, sqlite3.OperationalError):
            if any(word in str(error) for word in ("full", "I/O", "readonly")):
                return "disk"
            if "locked" in str(error):
                return "database"
        error = error.__cause__ or error.__context__
    return None


def without_password(uri: str) -> str:
    """The registry's URI as it may be printed and kept."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", uri)


def version_page(settings: Settings, number: int) -> str:
    """Where MLflow shows one version."""
    return models_page(settings).replace("?", f"/versions/{number}?")


def version_tags(
    dataset: Dataset, adapter: Adapter, candidate: Candidate, scorecard: Scorecard
) -> dict[str, str]:
    """What a version's run says of where it comes from; `versions` reads it again."""
    scores = {
        name: model["score"]
        for name, model in scorecard.table.items()
        if model.get("score") is not None
    }
    return {
        CANDIDATE: candidate.digest,
        "dataset": dataset.digest,
        "adapter": adapter.digest,
        "scorecard": scorecard.digest,
        "profile": adapter.profile,
        "feedback": str(len(dataset.feedback_ids)),
        "prompt_version": str(dataset.prompt_version),
        "verdict": scorecard.verdict,
        "reasons": json.dumps(scorecard.reasons, ensure_ascii=False),
        "scores": json.dumps(scores),
        "speed": json.dumps(_speed(scorecard)),
        "judged_against": str(scorecard.champion or "base"),
        "gguf.uri": candidate.gguf.as_uri(),
        "gguf.sha256": candidate.gguf_sha256,
        "gguf.bytes": str(candidate.gguf_bytes),
        "gguf.type": candidate.quantization,
        **({"licences": json.dumps(dataset.licences)} if dataset.licences else {}),
    }


def _speed(scorecard: Scorecard) -> dict[str, float]:
    """What was measured of the published file."""
    row = scorecard.table["challenger"]
    return {name: row[name] for name in SPEED_METRICS if row.get(name) is not None}


def connect(settings: Settings) -> "MlflowClient":
    """MLflow's client; its database is made when there is none, which takes seconds.

    Raises:
        MissingExtra: the extra `flows` is not installed.
        InputError: the registry does not answer, or a newer MLflow made it.
    """
    environment.prepare()
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import DatabaseError
    except ImportError as error:
        raise MissingExtra(error.name or "mlflow", "flows") from None
    uri = settings.url(settings.mlflow_uri)
    try:
        if (file := _sqlite_file(uri)) is not None:
            _create_database(file)
        mlflow.set_tracking_uri(uri)
        return mlflow.MlflowClient(uri)
    except (MlflowException, DatabaseError, sqlite3.DatabaseError) as error:
        raise InputError(
            f"the registry {without_password(uri)} cannot be opened: {str(error).splitlines()[0]}"
        ) from None


def _create_database(file: Path) -> None:
    """Makes MLflow's database under another name and renames it, so that a killed process leaves no
    half of one.

    A half-made one, which MLflow could never open again, is moved aside.
    """
    if file.exists() and _is_finished(file):
        return
    import mlflow
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock")):
        if file.exists():
            if _is_finished(file):  # another process made it meanwhile
                return
            aside = file.with_name(f"{file.name}.unfinished")
            print(
                f"{file} was never finished: moved to {aside.name} and made again", file=sys.stderr
            )
            file.replace(aside)
        unfinished = file.with_name(f".{file.name}.new")
        for leftover in file.parent.glob(f"{unfinished.name}*"):
            leftover.unlink()
        logging.getLogger("mlflow.store.db.utils").setLevel("WARNING")  # it says that it makes one
        mlflow.MlflowClient(f"sqlite:///{unfinished}")
        unfinished.rename(file)


def _is_finished(file: Path) -> bool:
    """Whether a SQLite file holds anything of MLflow's: the experiment that it makes last, or what
    was registered.
    """
    with closing(sqlite3.connect(file, timeout=30)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        return any(
            database.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").fetchone()[0]
            for table in ("experiments", "registered_models")
            if table in tables
        )


def _exists(settings: Settings) -> bool:
    file = _sqlite_file(settings.url(settings.mlflow_uri))
    return file is None or file.exists()


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _aliases(client: "MlflowClient") -> dict[str, int]:
    """Alias → number of the version that it stands for."""
    from mlflow.exceptions import MlflowException

    try:
        return {
            alias: int(number)
            for alias, number in client.get_registered_model(MODEL).aliases.items()
        }
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def _run_tags(client: "MlflowClient", ids: set[str]) -> dict[str, dict[str, str]]:
    """Run → its tags, also of runs that were deleted and not yet removed."""
    from mlflow.entities import ViewType

    found: dict[str, dict[str, str]] = {}
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    token: str | None = "" if ids else None
    while token is not None:
        page = client.search_runs(experiments, run_view_type=ViewType.ALL, page_token=token or None)
        found |= {run.info.run_id: run.data.tags for run in page if run.info.run_id in ids}
        token = page.token or None
    return found


def _info(
    settings: Settings, version: "ModelVersion", tags: dict[str, str], aliases: dict[str, int]
) -> VersionInfo:
    """The version with the tags of its run and its own, which win."""
    number, against = int(version.version), tags["judged_against"]
    return VersionInfo(
        number=number,
        created_at=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        verdict=tags["verdict"],
        reasons=json.loads(tags["reasons"]),
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == number)),
        scores=json.loads(tags["scores"]),
        champion_then=int(against) if against != "base" else None,
        profile=tags["profile"],
        feedback=int(tags["feedback"]),
        candidate=tags[CANDIDATE],
        dataset=tags["dataset"],
        run_id=version.run_id or "",
        gguf=_here(settings, tags),
        gguf_sha256=tags["gguf.sha256"],
        adapter=tags.get("adapter", ""),
        scorecard=tags.get("scorecard", ""),
        rollback_reason=tags.get(ROLLBACK_REASON, ""),
        promote_reason=tags.get(PROMOTE_REASON, ""),
        replaced=int(before) if (before := tags.get(REPLACED, "none")) != "none" else None,
        speed=json.loads(tags.get("speed", "{}")),
    )


def _here(settings: Settings, tags: dict[str, str]) -> Path:
    """Where the file is now: the home folder may have been moved since it was registered."""
    from urllib.parse import unquote, urlsplit

    registered = Path(unquote(urlsplit(tags["gguf.uri"]).path))
    moved = settings.artifacts / "candidate" / tags[CANDIDATE] / registered.name
    return moved if moved.exists() else registered
