"""Takes a model of Mistral-7B's exact shape through the project's own stages: seconds and peak memory of each.

The weights are random (nothing is downloaded but the vocabulary, 6.6 MB), so losses say nothing; memory, time and files are
those of the real model. Every stage runs in a process of its own, as it would in a run that was killed before it:

    write   the base in bf16 safetensors, as the hub has it: 14.5 GB for 32 layers
    load    its linear layers to 4-bit NF4
    train   two optimiser steps on it with a LoRA adapter, two rows a step, one in a forward pass, rows of at most --tokens tokens

Two numbers of memory are given, both peaks of the stage's process. "resident" is what the kernel counts (`ru_maxrss`); pages of
mapped files are in it, which the kernel takes back when memory is short. "its own" is anonymous memory (`RssAnon` of /proc/PID/status,
looked at 20 times a second), which it cannot take back: what a machine has to have.

    python benchmarks/rehearsal.py                 # all 32 layers: 17 GB of disk, half an hour of a core
    python benchmarks/rehearsal.py --layers 2      # three minutes of a core

The folder is deleted in the end. Mistral's vocabulary v3 is taken out of a wheel of PyPI's package mistral-common, which is not
installed; without a network, name another SentencePiece model with --vocabulary (models/stock-tiny/tokenizer.model).
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stock_llm import environment
from stock_llm.artifacts import Adapter, Dataset
from stock_llm.errors import StockLLMError
from stock_llm.llm.architectures import ModelShape
from stock_llm.llm.profiles import Profile, load_profile

environment.prepare()

PROJECT = Path(__file__).parents[1]
GIB = 1 << 30

SHAPE = {
    "model_type": "mistral",
    "architectures": ["MistralForCausalLM"],
    "vocab_size": 32768,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""config.json of Mistral-7B-Instruct-v0.3."""

WHEEL = "mistral_common-1.13.1-py3-none-any.whl"
WHEEL_SHA256 = "98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af"
V3 = "mistral_common/data/mistral_instruct_tokenizer_240323.model.v3"
"""Mistral's SentencePiece model v3 (Apache-2.0) inside it."""

STEPS = 2
ROWS_A_STEP = 2


@dataclass(frozen=True)
class Rehearsal:
    """What is rehearsed.

    Attributes:
        home: a project folder of its own.
        layers: of the model; the real one has 32.
        tokens: of the longest row.
        vocabulary: a SentencePiece model.
    """

    home: Path
    layers: int
    tokens: int
    vocabulary: Path

    @property
    def base(self) -> Path:
        return self.home / "models" / "rehearsal"

    @property
    def profile(self) -> Profile:
        """Mistral-7B's profile for this base, with small steps and short rows."""
        committed = load_profile(PROJECT, "mistral-7b")
        training = {"epochs": 1, "batch": 1, "accumulate": ROWS_A_STEP, "max_tokens": self.tokens}
        return committed.model_copy(
            update={
                "path": str(self.base.relative_to(self.home)),
                "training": committed.training.model_copy(update=training),
            }
        )


@dataclass(frozen=True)
class Measured:
    """One stage.

    Attributes:
        resident, anonymous: peaks, in bytes.
        note: what the stage says of itself.
    """

    seconds: float
    cpu_seconds: float
    resident: int
    anonymous: int
    note: str


def main() -> None:
    description, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"])
    parser.add_argument("--tokens", type=int, default=512, help="of the longest row; default 512")
    parser.add_argument("--folder", type=Path, help="where the files go for the time; default /tmp")
    parser.add_argument("--vocabulary", type=Path, help="a SentencePiece model in place of v3")
    parser.add_argument(
        "--stages", nargs="+", choices=STAGES, default=list(STAGES), help="default: all"
    )
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.layers < 1 or given.tokens < 384:
        parser.error("at least one layer and rows of 384 tokens are needed")
    if given.stage:  # in a process of its own; see `measure`
        rehearsal = Rehearsal(given.folder, given.layers, given.tokens, given.vocabulary)
        print(STAGES[given.stage](rehearsal))
        return
    try:
        with tempfile.TemporaryDirectory(prefix="rehearsal-", dir=given.folder) as folder:
            home = Path(folder)
            need_room(home, given.layers)
            vocabulary = (given.vocabulary or v3(home)).resolve()
            show(Rehearsal(home, given.layers, given.tokens, vocabulary), given.stages)
    except StockLLMError as error:
        sys.exit(str(error))


def show(rehearsal: Rehearsal, stages: list[str]) -> None:
    """Runs the stages and prints a line for each."""
    print(f"Mistral-7B's shape, {rehearsal.layers} layers, rows of {rehearsal.tokens} tokens")
    print(f"{'stage':8}{'seconds':>9}{'CPU-s':>8}{'resident GiB':>14}{'its own GiB':>13}  ")
    for stage in stages:
        measured = measure(stage, rehearsal)
        print(
            f"{stage:8}{measured.seconds:9,.1f}{measured.cpu_seconds:8,.0f}{measured.resident / GIB:14.2f}"
            f"{measured.anonymous / GIB:13.2f}  {measured.note}",
            flush=True,
        )


def measure(stage: str, rehearsal: Rehearsal) -> Measured:
    """Runs one stage in a process of its own.

    Raises:
        StockLLMError: it failed; what it said is in the message.
    """
    command = [
        *(sys.executable, __file__, "--stage", stage, "--folder", str(rehearsal.home)),
        *("--layers", str(rehearsal.layers), "--tokens", str(rehearsal.tokens)),
        *("--vocabulary", str(rehearsal.vocabulary)),
    ]
    return run_measured(
        f"the stage {stage}", command, rehearsal.home / f"{stage}.txt", rehearsal.home
    )


def run_measured(name: str, command: list[str], said: Path, folder: Path | None = None) -> Measured:
    """Runs a command and measures its process.

    Args:
        name: as the message of a failure has it.
        said: the file that gets what it prints; its last line is the note.
        folder: where it runs; None: here.

    Raises:
        StockLLMError: it failed; what it said is in the message.
    """
    started, anonymous = time.monotonic(), 0
    with said.open("w") as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=folder)
        while True:
            finished, status, usage = os.wait4(child.pid, os.WNOHANG)
            if finished:
                break
            anonymous = max(anonymous, anonymous_memory(child.pid))
            time.sleep(0.02)
    child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    lines = said.read_text().strip().splitlines()
    if child.returncode:
        raise StockLLMError(f"{name} ended with {child.returncode}:\n" + "\n".join(lines[-20:]))
    return Measured(
        seconds,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss << 10,
        anonymous,
        lines[-1] if lines else "",
    )


def anonymous_memory(pid: int) -> int:
    """Bytes of anonymous memory that a process has in use; 0 when it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    kib = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
    return int(kib[0]) << 10 if kib else 0


def need_room(folder: Path, layers: int) -> None:
    """
    Raises:
        StockLLMError: the disk has less room than the model needs.
    """
    needed = 2 * parameters(layers) + 2 * GIB
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StockLLMError(
            f"{layers} layers need {needed / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free. "
            "Free some space, name another disk with --folder, or take fewer layers with --layers"
        )


def parameters(layers: int) -> int:
    sizes = {name: value for name, value in SHAPE.items() if name in ModelShape.model_fields}
    return ModelShape.model_validate({**sizes, "num_hidden_layers": layers}).weights


def empty_model(config: dict[str, Any]) -> dict[str, Any]:
    """Name → tensor without memory, of every weight of a model."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    with torch.device("meta"):
        model: Any = MistralForCausalLM(MistralConfig(**config))
    weights: dict[str, Any] = model.state_dict()
    return weights


def v3(folder: Path) -> Path:
    """Mistral's vocabulary v3, from the package index."""
    from stock_llm.llm.package_index import fetch_file

    wheel = fetch_file("mistral-common", WHEEL, WHEEL_SHA256, folder)
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(V3, folder))


def write(rehearsal: Rehearsal) -> str:
    """Writes the base with random weights, two layers in a file, so that no more are ever in memory."""
    import torch
    from safetensors.torch import save_file

    from stock_llm.synthetic.stock_tiny.tokenizer import MODEL_FILE, write_fast_tokenizer

    folder = rehearsal.base
    folder.mkdir(parents=True)
    shutil.copy(rehearsal.vocabulary, folder / MODEL_FILE)
    write_fast_tokenizer(folder)
    config = {**SHAPE, "num_hidden_layers": rehearsal.layers}
    (folder / "config.json").write_text(json.dumps(config, indent=1))

    files: dict[str, dict[str, Any]] = {}
    for name, empty in empty_model(config).items():
        layer = int(name.split(".")[2]) // 2 + 1 if ".layers." in name else 0
        files.setdefault(f"model-{layer:05}.safetensors", {})[name] = empty
    random_numbers = torch.Generator().manual_seed(0)
    for file, weights in files.items():
        made = {}
        for name, empty in weights.items():
            weight = torch.empty(empty.shape, dtype=torch.bfloat16)
            norm = weight.dim() == 1
            made[name] = (
                weight.fill_(1)
                if norm
                else weight.normal_(0, SHAPE["initializer_range"], generator=random_numbers)  # type: ignore[arg-type]
            )
        save_file(made, folder / file, metadata={"format": "pt"})
    index = {
        "metadata": {},
        "weight_map": {name: file for file, weights in files.items() for name in weights},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    size = sum(file.stat().st_size for file in folder.iterdir())
    return f"{size / 1e9:.1f} GB"


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

    settings = load_settings(home=rehearsal.home)
    folder = rehearsal.home / "adapter"
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
    from stock_llm.skills import signal
    from stock_llm.skills.decision_point import BaseRates, DecisionPoint
    from stock_llm.skills.row import write_rows
    from stock_llm.synthetic.stock_tiny.random_situations import situation

    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(rehearsal.base)
    prompt_format, chance = rehearsal.profile.format, random.Random(0)
    rows = []
    for number in range(STEPS * ROWS_A_STEP):
        drawn = DecisionPoint(
            situation(chance), "HOLD", "2024-01-01", "2024-01-10", {"kind": "day", "ref": str(number)}
        )  # fmt: skip
        row = signal.row(drawn, BaseRates([]), "en", number)
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


STAGES: dict[str, Callable[[Rehearsal], str]] = {"write": write, "load": load, "train": train}
"""In order; each finds what those before it left in `Rehearsal.home`, and returns a note for the table."""


if __name__ == "__main__":
    main()
