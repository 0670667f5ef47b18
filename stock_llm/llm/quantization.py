"""Quantizations: which ones there are, what each costs, how llama.cpp makes one from an f16 GGUF.

Which one is made is chosen per base model: `quantization` in the table `[gguf]` of
models/profiles/NAME.toml. To allow another one of llama.cpp's, add it to `QUANTIZATIONS`.
"""

import ctypes
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stock_llm.errors import InputError, MissingExtra, StockLLMError
from stock_llm.storage.atomic import atomic_path

if TYPE_CHECKING:
    from stock_llm.llm.gguf.importance import ImportanceMatrix


@dataclass(frozen=True)
class Quantization:
    """Size and cost of one, on 7B and 8B models."""

    bits: float
    """Of a weight, scales included."""

    note: str = ""


QUANTIZATIONS = {
    "F16": Quantization(16, "nothing lost, for measuring"),
    "BF16": Quantization(16, "with the range of float32"),
    "Q8_0": Quantization(8.5, "loses next to nothing"),
    "Q6_K": Quantization(6.6, "loses about 0.3 % of perplexity on an 8B model"),
    "Q5_K_M": Quantization(5.7, "about 0.9 %"),
    "Q5_K_S": Quantization(5.6),
    "Q5_1": Quantization(6, "the older kind"),
    "Q5_0": Quantization(5.5, "the older kind"),
    "Q4_K_M": Quantization(4.9, "about 3 %; the usual choice"),
    "Q4_K_S": Quantization(4.7),
    "Q4_1": Quantization(5, "the older kind"),
    "Q4_0": Quantization(4.5, "the older kind"),
    "IQ4_NL": Quantization(4.7, "slower on a CPU"),
    "IQ4_XS": Quantization(4.5, "slower on a CPU"),
    "Q3_K_L": Quantization(4.3),
    "Q3_K_M": Quantization(4, "the loss shows"),
    "Q3_K_S": Quantization(3.6),
    "IQ3_M": Quantization(3.8, "slower on a CPU"),
    "IQ3_S": Quantization(3.6, "slower on a CPU"),
    "IQ3_XS": Quantization(3.5, "slower on a CPU"),
    "Q2_K": Quantization(3.2, "the last resort"),
}
"""Name → size and cost (llama.cpp, tools/quantize/README.md). Those that cannot be made without an
importance matrix (IQ1, IQ2, IQ3_XXS) are not among them.
"""


AUTO = "auto"
"""In a profile: the smallest of `LADDER` that is good enough."""

LADDER = ("IQ3_S", "IQ4_XS", "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16")
"""What `AUTO` tries, from the smallest file to the largest."""


def quantize_gguf(
    source: Path,
    out: Path,
    quantization: str,
    threads: int,
    importance: "ImportanceMatrix | None" = None,
) -> None:
    """Writes the f16 GGUF `source` in a quantization to `out`, through llama.cpp.

    Args:
        importance: of the inputs of its layers, for rounding with more care where it matters.

    Raises:
        InputError: the quantization is not in `QUANTIZATIONS`, or the importance matrix is of
            another model.
        StockLLMError: it failed; the disk may be full.
    """
    if quantization not in QUANTIZATIONS:
        raise InputError(
            f"there is no quantization '{quantization}'",
            remedy=f"Choose one of {', '.join(QUANTIZATIONS)}",
        )
    try:
        import llama_cpp
    except ImportError:
        raise MissingExtra("llama-cpp-python", "local") from None
    from stock_llm.llm.runtime.weights import silence_logs

    silence_logs()
    free, needed = shutil.disk_usage(out.parent).free, source.stat().st_size
    if free < needed:
        raise StockLLMError(
            f"{out.parent} has {free >> 20} MiB free, quantizing may need {needed >> 20} MiB"
        )
    check_gguf(source)
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{quantization}")
    parameters.nthread = threads
    if importance:
        from stock_llm.llm.gguf.importance import as_llama_cpp, check_importance

        check_importance(importance, source)
        entries = as_llama_cpp(importance)
        parameters.imatrix = ctypes.cast(
            entries, ctypes.POINTER(llama_cpp.llama_model_imatrix_data)
        )
    with atomic_path(out) as temporary:
        status = llama_cpp.llama_model_quantize(
            str(source).encode(), str(temporary).encode(), parameters
        )
        if status != 0:
            raise StockLLMError(
                f"llama.cpp could not quantize {source} to {quantization} (status {status})"
            )
        check_gguf(temporary)


def tensor_types(gguf: Path) -> dict[str, int]:
    """Type → how many matrices have it. llama.cpp takes a larger type where the rows of a matrix
    are no multiple of 256, and for some layers of its choice.
    """
    from gguf import GGUFReader

    counted: dict[str, int] = {}
    for tensor in GGUFReader(gguf).tensors:
        if len(tensor.shape) > 1:
            name = tensor.tensor_type.name
            counted[name] = counted.get(name, 0) + 1
    return dict(sorted(counted.items(), key=lambda item: -item[1]))


def check_gguf(path: Path) -> None:
    """Refuses a file whose tensors do not lie inside it, before llama.cpp maps it (CVE-2025-53630
    was one of those).

    Raises:
        InputError: not a GGUF, or cut off.
    """
    from gguf import GGUFReader

    size = path.stat().st_size if path.is_file() else 0
    try:
        tensors = GGUFReader(path).tensors
    except (ValueError, OSError, IndexError, KeyError, OverflowError) as error:
        raise InputError(f"not a readable GGUF: {error}", file=path) from None
    for tensor in tensors:
        if int(tensor.data_offset) + int(tensor.n_bytes) > size:
            raise InputError(
                f"tensor {tensor.name} ends beyond the end of the file",
                file=path,
                remedy="Make the file again",
            )
