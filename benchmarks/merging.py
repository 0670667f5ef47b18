"""Merges a LoRA adapter into a random Mistral and writes it as an f16 GGUF, in two ways: seconds and peak memory of each.

    theirs   peft's merge_and_unload and save_pretrained ("peft"), then llama.cpp's own converter ("convert")
    ours     tensor by tensor into the GGUF, into the base as it is ("ours") and as training saw it, put back from NF4 ("ours, NF4")

Every step is a process of its own. "Resident" is what the kernel counts (`ru_maxrss`), pages of mapped files included; "its own" is
anonymous memory, which the kernel cannot take back. The files of both ways are compared in the end: peft adds in bfloat16, ours in
float32, so they differ by bfloat16's rounding.

    python benchmarks/merging.py                            # 1.0 billion weights: 9 GB of disk, two minutes of a core
    python benchmarks/merging.py --shape 7b --layers 2      # two layers of Mistral-7B's shape
    python benchmarks/merging.py --shape 7b --layers 32 --ways ours
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from measured_process import GIB, run_measured

from stock_llm import environment

environment.prepare()

from stock_llm.errors import StockLLMError  # noqa: E402

PROJECT = Path(__file__).parents[1]
TOKENIZER = PROJECT / "models" / "stock-tiny"

SHAPES = {
    "1b": {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22},
    "7b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "vocab_size": 32768,
    },
    "tiny": {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2},
}
HEADS = {"num_attention_heads": 32, "num_key_value_heads": 8}
RANK, ALPHA = 16, 32


def main() -> None:
    description, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )  # fmt: skip
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--layers", type=int, help="default: all of the shape")
    parser.add_argument("--ways", choices=("both", "ours"), default="both")
    parser.add_argument("--folder", type=Path, help="where the files go for the time; default /tmp")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--config", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:  # in a process of its own; see `measure`
        print(STEPS[given.step](given.folder, json.loads(given.config)))
        return
    config = SHAPES[given.shape] | HEADS
    config["num_hidden_layers"] = given.layers or config["num_hidden_layers"]
    with tempfile.TemporaryDirectory(prefix="merging-", dir=given.folder) as folder:
        print(
            f"the shape {given.shape}, {config['num_hidden_layers']} layers, an adapter of rank {RANK}"
        )
        print(f"{'step':12}{'seconds':>9}{'CPU-s':>8}{'resident GiB':>14}{'its own GiB':>13}  ")
        theirs = ["peft", "convert", "compare"] if given.ways == "both" else []
        for step in ("write", "ours", "ours, NF4", *theirs):
            measure(step, Path(folder), config)


def measure(step: str, folder: Path, config: dict[str, int]) -> None:
    """Runs one step in a process of its own and prints its line."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    command += ["--config", json.dumps(config)]
    try:
        took = run_measured(step, command, folder / f"{step}.txt")
    except StockLLMError as error:
        sys.exit(str(error))
    print(
        f"{step:12}{took.seconds:9,.1f}{took.cpu_seconds:8,.1f}{took.resident / GIB:14.2f}{took.anonymous / GIB:13.2f}  {took.note}",
        flush=True,
    )


def write(folder: Path, config: dict[str, int]) -> str:
    """The base in bfloat16, a layer in a file, and a random adapter as peft saves one."""
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import save_file
    from transformers import MistralConfig, MistralForCausalLM

    base = folder / "base"
    base.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model"):
        shutil.copy(TOKENIZER / name, base)
    vocabulary = json.loads((TOKENIZER / "config.json").read_text())["vocab_size"]
    settings = MistralConfig(
        **{"vocab_size": vocabulary} | config, sliding_window=None, tie_word_embeddings=False, max_position_embeddings=4096,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, architectures=["MistralForCausalLM"],
    )  # fmt: skip
    settings.save_pretrained(base)
    with torch.device("meta"):
        model = MistralForCausalLM(settings)
    chance = torch.Generator().manual_seed(0)
    files: dict[str, dict[str, torch.Tensor]] = {}
    for name, empty in model.state_dict().items():
        layer = int(name.split(".")[2]) + 1 if ".layers." in name else 0
        files.setdefault(f"model-{layer:05}.safetensors", {})[name] = empty
    for file, weights in files.items():
        made = {
            name: torch.ones(empty.shape, dtype=torch.bfloat16)
            if empty.dim() == 1
            else torch.empty(empty.shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=chance)
            for name, empty in weights.items()
        }
        save_file(made, base / file, metadata={"format": "pt"})
    places = {name: file for file, weights in files.items() for name in weights}
    (base / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": places})
    )
    config_of = LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(model, config_of)
    sides = {
        name.replace(".default", ""): torch.empty(weight.shape).normal_(0, 0.02, generator=chance)
        for name, weight in adapted.state_dict().items()
        if ".lora_" in name
    }
    (folder / "adapter").mkdir()
    save_file(sides, folder / "adapter" / "adapter_model.safetensors", metadata={"format": "pt"})
    adapted.peft_config["default"].save_pretrained(folder / "adapter")
    return f"{sum(weight.numel() for weight in model.state_dict().values()) / 1e9:.2f} billion weights and the adapter"


def ours(folder: Path, _: dict[str, int], four_bit: bool = False) -> str:
    from stock_llm.llm.gguf.writer import write_gguf
    from stock_llm.llm.merging.layerwise import linear_weights
    from stock_llm.llm.merging.lora import read_adapter
    from stock_llm.llm.merging.weights import MergedWeights, StoredWeights

    base = folder / "base"
    in_four_bit = linear_weights(base) if four_bit else frozenset()
    adapter = read_adapter(folder / "adapter")
    weights = MergedWeights(StoredWeights(base), adapter, in_four_bit, "bfloat16")
    out = folder / ("nf4.gguf" if four_bit else "ours.gguf")
    write_gguf(base, out, "m", "", weights)
    return f"{out.stat().st_size / 1e9:.2f} GB"


def put_back(folder: Path, config: dict[str, int]) -> str:
    return ours(folder, config, four_bit=True)


def peft(folder: Path, _: dict[str, int]) -> str:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.bfloat16)
    merged = PeftModel.from_pretrained(model, str(folder / "adapter")).merge_and_unload()
    merged.save_pretrained(folder / "merged")
    for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model"):
        shutil.copy(TOKENIZER / name, folder / "merged")
    return f"{sum(file.stat().st_size for file in (folder / 'merged').iterdir()) / 1e9:.2f} GB"


def convert(folder: Path, _: dict[str, int]) -> str:
    """llama.cpp's own program, in this process, so that its memory is measured."""
    import runpy

    from stock_llm.llm.gguf.converter import SCRIPT, fetch_converter

    program = str(fetch_converter() / SCRIPT)
    sys.path.insert(0, str(Path(program).parent))
    out = folder / "theirs.gguf"
    sys.argv = [program, str(folder / "merged"), "--outfile", str(out), "--outtype", "f16"]
    for name in [name for name in sys.modules if name.partition(".")[0] == "gguf"]:
        del sys.modules[name]
    runpy.run_path(program, run_name="__main__")
    return f"{out.stat().st_size / 1e9:.2f} GB"


def compare(folder: Path, _: dict[str, int]) -> str:
    import numpy as np
    from gguf import GGUFReader

    one, other = (
        {tensor.name: tensor.data for tensor in GGUFReader(folder / name).tensors}
        for name in ("ours.gguf", "theirs.gguf")
    )
    assert one.keys() == other.keys()
    apart = max(
        float(np.abs(one[name].astype(np.float32) - other[name].astype(np.float32)).max())
        for name in one
    )
    return f"the same {len(one)} tensors, at most {apart:.1e} apart"


STEPS: dict[str, Callable[[Path, dict[str, int]], str]] = {
    "write": write,
    "ours": ours,
    "ours, NF4": put_back,
    "peft": peft,
    "convert": convert,
    "compare": compare,
}


if __name__ == "__main__":
    main()
