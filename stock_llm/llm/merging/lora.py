"""A LoRA adapter as peft saves it, read tensor by tensor.

What can be added to a base's weight is B·A times one number for each layer (Hu et al. 2021). An
adapter that is more than that is refused, with the name of what it has: DoRA's magnitudes, whole
layers (`modules_to_save`), ranks or scales of single layers, adapted embeddings, biases. So is any
option of a newer peft that is not at its default.
"""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stock_llm.errors import InputError, MissingExtra

if TYPE_CHECKING:
    import torch

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_WITHOUT_EFFECT = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "exclude_modules",
        "inference_mode",
        "init_lora_weights",  # checked by itself
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "peft_version",
        "r",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
        "use_rslora",
    }
)
"""Options that say which layers have weights, how these were trained, or their scale, which is
read."""

_INITIAL = (True, False, "gaussian", "orthogonal")
"""Values of `init_lora_weights` that leave the base as it is; PiSSA, OLoRA and others change it."""

_PREFIX = "base_model.model."


@dataclass(frozen=True)
class LoraAdapter:
    """An adapter on linear layers.

    Attributes:
        file: its weights.
        scale: what B·A is multiplied by.
        rank: inner dimension.
    """

    file: Path
    scale: float
    rank: int

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Layer (`model.layers.0.self_attn.q_proj`) → outputs and inputs.

        Raises:
            InputError: a tensor is neither an A nor a B of a linear layer, or has no counterpart.
        """
        from safetensors import SafetensorError, safe_open

        sides: dict[str, dict[str, tuple[int, ...]]] = {}
        try:
            with safe_open(self.file, framework="pt") as tensors:
                for name in sorted(tensors.keys()):
                    module, _, side = name.removesuffix(".weight").rpartition(".")
                    if not name.startswith(_PREFIX) or side not in ("lora_A", "lora_B"):
                        raise InputError(f"{name!r} cannot be merged", file=self.file)
                    shape = tuple(tensors.get_slice(name).get_shape())
                    sides.setdefault(module.removeprefix(_PREFIX), {})[side] = shape
        except (OSError, SafetensorError) as error:
            raise InputError(f"not an adapter's weights: {error}", file=self.file) from None
        for module, found in sides.items():
            a, b = found.get("lora_A", ()), found.get("lora_B", ())
            if len(a) != 2 or len(b) != 2 or a[0] != self.rank or b[1] != self.rank:
                raise InputError(
                    f"{module!r} has weights A {list(a)} and B {list(b)}, the rank is {self.rank}",
                    file=self.file,
                )
        return {name: (found["lora_B"][0], found["lora_A"][1]) for name, found in sides.items()}

    def factors(self, module: str, device: Any = "cpu") -> "tuple[torch.Tensor, torch.Tensor]":
        """A (rank, inputs) and B (outputs, rank) of a layer, in float32."""
        import torch
        from safetensors import safe_open

        with safe_open(self.file, framework="pt") as tensors:
            a, b = (
                tensors.get_tensor(f"{_PREFIX}{module}.{side}.weight").to(device, torch.float32)
                for side in ("lora_A", "lora_B")
            )
        return a, b

    def delta(self, module: str, device: Any = "cpu") -> "torch.Tensor | None":
        """What is added to the weight of a layer, in float32; None where the adapter leaves it."""
        if module not in self.shapes:
            return None
        a, b = self.factors(module, device)
        return (b @ a).mul_(self.scale)


def read_adapter(folder: Path) -> LoraAdapter:
    """The adapter in `folder`.

    Raises:
        InputError: it is no LoRA adapter, or has something that cannot be merged; names it.
        MissingExtra: the extra `train` is not installed.
    """
    file = folder / CONFIG
    try:
        stated = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"not an adapter's configuration: {error}", file=file) from None
    if not isinstance(stated, dict) or stated.get("peft_type") != "LORA":
        kind = stated.get("peft_type") if isinstance(stated, dict) else None
        raise InputError(f"an adapter of the kind {kind!r} cannot be merged", file=file)
    defaults = _defaults()
    for name, given in stated.items():
        default = defaults.get(name)
        changed = given != default and (bool(given) or bool(default))
        if changed and name not in _WITHOUT_EFFECT:
            raise InputError(
                f"an adapter with {name} = {json.dumps(given)} cannot be merged",
                file=file,
                remedy="Train it without: LoRA with one rank and one alpha on linear layers",
            )
    initial = stated.get("init_lora_weights", True)
    if initial not in _INITIAL:
        raise InputError(
            f"an adapter with init_lora_weights = {json.dumps(initial)} changes its base", file=file
        )
    try:
        rank, alpha = int(stated["r"]), float(stated["lora_alpha"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"no rank or no alpha: {error!r}", file=file) from None
    if rank < 1 or not math.isfinite(alpha):
        raise InputError(f"r = {rank} and lora_alpha = {alpha}", file=file)
    scale = alpha / (math.sqrt(rank) if stated.get("use_rslora") else rank)
    adapter = LoraAdapter(folder / WEIGHTS, scale, rank)
    if not adapter.shapes:
        raise InputError("an adapter without weights", file=adapter.file)
    return adapter


def _defaults() -> dict[str, Any]:
    """peft's options with their defaults."""
    try:
        from peft import LoraConfig
    except ImportError:
        raise MissingExtra("peft", "train") from None
    known: dict[str, Any] = LoraConfig().to_dict()
    return {**known, "peft_type": "LORA"}
