"""Writes a LoRA adapter as a GGUF of its own, which llama.cpp adds to a base while it runs
(`llama-server --lora FILE`, `ADAPTER FILE` in a Modelfile).

llama.cpp scales B·A by alpha / rank; a scale that is another (rank-stabilized LoRA) is written as
the alpha that gives it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stock_llm.errors import InputError, MissingExtra, StockLLMError
from stock_llm.llm.architectures import read_config
from stock_llm.llm.gguf.families import FAMILIES
from stock_llm.llm.gguf.writer import paired_heads, paired_rows
from stock_llm.llm.merging.lora import LoraAdapter
from stock_llm.storage.atomic import atomic_path

if TYPE_CHECKING:
    import numpy as np

EXACT = "F32"
"""Nothing is rounded."""

LORA_KIND = "Q8_0"
"""Of an adapter that is served beside its base; docs/publishing.md has what is lost by it."""

_BLOCK = 32  # values of a block of Q8_0: shorter rows are written as f16


def write_adapter_gguf(
    folder: Path, adapter: LoraAdapter, out: Path, name: str, kind: str = EXACT
) -> None:
    """Writes the adapter to `out`.

    Args:
        folder: of its base, of which config.json is read.
        name: `general.name` of the file.
        kind: F32, F16 or Q8_0. The rows of B are as long as the rank: where that is no multiple of
            32, Q8_0 writes B as f16.

    Raises:
        InputError: the adapter has weights for a layer that has no name in a GGUF.
        StockLLMError: the disk is full.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtra("gguf", "local") from None

    base = read_config(folder)
    family, config = FAMILIES[base.architecture.name], base.for_transformers()
    try:
        with atomic_path(out) as temporary:
            writer = gguf.GGUFWriter(temporary, family.name)
            writer.add_type("adapter")
            writer.add_name(name)
            writer.add_string("adapter.type", "lora")
            writer.add_float32("adapter.lora.alpha", adapter.scale * adapter.rank)
            for module in adapter.shapes:
                if (named := family.module(module)) is None:
                    raise InputError(f"{module!r} has no name in a GGUF", file=adapter.file)
                target = f"{named}.weight"
                a, b = adapter.factors(module)
                if heads := paired_heads(target, family, config):
                    b = paired_rows(b, heads)
                for side, factor in (("lora_a", a), ("lora_b", b)):
                    _add(writer, f"{target}.{side}", factor.numpy(), kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
    except OSError as error:
        raise StockLLMError(
            f"cannot write {out}: {error.strerror or error}. Free some disk space and run again"
        ) from error


def _add(writer: Any, name: str, factor: "np.ndarray[Any, Any]", kind: str) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType, quants

    if kind == "Q8_0" and factor.shape[-1] % _BLOCK == 0:
        packed = quants.quantize(factor, GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, packed, raw_dtype=GGMLQuantizationType.Q8_0)
    else:
        writer.add_tensor(name, factor if kind == EXACT else factor.astype(np.float16))
