"""Takes a model of Mistral-7B's exact shape through the project's own stages: seconds, peak memory and disk of each.

The weights are random (nothing is downloaded but the vocabulary, 6.6 MB), so losses say nothing; memory, time and files are
those of the real model. Every stage runs in a process of its own, as it would in a run that was killed before it:

    write      the base in bf16 safetensors, as the hub has it: 14.5 GB for 32 layers
    load       its linear layers to 4-bit NF4
    train      two optimiser steps on it with a LoRA adapter, two rows a step, one in a forward pass, rows of at most --tokens tokens
    merge      the adapter into the base as training saw it (put back from NF4), written as an f16 GGUF one tensor at a time
    quantize   that to Q4_K_M; the f16 file is deleted then, as in a run
    judge      questions answered by it, several at once, marked and kept as the stage `evaluate` does it

"resident" and "its own" are peaks of memory, in GiB, as benchmarks/measured_process.py has them; "disk" is what lay in the folder at
once, in GB.

    python benchmarks/rehearsal.py                           # all 32 layers: 36 GB of disk, more than an hour of a core
    python benchmarks/rehearsal.py --folder ~/rehearsal      # the same; stopped and started again, it goes on
    python benchmarks/rehearsal.py --layers 2                # five minutes of a core

With --folder, figures of finished stages are kept in figures.json there, and the files until the last stage has ended. Without it a
temporary folder is used and deleted. The vocabulary is Mistral's v3; without a network, name another SentencePiece model with
--vocabulary (models/stock-tiny/tokenizer.model).
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from measured_process import GIB, Measured, run_measured
from random_mistral import SHAPE, v3, weights_of, write_base

from stock_llm import environment
from stock_llm.artifacts import Adapter, Dataset
from stock_llm.errors import StockLLMError
from stock_llm.llm.profiles import Profile, load_profile
from stock_llm.skills.row import Row
from stock_llm.storage.atomic import atomic_write

environment.prepare()

PROJECT = Path(__file__).parents[1]

STEPS = 2
QUANTIZATION = "Q4_K_M"


@dataclass(frozen=True)
class Rehearsal:
    """What is rehearsed.

    Attributes:
        home: a project folder of its own.
        layers: of the model; the real one has 32.
        tokens: of the longest row that is trained on.
        rows: in a step.
        questions: that are judged.
        answer: tokens of an answer, at most.
        vocabulary: a SentencePiece model.
    """

    home: Path
    layers: int
    tokens: int
    rows: int
    questions: int
    answer: int
    vocabulary: Path

    @property
    def config(self) -> dict[str, Any]:
        """Of the model; a vocabulary with fewer tokens makes smaller embeddings."""
        from sentencepiece import SentencePieceProcessor

        size = SentencePieceProcessor(model_file=str(self.vocabulary)).vocab_size()
        return {**SHAPE, "num_hidden_layers": self.layers, "vocab_size": size}

    @property
    def base(self) -> Path:
        return self.home / "models" / "rehearsal"

    @property
    def adapter(self) -> Path:
        return self.home / "adapter"

    @property
    def f16(self) -> Path:
        return self.home / "f16.gguf"

    @property
    def quantized(self) -> Path:
        return self.home / f"{QUANTIZATION}.gguf"

    @property
    def profile(self) -> Profile:
        """Mistral-7B's profile for this base, with small steps, short rows and short answers."""
        committed = load_profile(PROJECT, "mistral-7b")
        training = {"epochs": 1, "batch": 1, "accumulate": self.rows, "max_tokens": self.tokens}
        serving = {"num_predict": self.answer}
        return committed.model_copy(
            update={
                "path": str(self.base.relative_to(self.home)),
                "training": committed.training.model_copy(update=training),
                "serving": committed.serving.model_copy(update=serving),
            }
        )

    @property
    def options(self) -> list[str]:
        """The command line of a stage's process."""
        return [
            *("--folder", str(self.home), "--layers", str(self.layers)),
            *("--tokens", str(self.tokens), "--rows", str(self.rows)),
            *("--vocabulary", str(self.vocabulary)),
            *("--questions", str(self.questions), "--answer", str(self.answer)),
        ]

    @property
    def asked(self) -> dict[str, Any]:
        """What the figures depend on, for figures.json."""
        return {
            **{"layers": self.layers, "tokens": self.tokens, "rows": self.rows},
            "vocabulary": self.vocabulary.name,
            **{"questions": self.questions, "answer": self.answer},
        }


def main() -> None:
    description, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"])
    parser.add_argument("--tokens", type=int, default=512, help="of the longest row; default 512")
    parser.add_argument("--rows", type=int, default=2, help="in a training step; default 2")
    parser.add_argument("--questions", type=int, default=8, help="to judge; default 8")
    parser.add_argument("--answer", type=int, default=32, help="tokens, at most; default 32")
    parser.add_argument("--folder", type=Path, help="where files and figures stay until the end")
    parser.add_argument("--vocabulary", type=Path, help="a SentencePiece model in place of v3")
    parser.add_argument(
        "--stages", nargs="+", choices=STAGES, default=list(STAGES), help="default: all"
    )
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if min(given.layers, given.rows, given.questions, given.answer) < 1 or given.tokens < 336:
        parser.error(
            "at least one layer, a row of 336 tokens, a question and an answer of a token are needed"
        )

    def rehearsal(home: Path, vocabulary: Path) -> Rehearsal:
        return Rehearsal(
            home, given.layers, given.tokens, given.rows, given.questions, given.answer, vocabulary
        )

    if given.stage:  # in a process of its own; see `measure`
        with FileLock(given.folder / ".stage.lock", timeout=0):  # of one whose parent was killed
            print(STAGES[given.stage](rehearsal(given.folder, given.vocabulary)))
        return
    try:
        with tempfile.TemporaryDirectory(prefix="rehearsal-") as temporary:
            home = (given.folder or Path(temporary)).resolve()
            home.mkdir(parents=True, exist_ok=True)
            with FileLock(home / ".lock", timeout=0):
                need_room(home, given.layers)
                vocabulary = given.vocabulary or v3(home)
                show(rehearsal(home, vocabulary.resolve()), given.stages)
    except Timeout:
        sys.exit(f"another rehearsal works in {given.folder}")
    except StockLLMError as error:
        sys.exit(str(error))


def show(rehearsal: Rehearsal, stages: list[str]) -> None:
    """Runs the stages that have no figures yet and prints a line for each.

    Raises:
        StockLLMError: a stage failed, lacks one before it, or the folder has another rehearsal.
    """
    figures = Figures(rehearsal)
    print(f"Mistral-7B's shape, {rehearsal.layers} layers, rows of {rehearsal.tokens} tokens")
    print(
        f"{'stage':9}{'seconds':>9}{'CPU-s':>8}{'resident GiB':>14}{'its own GiB':>13}{'disk GB':>9}  "
    )
    for stage in STAGES:  # in their order, however they were named
        if stage not in stages:
            continue
        if stage not in figures.measured:
            figures.need(stage)
            figures.keep(stage, measure(stage, rehearsal))
        if stage == "quantize":
            rehearsal.f16.unlink(missing_ok=True)
        took = figures.measured[stage]
        print(
            f"{stage:9}{took.seconds:9,.1f}{took.cpu_seconds:8,.0f}{took.resident / GIB:14.2f}"
            f"{took.anonymous / GIB:13.2f}{took.disk / 1e9:9.1f}  {took.note}",
            flush=True,
        )
    if figures.measured.keys() == STAGES.keys():
        for name in ("models", "adapter", "data"):
            shutil.rmtree(rehearsal.home / name, ignore_errors=True)
        rehearsal.quantized.unlink(missing_ok=True)


class Figures:
    """What was measured of a rehearsal, in figures.json of its folder.

    Attributes:
        measured: of each stage that has ended.

    Raises:
        StockLLMError: the folder has figures of another rehearsal.
    """

    def __init__(self, rehearsal: Rehearsal):
        self._file, self._asked = rehearsal.home / "figures.json", rehearsal.asked
        self.measured: dict[str, Measured] = {}
        if self._file.exists():
            stored = json.loads(self._file.read_text())
            if stored["asked"] != self._asked:
                raise StockLLMError(
                    f"{self._file} has figures of {stored['asked']}, not of {self._asked}: "
                    "name another folder, or delete this one"
                )
            self.measured = {name: Measured(**took) for name, took in stored["stages"].items()}

    def need(self, stage: str) -> None:
        """
        Raises:
            StockLLMError: a stage whose files this one reads has not ended.
        """
        before = NEEDS.get(stage)
        if before and before not in self.measured:
            raise StockLLMError(f"{stage} needs the stage {before} before it: name it in --stages")

    def keep(self, stage: str, took: Measured) -> None:
        self.measured[stage] = took
        stages = {name: asdict(took) for name, took in self.measured.items()}
        atomic_write(self._file, json.dumps({"asked": self._asked, "stages": stages}, indent=1))


def measure(stage: str, rehearsal: Rehearsal) -> Measured:
    """Runs one stage in a process of its own.

    Raises:
        StockLLMError: it failed; what it said is in the message.
    """
    home = rehearsal.home
    command = [sys.executable, __file__, "--stage", stage, *rehearsal.options]
    here = {"STOCK_LLM_HOME": str(home)}
    return run_measured(f"the stage {stage}", command, home / f"{stage}.txt", home, here)


def need_room(folder: Path, layers: int) -> None:
    """
    Raises:
        StockLLMError: the disk has less room than base, f16 file and quantized one need, those that are there apart.
    """
    there = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    needed = 5 * weights_of({**SHAPE, "num_hidden_layers": layers}) + 2 * GIB - there
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StockLLMError(
            f"{layers} layers need {needed / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free. "
            "Free some space, name another disk with --folder, or take fewer layers with --layers"
        )


def write(rehearsal: Rehearsal) -> str:
    """Writes the base with random weights."""
    shutil.rmtree(rehearsal.base, ignore_errors=True)
    return write_base(rehearsal.base, rehearsal.config, rehearsal.vocabulary)


def load(rehearsal: Rehearsal) -> str:
    """Loads the base for training."""
    from stock_llm.llm.base import load_base

    base = load_base(rehearsal.profile, rehearsal.home, four_bit=True)
    return f"{base.model.get_memory_footprint() / GIB:.2f} GiB of weights"


def train(rehearsal: Rehearsal) -> str:
    """Loads the base again and trains on rows of nearly `--tokens` tokens."""
    from stock_llm.settings import load_settings
    from stock_llm.skills.row import read_rows
    from tasks.finetune import train as finetune

    settings, folder = load_settings(home=rehearsal.home), rehearsal.adapter
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    file = dataset(rehearsal).train
    adapter: Adapter = finetune(
        settings, rehearsal.profile, list(read_rows(file)), file, "rehearsal", folder
    )
    assert adapter.steps == STEPS
    return f"{adapter.tokens} tokens in {adapter.steps} steps, {adapter.tokens / adapter.seconds:.1f} tokens/s"


def dataset(rehearsal: Rehearsal) -> Dataset:
    """Rows about random situations, each lengthened to the last line that fits into `--tokens`."""
    from dataclasses import replace

    from transformers import PreTrainedTokenizerFast

    from stock_llm.llm.prompts import messages
    from stock_llm.skills.row import write_rows

    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(rehearsal.base)
    prompt_format, chance = rehearsal.profile.format, random.Random(0)
    rows = []
    for row in rows_of(STEPS * rehearsal.rows, chance):
        while True:
            longer = replace(row, input=f"{row.input}\nNote: {chance.randrange(10**6)}")
            turns = messages(longer.instruction, longer.input, longer.output)
            if len(tokenizer(prompt_format.render(turns)).input_ids) > rehearsal.tokens:
                break
            row = longer
        rows.append(row)
    file = rehearsal.home / "train.jsonl"
    write_rows(rows, file)
    return Dataset(
        digest="rehearsal", folder=file.parent, train=file, holdout=file, corrections=file, card=file, holdout_from="", train_until="",
        horizon_days=0, prompt_version=1, train_rows=len(rows), holdout_rows=0, correction_rows=0, counts={}, purged=0, holdout_digest="",
        feedback_ids=[],
    )  # fmt: skip


def rows_of(count: int, chance: random.Random) -> list[Row]:
    """Rows of the skill "signal" about random situations."""
    from stock_llm.skills import signal
    from stock_llm.skills.decision_point import BaseRates, DecisionPoint
    from stock_llm.synthetic.stock_tiny.random_situations import situation

    rows = []
    for number in range(count):
        drawn = DecisionPoint(
            situation(chance), "HOLD", "2024-01-01", "2024-01-10", {"kind": "day", "ref": str(number)}
        )  # fmt: skip
        rows.append(signal.row(drawn, BaseRates([]), "en", number))
    return rows


def merge(rehearsal: Rehearsal) -> str:
    """Merges the adapter into the base, tensor by tensor, into an f16 GGUF."""
    from stock_llm.llm.gguf.writer import write_gguf
    from stock_llm.llm.merging.layerwise import linear_weights
    from stock_llm.llm.merging.lora import read_adapter
    from stock_llm.llm.merging.weights import MergedWeights, StoredWeights

    profile, base = rehearsal.profile, rehearsal.base
    weights = MergedWeights(
        StoredWeights(base),
        read_adapter(rehearsal.adapter / "adapter"),
        linear_weights(base),
        profile.training.precision,
    )
    write_gguf(base, rehearsal.f16, "rehearsal", profile.format.jinja, weights)
    return f"{rehearsal.f16.stat().st_size / 1e9:.1f} GB"


def quantize(rehearsal: Rehearsal) -> str:
    """Quantizes the f16 file."""
    from stock_llm.llm.quantization import quantize_gguf
    from stock_llm.settings import load_settings

    threads = load_settings(home=rehearsal.home).threads
    quantize_gguf(rehearsal.f16, rehearsal.quantized, QUANTIZATION, threads)
    return f"{rehearsal.quantized.stat().st_size / 1e9:.1f} GB"


def judge(rehearsal: Rehearsal) -> str:
    """Asks and marks as the stage `evaluate` does."""
    from stock_llm.pipeline.judging.asking import answers_folder, ask
    from stock_llm.pipeline.judging.contestants import of_profile
    from stock_llm.settings import load_settings
    from stock_llm.storage.checksums import file_sha256
    from stock_llm.storage.record_log import RecordLog

    settings = load_settings(home=rehearsal.home)
    kept = answers_folder(settings)
    shutil.rmtree(kept, ignore_errors=True)
    profile, gguf = rehearsal.profile, rehearsal.quantized
    contestant = of_profile("challenger", gguf, file_sha256(gguf), profile, rehearsal.home)
    rows = rows_of(rehearsal.questions, random.Random(1))
    answers = ask(settings, profile, contestant, rows).answers
    (log,) = kept.glob("*.jsonl")
    records = RecordLog(log).records
    asked, said = (sum(record[name] for record in records) for name in ("tokens_in", "tokens_out"))
    return f"{len(answers)} questions, {asked} + {said} tokens"


STAGES: dict[str, Callable[[Rehearsal], str]] = {
    "write": write,
    "load": load,
    "train": train,
    "merge": merge,
    "quantize": quantize,
    "judge": judge,
}
"""In order; each finds what those before it left in `Rehearsal.home`, makes its own files anew, and returns a note for the table."""

NEEDS = {
    "load": "write",
    "train": "write",
    "merge": "train",
    "quantize": "merge",
    "judge": "quantize",
}
"""Stage → the one before it whose files it reads."""


if __name__ == "__main__":
    main()
