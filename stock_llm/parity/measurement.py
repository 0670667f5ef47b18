"""Fills a file of logits from a model in each of its forms: loaded in PyTorch, computed layer by
layer, or run by llama.cpp.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.merging.layerwise import TokenizedAnswer
from stock_llm.llm.merging.weights import Weights
from stock_llm.parity.divergence import LogitFile
from stock_llm.progress import progress


def measure_loaded(
    model: Any, answers: Sequence[TokenizedAnswer], out: LogitFile, description: str
) -> None:
    """
    Args:
        model: of transformers, with an adapter or without.
        description: of the progress bar.
    """
    import torch

    with torch.inference_mode():
        for number, row in enumerate(progress(answers, description)):
            ids = torch.tensor([row.prompt + row.answer], device=model.device)
            kept = len(row.answer) + 1
            logits = model(input_ids=ids, logits_to_keep=kept).logits[0, :-1]
            out.take(number, logits.float())


def measure_gguf(model: LlamaModel, answers: Sequence[TokenizedAnswer], out: LogitFile) -> None:
    """The same of a GGUF."""
    for number, row in enumerate(answers):
        out.take(number, model.answer_logits(row.prompt, row.answer))


def find_wrong_tensor(gguf: Path, weights: Weights, folder: Path) -> str:
    """The first tensor of an f16 GGUF that is not the model's, and how it looks; empty: all are.

    Args:
        weights: of the model that the GGUF was written from.
        folder: with its config.json.
    """
    from gguf import GGUFReader

    from stock_llm.llm.architectures import read_config
    from stock_llm.llm.gguf.families import FAMILIES
    from stock_llm.llm.gguf.writer import paired_heads, paired_rows

    base = read_config(folder)
    family, config = FAMILIES[base.architecture.name], base.for_transformers()
    tensors = {tensor.name: tensor.data for tensor in GGUFReader(gguf).tensors}
    for name in weights.names():
        module, _, kind = name.rpartition(".")
        target = f"{family.module(module)}.{kind}"
        if target not in tensors:
            continue
        plain = weights.read(name).cpu()
        heads = paired_heads(target, family, config)
        wanted = paired_rows(plain, heads) if heads else plain
        found = tensors[target].astype(np.float32)
        if found.shape != tuple(wanted.shape):
            return f"{target} has the shape {list(found.shape)}, the model's {list(wanted.shape)}"
        if not np.allclose(found, wanted.numpy(), rtol=1e-3, atol=1e-6):
            if heads and np.allclose(found, plain.numpy(), rtol=1e-3, atol=1e-6):
                return f"{target} has its rows in transformers' order, llama.cpp wants pairs"
            return f"{target} has other values than the model"
    return ""
