"""Stage 5: merges the adapter into the base and quantizes it, with proof that nothing else changed.

Takes a `Dataset` and an `Adapter`, returns a `Candidate`. Two merges are tried, into the base as it
is and into the base as training saw it (4-bit, dequantized), and the one with the lower loss on
train rows is kept. Neither is ever whole in memory, nor on the disk but as the GGUF: weights are
read, added and written one at a time (`llm/merging`). The proof (`stock_llm/parity`): every prompt
of the holdout and of a fuzz is the same text and the same tokens in training, GGUF and Modelfile;
limits are equal; and the distance of each step (adapter, merged, f16, quantized) from the one
before it is measured and bounded. It is kept as parity.json. No holdout answer is looked at. The
quantization is chosen in models/profiles/NAME.toml. In `publish.mode = "adapter"` the base is
quantized too, once for all versions, and base and adapter as they are served are one more step.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import task

from stock_llm.artifacts import MERGED, Adapter, Candidate, Dataset, load_or_make
from stock_llm.dataset.tuning_data import tuning_data
from stock_llm.llm.architectures import read_config, read_shape
from stock_llm.llm.base import fetch_base, load_base
from stock_llm.llm.bases import needs
from stock_llm.llm.gguf.adapter import EXACT, LORA_KIND, write_adapter_gguf
from stock_llm.llm.gguf.families import FAMILIES
from stock_llm.llm.gguf.importance import ImportanceCollector, ImportanceMatrix, write_importance
from stock_llm.llm.gguf.tokenizer import load_tokenizer
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.merging.layerwise import TokenizedAnswer, compute_logits, linear_weights
from stock_llm.llm.merging.lora import LoraAdapter, read_adapter
from stock_llm.llm.merging.weights import MergedWeights, StoredWeights, Weights
from stock_llm.llm.profiles import Profile, load_profile
from stock_llm.llm.prompts import PROMPT_VERSION, messages
from stock_llm.llm.quantization import AUTO, quantize_gguf
from stock_llm.parity.choice import Choice, choose_quantization
from stock_llm.parity.divergence import LogitFile
from stock_llm.parity.limits import check_scale
from stock_llm.parity.measurement import measure_gguf, measure_loaded
from stock_llm.parity.prompts import Tokens, conversations, fuzz, questions
from stock_llm.parity.report import ParityReport, write_report
from stock_llm.parity.serving import Serving
from stock_llm.parity.steps import (
    SERVED,
    check_f16,
    check_losses,
    check_merge,
    logit_files,
    steps_of,
)
from stock_llm.pipeline.judging.base_gguf import base_gguf, is_of_library, origin_of
from stock_llm.progress import progress
from stock_llm.settings import Settings
from stock_llm.skills import SKILLS
from stock_llm.skills.row import Row, read_rows
from stock_llm.storage.checksums import digest_of, file_sha256, model_sha256
from stock_llm.storage.links import link_or_copy

RECIPE = 2
"""Raised whenever this file makes another model from the same adapter."""

SAMPLE = needs.MEASURED_ROWS
"""Train rows on which the losses of the steps are measured."""

FUZZED = 64
"""Questions of the fuzz."""

VALIDATION_ROWS = 32
"""Validation rows that f16 and quantized file answer; of a model above `needs.LARGE_MODEL` none,
since a CPU would need hours."""


@task(task_run_name="quantize")
def quantize(settings: Settings, dataset: Dataset, adapter: Adapter) -> Candidate:
    """The candidate made from this adapter; read from disk where it was made before.

    Raises:
        ParityError: the GGUF would not see what training saw, or a step loses more than its bound.
    """
    profile = load_profile(settings.home, settings.profile)
    weighted = "+imatrix" if profile.gguf.importance_matrix else ""
    margin = f" {profile.gguf.auto_margin}" if profile.gguf.quantization == AUTO else ""
    digest = digest_of(
        adapter=adapter.digest,
        holdout=dataset.holdout_digest,
        corrections=file_sha256(dataset.corrections),
        quantization=profile.gguf.quantization + margin + weighted,
        serving=profile.serving.model_dump(),  # a version carries its parameters and its prompt
        prompt=PROMPT_VERSION,
        template=(profile.format.jinja, profile.format.go),
        origin=asdict(origin_of(profile)),  # stands in the file
        recipe=RECIPE,
        **({"lora": LORA_KIND, "base": profile.about.ollama_sha256} if _has_lora(settings) else {}),
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
    base, name = fetch_base(profile, settings.home), f"stock-llm {digest}"
    shape = read_shape(base)
    needs.require(needs.quantizing(profile, shape), profile, folder)
    lora = read_adapter(adapter.weights)
    check_scale(lora, profile)
    rows = list(read_rows(dataset.train))
    sample = random.Random(settings.seed).sample(rows, min(SAMPLE, len(rows)))
    validation = _validation(dataset, profile, sample)
    tokens = _tokenizer(base)
    answers = _tokenized(sample, profile, tokens)
    asked = questions([*read_rows(dataset.holdout), *read_rows(dataset.corrections)])
    fuzzed = [*fuzz(settings.seed, FUZZED), *conversations(settings.seed)]
    serving = Serving(settings.home, base, profile, tokens, [*asked, *fuzzed])

    with logit_files(folder, answers, shape) as logits:
        merge = _merge(settings, profile, adapter, lora, answers, logits)
        f16, stem = folder / "f16.gguf", "stock-llm"
        origin, adapter_file = origin_of(profile, digest), folder / f"{stem}-lora.gguf"
        write_gguf(base, f16, name, profile.format.jinja, merge.weights, origin)
        write_adapter_gguf(
            base, lora, adapter_file, name, LORA_KIND if _has_lora(settings) else EXACT
        )
        importance = merge.importance.collected(name) if profile.gguf.importance_matrix else None
        if importance:
            write_importance(importance, folder / "imatrix.gguf", dataset.train.name)
        choice = _quantize(
            settings, profile, f16, stem, importance, _tokenized(validation, profile, tokens)
        )
        limits: dict[str, Any] = {}
        scores: dict[str, float] = {}
        sizes: dict[str, int] = {}
        files: dict[str, tuple[Path, Path | None]] = {
            "f16": (f16, None),
            "quantized": (choice.gguf, None),
        }
        if _has_lora(settings):
            weights = folder / f"base-{choice.quantization}.gguf"
            link_or_copy(base_gguf(settings, profile, choice.quantization), weights)
            files[SERVED] = (weights, adapter_file)
        for step, (file, beside) in files.items():
            context = profile.serving.num_ctx
            with LlamaModel(file, settings.threads, context, beside) as model:
                limits = serving.check(file, model, is_ours=not is_of_library(profile, file))
                measure_gguf(model, answers, logits[step])
                if shape.weights <= needs.LARGE_MODEL:
                    scores[step] = _score(model, validation, profile, f"asking the {step} file")
            sizes[step] = file.stat().st_size + (beside.stat().st_size if beside else 0)
        losses = merge.losses | {step: logits[step].loss for step in files}
        check_f16(logits, f16, merge.weights, base)
        check_losses(losses)
        report = ParityReport(
            model=name,
            base=profile.name,
            quantization=choice.quantization,
            merge_base=merge.base,
            prompts=len(asked),
            fuzzed=len(fuzzed),
            limits=limits,
            rows=len(answers),
            score_rows=len(validation) if scores else 0,
            steps=steps_of(logits, scores, sizes),
            merge={base: losses[f"merged into {base}"] for base in ("original", "dequantized")},
            importance_matrix=importance is not None,
            choice=choice.reasons,
        )
    write_report(report, folder)
    f16.unlink()
    published = SERVED if SERVED in files else "quantized"
    gguf, beside = files[published]
    if beside:
        choice.gguf.replace(folder / MERGED)
    return Candidate(
        digest=digest,
        folder=folder,
        gguf=gguf,
        gguf_sha256=model_sha256(gguf, beside),
        gguf_bytes=sizes[published],
        quantization=choice.quantization,
        merge_base=merge.base,
        prompts_checked=len(asked),
        losses=losses,
        lora=beside,
    )


def _has_lora(settings: Settings) -> bool:
    """Whether the adapter is served beside the base."""
    return settings.publish.mode == "adapter"


def _validation(dataset: Dataset, profile: Profile, sample: Sequence[Row]) -> list[Row]:
    """The newest rows of the validation slice, or of the training rows that nothing else here is
    measured on."""
    tuning = tuning_data(dataset, profile.training.preferences)
    rows = tuning.validation or [row for row in tuning.rows if row not in sample] or tuning.rows
    return sorted(rows, key=lambda row: (row.as_of, row.id))[-VALIDATION_ROWS:]


@dataclass(frozen=True)
class _Merge:
    """The better merge.

    Attributes:
        base: what the adapter was merged into, `original` or `dequantized`.
        losses: mean answer losses (nats per token) on the way.
        importance: of the inputs of its layers.
    """

    base: str
    weights: Weights
    losses: dict[str, float]
    importance: ImportanceCollector


def _merge(
    settings: Settings,
    profile: Profile,
    adapter: Adapter,
    lora: LoraAdapter,
    answers: list[TokenizedAnswer],
    logits: dict[str, LogitFile],
) -> _Merge:
    """Measures both merges, one after the other and each layer by layer.

    Raises:
        ParityError: the merge is not what the adapter computes.
    """
    import torch

    torch.set_num_threads(settings.threads)
    folder = fetch_base(profile, settings.home)
    shape = read_shape(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    stored, in_four_bit = StoredWeights(folder, device), linear_weights(folder)
    precision = profile.training.precision
    merges = {
        "original": MergedWeights(stored, lora),
        "dequantized": MergedWeights(stored, lora, in_four_bit, precision),
    }
    losses = _training_losses(settings, profile, adapter, answers, logits)
    family, tied = FAMILIES[read_config(folder).architecture.name], shape.tie_word_embeddings
    inputs = {base: ImportanceCollector(family, tied) for base in merges}
    for base, weights in merges.items():
        description = f"measuring the merge into the {base} base"
        watch = inputs[base].watch if profile.gguf.importance_matrix else None
        compute_logits(folder, weights, answers, logits[base].take, description, watch, device)
        losses[f"merged into {base}"] = logits[base].loss
    check_merge(logits, precision, lora.scale)
    best = min(merges, key=lambda base: losses[f"merged into {base}"])
    losses["merged"] = losses[f"merged into {best}"]
    logits["merged"] = logits[best]
    return _Merge(best, merges[best], losses, inputs[best])


def _training_losses(
    settings: Settings,
    profile: Profile,
    adapter: Adapter,
    answers: list[TokenizedAnswer],
    logits: dict[str, LogitFile],
) -> dict[str, float]:
    """Losses of the 4-bit base and of the adapter on it, as training saw them."""
    from peft import PeftModel

    base = load_base(profile, settings.home, four_bit=True)
    out = logits["adapter"]
    measure_loaded(base.model, answers, out, "measuring the base")
    losses = {"base": out.loss}
    adapted = PeftModel.from_pretrained(base.model, str(adapter.weights)).eval()
    measure_loaded(adapted, answers, out, "measuring the adapter")
    return losses | {"adapter": out.loss}


def _quantize(
    settings: Settings,
    profile: Profile,
    f16: Path,
    stem: str,
    importance: ImportanceMatrix | None,
    validation: list[TokenizedAnswer],
) -> Choice:
    """The quantization that the profile names, or the smallest that is good enough."""
    kind = profile.gguf.quantization
    if kind == AUTO:
        return choose_quantization(
            f16,
            stem,
            validation,
            profile.gguf.auto_margin,
            importance,
            settings.threads,
            profile.serving.num_ctx,
        )
    gguf = f16.with_name(f"{stem}-{kind}.gguf")
    quantize_gguf(f16, gguf, kind, settings.threads, importance)
    return Choice(kind, gguf, [])


def _tokenizer(folder: Path) -> Tokens:
    """How training tokenizes a rendered text, BOS included."""
    tokenizer = load_tokenizer(folder)
    return lambda text: tokenizer(text).input_ids


def _tokenized(rows: Sequence[Row], profile: Profile, tokens: Tokens) -> list[TokenizedAnswer]:
    answers = []
    for row in rows:
        prompt = tokens(profile.format.render(messages(row.instruction, row.input)))
        whole = tokens(profile.format.render(messages(row.instruction, row.input, row.output)))
        answers.append(TokenizedAnswer(prompt, whole[len(prompt) :]))
    return answers


def _score(model: LlamaModel, rows: list[Row], profile: Profile, description: str) -> float:
    """Mean score of what the file answers."""
    total = 0.0
    for row in progress(rows, description):
        prompt = profile.format.render(messages(row.instruction, row.input))
        limit = profile.serving.num_predict
        answer = model.generate(prompt, max_tokens=limit, stop=profile.format.stop)
        total += SKILLS[row.skill].score(row, answer.text).value
    return total / len(rows)
