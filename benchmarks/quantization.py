"""What each quantization costs: file size, KL divergence from f16, perplexity and task score, with and without an importance matrix.

Takes the newest adapter of a project folder that has run (`stock-llm run`), merges it, and makes every quantization of the ladder of
it. The importance matrix is collected on 64 train rows; everything is measured on the newest rows of the holdout, which neither
training nor the matrix has seen: losses on `--rows`, answers (greedy, marked by each skill's scorer) on `--answers` of them.

    python benchmarks/quantization.py                                        # this project: stock-tiny on the sample
    python benchmarks/quantization.py --home ~/trading --profile smollm2-135m
    python benchmarks/quantization.py --jobs 4 --plot ladder.svg

Prints a table in Markdown. Nothing is written into the folder.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np

from stock_llm import environment

environment.prepare()

from stock_llm.artifacts import Adapter, Dataset, load  # noqa: E402  (after the environment)
from stock_llm.llm.base import fetch_base  # noqa: E402
from stock_llm.llm.llama_cpp import LlamaModel  # noqa: E402
from stock_llm.llm.merging.layerwise import TokenizedAnswer  # noqa: E402
from stock_llm.llm.profiles import Profile, load_profile  # noqa: E402
from stock_llm.llm.prompts import messages  # noqa: E402
from stock_llm.llm.quantization import LADDER, quantize_gguf, tensor_types  # noqa: E402
from stock_llm.parity.divergence import LogitFile  # noqa: E402
from stock_llm.skills import SKILLS  # noqa: E402
from stock_llm.skills.row import Row, read_rows  # noqa: E402

A = TypeVar("A", Adapter, Dataset)

PROJECT = Path(__file__).parents[1]
MATRIX_ROWS = 64


@dataclass(frozen=True)
class Given:
    """What every quantization is measured on."""

    home: Path
    profile: Profile
    folder: Path
    rows: list[Row]
    answers: int

    @property
    def f16(self) -> Path:
        return self.folder / "f16.gguf"


@dataclass(frozen=True)
class Measured:
    """One file of the ladder."""

    kind: str
    weighted: bool
    bytes: int
    types: str
    kl: float
    kl_99: float
    same_top: float
    loss: float
    scores: list[float]


def main() -> None:
    description, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )  # fmt: skip
    parser.add_argument("--home", type=Path, default=PROJECT, help="a project folder that has run")
    parser.add_argument("--profile", default="stock-tiny")
    parser.add_argument("--rows", type=int, default=48, help="for losses; default 48")
    parser.add_argument("--answers", type=int, default=48, help="of these; default 48")
    parser.add_argument("--kinds", nargs="+", choices=LADDER, default=list(LADDER))
    parser.add_argument("--jobs", type=int, default=1, help="files at once; default 1")
    parser.add_argument("--plot", type=Path, help="an SVG of sizes and distances")
    given = parser.parse_args()
    profile = load_profile(given.home, given.profile)
    with tempfile.TemporaryDirectory(prefix="quantization-") as scratch:
        dataset = newest(Dataset, given.home)
        rows = sorted(read_rows(dataset.holdout), key=lambda row: (row.as_of, row.id))[-given.rows :]  # fmt: skip
        asked = Given(given.home, profile, Path(scratch), rows, given.answers)
        prepare(asked, newest(Adapter, given.home), dataset)
        with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
            measured = [each for found in pool.map(partial(measure, asked), given.kinds) for each in found]  # fmt: skip
    show(profile, len(rows), measured)
    if given.plot:
        plot(given.plot, profile, measured)


def newest(kind: type[A], home: Path) -> A:
    """The newest finished artifact of a kind below a project folder."""
    root = home / "data" / "artifacts" / kind.__name__.lower()
    for record in sorted(root.glob("*/artifact.json"), key=lambda file: -file.stat().st_mtime):
        if (artifact := load(kind, record.parent)) is not None:
            return artifact
    print(f"{root} has none: nothing is measured. Run there first: stock-llm run")
    raise SystemExit(0 if home == PROJECT else 1)  # `make bench` goes on


def tokenized(asked: Given, rows: Sequence[Row]) -> list[TokenizedAnswer]:
    """As llama.cpp cuts them, which the parity report holds equal to training."""
    answers = []
    write = asked.profile.format.render
    with LlamaModel(asked.f16, 1, asked.profile.serving.num_ctx) as model:
        for row in rows:
            prompt = model.tokenize(write(messages(row.instruction, row.input)))
            whole = model.tokenize(write(messages(row.instruction, row.input, row.output)))
            answers.append(TokenizedAnswer(prompt, whole[len(prompt) :]))
    return answers


def prepare(asked: Given, adapter: Adapter, dataset: Dataset) -> None:
    """The f16 file of the merge into the base as it is, and the importance matrix."""
    from stock_llm.llm.architectures import read_config
    from stock_llm.llm.gguf.families import FAMILIES
    from stock_llm.llm.gguf.importance import ImportanceCollector, write_importance
    from stock_llm.llm.gguf.writer import write_gguf
    from stock_llm.llm.merging.layerwise import compute_logits
    from stock_llm.llm.merging.lora import read_adapter
    from stock_llm.llm.merging.weights import MergedWeights, StoredWeights

    base = fetch_base(asked.profile, asked.home)
    weights = MergedWeights(StoredWeights(base), read_adapter(adapter.weights))
    write_gguf(base, asked.f16, "ladder", asked.profile.format.jinja, weights)
    config = read_config(base)
    tied = config.for_transformers().tie_word_embeddings
    collector = ImportanceCollector(FAMILIES[config.architecture.name], tied)
    train = list(read_rows(dataset.train))
    sample = train[:: max(1, len(train) // MATRIX_ROWS)][:MATRIX_ROWS]
    compute_logits(
        base, weights, tokenized(asked, sample), lambda *_: None, "collecting", collector.watch
    )
    write_importance(collector.collected("ladder"), asked.folder / "imatrix.gguf", "train.jsonl")


def measure(asked: Given, kind: str) -> list[Measured]:
    """Makes the files of one quantization and measures them against the f16 file."""
    from stock_llm.llm.gguf.importance import read_importance

    answers = tokenized(asked, asked.rows)
    wanted, _ = logits_of(asked, asked.f16, answers, f"{kind}-f16")
    measured = []
    for weighted in (False, True) if kind != "F16" else (False,):
        name = f"{kind}{'-weighted' if weighted else ''}"
        gguf = asked.folder / f"{name}.gguf"
        importance = read_importance(asked.folder / "imatrix.gguf") if weighted else None
        quantize_gguf(asked.f16, gguf, kind, threads=1, importance=importance)
        out, scores = logits_of(asked, gguf, answers, name)
        found = wanted.divergence(out)
        types = ", ".join(f"{count} {name}" for name, count in tensor_types(gguf).items())
        size = gguf.stat().st_size
        distance = (found.mean_kl, found.p99_kl, found.same_top)
        measured.append(Measured(kind, weighted, size, types, *distance, out.loss, scores))
        out.delete()
    wanted.delete()
    return measured


def logits_of(
    asked: Given, gguf: Path, answers: list[TokenizedAnswer], name: str
) -> tuple[LogitFile, list[float]]:
    """Its logits, and the scores of its answers."""
    out = LogitFile(asked.folder / f"{name}.logits", answers, vocabulary_of(asked))
    with LlamaModel(gguf, 1, asked.profile.serving.num_ctx) as model:
        for number, row in enumerate(answers):
            out.take(number, model.answer_logits(row.prompt, row.answer))
        scores = scores_of(model, asked) if gguf != asked.f16 else []
    return out, scores


def vocabulary_of(asked: Given) -> int:
    config = fetch_base(asked.profile, asked.home) / "config.json"
    return int(json.loads(config.read_text())["vocab_size"])


def scores_of(model: LlamaModel, asked: Given) -> list[float]:
    """Score of each answer to the first rows."""
    scores, prompt_format = [], asked.profile.format
    for row in asked.rows[: asked.answers]:
        prompt = prompt_format.render(messages(row.instruction, row.input))
        limit = asked.profile.serving.num_predict
        answer = model.generate(prompt, max_tokens=limit, stop=prompt_format.stop)
        scores.append(SKILLS[row.skill].score(row, answer.text).value)
    return scores


def show(profile: Profile, rows: int, measured: list[Measured]) -> None:
    """The table; differences from F16's score are paired over rows, with 95 % intervals."""
    f16 = next((each.scores for each in measured if each.kind == "F16"), None)
    print(f"{profile.name}, {rows} holdout rows, {len(measured[0].scores)} of them answered\n")
    print("| quantization | matrix | MB | KL from f16 | KL 99 % | same top | perplexity | score | from f16 | tensors |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    for each in measured:
        score = np.array(each.scores)
        apart = ""
        if f16 and each.kind != "F16":
            difference = score - np.array(f16)
            error = 1.96 * difference.std(ddof=1) / math.sqrt(len(difference))
            apart = f"{difference.mean():+.3f} ± {error:.3f}"
        print(
            f"| {each.kind} | {'yes' if each.weighted else 'no'} | {each.bytes / 1e6:.2f} | {each.kl:.4f} | {each.kl_99:.3f} | "
            f"{each.same_top:.1%} | {math.exp(each.loss):.4f} | {score.mean():.3f} | {apart} | {each.types} |"
        )


def plot(file: Path, profile: Profile, measured: list[Measured]) -> None:
    """Distance from f16 against the size of the file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for weighted, label in ((False, "without importance matrix"), (True, "with importance matrix")):
        shown = [each for each in measured if each.weighted == weighted and each.kl > 0]
        axes.plot(
            [each.bytes / 1e6 for each in shown], [each.kl for each in shown], "o-", label=label
        )
        for each in shown:
            if not weighted:
                axes.annotate(
                    each.kind,
                    (each.bytes / 1e6, each.kl),
                    xytext=(4, 4),
                    textcoords="offset points",
                )
    axes.set_yscale("log")
    axes.set_xlabel("MB")
    axes.set_ylabel("KL from f16, nats a token")
    axes.set_title(profile.name)
    axes.legend()
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
