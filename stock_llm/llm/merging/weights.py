"""Weights that are read one tensor at a time: those of a base, or with an adapter merged in.

The safetensors files are mapped into memory, so that what is in memory besides is one tensor in
float32, whatever the size of the model. The sum of weight and adapter is made in float32 and never
rounded to the profile's precision.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stock_llm.errors import InputError, MissingExtra
from stock_llm.llm.architectures import read_config

if TYPE_CHECKING:
    import torch

    from stock_llm.llm.merging.lora import LoraAdapter


class Weights(Protocol):
    """Tensors of a model by the names that transformers has for them."""

    def names(self) -> list[str]:
        """All names, sorted."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one tensor; nothing is read for it but the file's header."""

    def read(self, name: str) -> "torch.Tensor":
        """One tensor in float32."""


class StoredWeights:
    """The weights of the model in `folder`, as they are in its safetensors files.

    Weights that are no part of the text model (a vision tower), and those that transformers
    computes (`inv_freq`, in old files), are left out.

    Args:
        device: where tensors are put.

    Raises:
        InputError: a file is missing, cut off or no safetensors file.
        MissingExtra: the extra `train` is not installed.
    """

    def __init__(self, folder: Path, device: str = "cpu"):
        architecture = read_config(folder).architecture
        self._folder, self._device = folder, device
        self._stored = {
            name.removeprefix(architecture.prefix): (name, file)
            for name, file in _index(folder).items()
            if not name.endswith(".rotary_emb.inv_freq")
            and not (architecture.ignored and name.startswith(architecture.ignored))
        }

    def names(self) -> list[str]:
        return sorted(self._stored)

    def shape(self, name: str) -> tuple[int, ...]:
        from safetensors import safe_open

        stored, file = self._find(name)
        with safe_open(file, framework="pt") as tensors:
            return tuple(tensors.get_slice(stored).get_shape())

    def read(self, name: str) -> "torch.Tensor":
        import torch
        from safetensors import SafetensorError, safe_open

        stored, file = self._find(name)
        try:
            with safe_open(file, framework="pt") as tensors:
                # a copy: what is mapped must not be written to
                mapped: torch.Tensor = tensors.get_tensor(stored)
                return mapped.to(self._device, torch.float32, copy=True)
        except SafetensorError as error:
            raise InputError(f"{stored!r} cannot be read: {error}", file=file) from None

    def _find(self, name: str) -> tuple[str, Path]:
        if name not in self._stored:
            raise InputError(f"there is no weight {name!r}", file=self._folder)
        return self._stored[name]


@dataclass(frozen=True)
class MergedWeights:
    """The weights of a base with an adapter merged into them.

    Attributes:
        four_bit: names of the weights that training saw in 4 bits, and that are put back from them
            before the adapter is added; empty: the base stays as it is stored.
        precision: of the profile; weights were rounded to it before they were made 4-bit.

    Raises:
        InputError: the adapter has weights for a layer that the base does not have, or of another
            shape.
    """

    base: Weights
    adapter: "LoraAdapter"
    four_bit: frozenset[str] = frozenset()
    precision: str = "float32"

    def __post_init__(self) -> None:
        known = set(self.base.names())
        for module, shape in self.adapter.shapes.items():
            name = f"{module}.weight"
            if name not in known or self.base.shape(name) != shape:
                stated = "x".join(map(str, shape))
                raise InputError(
                    f"weights for {module!r} ({stated}), which the base does not have so",
                    file=self.adapter.file,
                    remedy="The adapter was trained on another base",
                )

    def names(self) -> list[str]:
        return self.base.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self.base.shape(name)

    def read(self, name: str) -> "torch.Tensor":
        weight = self.base.read(name)
        if name in self.four_bit:
            weight = from_four_bit(weight, self.precision)
        delta = self.adapter.delta(name.removesuffix(".weight"), weight.device)
        return weight if delta is None else weight.add_(delta)


def from_four_bit(weight: "torch.Tensor", precision: str) -> "torch.Tensor":
    """The weight as training on the 4-bit base sees it: NF4 with double quantization (Dettmers et
    al. 2023), put back to a float of the precision, in float32.
    """
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    packed, state = quantize_4bit(
        weight.to(getattr(torch, precision)), compress_statistics=True, quant_type="nf4"
    )
    return dequantize_4bit(packed, state).to(torch.float32)


def _index(folder: Path) -> Mapping[str, Path]:
    """Tensor → the safetensors file that holds it."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise MissingExtra("safetensors", "train") from None

    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            files: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"not an index of weights: {error!r}", file=index) from None
        for missing in sorted(file for file in set(files.values()) if not (folder / file).exists()):
            raise InputError("a file of weights is missing", file=folder / missing)
        return {name: folder / file for name, file in files.items()}
    file = folder / "model.safetensors"
    try:
        with safe_open(file, framework="pt") as tensors:
            return dict.fromkeys(tensors.keys(), file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"not a file of weights: {error}", file=file) from None
