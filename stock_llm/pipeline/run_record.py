"""Digest of all that a run depends on, the record of how the run with that digest ended, and the
lock that makes two runs at once wait for each other.

A run with nothing new ends here, before Prefect or MLflow is imported. Records: data/runs/*.json.
"""

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from stock_llm.artifacts import CHECKSUMS
from stock_llm.evaluation.gate_policy import load_policy
from stock_llm.llm.profiles import load_profile, local_base
from stock_llm.ollama.model_name import LATEST
from stock_llm.pipeline.inputs import input_digest
from stock_llm.pipeline.publication.places import folder_of, is_complete
from stock_llm.pipeline.publication.safetensors_folder import FOLDER, is_whole
from stock_llm.settings import Settings
from stock_llm.storage.checksums import (
    digest_of,
    files_sha256,
    find_damage,
    read_record,
    write_record,
)
from stock_llm.storage.waiting_lock import waiting_lock


@dataclass(frozen=True)
class RunRecord:
    """How a run ended.

    Attributes:
        why: what set it off.
        finished_at: ISO 8601, UTC.
        train_rows, holdout_rows, feedback: rows of the dataset, and how many of them are somebody's
            feedback.
        seconds: how long the training took; 0 where it was read from disk.
        table, differences, verdict, reasons: as the scorecard says.
        names, where, promoted, notes: as the release says.
        gguf, modelfile: paths of the files.
        symbol: one of those that were learnt about, to ask about.
        alignment: what became of preference tuning, a sentence for each kind of opinion.
    """

    why: str
    plan: str
    finished_at: str
    profile: str
    version: int
    run_id: str
    registry: str
    train_rows: int
    holdout_rows: int
    feedback: int
    tokens: int
    seconds: float
    loss: float
    table: dict[str, dict[str, Any]]
    differences: dict[str, dict[str, float]]
    verdict: str
    reasons: list[str]
    names: list[str]
    where: str
    promoted: bool
    notes: list[str]
    gguf: str
    modelfile: str
    symbol: str
    alignment: list[str] = field(default_factory=list)


def run_digest(settings: Settings, inputs: str) -> str:
    """16 hex digits over the inputs, the base, the settings and this program's own code.

    Args:
        inputs: the result of `input_digest`, now or when the history was collected.

    Raises:
        InputError: there is no such profile.
    """
    profile = load_profile(settings.home, settings.profile)
    package = Path(__file__).parents[1]
    code = [*package.rglob("*.py"), *(package.parent / "tasks").glob("*.py")]
    return digest_of(
        inputs=inputs,
        profile=profile.model_dump(mode="json"),
        base=_base_marks(local_base(profile, settings.home)),
        settings=settings.model_dump(mode="json", include={"holdout_from", "train_rows", "seed"}),
        mixed=(_sources(settings), settings.dataset.amount_scale),
        gate=load_policy(settings.home).model_dump(),
        targets=settings.model_dump(
            mode="json", include={"mlflow_uri", "ollama_store", "ollama_host"}
        )
        | {"mode": settings.publish.mode, "safetensors": settings.publish.safetensors},
        code=files_sha256(code, package.parent),
    )


def _sources(settings: Settings) -> str:
    """Digest of other people's data. What reads it takes a second to import, and is not imported
    where there is none.
    """
    if not settings.dataset.source:
        return ""
    from stock_llm.dataset.sources import mixing

    return mixing.digest(settings.dataset.sources(settings.home))


def _base_marks(folder: Path | None) -> list[tuple[str, int, int]]:
    """Name, size and time of the base's files: reading all of Mistral-7B would take longer than a
    person waits.
    """
    if folder is None:
        return []
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        (path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
    ]


def finished(settings: Settings) -> RunRecord | None:
    """How the run with these inputs and settings ended, under the names that its model has now;
    None where there was none, or where its model is gone, damaged, or missing where it is
    published.

    Raises:
        InputError: there are no inputs, or no such profile.
    """
    values = read_record(_record(settings, run_digest(settings, input_digest(settings))))
    run = RunRecord(**values) if values else None
    if run is None or not _is_sound(Path(run.gguf)):
        return None
    if not is_complete(settings, run.names[0]):
        return None
    safetensors = settings.path(FOLDER / run.names[0].partition(":")[2])
    if settings.publish.safetensors and not is_whole(safetensors):
        return None
    store = folder_of(settings).store
    promoted = store.digest(LATEST) == store.digest(run.names[0])
    names = [run.names[0], LATEST] if promoted else [run.names[0]]
    return replace(run, names=names, promoted=promoted)


def _is_sound(gguf: Path) -> bool:
    checksums = gguf.with_name(CHECKSUMS)
    return gguf.exists() and not (checksums.exists() and find_damage(checksums))


def record(settings: Settings, run: RunRecord) -> None:
    """Remembers how a run ended; whole or not at all."""
    write_record(_record(settings, run.plan), asdict(run))


def _record(settings: Settings, plan: str) -> Path:
    return settings.path(f"data/runs/{plan}.json")


def run_lock(settings: Settings) -> AbstractContextManager[None]:
    """Waits until no other run is under way here."""
    text = "another run is under way here; waiting for it"
    return waiting_lock(settings.path("data/.train.lock"), text)
