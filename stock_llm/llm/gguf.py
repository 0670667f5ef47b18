"""Writes a Mistral or Llama model as a GGUF file in f16, with llama.cpp's names for its "llama"
models.

Reads a Hugging Face folder (config.json, safetensors, tokenizer files). Tensors are read, permuted
and written one at a time, so that a 7B model needs the memory of its largest tensor. Format:
ggml/docs/gguf.md; names and permutation as in llama.cpp's own converter. What is not known here
(other architectures, scaled rotary positions, biases, other tokenizers) is refused, and before
anything is trained (`check_writable`). Quantizing the file is quantization.py's.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stock_llm.errors import InputError, MissingExtra, StockLLMError
from stock_llm.llm.architectures import LLAMA, MISTRAL, read_config
from stock_llm.llm.gguf_vocabulary import check_vocabulary, write_vocabulary
from stock_llm.storage.atomic import atomic_path

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter

BLOCK_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTER_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}

_WRITABLE = (MISTRAL, LLAMA)


def check_writable(folder: Path) -> None:
    """
    Raises:
        InputError: the folder's model could be trained, but not be written as a GGUF.
    """
    config = read_config(folder)
    file, fields = folder / "config.json", config.fields
    known = {each.name for each in _WRITABLE}
    remedy = "Choose another profile: `stock-llm profiles list`"
    if config.architecture.name not in known:
        raise InputError(
            f"models of the architecture '{config.architecture.name}' cannot be written as a GGUF "
            "yet",
            file=file,
            remedy=remedy,
        )
    rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind != "default":
        raise InputError(
            f"rotary positions that are scaled ('{kind}') cannot be written as a GGUF yet",
            file=file,
            remedy=remedy,
        )
    if fields.get("attention_bias") or fields.get("mlp_bias"):
        raise InputError("biases cannot be written as a GGUF yet", file=file, remedy=remedy)
    check_vocabulary(folder)


def write_gguf(folder: Path, out: Path, name: str, chat_template: str) -> None:
    """Writes `folder`'s model as f16 (norms f32) to `out`, by way of a temporary file beside it.

    Args:
        name: `general.name` of the file.
        chat_template: Jinja; replaces whatever template the tokenizer brings.

    Raises:
        InputError: the folder's model cannot be written.
        StockLLMError: the disk is full.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtra("gguf", "local") from None

    check_writable(folder)
    config = read_config(folder).fields
    try:
        with atomic_path(out) as temporary:
            writer = gguf.GGUFWriter(temporary, "llama")
            _write_model_keys(writer, config, name)
            write_vocabulary(writer, folder, config["vocab_size"], chat_template)
            names = _tensor_names(folder, config)
            for source, target in names.items():
                shape, half = _shape_of(folder, source)
                size = 2 if half else 4
                count = 1
                for length in shape:
                    count *= length
                writer.add_tensor_info(target, shape, _dtype(half), count * size)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for array in _tensors(folder, names, config):
                writer.write_tensor_data(array)
            writer.close()
    except OSError as error:
        raise StockLLMError(
            f"cannot write {out}: {error.strerror or error}. Free some disk space and run again"
        ) from error


def _dtype(half: bool) -> "np.dtype[Any]":
    import numpy as np

    return np.dtype(np.float16 if half else np.float32)


def _write_model_keys(writer: "GGUFWriter", config: dict[str, Any], name: str) -> None:
    heads = config["num_attention_heads"]
    head_size = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or {}
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(1)  # mostly f16
    writer.add_quantization_version(2)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0))


def _tensor_names(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """Name in safetensors → name in GGUF, in the order in which they are written."""
    names = {}
    for source in sorted(_index(folder)):
        if source.endswith(".rotary_emb.inv_freq"):  # computed from rope_theta; old files hold it
            continue
        if source in OUTER_NAMES:
            if source == "lm_head.weight" and config.get("tie_word_embeddings"):
                continue
            names[source] = OUTER_NAMES[source]
            continue
        parts = source.split(".", 3)
        block = (
            BLOCK_NAMES.get(parts[3].removesuffix(".weight"))
            if len(parts) == 4 and parts[:2] == ["model", "layers"]
            else None
        )
        if block is None:
            raise InputError(
                f"unknown tensor {source!r}",
                file=folder,
                remedy="Only plain Mistral and Llama weights can be written",
            )
        names[source] = f"blk.{parts[2]}.{block}.weight"
    return names


def _index(folder: Path) -> dict[str, Path]:
    """Tensor → the safetensors file that holds it."""
    from safetensors import safe_open

    index = folder / "model.safetensors.index.json"
    if index.exists():
        return {
            name: folder / file
            for name, file in json.loads(index.read_text())["weight_map"].items()
        }
    file = folder / "model.safetensors"
    with safe_open(file, framework="pt") as weights:
        return dict.fromkeys(weights.keys(), file)


def _shape_of(folder: Path, name: str) -> tuple[list[int], bool]:
    """Shape, and whether the tensor is written as f16: matrices are, vectors stay f32."""
    from safetensors import safe_open

    with safe_open(_index(folder)[name], framework="pt") as weights:
        shape = list(weights.get_slice(name).get_shape())
    return shape, len(shape) > 1


def _tensors(
    folder: Path, names: dict[str, str], config: dict[str, Any]
) -> "Iterator[np.ndarray[Any, Any]]":
    import torch
    from safetensors import safe_open

    heads = config["num_attention_heads"]
    index = _index(folder)
    for source, target in names.items():
        with safe_open(index[source], framework="pt") as weights:
            tensor = weights.get_tensor(source).to(torch.float32)
        if target.endswith(("attn_q.weight", "attn_k.weight")):
            tensor = _interleaved(
                tensor, heads if "attn_q" in target else config.get("num_key_value_heads") or heads
            )
        yield tensor.to(torch.float16 if tensor.ndim > 1 else torch.float32).numpy()


def _interleaved(weight: Any, heads: int) -> Any:
    """Rows reordered from Hugging Face's rotary halves to llama.cpp's rotary pairs."""
    rows, columns = weight.shape
    return (
        weight.reshape(heads, 2, rows // heads // 2, columns)
        .swapaxes(1, 2)
        .reshape(rows, columns)
        .contiguous()
    )
