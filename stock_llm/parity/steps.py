"""The steps from an adapter to a quantized file: their logits, their distances, and what each may
lose.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stock_llm.errors import ParityError
from stock_llm.llm.architectures import ModelShape
from stock_llm.llm.merging.layerwise import TokenizedAnswer
from stock_llm.llm.merging.weights import Weights
from stock_llm.parity.divergence import LogitFile
from stock_llm.parity.measurement import find_wrong_tensor
from stock_llm.parity.report import Step, check_divergence

MERGE_BOUND = {"float32": 0.005, "bfloat16": 0.05}
"""KL in nats a token that the merge into the base as training saw it may be from the adapter, by
the precision that training computes in: another order of the same sums."""

F16_KL_BOUND = 0.005
"""The same of the f16 GGUF and the merge: rounding to f16, nothing else."""

F16_BOUND = 0.01
"""Share of the loss that the f16 GGUF may lose against the merge."""

QUANTIZED_BOUND = 0.15
"""The quantized GGUF, or the quantized base with the adapter, may lose this share against f16.
Q4_K_M costs a 7B model about 3 % of perplexity, a tiny one more.
"""

SERVED = "served"
"""The quantized base with the adapter beside it, where that is what is published."""

STEPS = ("adapter", "merged", "f16", "quantized", SERVED)


@contextmanager
def logit_files(
    folder: Path, answers: Sequence[TokenizedAnswer], shape: ModelShape
) -> "Iterator[dict[str, LogitFile]]":
    """A file of logits for each step and merge, deleted in the end."""
    names = ("adapter", "original", "dequantized", "f16", "quantized", SERVED)
    files = {
        name: LogitFile(folder / f"{name}.logits", answers, shape.vocab_size) for name in names
    }
    try:
        yield files
    finally:
        for name in names:
            files[name].delete()


def steps_of(
    logits: dict[str, LogitFile], scores: dict[str, float], sizes: dict[str, int]
) -> list[Step]:
    """The steps in their order, each with its distance from the one before it; that of `SERVED` is
    from the merged and quantized file.

    Args:
        scores, sizes: of those steps that have one.
    """
    steps = []
    for place, name in enumerate(step for step in STEPS if step != SERVED or step in sizes):
        own = logits[name]
        before = logits[STEPS[place - 1]].divergence(own) if place else None
        first = logits[STEPS[0]].divergence(own) if place else None
        steps.append(Step(name, own.loss, before, first, scores.get(name), sizes.get(name)))
    return steps


def check_merge(logits: dict[str, LogitFile], precision: str, scale: float) -> None:
    """
    Raises:
        ParityError: the merge into the base as training saw it is not what the adapter computes.
    """
    found = logits["adapter"].divergence(logits["dequantized"])
    likely = f"It was merged with alpha / rank {scale:g}"
    check_divergence("the merge", "the adapter", found, MERGE_BOUND[precision], likely)


def check_f16(logits: dict[str, LogitFile], f16: Path, weights: Weights, base: Path) -> None:
    """
    Raises:
        ParityError: llama.cpp computes something else than transformers; names the tensor that was
            written wrongly, if one was.
    """
    found = logits["merged"].divergence(logits["f16"])
    wrong = "" if found.mean_kl <= F16_KL_BOUND else find_wrong_tensor(f16, weights, base)
    likely = wrong or "All tensors are written rightly: llama.cpp computes this model otherwise"
    check_divergence("the f16 file", "the merge", found, F16_KL_BOUND, likely)


def check_losses(losses: dict[str, float]) -> None:
    """Each step stays within its bound.

    Raises:
        ParityError: names the step with both losses.
    """
    for step, before, bound in (
        ("f16", "merged", F16_BOUND),
        ("quantized", "f16", QUANTIZED_BOUND),
        *([(SERVED, "f16", QUANTIZED_BOUND)] if SERVED in losses else []),
    ):
        loss, allowed = losses[step], losses[before] * (1 + bound) + 1e-3
        if not math.isfinite(loss) or loss > allowed:
            raise ParityError(
                f"the {step} {'model' if step == SERVED else 'file'} loses {loss:.4f} nats per "
                f"token, "
                f"{before} {losses[before]:.4f}; {allowed:.4f} is allowed"
            )
