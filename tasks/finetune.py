"""Stage 3: fine-tunes a LoRA adapter on the 4-bit base (QLoRA, Dettmers et al. 2023).

Takes train.jsonl of a `Dataset` and the base that the profile names; returns the `Adapter` with the
loss of every step. The loss is taken on answers only. A row is refused, never cut, when it is too
long or when its prompt would have other tokens in serving than here. Killed at any moment,
training resumes from the last whole checkpoint with the same rows in the same order. When the GPU's
memory runs out it goes on from there with smaller forward passes and the same steps. Loss and speed
are shown while it trains and kept in `Adapter.loss_curve`.
"""

import errno
import gc
import math
import os
import re
import shutil
import sys
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prefect import task

from stock_llm.artifacts import Adapter, Dataset, load_or_make
from stock_llm.dataset.tuning_data import tuning_data
from stock_llm.errors import InputError, MissingExtra, StockLLMError
from stock_llm.evaluation.answers import LABELS, VERDICTS
from stock_llm.llm.architectures import read_shape
from stock_llm.llm.base import base_digest, fetch_base, load_base
from stock_llm.llm.bases import needs
from stock_llm.llm.checkpoints import latest_checkpoint
from stock_llm.llm.gguf.writer import check_writable
from stock_llm.llm.profiles import Profile, load_profile
from stock_llm.llm.prompt_formats import PromptFormat
from stock_llm.llm.prompts import Message, messages
from stock_llm.llm.training.arrangement import arrange
from stock_llm.llm.training.control_tokens import ControlTokens
from stock_llm.llm.training.schedule import (
    TokenizedRow,
    TrainingSchedule,
    schedule,
    split_validation,
)
from stock_llm.machine import this_machine
from stock_llm.settings import Settings
from stock_llm.skills.row import Row
from stock_llm.storage.checksums import digest_of

RECIPE = 4
"""Raised whenever this file trains another adapter from the same rows."""

LIBRARIES = ("torch", "transformers", "peft", "trl", "bitsandbytes")
"""Another version of one of these may train other weights."""


@task(task_run_name="finetune")
def finetune(settings: Settings, dataset: Dataset) -> Adapter:
    """The adapter of this dataset on the profile's base; read from disk where it was trained
    before.

    Raises:
        InputError: no base, no rows, or a row that does not fit.
        StockLLMError: the disk is full, or the training went astray.
        MissingExtra: the extra `train` is not installed.
    """
    profile = load_profile(settings.home, settings.profile)
    digest = digest_of(**training_inputs(settings, profile, dataset.digest))

    def work(folder: Path) -> Adapter:
        data = tuning_data(dataset, profile.training.preferences)
        if data.validation:  # tuned on opinions next: said before hours of training
            shape = read_shape(fetch_base(profile, settings.home))
            needs.require(needs.preference_tuning(profile, shape), profile, folder)
        return train(settings, profile, data.rows, dataset.train, digest, folder)

    return load_or_make(Adapter, settings.artifacts, digest, work)


def training_inputs(settings: Settings, profile: Profile, dataset: str) -> dict[str, Any]:
    """All that decides which adapter comes out, by name; the digest of an adapter is that of these.

    Args:
        dataset: digest of the dataset.

    Raises:
        InputError: there is no such base.
        MissingExtra: the extra `train` is not installed.
    """
    return {
        "dataset": dataset,
        "base": base_digest(profile, settings.home),
        "prompt_format": asdict(profile.format),
        "lora": profile.lora.model_dump(),
        "training": _training(profile),
        "validation": _validation(profile),
        "seed": settings.seed,
        "libraries": _versions(),
        "recipe": RECIPE,
    }


def train(
    settings: Settings, profile: Profile, rows: list[Row], file: Path, digest: str, folder: Path
) -> Adapter:
    """Trains inside `folder`, from the last whole checkpoint there if there is one. Started by
    `accelerate launch`, every process calls this with the same arguments, and the first one writes.

    Args:
        file: that the rows were read from, for messages.
    """
    files = fetch_base(profile, settings.home)
    check_writable(files)  # before hours of training
    shape = read_shape(files)
    needs.require(needs.fine_tuning(profile, shape), profile, folder)
    arrangement = arrange(profile, shape, this_machine())
    import torch
    from accelerate import PartialState

    processes = PartialState(cpu=not torch.cuda.is_available())  # puts each on a GPU of its own
    base = load_base(profile, settings.home, four_bit=True, unpacked=arrangement.unpacked)
    longest = base.model.config.max_position_embeddings
    if profile.training.max_tokens > longest:
        raise InputError(
            f"max_tokens is {profile.training.max_tokens}, the base {profile.path} reads {longest}",
            file=settings.path(f"models/profiles/{settings.profile}.toml"),
            remedy=f"Set max_tokens to {longest} or less",
        )
    if not rows:
        raise InputError("there are no rows to train on", file=file)
    examples = tokenized(rows, profile.format, base.tokenizer, profile.training.max_tokens, file)
    used, cut = list(range(len(rows))), list[int]()
    if profile.training.early_stopping_patience:
        used, cut = split_validation([row.as_of for row in rows])
        if not cut:
            raise InputError(
                "there are too few rows with a date to cut validation rows from",
                file=file,
                remedy="Set early_stopping_patience to 0 in the profile of the base model",
            )
    validation = [examples[place] for place in cut]
    rows, examples = [rows[place] for place in used], [examples[place] for place in used]
    weights = [row.weight for row in rows]
    kinds = [f"{row.skill} {row.language}" for row in rows]
    plan = schedule(examples, weights, kinds, profile, settings.seed, processes.num_processes)

    from stock_llm.llm.trainer import make_trainer, save_adapter

    torch.set_num_threads(max(1, settings.threads // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    checkpoints = folder / "checkpoints"
    while True:
        trainer = make_trainer(
            base,
            profile,
            examples,
            plan,
            checkpoints,
            digest,
            settings.seed,
            checkpointing=arrangement.checkpointing,
            validation=validation,
        )
        with processes.main_process_first():  # which deletes those that are not whole
            checkpoint = latest_checkpoint(checkpoints, digest)
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            break
        except torch.cuda.OutOfMemoryError as error:
            if processes.num_processes > 1:  # the others do not know
                raise StockLLMError(
                    f"out of GPU memory with {plan.batch} rows in a forward pass of each of "
                    f"{processes.num_processes} processes. Lower batch and raise accumulate in the "
                    "profile, and write the bundle again"
                ) from error
            plan = smaller_passes(plan, settings, error)
        except (OSError, RuntimeError) as error:
            raise _disk_full(error, folder) or error from error
        del trainer, base  # their memory is needed now
        gc.collect()
        torch.cuda.empty_cache()
        base = load_base(profile, settings.home, four_bit=True, unpacked=arrangement.unpacked)
    try:
        save_adapter(trainer, folder / "adapter", profile.path)
    except (OSError, RuntimeError) as error:
        raise _disk_full(error, folder) or error from error
    processes.wait_for_everyone()
    if processes.is_main_process:
        shutil.rmtree(checkpoints, ignore_errors=True)

    curve = [
        {name: entry[name] for name in ("step", "loss", "learning_rate", "seconds")}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]
    last = curve[-math.ceil(len(curve) / 10) :]
    seen = trainer.state.global_step * profile.training.batch * profile.training.accumulate
    return Adapter(
        digest=digest,
        folder=folder,
        weights=folder / "adapter",
        profile=profile.name,
        base_digest=base_digest(profile, settings.home),
        rows=len(rows),
        tokens=sum(len(examples[index].ids) for index in plan.order[:seen]),
        steps=trainer.state.global_step,
        kept_step=trainer.state.best_global_step or trainer.state.global_step,
        train_loss=sum(point["loss"] for point in last) / len(last),
        seconds=curve[-1]["seconds"],
        resumed_from_step=int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0,
        loss_curve=curve,
    )


def _training(profile: Profile) -> dict[str, Any]:
    """What decides which weights come out. The dial has set the others; without early stopping
    nothing of it does.
    """
    left_out = {"preferences", "effort"}
    if not profile.training.early_stopping_patience:
        left_out.add("early_stopping_patience")
    return profile.training.model_dump(exclude=left_out)


def _validation(profile: Profile) -> tuple[int, int]:
    """What decides which rows are kept for preference tuning's validation."""
    tuning = profile.training.preferences
    return tuning.at_least, tuning.validation_rows


def tokenized(
    rows: list[Row], prompt_format: PromptFormat, tokenizer: Any, max_tokens: int, file: Path
) -> list[TokenizedRow]:
    """The rows as tokens.

    Raises:
        InputError: a row is too long; its prompt has other tokens when the answer follows; or a
            text holds what the format is made of, such as `[INST]`.
    """

    def tokens(texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = tokenizer(texts).input_ids
        return ids

    def render(turns: list[Message]) -> str:
        return prompt_format.render(turns)

    prompts = tokens([render(messages(row.instruction, row.input)) for row in rows])
    texts = [render(messages(row.instruction, row.input, row.output)) for row in rows]
    encoded = tokenizer(texts, return_offsets_mapping=True)
    wholes, places = encoded.input_ids, encoded.offset_mapping
    control = ControlTokens(prompt_format, tokenizer)
    examples = []
    tokenized_rows = zip(rows, texts, prompts, wholes, places, strict=True)
    for number, (row, text, prompt, whole, offsets) in enumerate(tokenized_rows, start=1):
        turns = messages(row.instruction, row.input, row.output)
        if len(whole) > max_tokens:
            problem = f"{len(whole)} tokens, max_tokens is {max_tokens}"
            remedy = "Shorten its texts, or raise max_tokens in the profile of the base model"
        elif control.stand_in(turns, whole):
            shown = " or ".join(prompt_format.stop)
            problem = f"a text holds a token of the prompt format, such as {shown}"
            remedy = "Take it out of the text"
        elif whole[: len(prompt)] != prompt:
            problem = "the prompt has other tokens when the answer follows; "
            problem += "training and serving would differ"
            remedy = "The tokenizer of the base does not fit the prompt format"
        else:
            verdict = _verdict_tokens(text, row.output, offsets)
            examples.append(TokenizedRow(whole, len(prompt), verdict))
            continue
        raise InputError(f"row '{row.id}': {problem}", file=file, row=number, remedy=remedy)
    return examples


_VERDICT = re.compile(
    rf"^(?:{'|'.join(labels[name] for labels in LABELS.values() for name in VERDICTS)}): ([A-Z]+)$",
    re.MULTILINE,
)


def _verdict_tokens(text: str, output: str, places: list[tuple[int, int]]) -> tuple[int, ...]:
    """Which tokens name the verdicts of an answer.

    Args:
        text: prompt and answer.
        output: the answer.
        places: first character and end of each token of `text`.
    """
    begin = text.rfind(output)
    spans = [match.span(1) for match in _VERDICT.finditer(output)] if begin >= 0 else []
    return tuple(
        number
        for number, (first, end) in enumerate(places)
        if any(first < begin + last and begin + start < end for start, last in spans)
    )


def smaller_passes(
    plan: TrainingSchedule, settings: Settings, error: Exception
) -> TrainingSchedule:
    """The same rows in the same steps, half as many or fewer of them in a forward pass.

    Raises:
        StockLLMError: there is one row in a pass already.
    """
    if plan.batch == 1:
        raise StockLLMError(
            "the GPU's memory does not hold one row in training. Lower max_tokens in "
            f"models/profiles/{settings.profile}.toml, take a smaller base (stock-llm profiles "
            "list), or end other programs on the GPU (nvidia-smi)"
        ) from error
    step = plan.batch * plan.accumulate
    batch = max(rows for rows in range(1, plan.batch // 2 + 1) if step % rows == 0)
    print(
        f"out of GPU memory with {plan.batch} rows in a forward pass: going on with {batch}",
        file=sys.stderr,
    )
    return replace(plan, batch=batch, accumulate=step // batch)


def _versions() -> dict[str, str]:
    try:
        return {name: version(name) for name in LIBRARIES}
    except PackageNotFoundError as error:
        raise MissingExtra(str(error.name), "train") from None


def _disk_full(error: OSError | RuntimeError, folder: Path) -> StockLLMError | None:
    """`error` as one line, if a full disk is behind it; torch does not say so, and wraps it in a
    RuntimeError.
    """
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or shutil.disk_usage(folder).free < 1 << 20:
        return StockLLMError(
            f"the disk filled up while fine-tuning ({folder}). "
            "Free some space and run again: it continues"
        )
    return None
