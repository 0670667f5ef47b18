"""Chooses a quantization: the smallest file whose answers are as likely as those of the f16 file.

A file is good enough when the loss of the validation rows' answers rises by no more than the
margin: the upper end of a one-sided 95 % interval of the paired difference over rows, so that few
rows or scattered ones let nothing through. The smallest comes first, and the first that is good
enough is taken.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stock_llm.llm.gguf.importance import ImportanceMatrix
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.merging.layerwise import TokenizedAnswer
from stock_llm.llm.quantization import LADDER, quantize_gguf, tensor_types

_ONE_SIDED_95 = 1.645


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        reasons: a sentence for each quantization that was tried.
    """

    quantization: str
    gguf: Path
    reasons: list[str]


def choose_quantization(
    f16: Path,
    stem: str,
    answers: Sequence[TokenizedAnswer],
    margin: float,
    importance: ImportanceMatrix | None,
    threads: int,
    context: int,
) -> Choice:
    """Makes one file after the other beside the f16 file, and keeps the one that is chosen.

    Args:
        stem: beginning of the file's name, which the quantization follows.
        answers: of the validation rows.
        margin: share by which the loss may rise.
    """
    wanted = _row_losses(f16, answers, threads, context)
    reasons: list[str] = []
    for kind in LADDER:
        gguf = f16.with_name(f"{stem}-{kind}.gguf")
        quantize_gguf(f16, gguf, kind, threads, importance)
        rise = _row_losses(gguf, answers, threads, context) - wanted
        mean = float(rise.mean() / wanted.mean())
        error = float(rise.std(ddof=1) / math.sqrt(len(rise)) / wanted.mean())
        highest = mean + _ONE_SIDED_95 * error
        good = highest <= margin or kind == LADDER[-1]
        reasons.append(
            f"{kind}: {gguf.stat().st_size / 1e6:.1f} MB, the loss of {len(rise)} validation rows "
            f"changes by {mean:+.2%}, at most {highest:+.2%} ({margin:.0%} are allowed): "
            f"{'chosen' if good else 'not good enough'}{_mixture(gguf)}"
        )
        if good:
            return Choice(kind, gguf, reasons)
        gguf.unlink()
    raise AssertionError("the last of the ladder is always taken")


def _row_losses(
    gguf: Path, answers: Sequence[TokenizedAnswer], threads: int, context: int
) -> "np.ndarray[Any, np.dtype[np.float64]]":
    with LlamaModel(gguf, threads=threads, context=context) as model:
        pairs = [model.answer_loss(row.prompt, row.answer) for row in answers]
    return np.array([loss / count for loss, count in pairs])


def _mixture(gguf: Path) -> str:
    types = tensor_types(gguf)
    return f" ({', '.join(f'{count} matrices {name}' for name, count in types.items())})"
