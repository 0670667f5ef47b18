"""The fused LoRA layers against peft's own, number by number."""

import pytest


def lora_layer(precision: str, bias: bool, dropout: float = 0.0):
    import torch
    from peft import LoraConfig
    from peft.tuners import lora

    torch.manual_seed(0)
    base = torch.nn.Linear(32, 48, bias=bias).to(getattr(torch, precision)).requires_grad_(False)
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout)
    layer = lora.Linear(base, "default", config, r=4, lora_alpha=8)
    for part in (layer.lora_A, layer.lora_B):
        part["default"].to(torch.float32)
        torch.nn.init.normal_(part["default"].weight, std=0.1)
    return layer


def results(layer, precision: str):
    """Output, gradient of the input and of both matrices, as float32."""
    import torch

    drawn = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(1))
    x = drawn.to(getattr(torch, precision)).requires_grad_()
    layer.zero_grad()
    out = layer(x)
    assert out.dtype == x.dtype
    (out.float() * torch.linspace(-1, 1, 48)).sum().backward()
    matrices = (layer.lora_A["default"].weight, layer.lora_B["default"].weight)
    return [tensor.detach().float() for tensor in (out, x.grad, *(one.grad for one in matrices))]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.02)])
def test_it_computes_what_peft_computes(precision, tolerance, bias):
    import torch

    from stock_llm.llm.training.fused_lora import fuse_lora

    layer = lora_layer(precision, bias)
    expected = results(layer, precision)
    assert fuse_lora(torch.nn.Sequential(layer)) == 1
    fused = results(layer, precision)
    for one, other in zip(fused, expected, strict=True):
        assert torch.allclose(one, other, rtol=tolerance, atol=tolerance * other.abs().max())
    with torch.no_grad():
        layer.enable_adapters(False)
        x = torch.ones(2, 32, dtype=getattr(torch, precision))
        assert torch.equal(layer(x), layer.base_layer(x)), "an adapter that is switched off"


def test_layers_that_it_does_not_compute_stay_as_they_are():
    import torch

    from stock_llm.llm.training.fused_lora import fuse_lora

    layer = lora_layer("float32", bias=False, dropout=0.5)
    assert fuse_lora(torch.nn.Sequential(layer, torch.nn.Linear(2, 2))) == 0
    assert "forward" not in vars(layer)
