"""Stage 4: goes on training the adapter on what people said of answers (preference tuning).

Takes a `Dataset` and the fine-tuned `Adapter`, returns an `Adapter`. Both kinds are trained on as
pairs of answers. A correction is one: what was wanted, and what was said. A thumb or rating judges
one answer, so the adapter answers the same question again, by chance, and the two are a pair, if
the new answer has the right form and no false sentence. What they share cancels; what the disliked
answers have more often than the others is unlearnt.

After each kind, the validation slice, the end of the training time that no stage was trained on, is
answered greedily in PyTorch: the kind becomes part of the candidate if neither score nor truth fell
and answers did not grow long, each against the fine-tuned adapter. With too few opinions the
fine-tuned adapter is handed on. Killed at any moment, it goes on from the last checkpoint.
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
from stock_llm.evaluation.answers import AnswerError, parse_answer
from stock_llm.llm.architectures import read_shape
from stock_llm.llm.base import LoadedBase, fetch_base, load_base
from stock_llm.llm.bases import needs
from stock_llm.llm.bases.needs import PROMPTS_AT_ONCE, REPLAYED_ROWS
from stock_llm.llm.checkpoints import latest_checkpoint
from stock_llm.llm.profiles import Profile, load_profile
from stock_llm.llm.prompt_formats import PromptFormat
from stock_llm.llm.prompts import Message, messages
from stock_llm.llm.training.arrangement import arrange
from stock_llm.llm.training.control_tokens import ControlTokens
from stock_llm.machine import this_machine
from stock_llm.settings import Settings
from stock_llm.skills import SKILLS
from stock_llm.skills.row import Row
from stock_llm.storage.checksums import digest_of, read_record, write_record
from stock_llm.truth.subjects import read_subject
from stock_llm.truth.verdicts import false_sentences, false_sentences_about

if TYPE_CHECKING:
    from stock_llm.llm.preference_trainer import Pair
    from stock_llm.llm.training.schedule import TokenizedRow

RECIPE = 3
"""Raised whenever this file makes another adapter from the same opinions."""

TOLERANCE = 0.015
"""Score and share of answers with a false sentence may be worse by this much: a single answer of
the slice's 96 weighs up to 0.012, and says nothing.
"""

LONGER = 0.2
"""Answers may grow by this share; that longer answers please is what such training learns first."""

TRIES = 3
"""Other answers to a judged question that are sampled; the first that can be used is."""


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

    Raises:
        StockLLMError: there is less memory or disk than it needs.
    """
    shape = read_shape(fetch_base(profile, settings.home))
    needs.require(needs.preference_tuning(profile, shape), profile, folder)
    import torch

    torch.set_num_threads(settings.threads)
    current = adapter.weights
    # loaded once, by the first step that was not done before
    arrangement = arrange(profile, shape, this_machine())
    base = cache(lambda: load_base(profile, settings.home, True, arrangement.unpacked))
    before = _judge(profile, base, data, current, folder / "finetuned.json")
    notes, scores = [], {"fine-tuned": before}
    kinds: dict[str, Sequence[DpoRow | KtoRow]] = {
        "corrections": data.corrections,
        "thumbs": data.thumbs,
    }
    for name, opinions in kinds.items():
        at_least = profile.training.preferences.at_least
        if len(opinions) < at_least:
            notes.append(f"{name}: not learnt, there are {len(opinions)} and {at_least} are needed")
            continue
        work = folder / name
        pairs = (
            data.corrections
            if name == "corrections"
            else contrasts(profile, base, data.thumbs, current, settings.seed, work / "pairs.json")
        )
        training = f"{digest} {name}"
        weights, used = _train(settings, profile, base(), pairs, data.rows, current, training, work)
        if not used:
            notes.append(f"{name}: none of {len(opinions)} can be used")
            continue
        after = _judge(profile, base, data, weights, folder / f"{name}.json")
        scores[name] = after
        against = objections(before, after)
        if not against:
            current = weights
        notes.append(_note(name, used, len(opinions), before, after, against))

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


def contrasts(
    profile: Profile,
    base: Callable[[], LoadedBase],
    thumbs: Sequence[KtoRow],
    adapter: Path,
    seed: int,
    known: Path,
) -> list[DpoRow]:
    """A pair for each judged answer to whose question the adapter, sampled up to `TRIES` times,
    gives another one of the right form and without a false sentence. The answers are kept in the
    file `known`.
    """
    questions = [thumb.prompt for thumb in thumbs for _ in range(TRIES)]
    if (record := read_record(known)) is None:
        from stock_llm.llm.adapter_answers import write_answers

        prompts = [profile.format.render(turns) for turns in questions]
        limit = profile.serving.num_predict
        record = {
            "answers": write_answers(
                base(), adapter, prompts, profile.format.stop, limit, PROMPTS_AT_ONCE, 1.0, seed
            )
        }
        known.parent.mkdir(parents=True, exist_ok=True)
        write_record(known, record)
    pairs = []
    for number, thumb in enumerate(thumbs):
        judged = thumb.completion[-1]["content"]
        answers = record["answers"][number * TRIES : (number + 1) * TRIES]
        question = thumb.prompt[-1]["content"]
        other = next((text for text in answers if _is_sound(question, judged, text)), None)
        if other is not None:
            turn: list[Message] = [{"role": "assistant", "content": other}]
            chosen, rejected = (thumb.completion, turn) if thumb.label else (turn, thumb.completion)
            pairs.append(DpoRow(thumb.feedback, thumb.prompt, chosen, rejected, thumb.outcome))
    return pairs


def _is_sound(question: str, judged: str, text: str) -> bool:
    """Whether a sampled answer is another than the judged one, has its form and no false
    sentence.
    """
    if not text or text == judged.strip() or _form(judged) != _form(text):
        return False
    subject = read_subject(question)
    return subject is None or not false_sentences_about(subject, text)


def _form(text: str) -> tuple[str, ...] | None:
    """Language and parts of an answer; None where it is not in the answer format."""
    try:
        answer = parse_answer(text)
    except AnswerError:
        return None
    return answer.language, *(name for name, value in asdict(answer).items() if value)


def pairs_of(
    rows: Sequence[DpoRow], prompt_format: PromptFormat, tokenizer: Any, max_tokens: int
) -> list["Pair"]:
    """The rows as the tokens that fine-tuning would make of them. Left out is what it would refuse:
    those of more than `max_tokens`, those whose prompt has other tokens when an answer follows, and
    those whose texts hold what the format is made of, such as `[INST]`.
    """
    from stock_llm.llm.preference_trainer import Pair

    tokens, control = _tokens_of(prompt_format, tokenizer), ControlTokens(prompt_format, tokenizer)
    made = []
    for row in rows:
        prompt = tokens(row.prompt)
        conversations = [[*row.prompt, *answer] for answer in (row.chosen, row.rejected)]
        wholes = [tokens(turns) for turns in conversations]
        if all(
            len(ids) <= max_tokens
            and ids[: len(prompt)] == prompt
            and not control.stand_in(turns, ids)
            for turns, ids in zip(conversations, wholes, strict=True)
        ):
            made.append(Pair(prompt, *(ids[len(prompt) :] for ids in wholes)))
    return made


def _replayed(rows: list[Row], prompt_format: PromptFormat, tokenizer: Any) -> list["TokenizedRow"]:
    """Rows of fine-tuning as its tokens."""
    from stock_llm.llm.training.schedule import TokenizedRow

    tokens = _tokens_of(prompt_format, tokenizer)
    return [
        TokenizedRow(
            tokens(messages(row.instruction, row.input, row.output)),
            len(tokens(messages(row.instruction, row.input))),
        )
        for row in rows
    ]


def _tokens_of(prompt_format: PromptFormat, tokenizer: Any) -> Callable[[list[Message]], list[int]]:
    """The function that makes tokens of a conversation."""

    def tokens(turns: list[Message]) -> list[int]:
        ids: list[int] = tokenizer(prompt_format.render(turns)).input_ids
        return ids

    return tokens


def _train(
    settings: Settings,
    profile: Profile,
    base: LoadedBase,
    rows: Sequence[DpoRow],
    replay: list[Row],
    adapter: Path,
    training: str,
    work: Path,
) -> tuple[Path, int]:
    """Trains the adapter on pairs; its folder, and how many of them were used.

    Args:
        replay: rows of fine-tuning; `REPLAYED_ROWS` of them, drawn by chance, go with each pair.
    """
    from stock_llm.llm.preference_trainer import make_preference_trainer
    from stock_llm.llm.trainer import save_adapter

    limit = profile.training.max_tokens
    pairs = pairs_of(rows, profile.format, base.tokenizer, limit)
    done = work / "adapter"
    if not pairs or done.exists():
        return done, len(pairs)
    chance = random.Random(settings.seed)
    order: list[Pair] = []
    for _ in range(profile.training.preferences.epochs):
        order += chance.sample(pairs, len(pairs))
    replayed = _replayed(
        chance.choices(replay, k=REPLAYED_ROWS * len(order)), profile.format, base.tokenizer
    )
    checkpoints = work / "checkpoints"
    trainer = make_preference_trainer(
        base, adapter, profile, order, replayed, checkpoints, training, settings.seed
    )
    checkpoint = latest_checkpoint(checkpoints, training)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    unfinished = work / "adapter.partial"
    save_adapter(trainer, unfinished, profile.path)
    trainer.model.unload()  # type: ignore[union-attr, operator]  # a PeftModel
    unfinished.rename(done)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return done, len(pairs)


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
    from stock_llm.llm.adapter_answers import write_answers

    rows = data.validation
    prompts = [profile.format.render(messages(row.instruction, row.input)) for row in rows]
    limit = profile.serving.num_predict
    texts = write_answers(base(), adapter, prompts, profile.format.stop, limit, PROMPTS_AT_ONCE)
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
        what += f" of {given}"
    verdict = f"left out, {' and '.join(against)}" if against else "part of the candidate"
    return f"{what}, {verdict}; on the validation slice {', '.join(filter(None, changes))}"


def _too_few(data: TuningData, at_least: int) -> str:
    return (
        f"no preference tuning: {len(data.corrections)} corrections and {len(data.thumbs)} thumbs, "
        f"{at_least} of a kind are needed"
    )
