"""Stage 5: merges the adapter into the base and quantizes it, with proof that nothing else changed.

Takes a `Dataset` and an `Adapter`, returns a `Candidate`. Two merges are tried, into the base as it
is and into the base as training saw it (4-bit, dequantized), and the one with the lower loss on
train rows is kept. The proof: every prompt of the holdout has the same text and tokens in training
and in the GGUF, and the loss of each step (merge, f16, quantized) is measured and bounded. No
holdout answer is looked at. The quantization is chosen in models/profiles/NAME.toml.
"""

import json
import math
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment
from prefect import task

from stock_llm.artifacts import Adapter, Candidate, Dataset, load_or_make
from stock_llm.errors import ParityError
from stock_llm.llm.architectures import read_config, read_shape
from stock_llm.llm.base import LoadedBase, fetch_base, load_base
from stock_llm.llm.bases import needs
from stock_llm.llm.gguf.tokenizer import load_tokenizer
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.profiles import Profile, load_profile
from stock_llm.llm.prompt_formats import PromptFormat
from stock_llm.llm.prompts import PROMPT_VERSION, messages
from stock_llm.llm.quantization import quantize_gguf
from stock_llm.progress import progress
from stock_llm.settings import Settings
from stock_llm.skills.row import Row, read_rows
from stock_llm.storage.checksums import digest_of, file_sha256

RECIPE = 1
"""Raised whenever this file makes another model from the same adapter."""

SAMPLE = 32
"""Train rows on which the losses of the steps are measured."""

F16_BOUND = 0.01
"""The f16 GGUF may lose this share against the merged model: rounding to f16, nothing else."""

QUANTIZED_BOUND = 0.15
"""The quantized GGUF may lose this share against f16. Q4_K_M costs a 7B model about 3 % of
perplexity, a tiny one more.
"""


@task(task_run_name="quantize")
def quantize(settings: Settings, dataset: Dataset, adapter: Adapter) -> Candidate:
    """The candidate made from this adapter; read from disk where it was made before.

    Raises:
        ParityError: the GGUF would not see what training saw, or a step loses more than its bound.
    """
    profile = load_profile(settings.home, settings.profile)
    digest = digest_of(
        adapter=adapter.digest,
        holdout=dataset.holdout_digest,
        corrections=file_sha256(dataset.corrections),
        quantization=profile.gguf.quantization,
        serving=profile.serving.model_dump(),  # a version carries its parameters and its prompt
        prompt=PROMPT_VERSION,
        recipe=RECIPE,
    )
    return load_or_make(
        Candidate,
        settings.artifacts,
        digest,
        lambda folder: make(settings, profile, dataset, adapter, digest, folder),
        whole=True,  # it is judged next
    )


def make(
    settings: Settings,
    profile: Profile,
    dataset: Dataset,
    adapter: Adapter,
    digest: str,
    folder: Path,
) -> Candidate:
    """Merges, writes, proves and quantizes inside `folder`; the intermediate files are deleted in
    the end.
    """
    shape = read_shape(fetch_base(profile, settings.home))
    needs.require(needs.quantizing(profile, shape), profile, folder)
    rows = list(read_rows(dataset.train))
    sample = random.Random(settings.seed).sample(rows, min(SAMPLE, len(rows)))
    merged = folder / "merged"
    merge = _merge(settings, profile, adapter, sample, merged)

    f16, gguf = folder / "f16.gguf", folder / f"stock-llm-{profile.gguf.quantization}.gguf"
    write_gguf(merged, f16, f"stock-llm {digest}", profile.format.jinja)
    quantize_gguf(f16, gguf, profile.gguf.quantization, settings.threads)
    questions = [*read_rows(dataset.holdout), *read_rows(dataset.corrections)]
    tokens = _tokenizer(merged)
    losses = dict(merge.losses)
    for name, file in (("f16", f16), ("quantized", gguf)):
        with LlamaModel(file, threads=settings.threads, context=profile.serving.num_ctx) as model:
            check_prompts(questions, profile.format, tokens, model, profile.serving.num_ctx)
            losses[name] = _gguf_loss(sample, profile.format, tokens, model)
    check_losses(losses)
    shutil.rmtree(merged)
    f16.unlink()
    return Candidate(
        digest=digest,
        folder=folder,
        gguf=gguf,
        gguf_sha256=file_sha256(gguf),
        gguf_bytes=gguf.stat().st_size,
        quantization=profile.gguf.quantization,
        merge_base=merge.base,
        prompts_checked=len(questions),
        losses=losses,
    )


@dataclass(frozen=True)
class _Merge:
    """Which base the adapter was merged into, and the mean answer losses (nats per token) on the
    way.
    """

    base: str
    losses: dict[str, float]


def _merge(
    settings: Settings, profile: Profile, adapter: Adapter, sample: list[Row], out: Path
) -> _Merge:
    """Writes the better of the two merges as safetensors, with the base's config and tokenizer, to
    `out`.
    """
    import torch

    torch.set_num_threads(settings.threads)
    four_bit = load_base(profile, settings.home, four_bit=True)
    # before anything is computed: some CPUs repack the weights then
    seen = _dequantized(four_bit.model)
    losses = {"base": _torch_loss(sample, profile.format, four_bit, "measuring the base")}
    trained = LoadedBase(_adapted(four_bit, adapter), four_bit.tokenizer)
    losses["adapter"] = _torch_loss(sample, profile.format, trained, "measuring the adapter")
    del four_bit, trained

    best, best_weights = "", {}
    for base, weights in (("original", None), ("dequantized", seen)):
        plain = load_base(profile, settings.home, four_bit=False)
        if weights:
            plain.model.load_state_dict(weights, strict=False)
        merged = LoadedBase(_adapted(plain, adapter).merge_and_unload(), plain.tokenizer)
        losses[f"merged into {base}"] = _torch_loss(
            sample, profile.format, merged, f"measuring the merge into the {base} base"
        )
        if not best or losses[f"merged into {base}"] < losses[f"merged into {best}"]:
            best, best_weights = base, merged.model.state_dict()
        del plain, merged
    losses["merged"] = losses[f"merged into {best}"]
    _save(fetch_base(profile, settings.home), best_weights, out)
    return _Merge(best, losses)


def _adapted(base: LoadedBase, adapter: Adapter) -> Any:
    """The base with the adapter in it: a PeftModel, which is called as the model that it wraps."""
    from peft import PeftModel

    return PeftModel.from_pretrained(base.model, str(adapter.weights)).eval()


def _dequantized(model: Any) -> dict[str, Any]:
    """The linear layers' weights as training saw them: NF4 put back to floats."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn.modules import Linear4bit

    return {
        f"{name}.weight": dequantize_4bit(
            layer.weight.data,
            layer.weight.quant_state,  # type: ignore[attr-defined]  # a Params4bit
        ).clone()
        for name, layer in model.named_modules()
        if isinstance(layer, Linear4bit)
    }


def _save(base: Path, weights: dict[str, Any], out: Path) -> None:
    from safetensors.torch import save_file

    out.mkdir(exist_ok=True)
    config = read_config(base).as_json()
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model"):
        if (base / name).exists():
            shutil.copy(base / name, out / name)
    tied = config.get("tie_word_embeddings", False)
    untied = {
        name: tensor.contiguous()
        for name, tensor in weights.items()
        if not (tied and name == "lm_head.weight")
    }
    save_file(untied, out / "model.safetensors", metadata={"format": "pt"})


Tokens = Callable[[str], list[int]]


def _tokenizer(folder: Path) -> Tokens:
    """How training tokenizes a rendered text, BOS included."""
    tokenizer = load_tokenizer(folder)
    return lambda text: tokenizer(text).input_ids


def _split(row: Row, prompt_format: PromptFormat, tokens: Tokens) -> tuple[list[int], list[int]]:
    """Token ids of a row's prompt and of its answer with the end token."""
    prompt = tokens(prompt_format.render(messages(row.instruction, row.input)))
    whole = tokens(prompt_format.render(messages(row.instruction, row.input, row.output)))
    return prompt, whole[len(prompt) :]


def _torch_loss(
    sample: list[Row], prompt_format: PromptFormat, base: LoadedBase, description: str
) -> float:
    """Mean loss over all answer tokens of the sample, in nats."""
    import torch

    total, count = 0.0, 0
    with torch.inference_mode():
        for row in progress(sample, description):
            prompt, answer = _split(row, prompt_format, lambda text: base.tokenizer(text).input_ids)
            ids = torch.tensor([prompt + answer], device=base.model.device)
            logits = base.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
            total += torch.nn.functional.cross_entropy(
                logits, ids[0, len(prompt) :], reduction="sum"
            ).item()
            count += len(answer)
    return total / count


def _gguf_loss(
    sample: list[Row], prompt_format: PromptFormat, tokens: Tokens, model: LlamaModel
) -> float:
    summed = [model.answer_loss(*_split(row, prompt_format, tokens)) for row in sample]
    return sum(loss for loss, _ in summed) / sum(count for _, count in summed)


def check_prompts(
    rows: list[Row],
    prompt_format: PromptFormat,
    tokens: Tokens,
    model: LlamaModel,
    context: int,
) -> None:
    """Every prompt has one text in Jinja and Python, one list of tokens in training and GGUF, and
    fits the context.

    Raises:
        ParityError: names the row and shows where they part.
    """
    jinja = ImmutableSandboxedEnvironment().from_string(prompt_format.jinja)
    for row in rows:
        turns = messages(row.instruction, row.input)
        text = prompt_format.render(turns)
        if (other := jinja.render(messages=turns)) != text:
            raise ParityError(
                f"{row.id}: the chat template renders {other!r}, training saw {text!r}"
            )
        ours, theirs = tokens(text), model.tokenize(text)
        if ours != theirs:
            at = next(
                (
                    index
                    for index, pair in enumerate(zip(ours, theirs, strict=False))
                    if pair[0] != pair[1]
                ),
                min(len(ours), len(theirs)),
            )
            raise ParityError(
                f"{row.id}: token {at} of the prompt differs: "
                f"training saw {ours[max(0, at - 3) : at + 4]}, "
                f"the GGUF gives {theirs[max(0, at - 3) : at + 4]}"
            )
        if len(ours) >= context:
            raise ParityError(
                f"{row.id}: the prompt has {len(ours)} tokens, num_ctx is {context}: "
                "it would be cut silently"
            )


def check_losses(losses: dict[str, float]) -> None:
    """Each step stays within its bound.

    Raises:
        ParityError: names the step with both losses.
    """
    for step, before, bound in (
        ("f16", "merged", F16_BOUND),
        ("quantized", "f16", QUANTIZED_BOUND),
    ):
        loss, allowed = losses[step], losses[before] * (1 + bound) + 1e-3
        if not math.isfinite(loss) or loss > allowed:
            raise ParityError(
                f"the {step} file loses {loss:.4f} nats per token, "
                f"{before} {losses[before]:.4f}; {allowed:.4f} is allowed"
            )
