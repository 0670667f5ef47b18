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

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stock_llm.errors import InputError, MissingExtra

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
        gated: whether the feed-forward part of a layer has a gate: three matrices, else two.
    """

    name: str
    config_class: str
    model_class: str
    fields: frozenset[str]
    prefix: str = ""
    ignored: tuple[str, ...] = ()
    gated: bool = True


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
    gated=False,
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
    file: Path

    def as_json(self) -> dict[str, Any]:
        """A config.json of the text model alone."""
        return {
            "architectures": [self.architecture.model_class],
            "model_type": self.architecture.name,
            **self.fields,
        }

    def for_transformers(self) -> Any:
        """The config object of transformers, which fills in what the file leaves out.

        Raises:
            InputError: a field has a value that transformers does not take.
            MissingExtra: the extra `train` is not installed.
        """
        try:
            import transformers
            from huggingface_hub.errors import StrictDataclassError
        except ImportError as error:
            raise MissingExtra(error.name or "transformers", "train") from None

        try:
            return getattr(transformers, self.architecture.config_class)(**self.fields)
        except (StrictDataclassError, ValueError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"a value that cannot be used: {reason}", file=self.file) from None


class ModelShape(BaseModel):
    """The sizes of a model, named as in config.json: how many weights it has, and where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_hidden_layers: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    """Width of the feed-forward part."""

    num_attention_heads: int = Field(ge=1)
    num_key_value_heads: int = Field(default=0, ge=0)
    """0: as many as attention heads."""

    head_dim: int = Field(default=0, ge=0)
    """0: `hidden_size` / `num_attention_heads`."""

    vocab_size: int = Field(ge=1)
    tie_word_embeddings: bool = False
    """Whether lm_head is the embeddings once more."""

    gated: bool = True
    """Whether the feed-forward part of a layer has a gate; see `Architecture.gated`."""

    @property
    def key_value_width(self) -> int:
        """Numbers of a key, or of a value, of one token in one layer."""
        return self._head_dim * (self.num_key_value_heads or self.num_attention_heads)

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """Inputs and outputs of the linear layers in one layer of the model."""
        hidden, feed_forward = self.hidden_size, self.intermediate_size
        queries = self._head_dim * self.num_attention_heads
        return [
            (hidden, queries),
            (hidden, self.key_value_width),
            (hidden, self.key_value_width),
            (queries, hidden),
            *[(hidden, feed_forward)] * (2 if self.gated else 1),
            (feed_forward, hidden),
        ]

    @property
    def linear_weights(self) -> int:
        """Weights of the linear layers, lm_head apart: what is quantized and gets an adapter."""
        return self.num_hidden_layers * sum(inputs * out for inputs, out in self.matrices)

    @property
    def other_weights(self) -> int:
        """Weights of embeddings, lm_head and norms. Phi's biases, 0.05 % of it, are not counted."""
        copies = 1 if self.tie_word_embeddings else 2
        norms = 2 * self.num_hidden_layers + 1
        return self.hidden_size * (copies * self.vocab_size + norms)

    @property
    def weights(self) -> int:
        """All weights."""
        return self.linear_weights + self.other_weights

    @property
    def _head_dim(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads


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
    return BaseConfig(architecture, fields, file)


def read_shape(folder: Path) -> ModelShape:
    """The sizes that config.json states.

    Raises:
        InputError: it is no config that can be read, or a size is missing or no number.
    """
    config = read_config(folder)
    stated = {
        name: value
        for name, value in config.fields.items()
        if name in ModelShape.model_fields and value is not None
    }
    try:
        return ModelShape.model_validate({**stated, "gated": config.architecture.gated})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}", file=folder / "config.json"
        ) from None
