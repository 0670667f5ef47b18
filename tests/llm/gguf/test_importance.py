"""Importance matrices: llama.cpp's format, its quantizer takes them and rounds better where it counts, another model's is refused."""

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize

from stock_llm.errors import InputError
from stock_llm.llm.gguf.families import FAMILIES
from stock_llm.llm.gguf.importance import (
    ImportanceCollector,
    ImportanceMatrix,
    read_importance,
    write_importance,
)
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.quantization import quantize_gguf, tensor_types

TENSOR = "blk.0.ffn_up.weight"


@pytest.fixture(scope="module")
def f16(tiny_base, tmp_path_factory):
    out = tmp_path_factory.mktemp("importance") / "f16.gguf"
    write_gguf(tiny_base / "models" / "tiny", out, "stock-llm abc", "")
    return out


def test_what_is_collected_is_the_mean_of_the_squares(tmp_path):
    collector = ImportanceCollector(FAMILIES["mistral"], tied=True)
    first, second = torch.randn(3, 8), torch.randn(5, 8)
    for given in (first, second):
        collector.watch("model.layers.0.mlp.up_proj", given)
        collector.watch("something.else", given)
    collector.watch("lm_head", first)
    matrix = collector.collected("stock-llm abc")
    assert matrix.tokens == {TENSOR: 8, "token_embd.weight": 3}
    wanted = torch.cat([first, second]).square().mean(dim=0).numpy()
    assert np.allclose(matrix.means[TENSOR], wanted, rtol=1e-5)
    file = tmp_path / "imatrix.gguf"
    write_importance(matrix, file, "train.jsonl")
    reader = GGUFReader(file)
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.datasets"].contents() == ["train.jsonl"]
    tensors = {tensor.name: tensor.data.reshape(-1) for tensor in reader.tensors}
    assert np.allclose(tensors[f"{TENSOR}.in_sum2"], 8 * wanted, rtol=1e-5)
    assert tensors[f"{TENSOR}.counts"].tolist() == [8]
    read = read_importance(file)
    assert (read.model, read.tokens) == (matrix.model, matrix.tokens)
    assert np.allclose(read.means[TENSOR], matrix.means[TENSOR], rtol=1e-6)


def test_the_quantizer_rounds_better_where_the_inputs_are_large(f16, tmp_path):
    weight = {tensor.name: tensor.data for tensor in GGUFReader(f16).tensors}[TENSOR]
    means = np.full(256, 1e-3, dtype=np.float32)
    means[::4] = 1.0
    matrix = ImportanceMatrix("stock-llm abc", {TENSOR: means}, {TENSOR: 1})
    errors = {}
    for name, used in (("plain", None), ("weighted", matrix)):
        out = tmp_path / f"{name}.gguf"
        quantize_gguf(f16, out, "Q4_0", threads=1, importance=used)
        tensor = next(each for each in GGUFReader(out).tensors if each.name == TENSOR)
        apart = (dequantize(tensor.data, tensor.tensor_type) - weight.astype(np.float32)) ** 2
        errors[name] = float((apart * means).sum())
    assert errors["weighted"] < 0.9 * errors["plain"]


@pytest.mark.parametrize("kind", ["IQ3_S", "IQ4_XS", "Q4_K_M"])
def test_it_is_taken_for_every_kind(f16, tmp_path, kind):
    means = np.linspace(0.1, 2, 256, dtype=np.float32)
    matrix = ImportanceMatrix("stock-llm abc", {TENSOR: means}, {TENSOR: 1})
    quantize_gguf(f16, tmp_path / "q.gguf", kind, threads=1, importance=matrix)
    assert sum(tensor_types(tmp_path / "q.gguf").values()) == 8


def test_another_model_s_is_refused_by_name(f16, tmp_path):
    means = np.ones(256, dtype=np.float32)
    other = ImportanceMatrix("stock-llm xyz", {TENSOR: means}, {TENSOR: 1})
    with pytest.raises(InputError, match="from 'stock-llm xyz', the file is 'stock-llm abc'"):
        quantize_gguf(f16, tmp_path / "q.gguf", "Q4_0", threads=1, importance=other)
    narrow = ImportanceMatrix("stock-llm abc", {TENSOR: means[:128]}, {TENSOR: 1})
    with pytest.raises(InputError, match=rf"128 inputs for {TENSOR}, the file 256"):
        quantize_gguf(f16, tmp_path / "q.gguf", "Q4_0", threads=1, importance=narrow)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"f16\.gguf: no importance matrix that says which model"):
        read_importance(f16)
    (tmp_path / "cut.gguf").write_bytes(f16.read_bytes()[:100])
    with pytest.raises(InputError, match=r"cut\.gguf: not a readable importance matrix"):
        read_importance(tmp_path / "cut.gguf")
