"""Fine-tuning on a GPU, with Mistral-7B's shape and random weights: tokens a second, MFU and peak memory, ours and TRL's defaults.

    python benchmarks/gpu_training.py                  # about ten minutes; 15 GB of disk, no network
    python benchmarks/gpu_training.py --small          # the same code on a small shape, on a CPU too: a minute, figures mean nothing
    python benchmarks/gpu_training.py --folder /data --batches 1 4

Rows have the same number of tokens, so that nothing is padded, and the second half of each is the answer. The base is loaded in
4 bits, the adapter is that of the profile mistral-7b. "ours N" is stock_llm/llm/trainer.py with N rows in a forward pass, which
decides by the free memory whether activations are kept or computed again (column "kept"); "TRL N" is TRL's SFTTrainer with its
defaults (8 rows, gradient checkpointing) and with one row. Each runs in a process of its own: what runs out of memory does not
disturb the next. The first steps are left out. Memory is that of PyTorch's allocator, the CUDA context apart; on a CPU it is the
process's.

MFU (model FLOPs utilization) takes four floating-point operations a weight and token, since the base's weights have no gradient:
tokens a second x 4 x weights / peak. The peak is the GPU's dense bfloat16 peak of its maker's data sheet, where the card is known
here, else that of a large matrix product, which is printed in any case.
"""

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from random_mistral import SHAPE, empty_model

from stock_llm import environment
from stock_llm.llm.architectures import read_shape
from stock_llm.llm.profiles import Profile, load_profile

environment.prepare()

PROJECT = Path(__file__).parents[1]
GIB = 1 << 30
STEPS, WARM_UP = 8, 2
"""Of each way; the first ones are not timed."""

SMALL = SHAPE | {
    "vocab_size": 3072,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}

DATA_SHEETS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 5090": 209e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
}
"""Dense bfloat16 operations a second with float32 accumulation, by a part of the GPU's name."""


def main() -> None:
    description, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="a small shape")
    parser.add_argument("--tokens", type=int, help="a row; default 2048, with --small 96")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8], help="of ours")
    parser.add_argument("--folder", type=Path, help="where the base lies meanwhile; default /tmp")
    parser.add_argument("--way", nargs=2, help=argparse.SUPPRESS)  # in a process of its own
    given = parser.parse_args()
    tokens = given.tokens or (96 if given.small else 2048)
    if tokens < 8 or min(given.batches) < 1:
        parser.error("rows need 8 tokens, batches a row")
    if given.way:
        print(json.dumps(train(given.folder, given.way[0], int(given.way[1]), tokens)))
        return
    if not given.small and not has_gpu():
        print("not measured: PyTorch sees no GPU here. `--small` runs the same code on the CPU")
        return
    with tempfile.TemporaryDirectory(prefix="gpu-training-", dir=given.folder) as folder:
        home = Path(folder)
        write_base(home, SMALL if given.small else SHAPE)
        peak = show_machine()
        print(f"{tokens} tokens a row, 4 bits, {STEPS - WARM_UP} steps of each")
        print(f"{'way':9}{'tokens/s':>10}{'MFU':>7}{'peak GiB':>10}  kept")
        ways = [("ours", batch) for batch in given.batches] + [("TRL", 8), ("TRL", 1)]
        for way, batch in ways:
            show(f"{way} {batch}", measure(home, way, batch, tokens, given.small), peak)


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def show_machine() -> float:
    """Prints what it runs on; returns its peak, in operations a second."""
    import torch

    measured = matrix_product()
    if not has_gpu():
        print(f"CPU, matrix product {measured / 1e12:.2f} TFLOPS")
        return measured
    name = torch.cuda.get_device_name()
    peak = next((peak for part, peak in DATA_SHEETS.items() if part in name), measured)
    print(f"{name}, matrix product {measured / 1e12:.0f} TFLOPS, peak {peak / 1e12:.0f} TFLOPS")
    return peak


def matrix_product() -> float:
    """Operations a second of a bfloat16 matrix product."""
    import torch

    on_gpu = has_gpu()
    size, times = (8192, 20) if on_gpu else (512, 3)
    one = torch.randn(size, size, dtype=torch.bfloat16, device="cuda" if on_gpu else "cpu")
    for repeat in (2, times):
        synchronize()
        started = time.monotonic()
        for _ in range(repeat):
            one @ one
        synchronize()
    return 2 * size**3 * times / (time.monotonic() - started)


def synchronize() -> None:
    import torch

    if has_gpu():
        torch.cuda.synchronize()


def write_base(home: Path, shape: dict[str, Any]) -> None:
    """A base with random weights, two layers in a file, and stock-tiny's tokenizer: what its tokens are does not matter here."""
    import torch
    from safetensors.torch import save_file

    folder = home / "base"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model"):
        if (file := PROJECT / "models/stock-tiny" / name).exists():
            shutil.copy(file, folder)
    (folder / "config.json").write_text(json.dumps(shape, indent=1))
    drawn = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))
    noise = (drawn * shape["initializer_range"]).bfloat16()
    files: dict[str, dict[str, Any]] = {}
    for name, empty in empty_model(shape).items():
        layer = int(name.split(".")[2]) // 2 + 1 if ".layers." in name else 0
        files.setdefault(f"model-{layer:05}.safetensors", {})[name] = empty
    for file, weights in files.items():
        made = {}
        for name, empty in weights.items():
            if empty.dim() == 1:
                made[name] = torch.ones(empty.shape, dtype=torch.bfloat16)
            else:  # drawing seven billion numbers would take minutes
                repeats = -(-empty.numel() // noise.numel())
                made[name] = noise.repeat(repeats)[: empty.numel()].view(empty.shape)
        save_file(made, folder / file, metadata={"format": "pt"})
    places = {name: file for file, weights in files.items() for name in weights}
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def measure(home: Path, way: str, batch: int, tokens: int, here: bool) -> dict[str, Any] | None:
    """What `train` says, in a process of its own unless `here`; None where memory ran out.

    Raises:
        SystemExit: it failed otherwise.
    """
    if here:
        return train(home, way, batch, tokens)
    command = [
        *(sys.executable, __file__, "--folder", str(home), "--tokens", str(tokens)),
        *("--way", way, str(batch)),
    ]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        if "OutOfMemoryError" in ended.stderr:
            return None
        sys.exit(ended.stderr)
    measured: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return measured


def show(name: str, measured: dict[str, Any] | None, peak: float) -> None:
    """Prints a line of the table."""
    if measured is None:
        print(f"{name:9}  out of memory", flush=True)
        return
    speed = measured["tokens_per_second"]
    mfu = 4 * measured["weights"] * speed / peak
    print(
        f"{name:9}{speed:10,.0f}{mfu:7.1%}{measured['peak_bytes'] / GIB:10.2f}  {measured['kept']}",
        flush=True,
    )


def train(home: Path, way: str, batch: int, tokens: int) -> dict[str, Any]:
    """Trains a few steps in one way."""
    import torch
    from transformers import PrinterCallback, TrainerCallback

    class Timer(TrainerCallback):
        """Notes when each step ended."""

        ends: list[float]

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.ends = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            synchronize()
            self.ends.append(time.monotonic())

    chosen = profile(batch, tokens)
    make = ours if way == "ours" else trl
    trainer, kept = make(home, chosen, rows(home, batch, tokens))
    timer = Timer()
    trainer.add_callback(timer)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    on_gpu = has_gpu()
    seconds = timer.ends[-1] - timer.ends[WARM_UP - 1]
    return {
        "tokens_per_second": batch * tokens * (STEPS - WARM_UP) / seconds,
        "weights": read_shape(home / "base").weights,
        "peak_bytes": torch.cuda.max_memory_reserved()
        if on_gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "kept": kept,
    }


def profile(batch: int, tokens: int) -> Profile:
    """Mistral-7B's profile for this base and these rows, in float32 on a CPU."""

    committed = load_profile(PROJECT, "mistral-7b")
    training = {"epochs": 1, "batch": batch, "accumulate": 1, "max_tokens": tokens}
    if not has_gpu():
        training["precision"] = "float32"
    return committed.model_copy(
        update={"path": "base", "training": committed.training.model_copy(update=training)}
    )


def rows(home: Path, batch: int, tokens: int) -> list[Any]:
    """Rows of random tokens for all steps."""
    from stock_llm.llm.training.schedule import TokenizedRow

    chance, vocabulary = random.Random(0), read_shape(home / "base").vocab_size
    return [
        TokenizedRow([chance.randrange(3, vocabulary) for _ in range(tokens)], tokens // 2)
        for _ in range(STEPS * batch)
    ]


def ours(home: Path, chosen: Profile, examples: list[Any]) -> tuple[Any, str]:
    from stock_llm.llm.base import load_base
    from stock_llm.llm.trainer import make_trainer
    from stock_llm.llm.training.arrangement import arrange
    from stock_llm.llm.training.schedule import TrainingSchedule
    from stock_llm.machine import this_machine

    arrangement = arrange(chosen, read_shape(home / "base"), this_machine())
    base = load_base(chosen, home, four_bit=True)
    if arrangement.unpacked:
        base.model.dequantize()
    plan = TrainingSchedule(list(range(len(examples))), chosen.training.batch, 1)
    folder = Path(tempfile.mkdtemp(dir=home))
    checkpointing = arrangement.checkpointing
    trainer = make_trainer(
        base, chosen, examples, plan, folder, "benchmark", 0, checkpointing=checkpointing
    )
    return trainer, "inputs of layers" if checkpointing else "all activations"


def trl(home: Path, chosen: Profile, examples: list[Any]) -> tuple[Any, str]:
    """TRL's defaults, but for rows longer than 1,024 tokens, which it would cut."""
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from stock_llm.llm.base import load_base
    from stock_llm.llm.trainer import lora_config

    base = load_base(chosen, home, four_bit=True)
    on_gpu = has_gpu()
    masks = [[0] * row.prompt + [1] * (len(row.ids) - row.prompt) for row in examples]
    trainer = SFTTrainer(
        model=base.model,
        args=SFTConfig(
            output_dir=tempfile.mkdtemp(dir=home),
            per_device_train_batch_size=chosen.training.batch,
            num_train_epochs=1,
            max_length=None,
            use_cpu=not on_gpu,
            bf16=on_gpu,
            dataloader_pin_memory=on_gpu,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict(
            {"input_ids": [row.ids for row in examples], "completion_mask": masks}
        ),
        processing_class=base.tokenizer,
        peft_config=lora_config(chosen),
    )
    return trainer, "inputs of layers"


if __name__ == "__main__":
    main()
