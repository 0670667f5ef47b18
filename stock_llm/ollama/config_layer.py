"""The config layer of a model in Ollama's store: what Ollama lists about a GGUF.

Fields as in ollama/ollama types/model/config.go.
"""

from pathlib import Path
from typing import Any

from stock_llm.errors import InputError, MissingExtra


def build_config_layer(gguf_file: Path, requires: str = "") -> dict[str, Any]:
    """The fields of the config layer, in Ollama's order.

    Args:
        requires: least Ollama version; empty: any.

    Raises:
        InputError: not a GGUF.
        MissingExtra: the extra `local` is not installed.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtra("gguf", "local") from None
    try:
        reader = gguf.GGUFReader(gguf_file)
    except (ValueError, OSError) as error:
        raise InputError(f"not a GGUF: {error}", file=gguf_file) from None
    architecture = str(_field(reader, "general.architecture", "unknown"))
    file_type = _field(reader, "general.file_type", None)
    known = {
        int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        for kind in gguf.LlamaFileType
    }
    return {
        "model_format": "gguf",
        "model_family": architecture,
        "model_families": [architecture],
        "model_type": human_number(sum(int(tensor.n_elements) for tensor in reader.tensors)),
        "file_type": known.get(file_type, "unknown"),
        **({"requires": requires} if requires else {}),
        "architecture": "amd64",
        "os": "linux",
    }


def _field(reader: Any, key: str, default: Any) -> Any:
    field = reader.get_field(key)
    return field.contents() if field else default


def human_number(count: int) -> str:
    """A number of parameters as Ollama shows it: 7.2B, 6.52M, 118K (format/format.go)."""
    for unit, letter, digits in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if count >= unit:
            return f"{count / unit:.{0 if count % unit == 0 else digits}f}{letter}"
    return str(count)
