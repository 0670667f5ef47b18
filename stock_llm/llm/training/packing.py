"""Rows of a forward pass one behind the other, without padding, and each seeing only itself.

Positions count from 0 in every row, and attention is computed row by row, with PyTorch's causal
kernel (FlashAttention's algorithm on a GPU and on a CPU), so that no row sees another: what is
packed has the numbers of what is padded. Everything else, nine tenths of the work, is one matrix
product over all tokens. After the attention of the last layer no token is looked at by another one:
from there on those that nobody wants are not computed.

transformers knows packing with the package flash-attn only, which has to be compiled and runs on
GPUs. Importing this module takes seconds (torch, transformers).
"""

from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ATTENTION = "packed_sdpa"
"""The name of this attention in transformers; without row lengths it is its `sdpa`."""

_TRIMMED = ("LlamaDecoderLayer", "MistralDecoderLayer", "Ministral3DecoderLayer")
"""Layers whose plan `_trimmed_layer` knows: attention, then the feed-forward part, each after a
norm and added to what came in.
"""


@dataclass(frozen=True)
class PackedRows:
    """The tokens of padded rows.

    Attributes:
        kept: which places of the padded rows hold tokens, [rows, longest].
        ids: their tokens, [1, tokens].
        positions: of each in its row, [1, tokens].
        lengths: tokens of each row.
    """

    kept: torch.Tensor
    ids: torch.Tensor
    positions: torch.Tensor
    lengths: list[int]


def pack(ids: torch.Tensor, attention_mask: torch.Tensor) -> PackedRows:
    """Takes the padding out.

    Args:
        ids: [rows, longest], padded on the right.
        attention_mask: 1 where there is a token.
    """
    kept = attention_mask.bool()
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    lengths: list[int] = kept.sum(1).tolist()
    return PackedRows(kept, ids[kept][None], places[kept][None], lengths)


def packed_hidden(
    causal_model: Any, rows: PackedRows, wanted: torch.Tensor | None = None
) -> torch.Tensor:
    """The last layer's output for the wanted tokens, [tokens, width].

    Args:
        causal_model: one whose attention was set by `use_packed_attention`.
        wanted: whether a token is, [tokens]; None: all are.
    """
    # a mask of four dimensions is passed on as it is, and not looked at: it keeps transformers from
    # making one of tokens x tokens
    unused = torch.empty(1, 1, 1, 1, device=rows.ids.device)
    hidden: torch.Tensor = causal_model.model(
        input_ids=rows.ids,
        position_ids=rows.positions,
        attention_mask=unused,
        use_cache=False,
        row_lengths=rows.lengths,
        wanted_tokens=wanted,
    ).last_hidden_state[0]
    if wanted is None or len(hidden) != len(wanted):  # the last layer left the others out
        return hidden
    return hidden[wanted]


def use_packed_attention(causal_model: Any) -> None:
    """Lets `packed_hidden` work on a model; its other calls stay as they are."""
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    causal_model.set_attn_implementation(ATTENTION)
    last = causal_model.model.layers[-1]
    if type(last).__name__ in _TRIMMED:
        last.forward = MethodType(_trimmed_layer, last)


def _trimmed_layer(
    layer: Any, hidden_states: torch.Tensor, wanted_tokens: torch.Tensor | None = None, **given: Any
) -> torch.Tensor:
    """The output of a layer for the wanted tokens alone, [1, tokens, width]."""
    if wanted_tokens is None:
        whole: torch.Tensor = type(layer).forward(layer, hidden_states, **given)
        return whole
    attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **given)
    kept = (hidden_states + attended)[:, wanted_tokens]
    trimmed: torch.Tensor = kept + layer.mlp(layer.post_attention_layernorm(kept))
    return trimmed


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    row_lengths: list[int] | None = None,
    wanted_tokens: torch.Tensor | None = None,  # noqa: ARG001  (is the last layer's)
    **given: Any,
) -> tuple[torch.Tensor, None]:
    """Query, key and value are [1, heads, tokens, width of a head], the result [1, tokens, heads,
    width].
    """
    if row_lengths is None:
        whole: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **given
        )
        return whole
    rows = zip(*(states.split(row_lengths, dim=2) for states in (query, key, value)), strict=True)
    outputs = [sdpa_attention_forward(module, q, k, v, None, **given)[0] for q, k, v in rows]
    return torch.cat(outputs, dim=1), None
