"""TRL's SFTTrainer, made as fast on a CPU as a bare loop, and safe to kill.

In: tokenized rows with labels, in the order in which they are to be seen. What differs from TRL's
own defaults, with what each costs on two cores without bfloat16 units (`make bench` measures it
again):

- no gradient checkpointing where memory is not scarce: it computes everything forward twice;
- adapter weights in float32: TRL casts them to bfloat16 for a 4-bit base, which such a CPU
  emulates, and which rounds small updates away on any machine;
- the loss looks at answer tokens only *before* the output layer: off a GPU, TRL computes the logits
  of every token, prompt and padding too, and their entropy besides;
- rows in the given order: the caller has put rows of like length together, so that little is
  padding.

Checkpoints come by the clock. Under `accelerate launch` every process runs this with its share of
each step; the first one writes. Does not know where the rows come from. Importing this module takes
seconds (torch, transformers, trl): import it inside the function that trains.
"""

# ruff: noqa: ARG002  (events get what transformers gives them)

import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from peft import LoraConfig
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from transformers import PrinterCallback, Trainer, TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling, SFTTrainer

from stock_llm.errors import StockLLMError
from stock_llm.llm.base import LoadedBase, is_sharded
from stock_llm.llm.bases.needs import LARGE_MODEL
from stock_llm.llm.checkpoints import seal_checkpoint
from stock_llm.llm.profiles import Profile
from stock_llm.progress import WatchedProgress

SECONDS_BETWEEN_CHECKPOINTS = 15.0
"""A kill costs no more than this much work; ..."""

CHECKPOINT_SHARE = 0.05
"""... unless writing checkpoints would then take more than this share of the time."""


@dataclass(frozen=True)
class TokenizedRow:
    """One tokenized row.

    Attributes:
        ids: token ids of the whole conversation, BOS to EOS.
        prompt: how many of them are the prompt, on which there is no loss.
        verdict: places of the tokens that name a verdict, such as BUY or OVERSOLD.
    """

    ids: list[int]
    prompt: int
    verdict: tuple[int, ...] = ()

    def weights(self, verdict: float) -> list[float]:
        """The weight of each token's loss: that of a verdict's, 1.0 elsewhere."""
        weights = [1.0] * len(self.ids)
        for place in self.verdict:
            weights[place] = verdict
        return weights


@dataclass(frozen=True)
class TrainingSchedule:
    """What is seen when.

    Attributes:
        order: indices of examples, all epochs one after the other.
        batch: rows per forward pass.
        accumulate: forward passes per step, of each process.
    """

    order: list[int]
    batch: int
    accumulate: int


def make_trainer(
    base: LoadedBase,
    profile: Profile,
    examples: list[TokenizedRow],
    schedule: TrainingSchedule,
    folder: Path,
    training: str,
    seed: int,
) -> "AnswerTrainer":
    """A trainer of a fresh adapter on all linear layers of `base` but lm_head.

    Args:
        folder: where checkpoints go.
        training: digest of everything that the training is made from; it marks its checkpoints.
    """
    settings = SFTConfig(
        **common_settings(base, profile, schedule.batch, schedule.accumulate, folder, seed),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    rows = [examples[index] for index in schedule.order]
    if settings.world_size > 1:
        # rows without an answer, which teach nothing: accelerate would repeat others to make the
        # last step's shares equal
        blank = TokenizedRow(rows[0].ids[:1], 1)
        rows += [blank] * (-len(rows) % (schedule.batch * settings.world_size))
    padding = base.tokenizer.pad_token_id
    if padding is None:
        padding = base.tokenizer.eos_token_id
    trainer = AnswerTrainer(
        model=base.model,
        args=settings,
        train_dataset=Dataset.from_dict(
            {
                "input_ids": [row.ids for row in rows],
                "labels": [[-100] * row.prompt + row.ids[row.prompt :] for row in rows],
                "weights": [row.weights(profile.training.verdict_weight) for row in rows],
            }
        ),
        data_collator=_WeightedCollator(padding),
        processing_class=base.tokenizer,
        peft_config=lora_config(profile),
        callbacks=[
            TrainingWatch(
                "fine-tuning",
                training,
                [len(row.ids) for row in rows],
                schedule.batch * schedule.accumulate * settings.world_size,
            )
        ],
    )
    trainer.remove_callback(PrinterCallback)
    for weight in trainable_weights(trainer):
        weight.data = weight.data.float()
    model: Any = trainer.model
    _put_loss_on_answers(model.get_base_model())
    return trainer


def lora_config(profile: Profile) -> LoraConfig:
    """A fresh adapter as the profile describes it."""
    return LoraConfig(
        r=profile.lora.rank,
        lora_alpha=profile.lora.alpha,
        lora_dropout=profile.lora.dropout,
        target_modules=list(profile.lora.targets) or "all-linear",
        task_type="CAUSAL_LM",
    )


def common_settings(
    base: LoadedBase, profile: Profile, batch: int, accumulate: int, folder: Path, seed: int
) -> dict[str, Any]:
    """What every trainer here is set to: one pass over rows whose order the caller has fixed.

    Args:
        batch: rows per forward pass.
        accumulate: forward passes per step.
        folder: where checkpoints go.
    """
    on_gpu = torch.cuda.is_available()
    # TRL's own use of it
    warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing` is deprecated", FutureWarning)
    return {
        "output_dir": str(folder),
        "seed": seed,
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulate,
        "learning_rate": profile.training.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": profile.training.warmup_ratio,  # below 1: a share
        "optim": "paged_adamw_8bit" if on_gpu and not is_sharded() else "adamw_torch_fused",
        "max_grad_norm": 1.0,
        "use_cpu": not on_gpu,
        "bf16": profile.training.precision == "bfloat16",
        "gradient_checkpointing": base.model.num_parameters() > LARGE_MODEL,
        "dataloader_pin_memory": on_gpu,
        "ddp_find_unused_parameters": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # `TrainingWatch` decides
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
    }


def trainable_weights(trainer: Trainer) -> list[torch.nn.Parameter]:
    """The weights that are trained."""
    assert trainer.model is not None
    return [weight for weight in trainer.model.parameters() if weight.requires_grad]


class WeightsOnly:
    """Keeps a TRL trainer from writing or sending anything but checkpoints."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: TRL would write one into every checkpoint."""

    def _send_telemetry(self) -> None:
        """None, whatever the environment says."""


class _WeightedCollator(DataCollatorForLanguageModeling):
    """TRL's collator, which also pads the weights of the tokens' loss."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        weights = [torch.tensor(example["weights"]) for example in examples]
        batch["weights"] = torch.nn.utils.rnn.pad_sequence(weights, batch_first=True)
        return batch


def save_adapter(trainer: Trainer, folder: Path, base: str) -> None:
    """Writes the trained adapter alone, without the reference of preference tuning; every process
    has to call this, the first one writes.

    Args:
        base: what its config says it belongs to, not a path of this machine.
    """
    # FSDP: each process holds a part of every weight
    whole = (
        trainer.accelerator.get_state_dict(trainer.model_wrapped)
        if trainer.is_fsdp_enabled
        else None
    )
    if trainer.is_world_process_zero():
        model: Any = trainer.accelerator.unwrap_model(trainer.model)
        model.peft_config["default"].base_model_name_or_path = base
        model.save_pretrained(
            str(folder),
            state_dict=whole,
            selected_adapters=["default"],
            save_embedding_layers=False,
        )


def _put_loss_on_answers(causal_model: Any) -> None:
    """Makes the model return, where it is given labels, the weighted sum of the cross-entropy
    (nats) of the answer tokens, and compute the logits of no others.

    It is the model's own `forward` that is replaced, because DDP and FSDP see only what passes
    through it. The Trainer's autocast is off inside: it would round the adapter, which is float32.
    """
    forward = causal_model.forward

    def loss_of_answers(
        input_ids: Any = None,
        attention_mask: Any = None,
        labels: Any = None,
        weights: Any = None,
        **given: Any,
    ) -> Any:
        if labels is None:
            return forward(input_ids=input_ids, attention_mask=attention_mask, **given)
        targets = labels[:, 1:]
        answer = targets != -100
        with torch.autocast(input_ids.device.type, enabled=False):
            hidden = causal_model.model(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False
            ).last_hidden_state[:, :-1]
            logits = causal_model.lm_head(hidden[answer]).float()
            losses = torch.nn.functional.cross_entropy(logits, targets[answer], reduction="none")
            return (losses * weights[:, 1:][answer]).sum()

    causal_model.forward = loss_of_answers


class AnswerTrainer(WeightsOnly, SFTTrainer):
    """SFTTrainer with the loss on answers alone, more of it on verdicts."""

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns: list[str] = self._signature_columns or []
        if "weights" not in columns:
            self._signature_columns = [*columns, "weights"]  # type: ignore[assignment]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """Weighted cross-entropy in nats, divided by the answer tokens of the whole step, so that
        rows count by their answer tokens.
        """
        if return_outputs:
            raise NotImplementedError("this trainer only trains")
        names = ("input_ids", "attention_mask", "labels", "weights")
        loss = model(**{name: inputs[name] for name in names})
        # the tokens are those of all processes, whose gradients DDP and FSDP average
        per_token: torch.Tensor = loss / num_items_in_batch * self.args.world_size
        return per_token


class TrainingWatch(TrainerCallback):
    """Shows progress, asks for checkpoints by the clock, seals them, and stops a training that has
    gone astray.

    Args:
        name: of the work, as people read it.
        training: digest of everything that the training is made from.
        lengths: tokens of the rows, in the order in which they are seen.
    """

    def __init__(self, name: str, training: str, lengths: list[int], rows_per_step: int):
        self.training = training
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
        self.started = self.saved = time.monotonic()
        self.save_seconds = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.first_step = state.global_step
        self.seconds_before = state.log_history[-1]["seconds"] if state.log_history else 0.0
        self.started = self.saved = time.monotonic()
        self.bar.update(self.task, total=state.max_steps, completed=state.global_step)
        if state.is_world_process_zero:
            self.bar.start()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        entry = state.log_history[-1]
        if "loss" not in entry:  # the summary at the end
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

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        pause = max(SECONDS_BETWEEN_CHECKPOINTS, self.save_seconds / CHECKPOINT_SHARE)
        due = [time.monotonic() - self.saved >= pause]
        if args.world_size > 1:  # they write a checkpoint together, and their clocks differ
            broadcast_object_list(due)
        if due[0]:
            control.should_save = True
            self.saved = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        PartialState().wait_for_everyone()  # each process writes the state of its random numbers
        if state.is_world_process_zero:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            seal_checkpoint(checkpoint, self.training)
        self.save_seconds = time.monotonic() - self.saved

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.stop()
