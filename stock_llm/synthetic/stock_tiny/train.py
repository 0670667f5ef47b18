"""Training of stock-tiny: a plain PyTorch loop over packed documents, resumable, on however many
threads there are.

In: the corpus, the tokenizer and a budget. Out: a model, and its loss on the held-out documents.
Does not know files but its own checkpoint.
"""

import math
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stock_llm.storage.atomic import atomic_path
from stock_llm.synthetic.stock_tiny import corpus

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import MistralForCausalLM

TOKENS_PER_STEP = 4096
LENGTHS = (512, 1024)
"""Tokens per sequence: the first for the first four fifths, which is faster; the second to learn
the full context."""
LONG_FROM = 0.8

PEAK_MATRICES, PEAK_OTHERS = 0.02, 3e-3
WARM_UP, DECAY = 0.02, 0.5
"""Shares of the budget in which the learning rate rises, and, at the end, falls to a hundredth."""

SIGN_WEIGHT = 6.0
"""How much more the loss of a sign, such as " (-", counts than another token's. Signs are one token
in forty, and one bit each: with equal weights a model of this size learns to copy digits and not
the sign before them."""

SAVE_SECONDS = 120.0


@dataclass(frozen=True)
class ModelShape:
    """The model's widths. Multiples of 256, so that K-quants fit every row."""

    vocabulary: int = 3072
    hidden: int = 256
    feed_forward: int = 768
    layers: int = 4
    heads: int = 8
    key_value_heads: int = 4


@dataclass(frozen=True)
class TrainingBudget:
    """How long to train: so many steps, or so many minutes."""

    steps: int | None = None
    minutes: float | None = None

    def spent(self, step: int, seconds: float) -> float:
        """Share of the budget that is used up, 0 to 1."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        return min(1.0, seconds / (60 * (self.minutes or 60)))


@dataclass(frozen=True)
class TrainingState:
    """What came of a training.

    Attributes:
        seconds: of training, interruptions left out.
        loss: mean of the last hundred steps, nats per token.
    """

    model: "MistralForCausalLM"
    steps: int
    tokens: int
    seconds: float
    loss: float


def new_model(shape: ModelShape, seed: int) -> "MistralForCausalLM":
    """An untrained model in float32, the same for the same seed."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(seed)
    config = MistralConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.hidden // shape.heads,
        max_position_embeddings=LENGTHS[1],
        sliding_window=None,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return MistralForCausalLM(config)


def token_ids(tokenizer: "Tokenizer", text: str) -> list[int]:
    """A document as training sees it: BOS, its tokens, one EOS."""
    ids = tokenizer.encode(text).ids
    return ids if ids[-1] == 2 else [*ids, 2]


def token_weights(tokenizer: "Tokenizer") -> "torch.Tensor":
    """What the loss of each token of the vocabulary counts."""
    import torch

    weights = torch.ones(tokenizer.get_vocab_size())
    weights[[index for piece, index in tokenizer.get_vocab().items() if _SIGN.match(piece)]] = (
        SIGN_WEIGHT
    )
    return weights


_SIGN = re.compile(r"▁\(?[+-]$")


def train(
    shape: ModelShape,
    tokenizer: "Tokenizer",
    seed: int,
    budget: TrainingBudget,
    checkpoint: Path,
    threads: int,
) -> Iterator[tuple[float, float, TrainingState]]:
    """Trains; yields the share of the budget spent, the last loss, and what there is: before the
    first step and after each.

    A `checkpoint` of an earlier call is gone on from; it is written every two minutes, whole or not
    at all.
    """
    import torch

    torch.set_num_threads(1)
    workers = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    model = new_model(shape, seed)
    weights = token_weights(tokenizer)
    optimizers = _optimizers(model, workers)
    state: dict[str, Any] = {
        "step": 0,
        "seconds": 0.0,
        "document": corpus.HELD_OUT,
        "rest": [],
        "losses": [],
    }
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        for optimizer, values in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        state = saved["state"]
    model.train()
    started = time.monotonic() - state["seconds"]
    written = state["seconds"]
    spent = budget.spent(state["step"], state["seconds"])
    yield spent, math.nan, _trained(model, state)
    while spent < 1:
        ids = _next(state, tokenizer, seed)
        rows = torch.tensor(ids).reshape(-1, LENGTHS[spent >= LONG_FROM])
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * _rate(spent)
        loss = _backward(model, rows, weights, workers)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state["step"] += 1
        state["seconds"] = time.monotonic() - started
        state["losses"] = [*state["losses"][-99:], loss]
        spent = budget.spent(state["step"], state["seconds"])
        if state["seconds"] - written > SAVE_SECONDS or spent >= 1:
            _save(model, optimizers, state, checkpoint)
            written = state["seconds"]
        yield spent, loss, _trained(model, state)


def held_out_loss(
    model: "MistralForCausalLM", tokenizer: "Tokenizer", seed: int, documents: int = corpus.HELD_OUT
) -> float:
    """Mean loss in nats per token over the documents that no training sees."""
    import torch

    total, count = 0.0, 0
    model.eval()  # type: ignore[no-untyped-call]
    with torch.inference_mode():
        for text in corpus.documents(seed, 0, documents):
            row = torch.tensor([token_ids(tokenizer, text)[: LENGTHS[1]]])
            total += _losses(model, row).sum().item()
            count += row.shape[1] - 1
    return total / count


def _trained(model: "MistralForCausalLM", state: dict[str, Any]) -> TrainingState:
    losses = state["losses"]
    mean = sum(losses) / len(losses) if losses else math.nan
    return TrainingState(
        model, state["step"], state["step"] * TOKENS_PER_STEP, state["seconds"], mean
    )


def _next(state: dict[str, Any], tokenizer: "Tokenizer", seed: int) -> list[int]:
    """The tokens of one step; moves `state` on."""
    ids: list[int] = state["rest"]
    while len(ids) < TOKENS_PER_STEP:
        ids = ids + token_ids(tokenizer, corpus.document(seed, state["document"]))
        state["document"] += 1
    state["rest"] = ids[TOKENS_PER_STEP:]
    return ids[:TOKENS_PER_STEP]


def _backward(
    model: "MistralForCausalLM",
    rows: "torch.Tensor",
    weights: "torch.Tensor",
    workers: ThreadPoolExecutor,
) -> float:
    """Mean loss of the rows, unweighted; sets the gradients to the mean of those of their weighted
    losses, always summed in the same order.

    One row to a thread: operations split over threads would wait for each other at every step of
    every layer, which on a machine that others use too costs half of the time.
    """
    import torch

    parameters = list(model.parameters())

    def gradients(row: "torch.Tensor") -> tuple[float, tuple["torch.Tensor", ...]]:
        losses, targets = _losses(model, row[None]), row[1:]
        weighted = (losses * weights[targets]).mean()
        return losses.mean().item(), torch.autograd.grad(weighted / len(rows), parameters)

    total = 0.0
    for loss, gradient_list in workers.map(gradients, rows):
        total += loss / len(rows)
        for parameter, gradient in zip(parameters, gradient_list, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    return total


def _losses(model: "MistralForCausalLM", rows: "torch.Tensor") -> "torch.Tensor":
    """Loss of each token but the first of each row, in nats, flat."""
    import torch

    logits = model(input_ids=rows, use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten(), reduction="none"
    )


def _rate(spent: float) -> float:
    """Share of the peak learning rate: up, level, and down along a line."""
    return min(1.0, (spent + 1e-3) / WARM_UP, 0.01 + 0.99 * (1 - spent) / DECAY)


def _optimizers(model: "MistralForCausalLM", workers: ThreadPoolExecutor) -> list[Any]:
    """Muon for the matrices of the layers, AdamW for embeddings and norms."""
    import torch

    from stock_llm.synthetic.stock_tiny.muon import Muon

    matrices = [parameter for parameter in model.model.layers.parameters() if parameter.ndim == 2]
    norms = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    embeddings = [model.model.embed_tokens.weight]
    groups = [
        {"params": embeddings, "weight_decay": 0.01, "peak": PEAK_OTHERS},
        {"params": norms, "weight_decay": 0.0, "peak": PEAK_OTHERS},
    ]
    return [
        Muon([{"params": matrices, "peak": PEAK_MATRICES}], lr=PEAK_MATRICES, each=workers.map),
        torch.optim.AdamW(groups, lr=PEAK_OTHERS, betas=(0.9, 0.98), fused=True),
    ]


def _save(
    model: "MistralForCausalLM", optimizers: list[Any], state: dict[str, Any], checkpoint: Path
) -> None:
    import torch

    with atomic_path(checkpoint) as path, path.open("wb") as stream:
        torch.save(
            {
                "model": model.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
                "state": state,
            },
            stream,
        )
