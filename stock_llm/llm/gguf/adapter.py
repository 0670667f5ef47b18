"""Writes a LoRA adapter as a GGUF of its own, which llama.cpp adds to a base while it runs
(`llama-server --lora FILE`, `ADAPTER FILE` in a Modelfile).

Factors are written in float32, so nothing is rounded. llama.cpp scales B·A by alpha / rank; a scale
that is another (rank-stabilized LoRA) is written as the alpha that gives it.
"""

from pathlib import Path

from stock_llm.errors import InputError, MissingExtra, StockLLMError
from stock_llm.llm.architectures import read_config
from stock_llm.llm.gguf.families import FAMILIES
from stock_llm.llm.gguf.writer import paired_heads, paired_rows
from stock_llm.llm.merging.lora import LoraAdapter
from stock_llm.storage.atomic import atomic_path


def write_adapter_gguf(folder: Path, adapter: LoraAdapter, out: Path, name: str) -> None:
    """Writes the adapter to `out`.

    Args:
        folder: of its base, of which config.json is read.
        name: `general.name` of the file.

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
                writer.add_tensor(f"{target}.lora_a", a.numpy())
                writer.add_tensor(f"{target}.lora_b", b.numpy())
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
    except OSError as error:
        raise StockLLMError(
            f"cannot write {out}: {error.strerror or error}. Free some disk space and run again"
        ) from error
