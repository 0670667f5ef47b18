"""Watches over a training: progress, checkpoints by the clock, when it ends.

Importing this module takes seconds (transformers).
"""

# ruff: noqa: ARG002  (events get what transformers gives them)

import math
import time
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from transformers import TrainerCallback

from stock_llm.errors import StockLLMError
from stock_llm.llm.checkpoints import seal_checkpoint
from stock_llm.progress import WatchedProgress, measured

SECONDS_BETWEEN_CHECKPOINTS = 15.0
"""A kill costs no more than this much work; ..."""

CHECKPOINT_SHARE = 0.05
"""... unless writing checkpoints would then take more than this share of the time."""


class TrainingWatch(TrainerCallback):
    """Shows progress, tells what is measured, asks for checkpoints by the clock, seals them, and
    stops a training that has gone astray, or one whose validation loss falls no more.

    Args:
        name: of the work, as people read it.
        training: digest of everything that the training is made from.
        lengths: tokens of the rows, in the order in which they are seen.
        evaluations: how often the loss is taken on the validation rows, at even distances, the last
            time after the last step; 0: there are no such rows.
        patience: evaluations without a lower loss after which training ends; 0: none end it.
    """

    def __init__(
        self,
        name: str,
        training: str,
        lengths: list[int],
        rows_per_step: int,
        evaluations: int = 0,
        patience: int = 0,
    ):
        self.name = name
        self.training = training
        self.evaluations = evaluations
        self.patience = patience
        sums = [
            sum(lengths[start : start + rows_per_step])
            for start in range(0, len(lengths), rows_per_step)
        ]
        self.tokens = [0]
        for count in sums:
            self.tokens.append(self.tokens[-1] + count)
        self.bar = WatchedProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self.task = self.bar.add_task(name, total=None, note="")
        self.first_step = 0
        self.seconds_before = 0.0
        self.started = self.saved = self.step_ended = time.monotonic()
        self.save_seconds = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.first_step = state.global_step
        seconds = [entry["seconds"] for entry in state.log_history if "seconds" in entry]
        self.seconds_before = seconds[-1] if seconds else 0.0
        self.started = self.saved = time.monotonic()
        self.bar.update(self.task, total=state.max_steps, completed=state.global_step)
        if state.is_world_process_zero:
            self.bar.start()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        entry = state.log_history[-1]
        if "loss" not in entry:  # of the validation rows; the summary at the end
            return
        seconds = time.monotonic() - self.started
        entry["seconds"] = self.seconds_before + seconds
        if not math.isfinite(entry["loss"]):
            raise StockLLMError(
                f"training went astray at step {state.global_step}: the loss is {entry['loss']}. "
                "Lower learning_rate in the profile of the base model"
            )
        speed = (self.tokens[state.global_step] - self.tokens[self.first_step]) / seconds
        note = f"loss {entry['loss']:.3f}, {speed:,.0f} tokens/s"
        self.bar.update(self.task, completed=state.global_step, note=note)
        if state.is_world_process_zero:
            measured(self.name, state.global_step, entry)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        pause = max(SECONDS_BETWEEN_CHECKPOINTS, self.save_seconds / CHECKPOINT_SHARE)
        due = [time.monotonic() - self.saved >= pause]
        if args.world_size > 1:  # they write a checkpoint together, and their clocks differ
            broadcast_object_list(due)
        if due[0]:
            control.should_save = True
        if self.evaluations:
            pace = math.ceil(state.max_steps / self.evaluations)
            last = state.global_step >= state.max_steps
            control.should_evaluate = last or state.global_step % pace == 0
        self.step_ended = time.monotonic()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # from the history, which lies in every checkpoint
        losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        if not math.isfinite(losses[-1]):
            raise StockLLMError(
                f"training went astray at step {state.global_step}: the validation loss is "
                f"{losses[-1]}. Lower learning_rate in the profile of the base model"
            )
        best = losses.index(min(losses))
        if self.patience and len(losses) - 1 - best >= self.patience:
            control.should_training_stop = True
        self.step_ended = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        PartialState().wait_for_everyone()  # each process writes the state of its random numbers
        if state.is_world_process_zero:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            seal_checkpoint(checkpoint, self.training)
        self.saved = time.monotonic()
        self.save_seconds = self.saved - self.step_ended

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.stop()
