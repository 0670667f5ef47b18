"""What stages hand on: small frozen records of paths, digests and counts, never weights or frames.

An artifact lives in `data/artifacts/<kind>/<digest>/`, where the digest is that of the stage's *inputs*; that folder is the
only cache. A stage works in a sibling folder `<digest>.partial`, which survives a kill so that work can go on, and the
last thing that happens is one rename. A folder without the suffix is therefore always whole.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

RECORD = "artifact.json"


@dataclass(frozen=True)
class History:
    """What collect found: validated Parquet files and the count of what it had to set aside."""

    digest: str
    folder: Path
    trades: Path
    """The ledger, as the exports name things."""
    steps: Path
    """Purchases, sales and moves of what has candles, on their scale: what skills learn from."""
    positions: Path
    candles: Path
    feedback: Path
    quarantine: Path
    findings: Path
    """What a person should know: repairs, suspects, differences, what has no candles."""
    rows_read: dict[str, int]
    rows_kept: dict[str, int]
    rows_quarantined: dict[str, int]
    symbols: list[str]
    first_day: str
    last_day: str
    feedback_ids: list[str]
    rows_duplicate: dict[str, int] = field(default_factory=dict)
    """Rows that say again what another row says."""
    rows_skipped: dict[str, int] = field(default_factory=dict)
    """Rows that are no event, such as a balance. Per kind (trades, candles, feedback): read = kept + quarantined + duplicate +
    skipped + forgotten."""
    entries: dict[str, int] = field(default_factory=dict)
    """Kind of ledger entry → how many."""
    findings_count: dict[str, int] = field(default_factory=dict)
    """Rule → how many findings."""
    exports: dict[str, list[str]] = field(default_factory=dict)
    """Trade file → the formats that it was read as."""
    ledger_digest: str = ""
    """The same for the same events, however often and wherever they were written down."""
    rows_forgotten: dict[str, int] = field(default_factory=dict)
    """Rows left out because the user wants them forgotten."""


@dataclass(frozen=True)
class Dataset:
    """Instruction rows split by time."""

    digest: str
    folder: Path
    train: Path
    holdout: Path
    corrections: Path
    """The frozen slice of corrections that is never trained on."""
    card: Path
    holdout_from: str
    train_until: str
    horizon_days: int
    prompt_version: int
    train_rows: int
    holdout_rows: int
    correction_rows: int
    counts: dict[str, dict[str, int]]
    """Split → skill → rows."""
    purged: int
    holdout_digest: str
    feedback_ids: list[str]
    history: str = ""
    """Digest of the history that it was made from."""
    holdout_until: str = ""
    """First day after the holdout; empty where it ends with the history."""
    draw: int = 0
    """How often the rows of this holdout period were drawn anew."""
    preference_rows: int = 0
    """Rows of preference.jsonl, which lies in the same folder."""
    licences: dict[str, str] = field(default_factory=dict)
    """Other people's data that was mixed in → its licence."""


@dataclass(frozen=True)
class Adapter:
    """LoRA weights and the facts of the training."""

    digest: str
    folder: Path
    weights: Path
    profile: str
    base_digest: str
    rows: int
    tokens: int
    steps: int
    train_loss: float
    seconds: float
    resumed_from_step: int
    loss_curve: list[dict[str, float]]


@dataclass(frozen=True)
class Candidate:
    """The quantized model, with the proof that it sees what training saw."""

    digest: str
    folder: Path
    gguf: Path
    gguf_sha256: str
    gguf_bytes: int
    quantization: str
    merge_base: str
    prompts_checked: int
    losses: dict[str, float]
    """Mean answer loss (nats/token) on the same rows: adapter, merged, f16, quantized, base."""


@dataclass(frozen=True)
class Scorecard:
    """The judgement on the holdout."""

    digest: str
    folder: Path
    items: Path
    """JSON lines, one per holdout row and model, with answer, score and checks."""
    table: dict[str, dict[str, Any]]
    """Model (base, champion, challenger, majority, textbook) → metric → value."""
    differences: dict[str, dict[str, float]]
    """Comparison → mean, low, high of the paired difference."""
    verdict: str
    """`promote`, `keep` (not enough evidence) or `reject`."""
    reasons: list[str]
    champion: int | None


@dataclass(frozen=True)
class Version:
    """The candidate's number in the registry."""

    digest: str
    number: int
    run_id: str
    registry: str


@dataclass(frozen=True)
class Release:
    """Where people find the model."""

    names: list[str]
    where: str
    manifests: dict[str, str]
    smoke_prompt: str
    smoke_answer: str
    smoke_seconds: float
    promoted: bool
    reasons: list[str] = field(default_factory=list)


A = TypeVar("A", History, Dataset, Adapter, Candidate, Scorecard)


def digest_of(**parts: Any) -> str:
    """First 16 hex digits of the SHA-256 over `parts` as canonical JSON (64 bits: ample for one user's artifacts)."""
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_sha256(paths: Iterable[Path], root: Path) -> str:
    """One SHA-256 over the names (relative to `root`) and bytes of several files, whatever order they come in."""
    return hashlib.sha256(
        "".join(
            sorted(f"{path.relative_to(root).as_posix()}\0{file_sha256(path)}\n" for path in paths)
        ).encode()
    ).hexdigest()


def load(kind: type[A], folder: Path) -> A | None:
    """The finished artifact in `folder`, or None where there is none."""
    record = folder / RECORD
    if not record.exists():
        return None
    values = json.loads(record.read_text())
    for item in dataclasses.fields(kind):
        if item.type is Path:
            values[item.name] = folder / values[item.name]
    return kind(**values)


def load_or_make(kind: type[A], root: Path, digest: str, work: Callable[[Path], A]) -> A:
    """The artifact of `digest`: read if it is there, else made by `work(partial_folder)` and put in place by one rename.

    `work` may find files of an interrupted attempt in the folder; paths in what it returns lie inside it.
    """
    final = root / kind.__name__.lower() / digest
    if (found := load(kind, final)) is not None:
        return found
    partial = final.with_name(final.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    made = work(partial)
    values = {
        item.name: str(value.relative_to(partial))
        if isinstance(value := getattr(made, item.name), Path)
        else value
        for item in dataclasses.fields(kind)
    }
    with (partial / RECORD).open("w") as stream:
        json.dump(values, stream, indent=1, ensure_ascii=False)
        stream.flush()
        os.fsync(stream.fileno())
    if final.exists():  # a folder that lost its record is not an artifact
        shutil.rmtree(final)
    partial.rename(final)
    found = load(kind, final)
    assert found is not None
    return found
