"""The parity report: what was compared between training and serving, and how far each step is from
the one before it.

It is kept as `parity.json` beside the candidate, goes to MLflow with the version, and
`stock-llm parity` prints it.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stock_llm.errors import InputError, ParityError
from stock_llm.parity.divergence import Divergence
from stock_llm.storage.atomic import atomic_write

if TYPE_CHECKING:
    from rich.table import Table

FILE = "parity.json"


@dataclass(frozen=True)
class Step:
    """A form of the model.

    Attributes:
        name: adapter, merged, f16, quantized; served, where the adapter is served beside the base.
        loss: mean loss of the answers, nats a token.
        from_before: distance from the step before it; None for the first.
        from_adapter: distance from the first.
        score: mean score of its own answers to the validation rows, in [0, 1]; None: not asked.
        bytes: size of its file, where it is one.
    """

    name: str
    loss: float
    from_before: Divergence | None = None
    from_adapter: Divergence | None = None
    score: float | None = None
    bytes: int | None = None

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))


@dataclass(frozen=True)
class ParityReport:
    """What was compared, and found equal or within its bound.

    Attributes:
        model: `general.name` of the file.
        prompts: how many questions have one text in all writings, and one list of tokens.
        fuzzed: how many more, made of what tokenizers cut apart in different ways.
        limits: context, stops and special tokens, equal in profile, GGUF and Modelfile.
        rows: train rows on which the losses were measured.
        score_rows: rows that the steps answered.
        merge: loss of each merge that was tried.
        choice: why this quantization, a sentence for each that was tried.
    """

    model: str
    base: str
    quantization: str
    merge_base: str
    prompts: int
    fuzzed: int
    limits: dict[str, Any]
    rows: int
    score_rows: int
    steps: list[Step]
    merge: dict[str, float]
    importance_matrix: bool = False
    choice: list[str] = field(default_factory=list)

    def step(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)


def write_report(report: ParityReport, folder: Path) -> Path:
    """Writes `parity.json` into `folder`."""
    values = dataclasses.asdict(report)
    for step, written in zip(report.steps, values["steps"], strict=True):
        written["perplexity"] = step.perplexity
    file = folder / FILE
    atomic_write(file, json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    return file


def read_report(folder: Path) -> ParityReport:
    """The report in `folder`.

    Raises:
        InputError: there is none, or it is damaged.
    """
    file = folder / FILE
    if not file.exists():
        raise InputError(
            "there is no parity report",
            file=file,
            remedy="The version was made before there were any; a new one has it: stock-llm run",
        )
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        steps = [_step(step) for step in values.pop("steps")]
        return ParityReport(**values, steps=steps)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"not a parity report: {error!r}", file=file) from None


def _step(values: dict[str, Any]) -> Step:
    values.pop("perplexity")
    for name in ("from_before", "from_adapter"):
        if values[name] is not None:
            values[name] = Divergence(**values[name])
    return Step(**values)


def check_divergence(name: str, before: str, found: Divergence, bound: float, likely: str) -> None:
    """A step that only rounds stays within its bound.

    Raises:
        ParityError: names the step, the distance and what is likely the cause.
    """
    if not found.mean_kl <= bound:  # not a number included
        raise ParityError(
            f"the step from {before} to {name} changes what the model says: KL "
            f"{found.mean_kl:.4f} nats a token on average, {bound:g} is allowed, and "
            f"{found.same_top:.1%} of the most likely tokens are the same. {likely}"
        )


def tables(report: ParityReport) -> "list[Table | str]":
    """The report for people."""
    from rich.table import Table

    steps = Table(title=f"{report.model}, {report.quantization}")
    for column in ("step", "loss", "perplexity", "KL", "KL 99 %", "same top", "score", "MB"):
        steps.add_column(column, justify="left" if column == "step" else "right")
    for step in report.steps:
        found = step.from_before
        steps.add_row(
            step.name,
            f"{step.loss:.4f}",
            f"{step.perplexity:.3f}",
            f"{found.mean_kl:.2e}" if found else "",
            f"{found.p99_kl:.2e}" if found else "",
            f"{found.same_top:.1%}" if found else "",
            "" if step.score is None else f"{step.score:.3f}",
            "" if step.bytes is None else f"{step.bytes / 1e6:.1f}",
        )
    limits = ", ".join(f"{name} {_shown(value)}" for name, value in report.limits.items())
    lines: list[Table | str] = [
        steps,
        "Loss in nats a token and KL from the step before, on "
        f"{report.rows} train rows; the score on {report.score_rows} validation rows.",
        f"{report.prompts} questions and {report.fuzzed} of a fuzz have one text and one list of "
        "tokens in training, GGUF and Modelfile.",
        f"Equal limits: {limits}.",
        f"Merged into the {report.merge_base} base: "
        + ", ".join(f"{base} {loss:.4f}" for base, loss in report.merge.items())
        + " nats a token.",
    ]
    return lines + list(report.choice)


def _shown(value: Any) -> str:
    return " ".join(map(repr, value)) if isinstance(value, list | tuple) else str(value)
