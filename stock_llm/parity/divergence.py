"""How far the logits of two models are apart on the same answers.

KL(P‖Q) is the mean over tokens of the surprise, in nats, that Q has where P is right about the next
token (Kullback and Leibler 1951); llama.cpp's `llama-perplexity --kl-divergence` gives the same
figures. Logits of a step are kept in a file while the next one is computed, so that no two models
are loaded at once; of a large vocabulary only as many tokens as `LARGEST_LOGITS` has room for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stock_llm.llm.bases.needs import LARGEST_LOGITS
from stock_llm.llm.merging.layerwise import TokenizedAnswer

_AT_ONCE = 64
"""Tokens whose logits are worked on in float64."""

Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Divergence:
    """The distance of one model from another.

    Attributes:
        mean_kl: nats a token.
        p99_kl: of one token in a hundred it is larger than this.
        same_top: share of tokens of which both have the same most likely next token.
        tokens: how many were compared.
    """

    mean_kl: float
    p99_kl: float
    same_top: float
    tokens: int


class LogitFile:
    """The logits of one model on the answers of rows.

    Args:
        path: a temporary file; the caller deletes it.
    """

    def __init__(self, path: Path, answers: Sequence[TokenizedAnswer], vocabulary: int):
        self.path = path
        self._answers = answers
        total = sum(len(row.answer) for row in answers)
        room = max(1, min(total, LARGEST_LOGITS // (4 * vocabulary)))
        wanted = np.unique(np.linspace(0, total - 1, room).round().astype(int))
        self._starts = np.cumsum([0, *(len(row.answer) for row in answers)])
        self._wanted = wanted
        self._losses = np.full(total, np.nan)
        self._kept: np.ndarray = np.memmap(path, np.float32, "w+", shape=(len(wanted), vocabulary))

    def take(self, number: int, logits: Any) -> None:
        """Keeps the logits of a row's answer, shape (tokens, vocabulary): a tensor or an array."""
        values: Floats = np.asarray(logits.cpu() if hasattr(logits, "cpu") else logits, np.float32)
        values = values[:, : self._kept.shape[1]]
        start, end = self._starts[number], self._starts[number + 1]
        targets = np.array(self._answers[number].answer)
        for at in range(0, len(values), _AT_ONCE):
            shares = _log_shares(values[at : at + _AT_ONCE])
            chosen = targets[at : at + _AT_ONCE]
            self._losses[start + at :][: len(chosen)] = -shares[np.arange(len(chosen)), chosen]
        first, last = np.searchsorted(self._wanted, (start, end))
        self._kept[first:last] = values[self._wanted[first:last] - start]

    @property
    def loss(self) -> float:
        """Mean loss over all answer tokens, in nats."""
        return float(self._losses.mean())

    @property
    def row_losses(self) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """Mean loss of each row."""
        pairs = zip(self._starts[:-1], self._starts[1:], strict=True)
        return np.array([self._losses[start:end].mean() for start, end in pairs])

    def divergence(self, other: "LogitFile") -> Divergence:
        """KL(self‖other), on the same answers."""
        kl = np.empty(len(self._wanted))
        same = 0
        for first in range(0, len(kl), _AT_ONCE):
            place = slice(first, first + _AT_ONCE)
            ours, theirs = self._kept[place], other._kept[place]
            ours_log, theirs_log = _log_shares(ours), _log_shares(theirs)
            kl[place] = (np.exp(ours_log) * (ours_log - theirs_log)).sum(axis=1)
            same += int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum())
        return Divergence(
            mean_kl=float(kl.mean()),
            p99_kl=float(np.percentile(kl, 99)),
            same_top=same / len(kl),
            tokens=len(kl),
        )

    def delete(self) -> None:
        """Removes the file; losses stay."""
        self._kept = self._kept[:0]
        self.path.unlink(missing_ok=True)


def _log_shares(logits: Floats) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Logarithms of the shares that the logits stand for, along the last axis."""
    values = logits.astype(np.float64)
    values -= values.max(axis=-1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=-1, keepdims=True))
