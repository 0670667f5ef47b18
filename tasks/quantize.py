"""Stage 5: merges the adapter into the base and quantizes it, with proof that nothing else changed.

Takes a `Dataset` and an `Adapter`, returns a `Candidate`. Two merges are tried, into the base as it
is and into the base as training saw it (4-bit, dequantized), and the one with the lower loss on
train rows is kept. Neither is ever whole in memory, nor on the disk but as the GGUF: weights are
read, added and written one at a time (`llm/merging`). The proof: every prompt of the holdout has
the same text and tokens in training and in the GGUF, and the loss of each step (merge, f16,
quantized) is measured and bounded. No holdout answer is looked at. The quantization is chosen in
models/profiles/NAME.toml.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment
from prefect import task

from stock_llm.artifacts import Adapter, Candidate, Dataset, load_or_make
from stock_llm.errors import ParityError
from stock_llm.llm.architectures import read_shape
from stock_llm.llm.base import fetch_base, load_base
from stock_llm.llm.bases import needs
from stock_llm.llm.gguf.tokenizer import load_tokenizer
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.merging.layerwise import TokenizedAnswer, compute_logits, linear_weights
from stock_llm.llm.merging.lora import read_adapter
from stock_llm.llm.merging.weights import MergedWeights, StoredWeights, Weights
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

SAMPLE = needs.MEASURED_ROWS
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
    base = fetch_base(profile, settings.home)
    needs.require(needs.quantizing(profile, read_shape(base)), profile, folder)
    rows = list(read_rows(dataset.train))
    sample = random.Random(settings.seed).sample(rows, min(SAMPLE, len(rows)))
    tokens = _tokenizer(base)
    answers = [_tokenized(row, profile.format, tokens) for row in sample]
    merge = _merge(settings, profile, adapter, answers)

    f16, gguf = folder / "f16.gguf", folder / f"stock-llm-{profile.gguf.quantization}.gguf"
    write_gguf(base, f16, f"stock-llm {digest}", profile.format.jinja, merge.weights)
    quantize_gguf(f16, gguf, profile.gguf.quantization, settings.threads)
    questions = [*read_rows(dataset.holdout), *read_rows(dataset.corrections)]
    losses = dict(merge.losses)
    for name, file in (("f16", f16), ("quantized", gguf)):
        with LlamaModel(file, threads=settings.threads, context=profile.serving.num_ctx) as model:
            check_prompts(questions, profile.format, tokens, model, profile.serving.num_ctx)
            losses[name] = _gguf_loss(answers, model)
    check_losses(losses)
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
    """The better merge.

    Attributes:
        base: what the adapter was merged into, `original` or `dequantized`.
        losses: mean answer losses (nats per token) on the way.
    """

    base: str
    weights: Weights
    losses: dict[str, float]


def _merge(
    settings: Settings, profile: Profile, adapter: Adapter, answers: list[TokenizedAnswer]
) -> _Merge:
    """Measures both merges, one after the other and each layer by layer."""
    import torch

    torch.set_num_threads(settings.threads)
    lora = read_adapter(adapter.weights)
    folder = fetch_base(profile, settings.home)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    stored, in_four_bit = StoredWeights(folder, device), linear_weights(folder)
    merges = {
        "original": MergedWeights(stored, lora),
        "dequantized": MergedWeights(stored, lora, in_four_bit, profile.training.precision),
    }
    losses = _training_losses(settings, profile, adapter, answers)
    for base, weights in merges.items():
        losses[f"merged into {base}"] = _merged_loss(
            folder, weights, answers, f"measuring the merge into the {base} base", device
        )
    best = min(merges, key=lambda base: losses[f"merged into {base}"])
    losses["merged"] = losses[f"merged into {best}"]
    return _Merge(best, merges[best], losses)


def _training_losses(
    settings: Settings, profile: Profile, adapter: Adapter, answers: list[TokenizedAnswer]
) -> dict[str, float]:
    """Losses of the 4-bit base and of the adapter on it, as training saw them."""
    from peft import PeftModel

    base = load_base(profile, settings.home, four_bit=True)
    losses = {"base": _torch_loss(answers, base.model, "measuring the base")}
    adapted = PeftModel.from_pretrained(base.model, str(adapter.weights)).eval()
    losses["adapter"] = _torch_loss(answers, adapted, "measuring the adapter")
    return losses


Tokens = Callable[[str], list[int]]


def _tokenizer(folder: Path) -> Tokens:
    """How training tokenizes a rendered text, BOS included."""
    tokenizer = load_tokenizer(folder)
    return lambda text: tokenizer(text).input_ids


def _tokenized(row: Row, prompt_format: PromptFormat, tokens: Tokens) -> TokenizedAnswer:
    prompt = tokens(prompt_format.render(messages(row.instruction, row.input)))
    whole = tokens(prompt_format.render(messages(row.instruction, row.input, row.output)))
    return TokenizedAnswer(prompt, whole[len(prompt) :])


def _torch_loss(answers: list[TokenizedAnswer], model: Any, description: str) -> float:
    """Mean loss over all answer tokens, in nats, of a model that is loaded."""
    import torch

    total = 0.0
    with torch.inference_mode():
        for row in progress(answers, description):
            ids = torch.tensor([row.prompt + row.answer], device=model.device)
            logits = model(input_ids=ids).logits[0, len(row.prompt) - 1 : -1].float()
            total += _summed_loss(logits, row.answer)
    return total / sum(len(row.answer) for row in answers)


def _merged_loss(
    folder: Path, weights: Weights, answers: list[TokenizedAnswer], description: str, device: str
) -> float:
    """The same of a merge, computed layer by layer."""
    total = 0.0

    def add(number: int, logits: Any) -> None:
        nonlocal total
        total += _summed_loss(logits, answers[number].answer)

    compute_logits(folder, weights, answers, add, description, device=device)
    return total / sum(len(row.answer) for row in answers)


def _summed_loss(logits: Any, answer: list[int]) -> float:
    import torch

    wanted = torch.tensor(answer, device=logits.device)
    return torch.nn.functional.cross_entropy(logits, wanted, reduction="sum").item()


def _gguf_loss(answers: list[TokenizedAnswer], model: LlamaModel) -> float:
    summed = [model.answer_loss(row.prompt, row.answer) for row in answers]
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
