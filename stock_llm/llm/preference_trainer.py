"""TRL's DPO trainer, set up for the few opinions that people give about answers.

In: a base, the folder of its fine-tuned adapter, pairs of answers as tokens, those of fine-tuning
and serving (TRL's own preparation is passed by, which would add an end token where a prompt format
has another), and rows of fine-tuning. The adapter goes on being trained; TRL keeps a frozen copy of
it, some MB, as the reference in the same model.

The loss is the sum of three: DPO's own (Rafailov et al. 2023); the cross-entropy of the wanted
answer, as in RPO (Pang et al. 2024), because DPO alone makes both answers of a pair less likely;
and the cross-entropy of a replayed row, as in InstructGPT (Ouyang et al. 2022), because forty
opinions on one skill otherwise cost the others. What each is worth: docs/performance.md.

Importing this module takes seconds: import it inside the function that trains.
"""

# ruff: noqa: ARG002  (TRL gives what it gives)

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PrinterCallback, Trainer
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from stock_llm.llm.base import LoadedBase
from stock_llm.llm.bases.needs import TOKENS_AT_ONCE
from stock_llm.llm.profiles import Profile
from stock_llm.llm.trainer import WeightsOnly, common_settings
from stock_llm.llm.training.answer_loss import put_loss_on_answers
from stock_llm.llm.training.schedule import TokenizedRow
from stock_llm.llm.training.watch import TrainingWatch

REPLAY = "replay"
"""The column of the replayed rows."""

DPO_WEIGHT = 0.1
"""Of DPO's loss, which sums over tokens, beside the other two, which are means of them."""

REFERENCE = "ref"
"""TRL's name for the frozen copy of the adapter."""


@dataclass(frozen=True)
class Pair:
    """Tokens of a prompt, of the answer that was wanted and of the one that was not, ends included.
    The names are TRL's.
    """

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


class PairTrainer(WeightsOnly, DPOTrainer):
    """DPOTrainer that takes tokens, adds the loss of the replayed rows to its own, and writes
    nothing but checkpoints.
    """

    def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
        """The rows as they are: they are tokens already."""
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns: list[str] = self._signature_columns or []
        if REPLAY not in columns:
            self._signature_columns = [*columns, REPLAY]  # type: ignore[assignment]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """TRL's loss of the pairs, and the mean cross-entropy (nats) of a replayed answer's
        tokens.
        """
        replay = inputs.pop(REPLAY)
        loss: torch.Tensor = super().compute_loss(model, inputs)
        tokens = (replay["labels"][:, 1:] != -100).sum()
        weights = torch.ones_like(replay["labels"], dtype=torch.float32)
        return loss + model(**replay, weights=weights) / tokens


class _ReplayCollator:
    """Pads the replayed rows of a batch beside TRL's collator of its pairs."""

    def __init__(self, pairs: Any, padding: int):
        self._pairs, self._padding = pairs, padding

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [row for example in examples for row in example.pop(REPLAY)]
        batch: dict[str, Any] = self._pairs(examples)
        batch[REPLAY] = DataCollatorForLanguageModeling(self._padding)(rows)
        return batch


def make_preference_trainer(
    base: LoadedBase,
    adapter: Path,
    profile: Profile,
    pairs: list[Pair],
    replay: list[TokenizedRow],
    folder: Path,
    training: str,
    seed: int,
) -> Trainer:
    """A trainer of `adapter` on pairs.

    Args:
        adapter: folder of the LoRA weights to go on from.
        pairs: in the order in which they are seen, all epochs one after the other.
        replay: rows of fine-tuning, equally many for each of them.
        folder: where checkpoints go.
        training: digest of everything that the training is made from; it marks its checkpoints.
    """
    tuning = profile.training.preferences
    count = len(replay) // len(pairs)
    beside = [replay[start : start + count] for start in range(0, len(replay), count)]
    lengths = [
        2 * len(pair.prompt_ids)
        + len(pair.chosen_ids)
        + len(pair.rejected_ids)
        + sum(len(row.ids) for row in rows)
        for pair, rows in zip(pairs, beside, strict=True)
    ]
    batch, accumulate = _share_out(profile, max(lengths))
    settings = common_settings(base, profile, batch, accumulate, folder, seed) | {
        "learning_rate": profile.training.learning_rate * tuning.learning_rate,
        "beta": tuning.beta,
        "loss_type": ["sigmoid", "sft"],
        "loss_weights": [DPO_WEIGHT, 1.0],
        "max_length": None,  # what is too long was left out
    }
    columns: dict[str, list[Any]] = {
        name: [vars(pair)[name] for pair in pairs] for name in vars(pairs[0])
    }
    columns[REPLAY] = [
        [{"input_ids": row.ids, "labels": row.labels} for row in rows] for rows in beside
    ]
    trainer = PairTrainer(
        model=PeftModel.from_pretrained(base.model, str(adapter), is_trainable=True),
        args=DPOConfig(**settings),
        train_dataset=Dataset.from_dict(columns),
        processing_class=base.tokenizer,
        callbacks=[TrainingWatch("preference tuning", training, lengths, batch * accumulate)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.data_collator = _ReplayCollator(trainer.data_collator, base.padding)
    model: Any = trainer.model
    put_loss_on_answers(model.get_base_model())
    _restore_precision(model)
    return trainer


def _share_out(profile: Profile, longest: int) -> tuple[int, int]:
    """Pairs of a forward pass, as many as `TOKENS_AT_ONCE` asks for, and passes of a step, which
    has as many pairs as one of fine-tuning has rows.

    Args:
        longest: tokens of a pair and the rows beside it, at most.
    """
    step = profile.training.batch * profile.training.accumulate
    most = max(1, profile.training.batch // 2)  # a pair is two rows
    batch = max(
        pairs
        for pairs in range(1, most + 1)
        if pairs == 1 or (step % pairs == 0 and pairs * longest <= TOKENS_AT_ONCE)
    )
    return batch, step // batch


def _restore_precision(model: Any) -> None:
    """Undoes TRL's rounding of the trained adapter to bfloat16 on a 4-bit base: it would begin away
    from its reference, and small updates would be lost.
    """
    for name, weight in model.named_parameters():
        if f".{REFERENCE}." in name:
            weight.requires_grad_(False)
            trained = model.get_parameter(name.replace(f".{REFERENCE}.", ".default."))
            trained.data = weight.data.detach().float().clone()
            weight.data = weight.data.float()
