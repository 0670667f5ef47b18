"""How long a quantized model takes to answer rows, computed from the sizes of its base.

Rough: tokens times operations, divided by what one kind of machine was seen to do.
"""

from dataclasses import dataclass

from stock_llm.llm.architectures import ModelShape
from stock_llm.llm.profiles import Profile

PROMPT_TOKENS = 174
ANSWER_TOKENS = 116
"""Mean of the sample's rows, English and Thai, as SmolLM2's tokenizer counts."""


@dataclass(frozen=True)
class AnswerSpeed:
    """What a machine was seen to do when a quantized model answers, several rows at once.

    Attributes:
        prompt, answer: floating-point operations a second of one core, or of a GPU, two for each
            weight and token, in prompts and in answers.
        overhead: seconds a token, whatever the size of the model.
    """

    prompt: float
    answer: float
    overhead: float


CPU = AnswerSpeed(9.9e10, 8.3e10, 2e-4)
"""One of two cores of a Xeon, llama.cpp with AVX2, Q4_K_M, 16 rows at once: a Mistral of 1.0
billion weights, and stock-tiny for the overhead; `python benchmarks/judging.py`."""

GPU = AnswerSpeed(2.0e13, 4.0e12, 0.0)
"""Not measured here: guessed at a tenth of the arithmetic of a GPU with 16 GB or more."""


def seconds(
    profile: Profile, shape: ModelShape, rows: int, answer_tokens: int, cores: int, gpu: bool
) -> float:
    """How long a model takes to answer that many rows, roughly.

    Args:
        answer_tokens: of an answer; `num_predict` of the profile bounds it.
        cores: of the CPU, where llama.cpp has no GPU.
    """
    speed, units = (GPU, 1) if gpu else (CPU, cores)
    answer = min(answer_tokens, profile.serving.num_predict)
    operations = 2 * shape.weights * (PROMPT_TOKENS / speed.prompt + answer / speed.answer)
    return rows * (operations + (PROMPT_TOKENS + answer) * speed.overhead) / units
