"""Architectures of base models that can be loaded: transformers' own classes, and which fields of
config.json they read.

A config.json comes from a stranger. What is not in the list of its architecture is not read: it
could name an attention kernel to be fetched from the hub and run. Code from a repository is never
run.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stock_llm.errors import InputError

_COMMON = frozenset(
    {
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "hidden_act",
        "max_position_embeddings",
        "initializer_range",
        "rope_theta",
        "rope_parameters",
        "tie_word_embeddings",
        "attention_dropout",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
    }
)


@dataclass(frozen=True)
class Architecture:
    """One family of models.

    Attributes:
        name: `model_type` in config.json.
        config_class: name of its config in transformers; `model_class` of the model.
        fields: what is read of config.json.
        prefix: what stands before the names of the text model's weights, where the repository
            holds more than the text model.
        ignored: weights of those other parts, by how their names begin.
    """

    name: str
    config_class: str
    model_class: str
    fields: frozenset[str]
    prefix: str = ""
    ignored: tuple[str, ...] = ()


MISTRAL = Architecture(
    "mistral",
    "MistralConfig",
    "MistralForCausalLM",
    _COMMON | {"rms_norm_eps", "head_dim", "sliding_window"},
)
LLAMA = Architecture(
    "llama",
    "LlamaConfig",
    "LlamaForCausalLM",
    _COMMON | {"rms_norm_eps", "head_dim", "rope_scaling", "attention_bias", "mlp_bias"},
)
"""Llama 2, CodeLlama, TinyLlama, DeepSeek Coder, SmolLM2."""

PHI = Architecture(
    "phi",
    "PhiConfig",
    "PhiForCausalLM",
    _COMMON
    | {"layer_norm_eps", "partial_rotary_factor", "qk_layernorm", "resid_pdrop", "embd_pdrop"},
)
MINISTRAL_3 = Architecture(
    "ministral3",
    "Ministral3Config",
    "Ministral3ForCausalLM",
    _COMMON | {"rms_norm_eps", "head_dim", "sliding_window"},
)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {each.name: each for each in (MISTRAL, LLAMA, PHI, MINISTRAL_3)}
)
"""`model_type` → architecture."""

_WITH_IMAGES = "mistral3"
"""A text model (`text_config`) beside one that reads images, which is left out."""


@dataclass(frozen=True)
class BaseConfig:
    """What config.json says, as far as it is read."""

    architecture: Architecture
    fields: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """A config.json of the text model alone."""
        return {
            "architectures": [self.architecture.model_class],
            "model_type": self.architecture.name,
            **self.fields,
        }


def read_config(folder: Path) -> BaseConfig:
    """The architecture and the allowed fields of config.json.

    Raises:
        InputError: it is not JSON, is of an architecture that is not known here, wants code of its
            own, or its weights are quantized already.
    """
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"not JSON: {error}", file=file) from None
    if not isinstance(config, dict):
        raise InputError("not an object", file=file)
    for unwanted, why in (
        ("auto_map", "wants its own code to be run"),
        ("quantization_config", "is quantized already"),
    ):
        if unwanted in config:
            raise InputError(
                f"the model {why} ('{unwanted}')",
                file=file,
                remedy="Take the plain model it was made from",
            )
    kind = config.get("model_type")
    beside_images = kind == _WITH_IMAGES and isinstance(config.get("text_config"), dict)
    text = config["text_config"] if beside_images else config
    architecture = ARCHITECTURES.get(str(text.get("model_type")))
    if architecture is None:
        raise InputError(
            f"model_type is '{text.get('model_type')}'",
            file=file,
            remedy=f"These can be trained: {', '.join(ARCHITECTURES)}",
        )
    if beside_images:
        architecture = replace(
            architecture,
            prefix="language_model.",
            ignored=("vision_tower.", "multi_modal_projector."),
        )
    fields = {name: value for name, value in text.items() if name in architecture.fields}
    return BaseConfig(architecture, fields)
