"""Quantizations: which ones there are, what each costs, how llama.cpp makes one from an f16 GGUF.

Which one is made is chosen per base model: `quantization` in the table `[gguf]` of
models/profiles/NAME.toml. To allow another one of llama.cpp's, add it to `QUANTIZATIONS`.
"""

import json
import math
import shutil
from pathlib import Path

from stock_llm.errors import InputError, MissingExtra, StockLLMError
from stock_llm.storage.atomic import atomic_path

QUANTIZATIONS = {
    "F16": "16 bits a weight: nothing lost, for measuring",
    "BF16": "16 bits a weight with the range of float32",
    "Q8_0": "8.5 bits a weight: loses next to nothing",
    "Q6_K": "6.6 bits a weight: loses about 0.3 % of perplexity on an 8B model",
    "Q5_K_M": "5.7 bits a weight: about 0.9 %",
    "Q5_K_S": "5.6 bits a weight",
    "Q5_1": "6 bits a weight, the older kind",
    "Q5_0": "5.5 bits a weight, the older kind",
    "Q4_K_M": "4.9 bits a weight: about 3 %; the usual choice",
    "Q4_K_S": "4.7 bits a weight",
    "Q4_1": "5 bits a weight, the older kind",
    "Q4_0": "4.5 bits a weight, the older kind",
    "IQ4_NL": "4.7 bits a weight, slower on a CPU",
    "IQ4_XS": "4.5 bits a weight, slower on a CPU",
    "Q3_K_L": "4.3 bits a weight",
    "Q3_K_M": "4.0 bits a weight: the loss shows",
    "Q3_K_S": "3.6 bits a weight",
    "IQ3_M": "3.8 bits a weight, slower on a CPU",
    "IQ3_S": "3.6 bits a weight, slower on a CPU",
    "IQ3_XS": "3.5 bits a weight, slower on a CPU",
    "Q2_K": "3.2 bits a weight: the last resort",
}
"""Name → size and cost on 7B and 8B models (llama.cpp, tools/quantize/README.md). Those that need
an importance matrix are not
among them: nothing here makes one."""

_FALLBACK_BYTES = 34 / 32
"""Bytes of a weight in Q8_0, the largest type that llama.cpp falls back to for rows that a K-quant
cannot hold.
"""


def disk_needed(base: Path, precision: str, quantization: str) -> int:
    """Bytes that lie side by side while the model in `base` is merged and quantized: merged
    weights, f16 file, quantized file.

    Args:
        precision: of the merged weights, float32 or bfloat16.
    """
    weight = (4.0 if precision == "float32" else 2) + 2
    weight += 2 if quantization in ("F16", "BF16") else _FALLBACK_BYTES
    return int(weight * count_parameters(base)) + (64 << 20)  # tokenizers, metadata, records


def count_parameters(folder: Path) -> int:
    """Weights in the safetensors files of a folder, counted from their headers."""
    count = 0
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        count += sum(
            math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"
        )
    return count


def quantize_gguf(source: Path, out: Path, quantization: str, threads: int) -> None:
    """Writes the f16 GGUF `source` in a quantization to `out`, through llama.cpp.

    Raises:
        InputError: the quantization is not in `QUANTIZATIONS`.
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
    from stock_llm.llm.llama_cpp import silence_logs

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
    with atomic_path(out) as temporary:
        status = llama_cpp.llama_model_quantize(
            str(source).encode(), str(temporary).encode(), parameters
        )
        if status != 0:
            raise StockLLMError(
                f"llama.cpp could not quantize {source} to {quantization} (status {status})"
            )
        check_gguf(temporary)


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
