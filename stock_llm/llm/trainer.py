"""TRL's SFTTrainer, several times as fast on a CPU, and safe to kill.

In: tokenized rows with labels, in the order in which they are to be seen. What differs from TRL's
own defaults (`benchmarks/training.py` compares the two):

- no gradient checkpointing where memory holds all activations: it computes them forward twice;
- adapter weights in float32: TRL casts them to bfloat16 for a 4-bit base, which a CPU without
  bfloat16 instructions emulates, and which rounds small updates away on any machine;
- the loss looks at answer tokens only *before* the output layer (`training/answer_loss.py`): off a
  GPU, TRL computes the logits of every token, prompt and padding too, and their entropy besides;
- rows in the given order, and packed without padding (`training/packing.py`);
- on a base that is unpacked, LoRA layers with fewer operations (`training/fused_lora.py`).

Under `accelerate launch` every process runs this with its share of each step; the first one writes.
Does not know where the rows come from. Importing this module takes seconds (torch, transformers,
trl): import it inside the function that trains.
"""

import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, Trainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling, SFTTrainer

from stock_llm.llm.base import LoadedBase, is_sharded
from stock_llm.llm.bases import needs
from stock_llm.llm.profiles import Profile
from stock_llm.llm.training.answer_loss import put_loss_on_answers
from stock_llm.llm.training.fused_lora import fuse_lora
from stock_llm.llm.training.schedule import TokenizedRow, TrainingSchedule
from stock_llm.llm.training.watch import TrainingWatch


def make_trainer(
    base: LoadedBase,
    profile: Profile,
    examples: list[TokenizedRow],
    schedule: TrainingSchedule,
    folder: Path,
    training: str,
    seed: int,
    checkpointing: bool | None = None,
    validation: Sequence[TokenizedRow] = (),
) -> "AnswerTrainer":
    """A trainer of a fresh adapter on all linear layers of `base` but lm_head.

    Args:
        folder: where checkpoints go.
        training: digest of everything that the training is made from; it marks its checkpoints.
        checkpointing: whether activations are computed again in the backward pass; None: where the
            base is large.
        validation: rows on which the loss is taken now and then; the weights with the lowest are
            kept. None: those of the last step.
    """
    settings = SFTConfig(
        **common_settings(base, profile, schedule.batch, schedule.accumulate, folder, seed)
        | ({} if checkpointing is None else {"gradient_checkpointing": checkpointing})
        | (KEEP_BEST if validation else {}),
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    rows = [examples[index] for index in schedule.order]
    if settings.world_size > 1:
        # rows without an answer, which teach nothing: accelerate would repeat others to make the
        # last step's shares equal
        blank = TokenizedRow(rows[0].ids[:1], 1)
        rows += [blank] * (-len(rows) % (schedule.batch * settings.world_size))
    trainer = AnswerTrainer(
        model=base.model,
        args=settings,
        train_dataset=_as_dataset(rows, profile.training.verdict_weight),
        eval_dataset=_as_dataset(sorted(validation, key=lambda row: len(row.ids)), 1.0)
        if validation
        else None,
        data_collator=_WeightedCollator(base.padding),
        processing_class=base.tokenizer,
        peft_config=lora_config(profile),
        callbacks=[
            TrainingWatch(
                "fine-tuning",
                training,
                [len(row.ids) for row in rows],
                schedule.batch * schedule.accumulate * settings.world_size,
                evaluations=math.ceil(EVALUATIONS_PER_EPOCH * profile.training.epochs)
                if validation
                else 0,
                patience=profile.training.early_stopping_patience,
            )
        ],
    )
    trainer.remove_callback(PrinterCallback)
    for weight in trainable_weights(trainer):
        weight.data = weight.data.float()
    model: Any = trainer.model
    put_loss_on_answers(model.get_base_model())
    fuse_lora(model)
    return trainer


def _as_dataset(rows: Sequence[TokenizedRow], verdict_weight: float) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [row.ids for row in rows],
            "labels": [row.labels for row in rows],
            "weights": [row.weights(verdict_weight) for row in rows],
        }
    )


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
        "gradient_checkpointing": base.model.num_parameters() > needs.LARGE_MODEL,
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


KEEP_BEST = {
    "eval_strategy": "steps",
    "eval_steps": sys.maxsize,  # `TrainingWatch` decides
    "save_strategy": "best",
    "metric_for_best_model": "loss",
    "load_best_model_at_end": True,
}
"""Of transformers' Trainer: the checkpoint with the lowest loss is kept and loaded in the end."""

EVALUATIONS_PER_EPOCH = 4
"""Of the validation rows: at most a tenth of the rows, forward alone, so about a tenth of the time
that training takes.
"""


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


LOSS_INPUTS = ("input_ids", "attention_mask", "labels", "weights")


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
        loss = model(**{name: inputs[name] for name in LOSS_INPUTS})
        # the tokens are those of all processes, whose gradients DDP and FSDP average
        per_token: torch.Tensor = loss / num_items_in_batch * self.args.world_size
        return per_token

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Takes the loss on the validation rows, in nats a token. Every process does so for all of
        them: they are few.
        """
        rows: Any = self.eval_dataset
        model: Any = self.model_wrapped
        model.eval()
        total, tokens = 0.0, 0
        batch = self.args.per_device_train_batch_size
        with torch.no_grad():
            for start in range(0, len(rows), batch):
                some = [rows[place] for place in range(start, min(start + batch, len(rows)))]
                inputs: Any = self._prepare_inputs(self.data_collator(some))
                total += model(**{name: inputs[name] for name in LOSS_INPUTS}).item()
                tokens += int((inputs["labels"][:, 1:] != -100).sum())
        loss = [total / tokens]
        if self.args.world_size > 1:  # all have to draw the same conclusion
            broadcast_object_list(loss)
        metrics = {"eval_loss": loss[0]}
        self.log(metrics)
        model.train()
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics
