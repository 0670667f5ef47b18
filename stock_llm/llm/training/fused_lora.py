"""LoRA's linear layers with fewer passes over memory than peft's, for a base that is unpacked.

A LoRA layer computes `x W' + s (x A') B'` (Hu et al. 2021). peft does so in five operations, of
which three read and write whole activations. On a CPU those passes cost as much as the small
products; here the products add into their results. The numbers are the same but for the order of
additions. Importing this module takes seconds (torch, peft).
"""

from types import MethodType
from typing import Any

import torch
from peft.tuners import lora

ADAPTER = "default"


def fuse_lora(model: torch.nn.Module) -> int:
    """Gives the LoRA layers of `model` the fused forward and backward pass.

    Layers with dropout, on a packed (4-bit) weight, or of a variant of LoRA stay as they are.

    Returns:
        How many layers got it.
    """
    count = 0
    for layer in model.modules():
        if type(layer) is lora.Linear and _is_plain(layer):
            layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]
            count += 1
    return count


def _is_plain(layer: Any) -> bool:
    return (
        type(layer.base_layer) is torch.nn.Linear
        and layer.active_adapters == [ADAPTER]
        and isinstance(layer.lora_dropout[ADAPTER], torch.nn.Identity)
        and not layer.lora_variant
        and not layer.lora_bias[ADAPTER]
    )


def _forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
    if layer.disable_adapters or layer.merged or layer.active_adapters != [ADAPTER]:
        result: torch.Tensor = type(layer).forward(layer, x)
        return result
    fused: torch.Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
        x,
        layer.base_layer.weight,
        layer.base_layer.bias,
        layer.lora_A[ADAPTER].weight,
        layer.lora_B[ADAPTER].weight,
        layer.scaling[ADAPTER],
    )
    return fused


class _LoraLinear(torch.autograd.Function):
    """x [..., in], weight [out, in], bias [out] or None, a [rank, in], b [out, rank]. The base may
    be bfloat16 where the adapter is float32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low = rows.to(a.dtype) @ a.t()
        out = torch.nn.functional.linear(rows, weight, bias)
        _add_product(out, low, b.t(), scaling)
        ctx.save_for_backward(rows, low, weight, a, b)
        ctx.scaling, ctx.shape = scaling, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        rows, low, weight, a, b = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, weight.shape[0])
        exact = gradient.to(b.dtype)
        of_b = (exact.t() @ low).mul_(ctx.scaling)
        of_low = (exact @ b).mul_(ctx.scaling)
        of_a = of_low.t() @ rows.to(a.dtype)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = gradient @ weight
            _add_product(of_x, of_low, a, 1.0)
            of_x = of_x.view(ctx.shape)
        return of_x, None, None, of_a, of_b, None


def _add_product(
    out: torch.Tensor, left: torch.Tensor, right: torch.Tensor, scaling: float
) -> None:
    """Adds `scaling * left @ right` to `out`."""
    if out.dtype == left.dtype:
        out.addmm_(left, right, alpha=scaling)
    else:
        out.add_(left @ right, alpha=scaling)
