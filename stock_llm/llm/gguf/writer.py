"""Writes a base model as a GGUF file in f16, for llama.cpp.

Reads a Hugging Face folder (config.json, safetensors, tokenizer files), or other weights for it,
such as a merge. Tensors are read, permuted and written one at a time, so that a 7B model needs the
memory of its largest tensor. Format: ggml/docs/gguf.md. What llama.cpp would compute otherwise is
refused, before anything is trained (`check_writable`). Quantizing the file is quantization.py's.

llama.cpp has a converter of its own (`converter.py`), which writes what this package does not:
today the scaled positions of Llama 3. For the rest it is not asked: it has to be fetched, wants the
merged weights on the disk, knows a tokenizer by a hash over the tokens of one text, so that no
small model of a test passes, and leaves out that no space is put before a text. A test holds both
equal: the same tensors, bit for bit, and the same keys but for those that it names.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stock_llm.errors import InputError, MissingExtra, StockLLMError
from stock_llm.llm.architectures import Architecture, read_config
from stock_llm.llm.gguf.converter import convert, fetch_converter
from stock_llm.llm.gguf.families import FAMILIES, Family, check_computable, write_keys
from stock_llm.llm.gguf.vocabulary import check_vocabulary, write_vocabulary
from stock_llm.llm.merging.weights import StoredWeights, Weights
from stock_llm.storage.atomic import atomic_path

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Origin:
    """What a file says of where it comes from, in llama.cpp's `general.*` keys; no folder, user or
    machine.

    Attributes:
        base: name of the base model in the catalogue.
        repository: its page; empty where it has none.
        revision: its commit there.
        licence: an SPDX identifier, or the licence's name.
        version: of this file: the digest of the candidate; empty: it is the base itself.
    """

    base: str
    repository: str
    revision: str
    licence: str
    version: str


def check_writable(folder: Path) -> None:
    """
    Raises:
        InputError: the folder's model could be trained, but not be written as a GGUF.
        MissingExtra: the extra `train` is not installed.
        StockLLMError: llama.cpp's converter is needed and cannot be had.
    """
    config = read_config(folder)
    family, settings = FAMILIES[config.architecture.name], config.for_transformers()
    check_computable(family, settings, folder / "config.json")
    check_vocabulary(folder)
    if _is_converted(family, settings):
        fetch_converter()


def _is_converted(family: Family, config: Any) -> bool:
    """Whether llama.cpp's own converter writes the file."""
    return config.rope_parameters["rope_type"] in family.converted


def write_gguf(
    folder: Path,
    out: Path,
    name: str,
    chat_template: str,
    weights: Weights | None = None,
    origin: Origin | None = None,
) -> None:
    """Writes `folder`'s model as f16 (norms and biases f32) to `out`, by way of a temporary file
    beside it.

    Args:
        folder: with config.json and the tokenizer.
        name: `general.name` of the file.
        chat_template: Jinja; replaces whatever template the tokenizer brings.
        weights: of the model, where they are others than those in `folder`.
        origin: what is said of where it comes from; None: nothing.

    Raises:
        InputError: the folder's model cannot be written.
        StockLLMError: the disk is full.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtra("gguf", "local") from None

    check_writable(folder)
    base = read_config(folder)
    family, config = FAMILIES[base.architecture.name], base.for_transformers()
    weights = weights or StoredWeights(folder)
    if _is_converted(family, config):
        convert(folder, weights, out, name, chat_template)
        return
    names = _tensor_names(weights, folder, base.architecture, family, config.tie_word_embeddings)
    try:
        with atomic_path(out) as temporary:
            writer = gguf.GGUFWriter(temporary, family.name)
            writer.add_type("model")
            writer.add_name(name)
            if origin:
                _write_origin(writer, origin)
            writer.add_file_type(1)  # mostly f16
            writer.add_quantization_version(2)
            write_keys(writer, config)
            write_vocabulary(writer, folder, config.vocab_size, chat_template)
            for source, target in names.items():
                shape = weights.shape(source)
                kind = _dtype(len(shape) > 1)
                size = math.prod(shape) * kind.itemsize
                writer.add_tensor_info(target, list(shape), kind, size)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for array in _tensors(weights, names, family, config):
                writer.write_tensor_data(array)
            writer.close()
    except OSError as error:
        raise StockLLMError(
            f"cannot write {out}: {error.strerror or error}. Free some disk space and run again"
        ) from error


def _write_origin(writer: Any, origin: Origin) -> None:
    writer.add_basename(origin.base)
    if origin.version:
        writer.add_version(origin.version)
        writer.add_finetune("stock-llm")
    spdx = re.fullmatch(r"[A-Za-z0-9.+-]+", origin.licence) is not None
    writer.add_license(origin.licence.lower() if spdx else "other")
    if not spdx:
        writer.add_license_name(origin.licence)
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, origin.base)
    if origin.repository:
        writer.add_base_model_repo_url(0, origin.repository)
        writer.add_base_model_version(0, origin.revision)


def _dtype(half: bool) -> "np.dtype[Any]":
    """Of a tensor in the file: matrices are f16, vectors stay f32."""
    import numpy as np

    return np.dtype(np.float16 if half else np.float32)


def _tensor_names(
    weights: Weights, folder: Path, architecture: Architecture, family: Family, tied: bool
) -> dict[str, str]:
    """Name in safetensors → name in GGUF, in the order in which they are written."""
    names = {}
    for source in weights.names():
        module, _, kind = source.rpartition(".")
        if tied and module == "lm_head" and kind == "weight":
            continue
        target = family.module(module)
        if target is None or kind not in ("weight", "bias"):
            raise InputError(
                f"unknown tensor {source!r}",
                file=folder,
                remedy=f"Only the plain weights of a {architecture.model_class} can be written",
            )
        names[source] = f"{target}.{kind}"
    return names


def _tensors(
    weights: Weights, names: dict[str, str], family: Family, config: Any
) -> "Iterator[np.ndarray[Any, Any]]":
    import torch

    for source, target in names.items():
        tensor = weights.read(source)
        tensor = tensor.to(torch.float16 if tensor.ndim > 1 else torch.float32).cpu()
        if heads := paired_heads(target, family, config):
            tensor = paired_rows(tensor, heads)
        yield tensor.numpy()


def paired_heads(target: str, family: Family, config: Any) -> int:
    """How many heads the rows of a tensor belong to, where they are reordered; 0: they are not.

    Args:
        target: name of the tensor in the GGUF.
    """
    heads = {
        "attn_q.weight": config.num_attention_heads,
        "attn_k.weight": config.num_key_value_heads,
    }
    return heads.get(".".join(target.split(".")[-2:]), 0) if family.paired_rows else 0


def paired_rows(weight: Any, heads: int) -> Any:
    """Rows reordered from Hugging Face's rotary halves to llama.cpp's rotary pairs."""
    rows, columns = weight.shape
    return (
        weight.reshape(heads, 2, rows // heads // 2, columns)
        .swapaxes(1, 2)
        .reshape(rows, columns)
        .contiguous()
    )
