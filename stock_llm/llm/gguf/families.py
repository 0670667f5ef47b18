"""What llama.cpp calls the parts of each architecture, and what of it llama.cpp can compute.

Names, the order of rotary rows and the keys of scaled positions are those of llama.cpp's own
converter (conversion/*.py in its repository). What llama.cpp would compute otherwise than
transformers, or not at all, is refused by `check_computable`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from stock_llm.errors import InputError
from stock_llm.llm import architectures

if TYPE_CHECKING:
    from gguf import GGUFWriter

_REMEDY = "Choose another profile: `stock-llm profiles list`"


@dataclass(frozen=True)
class Family:
    """One of llama.cpp's architectures.

    Attributes:
        name: `general.architecture`.
        outer: name of a module in transformers → name in a GGUF, for those outside the layers.
        block: the same for the modules of a layer.
        paired_rows: whether the rows of `attn_q` and `attn_k` stand in rotary pairs; in
            transformers they stand in rotary halves.
        activations: values of `hidden_act` that are what llama.cpp computes.
        positions: kinds of rotary positions (`rope_type`) that it computes.
        converted: further kinds, whose files llama.cpp's own converter writes.
    """

    name: str
    outer: Mapping[str, str]
    block: Mapping[str, str]
    paired_rows: bool
    activations: tuple[str, ...]
    positions: tuple[str, ...]
    converted: tuple[str, ...] = ()

    def module(self, name: str) -> str | None:
        """Name in a GGUF of a module that transformers calls `name`; None: there is none."""
        parts = name.split(".", 3)
        if len(parts) == 4 and parts[:2] == ["model", "layers"] and parts[3] in self.block:
            return f"blk.{parts[2]}.{self.block[parts[3]]}"
        return self.outer.get(name)


LLAMA = Family(
    "llama",
    outer={
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
    },
    block={
        "input_layernorm": "attn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    },
    paired_rows=True,
    activations=("silu",),
    positions=("default", "linear"),
    converted=("llama3",),
)
MISTRAL_3 = replace(LLAMA, name="mistral3", positions=("yarn",), converted=())
PHI_2 = Family(
    "phi2",
    outer={
        "model.embed_tokens": "token_embd",
        "model.final_layernorm": "output_norm",
        "lm_head": "output",
    },
    block={
        "input_layernorm": "attn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.dense": "attn_output",
        "mlp.fc1": "ffn_up",
        "mlp.fc2": "ffn_down",
    },
    paired_rows=False,
    activations=("gelu_new", "gelu_pytorch_tanh"),
    positions=("default",),
)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        architectures.MISTRAL.name: LLAMA,
        architectures.LLAMA.name: LLAMA,
        architectures.MINISTRAL_3.name: MISTRAL_3,
        architectures.PHI.name: PHI_2,
    }
)
"""`model_type` of transformers → family."""


def check_computable(family: Family, config: Any, file: Path) -> None:
    """
    Args:
        config: transformers' config object, its defaults filled in.
        file: where it was read, for the message.

    Raises:
        InputError: llama.cpp would not compute what transformers computes.
    """
    rope = config.rope_parameters
    if config.hidden_act not in family.activations:
        problem = f"the activation '{config.hidden_act}'"
    elif rope["rope_type"] not in (*family.positions, *family.converted):
        problem = f"rotary positions of the kind '{rope['rope_type']}'"
    elif rope["rope_type"] == "yarn" and not _is_plain_yarn(rope):
        problem = "rotary positions of the kind 'yarn' with these parameters"
    elif getattr(config, "qk_layernorm", False):
        problem = "normalized queries and keys"
    elif getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        problem = "biases of a Llama"
    else:
        return
    raise InputError(f"{problem} cannot be written as a GGUF yet", file=file, remedy=_REMEDY)


def _is_plain_yarn(rope: Mapping[str, Any]) -> bool:
    """llama.cpp takes `mscale` for 1, wants the scale of the queries (`llama_4_scaling_beta`), and
    knows neither a given factor of the attention nor bounds that are not rounded.
    """
    return bool(
        rope.get("mscale") == 1.0
        and rope.get("mscale_all_dim")
        and rope.get("original_max_position_embeddings")
        and rope.get("llama_4_scaling_beta") is not None
        and rope.get("attention_factor") is None
        and rope.get("truncate", True)
    )


def write_keys(writer: "GGUFWriter", config: Any) -> None:
    """The hyperparameters.

    Args:
        config: transformers' config object, its defaults filled in.
    """
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    rope = config.rope_parameters
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    if hasattr(config, "rms_norm_eps"):
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    else:
        writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_rope_dimension_count(int(head_size * rope.get("partial_rotary_factor", 1.0)))
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    _write_scaling(writer, rope)


def _write_scaling(writer: "GGUFWriter", rope: Mapping[str, Any]) -> None:
    from gguf import RopeScalingType

    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    elif rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(float(rope["factor"]))
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(float(rope.get("beta_fast") or 32))
        writer.add_rope_scaling_yarn_beta_slow(float(rope.get("beta_slow") or 1))
        writer.add_rope_scaling_yarn_log_mul(float(rope["mscale_all_dim"]))
        # queries grow with their position; transformers names it after Llama 4
        writer.add_attn_temperature_scale(float(rope["llama_4_scaling_beta"]))
