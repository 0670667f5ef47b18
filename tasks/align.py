"""Stage 4: goes on training the adapter on what people said of answers (preference tuning).

Takes a `Dataset` and the fine-tuned `Adapter`, returns an `Adapter`. Corrections come first (DPO),
then thumbs and ratings (KTO's unpaired family). After each, the validation slice, the end of the
training time that no stage was trained on, is answered greedily in PyTorch: the kind becomes part
of the candidate if neither score nor truth fell and answers did not grow long, each against the
fine-tuned adapter. With too few opinions the fine-tuned adapter is handed on. Killed at any moment,
it goes on from the last checkpoint.
"""

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from prefect import task

from stock_llm.artifacts import Adapter, Dataset, load_or_make
from stock_llm.dataset.preferences import DpoRow, KtoRow
from stock_llm.dataset.tuning_data import TuningData, tuning_data
from stock_llm.llm.base import LoadedBase, load_base
from stock_llm.llm.checkpoints import latest_checkpoint
from stock_llm.llm.profiles import Profile, load_profile
from stock_llm.llm.prompt_formats import PromptFormat
from stock_llm.llm.prompts import Message, messages
from stock_llm.settings import Settings
from stock_llm.skills import SKILLS
from stock_llm.storage.checksums import digest_of, read_record, write_record
from stock_llm.truth.verdicts import false_sentences

if TYPE_CHECKING:
    from stock_llm.llm.preference_trainer import Pair, Vote

RECIPE = 1
"""Raised whenever this file makes another adapter from the same opinions."""

TOLERANCE = 0.01
"""Score and share of answers with a false sentence may be worse by this much: about what one answer
of the slice weighs.
"""

LONGER = 0.2
"""Answers may grow by this share; that longer answers please is what such training learns first."""

PROMPTS_AT_ONCE = 16
"""Validation questions that are answered together."""


@dataclass(frozen=True)
class SliceScore:
    """How an adapter answers the validation slice.

    Attributes:
        score: mean of the skills' scores, in [0, 1].
        false: share of answers with a false sentence; None where no answer states anything.
        tokens: mean length of an answer.
    """

    score: float
    false: float | None
    tokens: float


@task(task_run_name="align")
def align(settings: Settings, dataset: Dataset, adapter: Adapter) -> Adapter:
    """The adapter after preference tuning, read from disk where it was made before; the given one
    where there are too few opinions.

    Raises:
        StockLLMError: the training went astray.
    """
    profile = load_profile(settings.home, settings.profile)
    tuning = profile.training.preferences
    data = tuning_data(dataset, tuning)
    if not data.validation:
        return replace(adapter, alignment=[_too_few(data, tuning.at_least)])
    digest = digest_of(
        adapter=adapter.digest,
        dataset=dataset.digest,
        tuning=tuning.model_dump(),
        limit=profile.serving.num_predict,
        seed=settings.seed,
        recipe=RECIPE,
    )
    return load_or_make(
        Adapter,
        settings.artifacts,
        digest,
        lambda folder: tune(settings, profile, data, adapter, digest, folder),
    )


def tune(
    settings: Settings,
    profile: Profile,
    data: TuningData,
    adapter: Adapter,
    digest: str,
    folder: Path,
) -> Adapter:
    """Trains and judges each kind of opinion inside `folder`, where an interrupted attempt left
    what it had.
    """
    import torch

    torch.set_num_threads(settings.threads)
    current = adapter.weights
    # loaded once, by the first step that was not done before
    base = cache(lambda: load_base(profile, settings.home, four_bit=True))
    before = _judge(profile, base, data, current, folder / "finetuned.json")
    notes, scores = [], {"fine-tuned": before}
    kinds: dict[str, Sequence[DpoRow | KtoRow]] = {
        "corrections": data.corrections,
        "thumbs": data.thumbs,
    }
    for name, rows in kinds.items():
        if len(rows) < profile.training.preferences.at_least:
            notes.append(f"{name}: {_few(len(rows), profile.training.preferences.at_least)}")
            continue
        work = folder / name
        weights, used = _train(settings, profile, base(), rows, current, f"{digest} {name}", work)
        if not used:
            notes.append(f"{name}: all {len(rows)} do not fit into max_tokens")
            continue
        after = _judge(profile, base, data, weights, folder / f"{name}.json")
        scores[name] = after
        against = objections(before, after)
        if not against:
            current = weights
        notes.append(_note(name, used, len(rows), before, after, against))

    shutil.copytree(current, folder / "adapter", dirs_exist_ok=True)
    for name in kinds:
        shutil.rmtree(folder / name, ignore_errors=True)
    return replace(
        adapter,
        digest=digest,
        folder=folder,
        weights=folder / "adapter",
        alignment=notes,
        alignment_metrics={
            f"{name}/{metric}": value
            for name, score in scores.items()
            for metric, value in asdict(score).items()
            if value is not None
        },
    )


def objections(before: SliceScore, after: SliceScore) -> list[str]:
    """What speaks against a tuned adapter: empty for one that becomes part of the candidate."""
    found = []
    if after.score < before.score - TOLERANCE:
        found.append("the score fell")
    if (
        before.false is not None
        and after.false is not None
        and after.false > before.false + TOLERANCE
    ):
        found.append("more answers have a false sentence")
    if after.tokens > before.tokens * (1 + LONGER):
        found.append(f"answers grew by more than {LONGER:.0%}")
    return found


def opinions_of(
    rows: Sequence[DpoRow | KtoRow], prompt_format: PromptFormat, tokenizer: Any, max_tokens: int
) -> list["Pair | Vote"]:
    """The rows as the tokens that fine-tuning would make of them; what it would refuse is left
    out.
    """
    from stock_llm.llm.preference_trainer import Pair, Vote

    def tokens(turns: list[Message]) -> list[int]:
        ids: list[int] = tokenizer(prompt_format.render(turns)).input_ids
        return ids

    made: list[Pair | Vote] = []
    for row in rows:
        answers = [row.chosen, row.rejected] if isinstance(row, DpoRow) else [row.completion]
        prompt = tokens(row.prompt)
        wholes = [tokens([*row.prompt, *answer]) for answer in answers]
        if any(len(ids) > max_tokens or ids[: len(prompt)] != prompt for ids in wholes):
            continue
        ends = [ids[len(prompt) :] for ids in wholes]
        if isinstance(row, DpoRow):
            made.append(Pair(prompt, *ends))
        else:
            made.append(Vote(prompt, ends[0], row.label))
    return made


def _train(
    settings: Settings,
    profile: Profile,
    base: LoadedBase,
    rows: Sequence[DpoRow | KtoRow],
    adapter: Path,
    training: str,
    work: Path,
) -> tuple[Path, int]:
    """Trains the adapter on one kind; its folder, and how many of the rows were used."""
    from stock_llm.llm.preference_trainer import make_preference_trainer
    from stock_llm.llm.trainer import save_adapter

    limit = profile.training.max_tokens
    opinions = opinions_of(rows, profile.format, base.tokenizer, limit)
    done = work / "adapter"
    if not opinions or done.exists():
        return done, len(opinions)
    chance = random.Random(settings.seed)
    order: list[Any] = []
    for _ in range(profile.training.preferences.epochs):
        order += chance.sample(opinions, len(opinions))
    checkpoints = work / "checkpoints"
    trainer = make_preference_trainer(
        base, adapter, profile, order, checkpoints, training, settings.seed
    )
    checkpoint = latest_checkpoint(checkpoints, training)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    unfinished = work / "adapter.partial"
    save_adapter(trainer, unfinished, profile.path)
    trainer.model.unload()  # type: ignore[union-attr, operator]  # a PeftModel
    unfinished.rename(done)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return done, len(opinions)


def _judge(
    profile: Profile,
    base: Callable[[], LoadedBase],
    data: TuningData,
    adapter: Path,
    known: Path,
) -> SliceScore:
    """How the adapter answers the validation slice; asked once, and kept in the file `known`."""
    if (record := read_record(known)) is not None:
        return SliceScore(**record)
    from stock_llm.llm.adapter_answers import greedy_answers

    rows = data.validation
    prompts = [profile.format.render(messages(row.instruction, row.input)) for row in rows]
    limit = profile.serving.num_predict
    texts = greedy_answers(base(), adapter, prompts, profile.format.stop, limit, PROMPTS_AT_ONCE)
    false = [false_sentences(row, text) for row, text in zip(rows, texts, strict=True)]
    stating = [bool(sentences) for sentences in false if sentences is not None]
    score = SliceScore(
        score=fmean(
            SKILLS[row.skill].score(row, text).value for row, text in zip(rows, texts, strict=True)
        ),
        false=fmean(stating) if stating else None,
        tokens=fmean(
            len(ids) for ids in base().tokenizer(texts, add_special_tokens=False).input_ids
        ),
    )
    write_record(known, asdict(score))
    return score


def _note(
    name: str,
    used: int,
    given: int,
    before: SliceScore,
    after: SliceScore,
    against: list[str],
) -> str:
    """What became of one kind, in a sentence."""
    changes = [f"score {before.score:.3f} → {after.score:.3f}"]
    if before.false is not None and after.false is not None:
        changes.append(f"false answers {before.false:.1%} → {after.false:.1%}")
    changes.append(f"length {after.tokens / before.tokens - 1:+.0%}" if before.tokens else "")
    what = f"{name}: {used} learnt"
    if used < given:
        what += f" ({given - used} do not fit into max_tokens)"
    verdict = f"left out, {' and '.join(against)}" if against else "part of the candidate"
    return f"{what}, {verdict}; on the validation slice {', '.join(filter(None, changes))}"


def _too_few(data: TuningData, at_least: int) -> str:
    return (
        f"no preference tuning: {len(data.corrections)} corrections and {len(data.thumbs)} thumbs, "
        f"{at_least} of a kind are needed"
    )


def _few(count: int, at_least: int) -> str:
    return f"not learnt, there are {count} and {at_least} are needed"
