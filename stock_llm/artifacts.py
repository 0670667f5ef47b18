"""What stages hand on: small frozen records of paths, digests and counts, never weights or frames.

An artifact lives in `data/artifacts/<kind>/<digest>/`, where the digest is that of the stage's
*inputs*; that folder is the only cache. A stage works in a sibling folder `<digest>.partial`, which
survives a kill so that work can go on, and the last thing that happens is one rename. A folder
without the suffix is therefore always whole.
"""

import contextlib
import dataclasses
import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from stock_llm.storage.atomic import is_abandoned, move_into_place
from stock_llm.storage.checksums import find_damage, write_checksums

RECORD = "artifact.json"
CHECKSUMS = "checksums.json"
MERGED = "merged.gguf"
"""In the folder of a candidate that has a `lora`: the same model in one file, for a server that
cannot be given an adapter."""

DAYS_UNFINISHED = 30
"""An unfinished artifact that nobody has worked on for so long is deleted when another one of its
kind is made: its inputs will not come back, and it may hold checkpoints of gigabytes.
"""


@dataclass(frozen=True)
class History:
    """What collect read: validated Parquet files, and how many rows were quarantined."""

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
    """Rows that are no event, such as a balance. Per kind (trades, candles, feedback): read = kept
    + quarantined + duplicate + skipped + forgotten."""
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
    alignment: list[str] = field(default_factory=list)
    """What became of preference tuning, a sentence for each kind of opinion."""
    alignment_metrics: dict[str, float] = field(default_factory=dict)
    """`STAGE/METRIC` → value on the validation slice, after fine-tuning and after each kind."""
    trained_on: str = ""
    """The machine that it was fine-tuned on from a bundle, in words; empty: this one."""
    kept_step: int = 0
    """The step whose weights these are: that with the lowest validation loss, else the last."""


@dataclass(frozen=True)
class Candidate:
    """The quantized model, with the proof that it sees what training saw."""

    digest: str
    folder: Path
    gguf: Path
    """The weights that are served: with the adapter in them, or, where there is a `lora`, those of
    the base."""
    gguf_sha256: str
    """`model_sha256` of it and of `lora`."""
    gguf_bytes: int
    """Of it and of `lora`."""
    quantization: str
    merge_base: str
    prompts_checked: int
    losses: dict[str, float]
    """Mean answer loss (nats/token) on the same rows: adapter, merged, f16, quantized, base; of
    what is served beside a `lora`, served."""
    lora: Path | None = None
    """The adapter as a GGUF of its own, in `publish.mode = "adapter"`."""


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
    """`promote`, `keep` (not enough evidence), `reject` or `blocked`."""
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


@dataclass(frozen=True)
class BaseGguf:
    """The untuned base as a quantized file, which candidates are judged against."""

    digest: str
    folder: Path
    gguf: Path


A = TypeVar("A", History, Dataset, Adapter, Candidate, BaseGguf, Scorecard)


def load(kind: type[A], folder: Path, whole: bool = False) -> A | None:
    """The finished artifact in `folder`, or None where there is none.

    A damaged one is removed, with one line of warning, so that it is made again.

    Args:
        whole: read files above 64 MiB too; else their size and time have to be those that were
            recorded.
    """
    record, checksums = folder / RECORD, folder / CHECKSUMS
    if record.exists() and not checksums.exists():  # made before artifacts had checksums
        write_checksums(checksums)
    if not checksums.exists():
        return None
    try:
        if damage := find_damage(checksums, whole):
            raise ValueError(damage)
        values = json.loads(record.read_bytes())
        paths = {
            item.name: folder / values[item.name]
            for item in dataclasses.fields(kind)
            if item.type is Path or (item.type == Path | None and values.get(item.name))
        }
        return kind(**values | paths)
    except (ValueError, LookupError, TypeError) as error:
        print(f"{folder} is damaged ({error}): removed, to be made again", file=sys.stderr)
        shutil.rmtree(folder)
        return None


def load_or_make(
    kind: type[A], root: Path, digest: str, work: Callable[[Path], A], whole: bool = False
) -> A:
    """The artifact of `digest`: read if it is there and sound, else made and put in place by one
    rename.

    Args:
        work: makes it in the folder that it is given, where it may find files of an interrupted
            attempt; paths in what it returns lie inside that folder.
        whole: see `load`.
    """
    final = root / kind.__name__.lower() / digest
    if (artifact := load(kind, final, whole)) is not None:
        return artifact
    partial = final.with_name(final.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    _delete_given_up(partial)
    for leftover in partial.rglob(".*.tmp"):
        if is_abandoned(leftover):  # of a killed attempt: maybe a whole model's size
            leftover.unlink(missing_ok=True)
    made = work(partial)
    values = {
        item.name: str(value.relative_to(partial)) if isinstance(value, Path) else value
        for item in dataclasses.fields(kind)
        for value in [getattr(made, item.name)]
    }
    (partial / RECORD).write_text(json.dumps(values, indent=1, ensure_ascii=False), "utf-8")
    for leftover in partial.rglob(".*.tmp"):
        leftover.unlink()
    write_checksums(partial / CHECKSUMS)
    shutil.rmtree(final, ignore_errors=True)
    move_into_place(partial, final)
    artifact = load(kind, final)
    assert artifact is not None
    return artifact


def _delete_given_up(partial: Path) -> None:
    """Deletes the unfinished artifacts beside `partial` that nobody goes on with."""
    oldest = time.time() - DAYS_UNFINISHED * 86400
    for folder in partial.parent.glob("*.partial"):
        if folder != partial and _last_change(folder) < oldest:
            print(
                f"{folder} was not gone on with for {DAYS_UNFINISHED} days: deleted",
                file=sys.stderr,
            )
            shutil.rmtree(folder, ignore_errors=True)


def _last_change(folder: Path) -> float:
    """When something in a folder was written last, in seconds since 1970."""
    times = []
    for path in [folder, *folder.rglob("*")]:
        with contextlib.suppress(FileNotFoundError):  # a checkpoint that another run replaces
            times.append(path.lstat().st_mtime)
    return max(times, default=math.inf)
