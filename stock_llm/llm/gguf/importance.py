"""Importance matrices: how large the inputs of each linear layer are, on rows of the user.

A quantizer that knows them rounds the columns that matter with more care. They are collected in
PyTorch while a merge is measured, and kept in llama.cpp's own format (tools/imatrix: for each
tensor the sums of the squared inputs, `.in_sum2`, and how many there were, `.counts`). The file
says which model it was collected from; another model's is refused.
"""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stock_llm.errors import InputError, MissingExtra
from stock_llm.llm.gguf.families import Family
from stock_llm.storage.atomic import atomic_path

if TYPE_CHECKING:
    import torch

_MODEL = "stock_llm.model"
_SUMS, _COUNTS = ".in_sum2", ".counts"

Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class ImportanceMatrix:
    """What was collected.

    Attributes:
        model: `general.name` of the GGUF that it is for.
        means: tensor in the GGUF → mean of the squares of each input.
        tokens: how many tokens went through each tensor.
    """

    model: str
    means: Mapping[str, Floats]
    tokens: Mapping[str, int]


@dataclass
class ImportanceCollector:
    """Adds up what linear layers get; `watch` is for `layerwise.compute_logits`.

    Attributes:
        tied: whether lm_head is the embeddings once more: the file has these alone.
    """

    family: Family
    tied: bool
    _sums: "dict[str, torch.Tensor]" = field(default_factory=dict)
    _tokens: dict[str, int] = field(default_factory=dict)

    def watch(self, module: str, given: "torch.Tensor") -> None:
        """
        Args:
            module: name in transformers.
            given: shape (tokens, inputs).
        """
        stored = "model.embed_tokens" if self.tied and module == "lm_head" else module
        if (named := self.family.module(stored)) is None:
            return
        squares = given.double().square().sum(dim=0).cpu()
        name = f"{named}.weight"
        self._sums[name] = self._sums[name] + squares if name in self._sums else squares
        self._tokens[name] = self._tokens.get(name, 0) + given.shape[0]

    def collected(self, model: str) -> ImportanceMatrix:
        """The matrix so far, for the GGUF with that `general.name`."""
        means = {
            name: (sums / self._tokens[name]).float().numpy() for name, sums in self._sums.items()
        }
        return ImportanceMatrix(model, means, dict(self._tokens))


def write_importance(matrix: ImportanceMatrix, out: Path, rows: str) -> None:
    """Writes `matrix` to `out` as llama.cpp's `llama-imatrix` does.

    Args:
        rows: the file that it was collected on, for people.
    """
    try:
        from gguf import GGUFWriter
    except ImportError:
        raise MissingExtra("gguf", "local") from None

    with atomic_path(out) as temporary:
        writer = GGUFWriter(temporary, "")
        writer.add_type("imatrix")
        writer.add_array("imatrix.datasets", [rows])
        writer.add_uint32("imatrix.chunk_count", 1)
        writer.add_uint32("imatrix.chunk_size", max(matrix.tokens.values()))
        writer.add_string(_MODEL, matrix.model)
        for name in sorted(matrix.means):
            count = np.array([[matrix.tokens[name]]], dtype=np.float32)
            writer.add_tensor(name + _SUMS, matrix.means[name][None] * count)
            writer.add_tensor(name + _COUNTS, count)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def read_importance(file: Path) -> ImportanceMatrix:
    """
    Raises:
        InputError: it is no importance matrix, or does not say of which model.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        keys = {name: entry.contents() for name, entry in reader.fields.items()}
        tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    except (ValueError, OSError, IndexError, KeyError, OverflowError) as error:
        raise InputError(f"not a readable importance matrix: {error}", file=file) from None
    if keys.get("general.type") != "imatrix" or not keys.get(_MODEL):
        raise InputError("no importance matrix that says which model it is for", file=file)
    means, tokens = {}, {}
    for name, sums in tensors.items():
        if name.endswith(_SUMS):
            tensor = name.removesuffix(_SUMS)
            count = float(tensors[tensor + _COUNTS].reshape(-1)[0])
            means[tensor] = (sums.reshape(-1) / count).astype(np.float32)
            tokens[tensor] = int(count)
    return ImportanceMatrix(str(keys[_MODEL]), means, tokens)


def check_importance(matrix: ImportanceMatrix, gguf: Path) -> None:
    """
    Raises:
        InputError: the matrix is of another model than the GGUF; names both.
    """
    from gguf import GGUFReader

    reader = GGUFReader(gguf)
    named = reader.fields.get("general.name")
    name = str(named.contents()) if named else ""
    if name != matrix.model:
        raise InputError(
            f"the importance matrix was collected from '{matrix.model}', the file is '{name}'",
            file=gguf,
            remedy="Collect it from this model",
        )
    inputs = {tensor.name: int(tensor.shape[0]) for tensor in reader.tensors}
    for tensor, means in matrix.means.items():
        if inputs.get(tensor) != len(means):
            raise InputError(
                f"the importance matrix has {len(means)} inputs for {tensor}, the file "
                f"{inputs.get(tensor, 0)}",
                file=gguf,
                remedy="Collect it from this model",
            )


def as_llama_cpp(matrix: ImportanceMatrix) -> Any:
    """What `llama_model_quantize_params.imatrix` points to: an array that ends with an entry
    without a name. It has to live until the quantizing is done.
    """
    import llama_cpp

    entries = (llama_cpp.llama_model_imatrix_data * (len(matrix.means) + 1))()
    for entry, (name, means) in zip(entries, matrix.means.items(), strict=False):
        values = (ctypes.c_float * len(means)).from_buffer_copy(means.tobytes())
        entry.name, entry.data, entry.size = name.encode(), values, len(means)
    return entries
