"""What a run is about, in one digest, and how it ended: a run with nothing new is over before Prefect or MLflow is imported.

In: settings. Out: the digest of all that a run depends on, and the `Outcome` that was recorded under it in data/runs. Does not
know how anything is made.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stock_llm.llm.profiles import load_profile, local_base
from stock_llm.ollama.store import OllamaStore
from stock_llm.pipeline.inputs import input_digest
from stock_llm.settings import Settings
from stock_llm.storage.atomic import atomic_write
from stock_llm.storage.checksums import digest_of, files_sha256


@dataclass(frozen=True)
class RunRecord:
    """How a run ended.

    Attributes:
        why: what set it off.
        finished_at: ISO 8601, UTC.
        train_rows, holdout_rows, feedback: rows of the dataset, and how many of them are somebody's feedback.
        seconds: how long the training took; 0 where it was read from disk.
        table, differences, verdict, reasons: as the scorecard says.
        names, where, promoted, notes: as the release says.
        gguf, modelfile: paths of the files.
        symbol: one of those that were learnt about, to ask about.
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


def run_digest(settings: Settings, inputs: str) -> str:
    """16 hex digits over the inputs, the base, the dials and this program's own code.

    Args:
        inputs: what `input_digest` says, or said when the history was collected.

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
        dials=settings.model_dump(
            mode="json", include={"holdout_from", "train_rows", "holdout_rows", "seed"}
        ),
        mixed=(_sources(settings), settings.dataset.amount_scale),
        targets=settings.model_dump(
            mode="json", include={"mlflow_uri", "ollama_store", "ollama_host"}
        ),
        code=files_sha256(code, package.parent),
    )


def _sources(settings: Settings) -> str:
    """Digest of other people's data. What reads it takes a second to import, and is not imported where there is none."""
    if not settings.dataset.source:
        return ""
    from stock_llm.dataset.sources import mixing

    return mixing.digest(settings)


def _base_marks(folder: Path | None) -> list[tuple[str, int, int]]:
    """Name, size and time of the base's files: reading all of Mistral-7B would take longer than a person waits."""
    if folder is None:
        return []
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        (path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
    ]


def finished(settings: Settings) -> RunRecord | None:
    """How the run with these inputs and settings ended; None where there was none, or where its model is gone.

    Raises:
        InputError: there are no inputs, or no such profile.
    """
    record = _record(settings, run_digest(settings, input_digest(settings)))
    if not record.exists():
        return None
    outcome = RunRecord(**json.loads(record.read_text(encoding="utf-8")))
    return outcome if Path(outcome.gguf).exists() and _still_published(outcome) else None


def _still_published(outcome: RunRecord) -> bool:
    """A folder that lost the model is published to again; a server is asked only when something is new."""
    return (
        "://" in outcome.where
        or OllamaStore(Path(outcome.where)).digest(outcome.names[0]) is not None
    )


def record(settings: Settings, outcome: RunRecord) -> None:
    """Remembers how a run ended; whole or not at all."""
    content = json.dumps(asdict(outcome), indent=1, ensure_ascii=False)
    atomic_write(_record(settings, outcome.plan), content)


def _record(settings: Settings, plan: str) -> Path:
    return settings.path(f"data/runs/{plan}.json")
