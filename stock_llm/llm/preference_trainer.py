"""TRL's DPO and KTO trainers, set up for the few opinions that people give about answers.

In: a base, the folder of its fine-tuned adapter, and opinions as tokens, those of fine-tuning and
serving: TRL's own preparation is passed by, which would add an end token where a prompt format has
another. The adapter goes on being trained; TRL keeps a frozen copy of it, some MB, as the reference
in the same model.

Corrections are pairs and get DPO's loss. Thumbs are not pairs and get the unpaired loss
`apo_zero_unpaired` (D'Oosterlinck et al. 2024) of TRL's KTOTrainer, not KTO's own (Ethayarajh et
al. 2024): that one compares an answer's reward with a KL divergence, estimated from the prompts of
a batch with each other's answers. Our answers to a skill share their form, and a batch on a small
machine holds four: a prompt with its neighbour's answer gets about the reward of the answer itself,
so that the two cancel for thumbs up; for thumbs down the estimate is clamped at 0, which is what
this loss assumes from the start, at half the forward passes.

Importing this module takes seconds: import it inside the function that trains.
"""

# ruff: noqa: ARG002  (TRL gives what it gives)

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import PeftModel
from transformers import PrinterCallback, Trainer
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer

from stock_llm.llm.base import LoadedBase
from stock_llm.llm.profiles import Profile
from stock_llm.llm.trainer import WeightsOnly, common_settings
from stock_llm.llm.training.watch import TrainingWatch

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


@dataclass(frozen=True)
class Vote:
    """Tokens of a prompt and of one answer, its end included; whether it was good. The names are
    TRL's.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    label: bool


class _TokenRows(WeightsOnly):
    """Passes TRL's preparation of rows by."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
        """The rows as they are: they are tokens already."""
        return dataset


class PairTrainer(_TokenRows, DPOTrainer):
    """DPOTrainer that takes tokens and writes nothing but checkpoints."""


class VoteTrainer(_TokenRows, KTOTrainer):
    """KTOTrainer that takes tokens and writes nothing but checkpoints."""


def make_preference_trainer(
    base: LoadedBase,
    adapter: Path,
    profile: Profile,
    opinions: list[Pair] | list[Vote],
    folder: Path,
    training: str,
    seed: int,
) -> Trainer:
    """A trainer of `adapter` on opinions of one kind.

    Args:
        adapter: folder of the LoRA weights to go on from.
        opinions: in the order in which they are seen, all epochs one after the other.
        folder: where checkpoints go.
        training: digest of everything that the training is made from; it marks its checkpoints.
    """
    tuning = profile.training.preferences
    step = profile.training.batch * profile.training.accumulate
    paired = isinstance(opinions[0], Pair)
    batch = max(1, profile.training.batch // 2) if paired else profile.training.batch
    accumulate = max(1, step // batch)
    settings = common_settings(base, profile, batch, accumulate, folder, seed) | {
        "learning_rate": profile.training.learning_rate * tuning.learning_rate,
        "beta": tuning.beta,
        "max_length": None,  # what is too long was left out
    }
    columns = {name: [vars(opinion)[name] for opinion in opinions] for name in vars(opinions[0])}
    lengths = [
        sum(len(ids) for ids in vars(opinion).values() if isinstance(ids, list))
        for opinion in opinions
    ]
    given: dict[str, Any] = {
        "model": PeftModel.from_pretrained(base.model, str(adapter), is_trainable=True),
        "train_dataset": Dataset.from_dict(columns),
        "processing_class": base.tokenizer,
        "callbacks": [
            TrainingWatch(
                "learning corrections" if paired else "learning thumbs",
                training,
                lengths,
                batch * accumulate,
            )
        ],
    }
    trainer: Trainer
    if paired:
        trainer = PairTrainer(args=DPOConfig(**settings), **given)
    else:
        trainer = VoteTrainer(args=KTOConfig(loss_type="apo_zero_unpaired", **settings), **given)
    trainer.remove_callback(PrinterCallback)
    _restore_precision(trainer.model)
    return trainer


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
