"""A base of Mistral's architecture with random weights, written as the hub has bases: for benchmarks of memory, time and disk.

Nothing is downloaded but Mistral's vocabulary v3 (6.6 MB), out of a wheel of PyPI's package mistral-common, which is not installed.
"""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from stock_llm.llm.architectures import ModelShape

SHAPE: dict[str, Any] = {
    "model_type": "mistral",
    "architectures": ["MistralForCausalLM"],
    "vocab_size": 32768,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""config.json of Mistral-7B-Instruct-v0.3."""

WHEEL = "mistral_common-1.13.1-py3-none-any.whl"
WHEEL_SHA256 = "98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af"
V3 = "mistral_common/data/mistral_instruct_tokenizer_240323.model.v3"
"""Mistral's SentencePiece model v3 (Apache-2.0) inside it."""


def weights_of(config: dict[str, Any]) -> int:
    """How many weights a model has."""
    sizes = {name: value for name, value in config.items() if name in ModelShape.model_fields}
    return ModelShape.model_validate(sizes).weights


def empty_model(config: dict[str, Any]) -> dict[str, Any]:
    """Name → tensor without memory, of every weight of a model."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    with torch.device("meta"):
        model: Any = MistralForCausalLM(MistralConfig(**config))
    weights: dict[str, Any] = model.state_dict()
    return weights


def v3(folder: Path) -> Path:
    """Mistral's vocabulary v3, from the package index; the wheel does not stay."""
    from stock_llm.llm.package_index import fetch_file

    kept = folder / "v3.model"
    if not kept.exists():
        wheel = fetch_file("mistral-common", WHEEL, WHEEL_SHA256, folder)
        with zipfile.ZipFile(wheel) as archive:
            kept.write_bytes(archive.read(V3))
        wheel.unlink()
    return kept


def write_base(folder: Path, config: dict[str, Any], vocabulary: Path) -> str:
    """Writes a base with random weights in bfloat16, two layers in a file, so that no more are ever in memory.

    Args:
        folder: is made.
        config: as config.json has it.
        vocabulary: a SentencePiece model.

    Returns:
        Its size, for people.
    """
    import torch
    from safetensors.torch import save_file

    from stock_llm.synthetic.stock_tiny.tokenizer import MODEL_FILE, write_fast_tokenizer

    folder.mkdir(parents=True)
    shutil.copy(vocabulary, folder / MODEL_FILE)
    write_fast_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(config, indent=1))

    files: dict[str, dict[str, Any]] = {}
    for name, empty in empty_model(config).items():
        layer = int(name.split(".")[2]) // 2 + 1 if ".layers." in name else 0
        files.setdefault(f"model-{layer:05}.safetensors", {})[name] = empty
    random_numbers = torch.Generator().manual_seed(0)
    for file, weights in files.items():
        made = {}
        for name, empty in weights.items():
            weight = torch.empty(empty.shape, dtype=torch.bfloat16)
            norm = weight.dim() == 1
            made[name] = (
                weight.fill_(1)
                if norm
                else weight.normal_(0, config["initializer_range"], generator=random_numbers)
            )
        save_file(made, folder / file, metadata={"format": "pt"})
    index = {
        "metadata": {},
        "weight_map": {name: file for file, weights in files.items() for name in weights},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    size = sum(file.stat().st_size for file in folder.iterdir())
    return f"{size / 1e9:.1f} GB"
