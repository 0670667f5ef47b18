"""benchmarks/merging.py on a tiny shape: its steps, one after the other in this process."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def merging(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("merging", BENCHMARKS / "merging.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "merging", module)
    spec.loader.exec_module(module)
    return module


def test_a_tiny_model_is_merged_into_both_bases_and_as_peft_does(merging, tmp_path):
    config = merging.SHAPES["tiny"] | merging.HEADS
    for step in ("write", "ours", "ours, NF4", "peft"):
        assert merging.STEPS[step](tmp_path, config), step
    plain, put_back = (
        {tensor.name: tensor.data for tensor in GGUFReader(tmp_path / name).tensors}
        for name in ("ours.gguf", "nf4.gguf")
    )
    assert plain.keys() == put_back.keys()
    changed = {name for name in plain if not np.array_equal(plain[name], put_back[name])}
    linear = [f"{kind}.weight" for kind in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")]  # fmt: skip
    assert changed == {f"blk.{layer}.{name}" for layer in (0, 1) for name in linear}
    assert (tmp_path / "merged" / "model.safetensors").exists()
