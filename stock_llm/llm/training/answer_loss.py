"""The loss on answers: the cross-entropy of their tokens, without the logits of any other token.

A model's own `forward` computes the logits of every token, prompt and padding too, and keeps them
for the backward pass: for a vocabulary of 32,768 and 8,192 tokens 1 GiB in float32, several times.
Importing this module takes seconds (torch).
"""

import functools
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from stock_llm.llm.bases import needs
from stock_llm.llm.training.packing import pack, packed_hidden, use_packed_attention


def put_loss_on_answers(causal_model: Any) -> None:
    """Makes the model return, where it is given weights, the weighted sum of the cross-entropy
    (nats) of the answer tokens, and compute the logits of no others.

    It is the model's own `forward` that is replaced, because DDP and FSDP see only what passes
    through it. The Trainer's autocast is off inside: it would round the adapter, which is float32.
    """
    forward = causal_model.forward

    @functools.wraps(forward)  # `generate` reads from the signature what it may give
    def loss_of_answers(
        input_ids: Any = None,
        attention_mask: Any = None,
        labels: Any = None,
        weights: Any = None,
        **given: Any,
    ) -> Any:
        if weights is None:
            return forward(
                input_ids=input_ids, attention_mask=attention_mask, labels=labels, **given
            )
        targets = labels[:, 1:]
        answer = targets != -100
        with torch.autocast(input_ids.device.type, enabled=False):
            hidden = _before_answers(causal_model, input_ids, attention_mask, answer)
            losses = token_losses(hidden, causal_model.lm_head, targets[answer])
            return (losses * weights[:, 1:][answer]).sum()

    use_packed_attention(causal_model)
    causal_model.forward = loss_of_answers


def _before_answers(
    causal_model: Any, ids: torch.Tensor, attention_mask: torch.Tensor, answer: torch.Tensor
) -> torch.Tensor:
    """The last layer's output for the token before each answer token, [tokens, width].

    Args:
        answer: whether the next token is one, [rows, longest - 1].
    """
    window = getattr(causal_model.config, "sliding_window", None)
    if window and ids.shape[1] > window:  # packed attention sees whole rows
        hidden = causal_model.model(
            input_ids=ids, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        padded: torch.Tensor = hidden[:, :-1][answer]
        return padded
    rows = pack(ids, attention_mask)
    before = torch.nn.functional.pad(answer, (0, 1))
    return packed_hidden(causal_model, rows, before[rows.kept])


def token_losses(hidden: torch.Tensor, lm_head: Any, targets: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of each token, in nats.

    Where the logits of all would take too much memory, they are computed for some tokens at a time,
    forgotten, and computed again in the backward pass.

    Args:
        hidden: the last layer's output, [tokens, width].
        targets: the tokens that come, [tokens].
    """
    at_once = max(1, needs.LOGITS_AT_ONCE // lm_head.weight.shape[0])
    if len(targets) <= at_once:
        return _cross_entropy(hidden, lm_head, targets)
    parts = zip(hidden.split(at_once), targets.split(at_once), strict=True)
    losses = [
        checkpoint(_cross_entropy, some, lm_head, wanted, use_reentrant=False)
        for some, wanted in parts
    ]
    return torch.cat(losses)


def _cross_entropy(hidden: torch.Tensor, lm_head: Any, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(lm_head(hidden).float(), targets, reduction="none")
