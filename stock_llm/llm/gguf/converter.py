"""llama.cpp's own converter, from the source archive of the installed llama-cpp-python.

It knows every architecture and tokenizer that llama.cpp knows, but is no part of the compiled
package. The archive is fetched once from the package index, at exactly the installed version and by
its SHA-256, and what the converter consists of (2 MB of Python) is kept in the user's cache,
`~/.cache/stock-llm/llama.cpp`. It runs in a process of its own, since it brings a version of the
library `gguf` with it.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stock_llm.errors import InputError, MissingExtra, StockLLMError
from stock_llm.llm.architectures import read_config
from stock_llm.llm.gguf.tokenizer import SENTENCEPIECE_FILE, load_tokenizer
from stock_llm.llm.gguf.vocabulary import prefixes_space
from stock_llm.llm.package_index import fetch_file
from stock_llm.storage.atomic import atomic_path

if TYPE_CHECKING:
    from stock_llm.llm.merging.weights import Weights

PROJECT = "llama-cpp-python"

ARCHIVES = {"0.3.36": "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"}
"""Version → SHA-256 of its source archive in the package index. Another version in constraints.txt
needs its line here."""

SCRIPT = "convert_hf_to_gguf.py"
_PARTS = (SCRIPT, "convert_lora_to_gguf.py", "conversion/", "gguf-py/gguf/", "LICENSE")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
_SHARD_BYTES = 1 << 30
_STAGED = ".convert-"


def fetch_converter() -> Path:
    """The folder with the converter; fetched where it is not there yet.

    Raises:
        StockLLMError: the package index does not answer, or has another file.
        InputError: no archive is known for the installed version.
        MissingExtra: the extra `local` is not installed.
    """
    try:
        installed = version(PROJECT)
    except PackageNotFoundError:
        raise MissingExtra(PROJECT, "local") from None
    if installed not in ARCHIVES:
        raise InputError(
            f"no source archive is known for {PROJECT} {installed}",
            remedy=f"Install {PROJECT}=={next(iter(ARCHIVES))}",
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "stock-llm" / "llama.cpp" / installed
    if (folder / SCRIPT).is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
        name = f"llama_cpp_python-{installed}.tar.gz"
        archive = fetch_file(PROJECT, name, ARCHIVES[installed], Path(scratch))
        _extract(archive, Path(scratch) / "made")
        try:
            (Path(scratch) / "made").replace(folder)
        except OSError:  # another process was first
            if not (folder / SCRIPT).is_file():
                raise
    return folder


def _extract(archive: Path, folder: Path) -> None:
    """The converter's part of a source archive."""
    with tarfile.open(archive) as packed:
        for member in packed:
            _, found, name = member.name.partition("/vendor/llama.cpp/")
            if found and member.isfile() and name.startswith(_PARTS):
                member.name = name
                packed.extract(member, folder, filter="data")


def convert(folder: Path, weights: "Weights", out: Path, name: str, chat_template: str) -> None:
    """Writes a model as f16 to `out` by llama.cpp's converter.

    Args:
        folder: with config.json and the tokenizer.
        weights: of the model; written beside `out` as safetensors (f16, vectors f32) and deleted
            again: so much more disk this way needs.
        name: `general.name`.
        chat_template: Jinja.

    Raises:
        InputError: the converter does not know the model; says what it said.
        StockLLMError: the converter cannot be had.
    """
    program = fetch_converter() / SCRIPT
    for left in out.parent.glob(f"{_STAGED}*"):  # of an attempt that was killed
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=_STAGED) as made:
        staged = Path(made)
        write_folder(folder, weights, staged, chat_template)
        with atomic_path(out) as temporary:
            command = [sys.executable, program, staged, "--outfile", temporary]
            command += ["--outtype", "f16", "--model-name", name]
            done = subprocess.run(
                list(map(str, command)),
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
            )
            if done.returncode != 0 or not temporary.is_file():
                said = [line for line in done.stderr.splitlines() if line.strip()]
                raise InputError(
                    f"llama.cpp's converter refuses it: {said[-1] if said else done.returncode}",
                    file=folder,
                    remedy="Choose another profile: `stock-llm profiles list`",
                )


def write_folder(folder: Path, weights: "Weights", out: Path, chat_template: str) -> None:
    """Writes a model as a Hugging Face folder, in files of about 1 GiB: no more of it is in memory
    at once.

    Raises:
        StockLLMError: the disk is full.
    """
    config = read_config(folder).as_json()
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    for name in _TOKENIZER_FILES:
        if (folder / name).exists():
            shutil.copy(folder / name, out / name)
    file = out / "tokenizer_config.json"
    stated: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    stated["chat_template"] = chat_template
    if (folder / SENTENCEPIECE_FILE).exists():  # else the converter leaves it open
        stated["add_prefix_space"] = prefixes_space(load_tokenizer(folder))
    file.write_text(json.dumps(stated, ensure_ascii=False), encoding="utf-8")
    write_shards(weights, out)


def write_shards(weights: "Weights", out: Path) -> None:
    """Writes weights as safetensors (f16, vectors f32) in files of about 1 GiB with their index.

    Raises:
        StockLLMError: the disk is full.
    """
    try:
        _write_shards(weights, out)
    except (OSError, RuntimeError) as error:  # safetensors wraps a full disk
        raise StockLLMError(
            f"the merged weights cannot be written to {out}: {error}. Free some disk space and run "
            "again"
        ) from error


def _write_shards(weights: "Weights", out: Path) -> None:
    import torch
    from safetensors.torch import save_file

    places: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}
    names = weights.names()
    for name in names:
        tensor = weights.read(name)
        shard[name] = tensor.to(torch.float16 if tensor.ndim > 1 else torch.float32).cpu()
        if name == names[-1] or sum(held.nbytes for held in shard.values()) > _SHARD_BYTES:
            file = f"model-{len(set(places.values())):05}.safetensors"
            save_file(shard, out / file, metadata={"format": "pt"})
            places |= dict.fromkeys(shard, file)
            shard.clear()
    index = {"metadata": {}, "weight_map": places}
    (out / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
