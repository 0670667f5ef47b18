"""How long fine-tuning a base takes, roughly: tokens times operations, divided by what one kind of
machine was seen to do.
"""

from dataclasses import dataclass

from stock_llm.llm.architectures import ModelShape
from stock_llm.llm.bases.needs import LARGE_MODEL, TOKENS_PER_ROW
from stock_llm.llm.profiles import Profile

TOKENS_PER_ROW_THAI = 190
"""Mean of the sample's rows as `TOKENS_PER_ROW`, of a tokenizer that knows Thai words: 187 of
stock-tiny's.
"""

ROWS_SEEN = 2.1
"""Rows of an epoch for each one of the setting `train_rows`: feedback, general questions and those
without numbers come to them. Counted on the sample.
"""


@dataclass(frozen=True)
class Speed:
    """What a machine was seen to do.

    Attributes:
        operations: floating-point operations a second of one core, or of a GPU, that a training
            gets through: four for each weight and token (forward and backward; the weights of the
            base have no gradient), on a CPU six with checkpointing (forward once more).
        overhead: seconds a token, whatever the size of the model.
    """

    operations: float
    overhead: float


CPU_BFLOAT16 = Speed(1.04e11, 6e-5)
"""One of two AVX-512 cores with bfloat16 instructions: SmolLM2-135M, 385 tokens/s on both."""

CPU_FLOAT32 = Speed(5.0e10, 6e-5)
"""The same core in float32: SmolLM2-135M, 185 tokens/s on both; stock-tiny, 2,700 on one, for the
overhead.
"""

GPU = Speed(7.7e13, 0.0)
"""Not measured here: an RTX 4090 at the 2,413 tokens/s of Llama-3.1-8B that torchtune publishes for
QLoRA, its checkpointing included.
"""


def training_seconds(
    profile: Profile, shape: ModelShape, rows: int, cores: int, gpu: bool
) -> float:
    """How long fine-tuning takes, roughly.

    Args:
        rows: the setting `train_rows`.
        cores: of the CPU, where there is no GPU.
    """
    operations = 6 if shape.weights > LARGE_MODEL and not gpu else 4
    if gpu:
        speed, units = GPU, 1
    else:
        speed = CPU_FLOAT32 if profile.training.precision == "float32" else CPU_BFLOAT16
        units = cores
    tokens = epoch_tokens(profile, rows) * profile.training.epochs
    return tokens * (operations * shape.weights / speed.operations + speed.overhead) / units


def epoch_tokens(profile: Profile, rows: int) -> float:
    """Tokens of an epoch, roughly.

    Args:
        rows: the setting `train_rows`.
    """
    thai = "Thai" in profile.about.languages
    return ROWS_SEEN * rows * (TOKENS_PER_ROW_THAI if thai else TOKENS_PER_ROW)
