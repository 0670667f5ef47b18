"""How fast fine-tuning learns: ours, the plain recipe and TRL's defaults, on the same model and rows, for the same time.

    python benchmarks/training.py                       # stock-tiny on the sample's dataset, 60 CPU-seconds a way
    python benchmarks/training.py --seconds 20 --ways ours plain
    python benchmarks/training.py --rows data/artifacts/dataset/ID/train.jsonl

    plain   transformers' Trainer as its documentation has it: rows in random order, padded on the right, loss on every token
    trl     TRL's SFTTrainer with its defaults: answers' loss, random order, gradient checkpointing, adapter in bfloat16
    ours    stock_llm/llm/trainer.py

All ways run one after the other in this process. They get the same 4-bit base, a fresh adapter of the same rank, the profile's
rows a step and learning rate, and AdamW. The learning rate follows the clock, a cosine over the time that a way is given, so that
each ends its schedule, whatever its speed. Time is CPU time of this process, which can be compared on a busy machine. Tokens are
real ones: padding is computed and not counted. The validation loss is the mean cross-entropy (nats) of the answers' tokens in the
last rows of the training time, which no way trains on; every token counts once, also where the profile weighs verdicts more.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stock_llm import environment

environment.prepare()

import torch  # noqa: E402
from transformers import PrinterCallback, Trainer, TrainerCallback  # noqa: E402

from stock_llm.llm.architectures import read_shape  # noqa: E402
from stock_llm.llm.base import LoadedBase, fetch_base, load_base  # noqa: E402
from stock_llm.llm.profiles import Profile, load_profile  # noqa: E402
from stock_llm.llm.trainer import AnswerTrainer, lora_config, make_trainer  # noqa: E402
from stock_llm.llm.training.arrangement import arrange  # noqa: E402
from stock_llm.llm.training.schedule import TokenizedRow, schedule  # noqa: E402
from stock_llm.machine import this_machine  # noqa: E402
from stock_llm.settings import load_settings  # noqa: E402
from stock_llm.skills.row import Row, read_rows  # noqa: E402
from tasks.finetune import tokenized  # noqa: E402

PROJECT = Path(__file__).parents[1]
WARMUP = 0.05
GOAL = 2.5
"""Tokens a second of ours, as a multiple of the plain recipe's."""


@dataclass(frozen=True)
class Task:
    """What every way is given.

    Attributes:
        kinds: of each row, its skill and language.
        seconds: CPU time to train.
    """

    home: Path
    profile: Profile
    rows: list[TokenizedRow]
    kinds: list[str]
    validation: list[TokenizedRow]
    seconds: float

    @property
    def rows_per_step(self) -> int:
        return self.profile.training.batch * self.profile.training.accumulate


@dataclass(frozen=True)
class Measured:
    """What a way did.

    Attributes:
        tokens: real ones that were trained on.
        padding: share of the computed tokens that were padding.
        loss: on the validation rows.
    """

    tokens: int
    padding: float
    steps: int
    seconds: float
    cpu_seconds: float
    loss: float

    @property
    def speed(self) -> float:
        """Tokens a CPU-second."""
        return self.tokens / self.cpu_seconds


class Clock(TrainerCallback):
    """Sets the learning rate by the CPU time that has passed, and ends the training after it."""

    def __init__(self, seconds: float, learning_rate: float):
        self.seconds, self.learning_rate = seconds, learning_rate
        self.started = 0.0

    def share(self) -> float:
        return (time.process_time() - self.started) / self.seconds

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.process_time()

    def on_step_begin(self, *_: Any, optimizer: Any = None, **__: Any) -> None:
        share = min(1.0, self.share())
        cosine = 0.5 * (1 + math.cos(math.pi * (share - WARMUP) / (1 - WARMUP)))
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * (share / WARMUP if share < WARMUP else cosine)

    def on_step_end(self, _: Any, __: Any, control: Any, **___: Any) -> None:
        control.should_training_stop = control.should_training_stop or self.share() >= 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="of CPU, for each way")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--home", type=Path, default=PROJECT, help="folder with models/profiles")
    parser.add_argument("--profile", default="stock-tiny")
    parser.add_argument("--rows", type=Path, help="a train.jsonl; default: that of the sample")
    parser.add_argument("--threads", type=int, help="default: as the settings have it")
    given = parser.parse_args()
    settings = load_settings(home=given.home)
    torch.set_num_threads(given.threads or settings.threads)
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        file = given.rows or sample(Path(folder))
        task = make_task(given.home, load_profile(given.home, given.profile), file, given.seconds)
        print(
            f"{given.profile}, {len(task.rows)} rows, {len(task.validation)} for validation, "
            f"{given.seconds:g} CPU-seconds a way, {torch.get_num_threads()} threads"
        )
        print(
            f"{'way':8}{'tokens/CPU-s':>14}{'padding':>9}{'tokens':>10}{'steps':>7}{'seconds':>9}{'validation loss':>17}"
        )
        measured = {}
        for way in given.ways:
            measured[way] = measure(WAYS[way], task, Path(folder) / way)
            line = measured[way]
            print(
                f"{way:8}{line.speed:14,.0f}{line.padding:9.0%}{line.tokens:10,}{line.steps:7}{line.seconds:9.0f}{line.loss:17.4f}",
                flush=True,
            )
    if {"ours", "plain"} <= measured.keys():
        verdict(measured["ours"], measured["plain"])


def verdict(ours: Measured, plain: Measured) -> None:
    """Compares with the goal."""
    ratio = ours.speed / plain.speed
    lower = "no higher" if ours.loss <= plain.loss else "HIGHER"
    print(
        f"ours is {ratio:.2f} times as fast as the plain recipe (goal: {GOAL}), its loss after the same time is {lower}"
    )


def sample(folder: Path) -> Path:
    """train.jsonl of the sample, made in `folder`."""
    from stock_llm.project_files import write_project
    from tasks.build_dataset import build_dataset
    from tasks.collect import collect

    write_project(folder)
    settings = load_settings(home=folder)
    return build_dataset.fn(settings, collect.fn(settings)).train


def make_task(home: Path, profile: Profile, file: Path, seconds: float) -> Task:
    """The rows as tokens; the last ones by date, a tenth or 96, are kept for validation."""
    base = load_base(profile, home, four_bit=True)
    rows = sorted(read_rows(file), key=lambda row: (row.as_of, row.id))
    cut = len(rows) - min(96, len(rows) // 10)

    def tokens(part: list[Row]) -> list[TokenizedRow]:
        return tokenized(part, profile.format, base.tokenizer, profile.training.max_tokens, file)

    kinds = [f"{row.skill} {row.language}" for row in rows[:cut]]
    training = profile.training.model_copy(update={"verdict_weight": 1.0})
    profile = profile.model_copy(update={"training": training})
    return Task(home, profile, tokens(rows[:cut]), kinds, tokens(rows[cut:]), seconds)


def measure(way: Callable[[LoadedBase, Task, Path], Trainer], task: Task, folder: Path) -> Measured:
    """Trains in one way."""
    torch.manual_seed(0)
    base = load_base(task.profile, task.home, four_bit=True)
    trainer = way(base, task, folder)
    trainer.add_callback(Clock(task.seconds, task.profile.training.learning_rate))
    trainer.remove_callback(PrinterCallback)
    real, computed = 0, 0
    step = trainer.training_step

    def counted(model: Any, inputs: dict[str, torch.Tensor], *given: Any) -> torch.Tensor:
        nonlocal real, computed
        tokens = int(inputs["attention_mask"].sum())
        real += tokens
        packed = isinstance(trainer, AnswerTrainer)  # it takes the padding out
        computed += tokens if packed else inputs["attention_mask"].numel()
        return step(model, inputs, *given)

    trainer.training_step = counted  # type: ignore[method-assign]
    started, cpu = time.monotonic(), time.process_time()
    trainer.train()
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu
    return Measured(
        tokens=real,
        padding=1 - real / computed,
        steps=trainer.state.global_step,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        loss=validation_loss(trainer.model, task.validation),
    )


def validation_loss(model: Any, rows: list[TokenizedRow]) -> float:
    """Mean cross-entropy of the answers' tokens, in nats, from the model's own logits."""
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row.ids])
            logits = model(input_ids=ids).logits[0, row.prompt - 1 : -1].float()
            losses = torch.nn.functional.cross_entropy(
                logits, ids[0, row.prompt :], reduction="sum"
            )
            total, count = total + losses.item(), count + len(row.ids) - row.prompt
    return total / count


def plain(base: LoadedBase, task: Task, folder: Path) -> Trainer:
    """The recipe of transformers' and peft's documentation, without gradient checkpointing, which only a lack of memory asks for."""
    from datasets import Dataset
    from peft import get_peft_model, prepare_model_for_kbit_training
    from transformers import DataCollatorForLanguageModeling, TrainingArguments

    base.tokenizer.padding_side = "right"
    base.tokenizer.pad_token = base.tokenizer.pad_token or base.tokenizer.eos_token
    model = prepare_model_for_kbit_training(base.model, use_gradient_checkpointing=False)
    return Trainer(
        model=get_peft_model(model, lora_config(task.profile)),
        args=TrainingArguments(**arguments(task, folder)),
        train_dataset=Dataset.from_dict({"input_ids": [row.ids for row in task.rows]}),
        data_collator=DataCollatorForLanguageModeling(base.tokenizer, mlm=False),
    )


def trl(base: LoadedBase, task: Task, folder: Path) -> Trainer:
    """TRL's SFTTrainer with its defaults, but for bfloat16 arithmetic where the profile asks for float32."""
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    trainer: Trainer = SFTTrainer(
        model=base.model,
        args=SFTConfig(max_length=None, **arguments(task, folder)),
        train_dataset=Dataset.from_dict(
            {
                "input_ids": [row.ids for row in task.rows],
                "completion_mask": [
                    [0] * row.prompt + [1] * (len(row.ids) - row.prompt) for row in task.rows
                ],
            }
        ),
        processing_class=base.tokenizer,
        peft_config=lora_config(task.profile),
    )
    return trainer


def arguments(task: Task, folder: Path) -> dict[str, Any]:
    """What is the same for the plain recipe and TRL. The time ends both, not the epochs."""
    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": task.rows_per_step,
        "num_train_epochs": 1000,
        "lr_scheduler_type": "constant",
        "use_cpu": not on_gpu,
        "bf16": task.profile.training.precision == "bfloat16",
        "dataloader_pin_memory": on_gpu,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def ours(base: LoadedBase, task: Task, folder: Path) -> Trainer:
    """The project's own trainer, with its checkpoints."""
    training = task.profile.training
    tokens = sum(len(row.ids) for row in task.rows)
    epochs = 1 + task.seconds * MOST_TOKENS / tokens
    profile = task.profile.model_copy(
        update={"training": training.model_copy(update={"epochs": epochs})}
    )
    plan = schedule(task.rows, [1.0] * len(task.rows), task.kinds, profile, 0)
    arrangement = arrange(profile, read_shape(fetch_base(profile, task.home)), this_machine())
    if arrangement.unpacked:
        base.model.dequantize()
    checkpointing = arrangement.checkpointing
    return make_trainer(
        base, profile, task.rows, plan, folder, "benchmark", 0, checkpointing=checkpointing
    )


MOST_TOKENS = 10_000
"""A CPU-second, more than any CPU trains: so many rows are laid ready."""

WAYS: dict[str, Callable[[LoadedBase, Task, Path], Trainer]] = {
    "plain": plain,
    "trl": trl,
    "ours": ours,
}


if __name__ == "__main__":
    sys.exit(main())
