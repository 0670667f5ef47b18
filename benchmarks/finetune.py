"""How fast fine-tuning is, and what each of its measures against TRL's defaults brings.

`python benchmarks/finetune.py [ROWS]` trains a random Mistral of 5.8 M parameters (hidden 256, 6 layers, ffn 768, vocabulary
4096; NF4, LoRA of rank 16) on ROWS random rows of 150 to 350 tokens, the second half of each the answer, in every way below, each
in a process of its own. Tokens are real ones, without padding. Seconds of CPU are given too: they can be compared on a busy
machine.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stock_llm import environment
from stock_llm.llm.profiles import Profile

environment.prepare()

DEFAULTS = "TRL's defaults"
WAYS = (
    DEFAULTS,
    "+ no gradient checkpointing",
    "+ adapter in float32",
    "+ rows of like length",
    "+ answers only (ours)",
    "bare loop",
)
BATCH = 16


def main(rows: int) -> None:
    print(f"{'way':30}{'tokens/s':>10}{'per CPU-s':>11}{'peak MiB':>10}")
    with tempfile.TemporaryDirectory() as home:
        make_base(Path(home))
        for way in WAYS:
            command = [sys.executable, __file__, home, way, str(rows)]
            done = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            measured = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{way:30}{measured['per_second']:10,.0f}{measured['per_cpu_second']:11,.0f}{measured['peak_mib']:10,.0f}",
                flush=True,
            )


def make_base(home: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models
    from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        sliding_window=None,
        tie_word_embeddings=True,
        pad_token_id=0,
    )
    MistralForCausalLM(config).to(torch.bfloat16).save_pretrained(home / "base")
    words = Tokenizer(
        models.WordLevel({f"w{index}": index for index in range(4096)}, unk_token="w0")
    )
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", eos_token="w2").save_pretrained(
        home / "base"
    )


def profile() -> Profile:
    return Profile.model_validate(
        {
            "name": "bench", "path": "base", "revision": "", "licence": "", "knowledge_cutoff": "2020-12-31",
            "lora": {"rank": 16, "alpha": 32, "dropout": 0.0},
            "training": {
                "epochs": 1, "batch": BATCH, "accumulate": 1, "learning_rate": 1e-3, "warmup_ratio": 0.0, "max_tokens": 640,
                "precision": "float32",
            },
            "gguf": {"quantization": "Q4_K_M"},
            "serving": {"temperature": 0.0, "num_ctx": 1024, "num_predict": 128},
        }
    )  # fmt: skip


def measure(home: Path, way: str, rows: int) -> None:
    """Prints one line of JSON about one way."""
    import torch

    from stock_llm.llm.base import load_base
    from stock_llm.llm.trainer import TokenizedRow
    from stock_llm.settings import load_settings

    settings = load_settings(home=home)
    torch.set_num_threads(settings.threads)
    chance = random.Random(0)
    examples = []
    for _ in range(rows):
        length = chance.randrange(150, 350)
        examples.append(
            TokenizedRow([chance.randrange(5, 4096) for _ in range(length)], length // 2)
        )

    step = WAYS.index(way)
    base = load_base(profile(), settings.home, four_bit=True)
    if way == WAYS[-1]:
        train = bare_loop(base.model, examples)
    elif step == len(WAYS) - 2:
        train = ours(base, examples, home, settings.seed)
    else:
        train = with_trl(base, examples, home, step)
    started, cpu = time.monotonic(), time.process_time()
    train()
    tokens = sum(len(example.ids) for example in examples)
    measured = {
        "per_second": tokens / (time.monotonic() - started),
        "per_cpu_second": tokens / (time.process_time() - cpu),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(measured))


def ours(base: Any, examples: list[Any], home: Path, seed: int) -> Callable[[], Any]:
    from stock_llm.llm.trainer import make_trainer
    from tasks.finetune import schedule

    plan = schedule(examples, [1.0] * len(examples), [""] * len(examples), profile(), seed)
    return make_trainer(base, profile(), examples, plan, home / "checkpoints", "bench", seed).train


def with_trl(base: Any, examples: list[Any], home: Path, step: int) -> Callable[[], Any]:
    """TRL's trainer with the first `step` measures."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    if step >= 3:
        examples = sorted(examples, key=lambda example: len(example.ids))
    trainer = SFTTrainer(
        model=base.model,
        args=SFTConfig(
            output_dir=str(home / "trl"),
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=1e-3,
            train_sampling_strategy="sequential" if step >= 3 else "random",
            gradient_checkpointing=step < 1,
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            report_to="none",
        ),
        train_dataset=Dataset.from_dict(
            {
                "input_ids": [example.ids for example in examples],
                "completion_mask": [
                    [0] * example.prompt + [1] * (len(example.ids) - example.prompt)
                    for example in examples
                ],
            }
        ),
        processing_class=base.tokenizer,
        peft_config=LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    if step >= 2:
        for weight in trainer.model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.float()
    return trainer.train


def bare_loop(model: Any, examples: list[Any]) -> Callable[[], None]:
    """What could be reached: no trainer at all."""
    import torch
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(
        model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    ).train()
    weights = [weight for weight in adapted.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, 1e-3, fused=True)
    examples = sorted(examples, key=lambda example: len(example.ids))

    def train() -> None:
        for start in range(0, len(examples), BATCH):
            batch = examples[start : start + BATCH]
            ids = torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(row.ids) for row in batch], batch_first=True
            )
            lengths = torch.tensor([len(row.ids) for row in batch])[:, None]
            prompts = torch.tensor([row.prompt for row in batch])[:, None]
            at = torch.arange(ids.shape[1])[None]
            hidden = adapted.base_model.model.model(
                input_ids=ids, attention_mask=(at < lengths).long(), use_cache=False
            )
            answer = ((at >= prompts) & (at < lengths))[:, 1:]
            logits = model.lm_head(hidden.last_hidden_state[:, :-1][answer])
            torch.nn.functional.cross_entropy(logits, ids[:, 1:][answer]).backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return train


if __name__ == "__main__":
    if len(sys.argv) > 2:
        measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) == 2 else 320)
