"""The models that are judged on the same rows, and their answers.

Every one is a quantized GGUF, asked through llama.cpp, greedily, with the prompt that Ollama
renders for it. Answers are kept in data/artifacts/answers by model and prompts, and asked for once.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stock_llm.artifacts import CHECKSUMS, BaseGguf, Candidate, load_or_make
from stock_llm.dataset.sources import general_questions
from stock_llm.errors import InputError
from stock_llm.llm.architectures import read_shape
from stock_llm.llm.base import base_digest, fetch_base
from stock_llm.llm.bases import needs
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.llama_cpp import Generation, LlamaModel, useful_threads
from stock_llm.llm.profiles import Profile
from stock_llm.llm.prompts import Message, messages
from stock_llm.llm.quantization import quantize_gguf
from stock_llm.ollama import rendering
from stock_llm.ollama.modelfile import parse_modelfile
from stock_llm.pipeline.registry import VersionInfo
from stock_llm.progress import progress
from stock_llm.settings import Settings
from stock_llm.skills import SKILLS
from stock_llm.skills.row import Row, Score
from stock_llm.storage.checksums import (
    digest_of,
    file_sha256,
    find_damage,
    read_record,
    write_record,
)
from stock_llm.truth.verdicts import false_sentences


@dataclass(frozen=True)
class Contestant:
    """A model to be asked: its file, how a conversation becomes its prompt, and what ends an
    answer.
    """

    name: str
    gguf: Path
    sha256: str
    prompt: Callable[[list[Message]], str]
    stop: tuple[str, ...]


@dataclass(frozen=True)
class ModelAnswers:
    """One model's answers to the same rows, in their order.

    Attributes:
        false: the false sentences of each; None where the skill's answers state nothing.
    """

    name: str
    answers: list[str]
    scores: list[Score]
    false: list[list[str] | None]
    tokens_per_second: float


def contestants(
    settings: Settings, profile: Profile, candidate: Candidate, champion: VersionInfo | None
) -> list[Contestant]:
    """Base, champion (if there is one) and challenger.

    Raises:
        InputError: the champion's files are not those that became champion.
    """
    base = _base_gguf(settings, profile, candidate.quantization)
    written = profile.format
    asked = [
        Contestant("base", base, file_sha256(base), written.render, written.stop),
        Contestant(
            "challenger", candidate.gguf, candidate.gguf_sha256, written.render, written.stop
        ),
    ]
    if champion:
        _refuse_if_damaged(champion)
        asked.insert(1, as_published("champion", champion.gguf, champion.gguf_sha256))
    return asked


def _refuse_if_damaged(champion: VersionInfo) -> None:
    """
    Raises:
        InputError: the champion's files are not those that became champion.
    """
    checksums = champion.gguf.with_name(CHECKSUMS)
    damage = find_damage(checksums, whole=True) if checksums.exists() else ""
    if not damage and not champion.gguf.exists():
        damage = "it is missing"
    if not damage and file_sha256(champion.gguf) != champion.gguf_sha256:
        damage = "it has other bytes"
    if damage:
        raise InputError(
            f"the champion v{champion.number} is damaged: {damage}",
            file=champion.gguf,
            remedy="Restore its folder from a backup, or make another version champion: "
            "stock-llm rollback VERSION",
        )


def _base_gguf(settings: Settings, profile: Profile, kind: str) -> Path:
    """The base itself as a GGUF of the candidate's quantization, made once."""
    template = profile.format.jinja
    digest = digest_of(
        base=base_digest(profile, settings.home), quantization=kind, template=template
    )

    def make(folder: Path) -> BaseGguf:
        base = fetch_base(profile, settings.home)
        needs.require(needs.judging(profile, read_shape(base)), profile, folder)
        f16, gguf = folder / "f16.gguf", folder / f"{profile.name}-{kind}.gguf"
        write_gguf(base, f16, profile.name, template)
        quantize_gguf(f16, gguf, kind, settings.threads)
        f16.unlink()
        return BaseGguf(digest, folder, gguf)

    return load_or_make(BaseGguf, settings.artifacts, digest, make, whole=True).gguf


def as_published(name: str, gguf: Path, sha256: str) -> Contestant:
    """A published version: asked through the template, system text and stops of the Modelfile that
    lies beside it.
    """
    modelfile = parse_modelfile(gguf.with_name("Modelfile").read_text(encoding="utf-8"))

    def prompt(turns: list[Message]) -> str:
        questions = [
            {"role": turn["role"], "content": turn["content"]}
            for turn in turns
            if turn["role"] != "system"
        ]
        return rendering.render(modelfile.template, questions, modelfile.system)

    stop = modelfile.parameters.get("stop", ())
    assert isinstance(stop, tuple)
    return Contestant(name, gguf, sha256, prompt, stop)


def ask(
    settings: Settings, profile: Profile, contestant: Contestant, rows: list[Row]
) -> ModelAnswers:
    """All answers of a contestant; the same file is asked the same prompts once."""
    prompts = [contestant.prompt(messages(row.instruction, row.input)) for row in rows]
    limit = profile.serving.num_predict
    digest = digest_of(model=contestant.sha256, prompts=prompts, limit=limit)
    cache = _cache(settings, digest)
    if (record := read_record(cache)) is None:
        generations = _generate(settings, profile, contestant, prompts)
        seconds = sum(generation.seconds for generation in generations)
        tokens = sum(generation.tokens_out for generation in generations)
        record = {
            "answers": [generation.text for generation in generations],
            "tokens_per_second": tokens / seconds if seconds else 0.0,
        }
        write_record(cache, record)
    answers = record["answers"]
    scores = [SKILLS[row.skill].score(row, text) for row, text in zip(rows, answers, strict=True)]
    false = [false_sentences(row, text) for row, text in zip(rows, answers, strict=True)]
    return ModelAnswers(contestant.name, answers, scores, false, record["tokens_per_second"])


def _generate(
    settings: Settings, profile: Profile, contestant: Contestant, prompts: list[str]
) -> list[Generation]:
    """The answers to the prompts. A model that cannot use all threads is loaded several times, and
    each copy answers its share.
    """
    copies = settings.threads // useful_threads(contestant.gguf, settings.threads)
    interrupted = threading.Event()

    def answer(share: list[str], watched: bool) -> list[Generation]:
        shown = progress(share, f"asking the {contestant.name}") if watched else share
        with _loaded(settings, profile, contestant) as model:
            return [
                model.generate(prompt, max_tokens=profile.serving.num_predict, stop=contestant.stop)
                for prompt in shown
                if not interrupted.is_set()
            ]

    with ThreadPoolExecutor(copies) as pool:
        shares = [
            pool.submit(answer, prompts[first::copies], first == 0) for first in range(copies)
        ]
        try:
            answers = [share.result() for share in shares]
        except BaseException:
            interrupted.set()
            raise
    return [answers[place % copies][place // copies] for place in range(len(prompts))]


def general_losses(settings: Settings, profile: Profile, contestant: Contestant) -> list[float]:
    """Loss on the reference answer of each general question, its end included, in nats per token.
    The prompt is the one that Ollama renders; computed once, as answers are.
    """
    pairs = []
    for row in general_questions.rows():
        prompt = contestant.prompt(messages(row.instruction))
        whole = contestant.prompt(messages(row.instruction, answer=row.output))
        pairs.append((prompt, whole.removeprefix(prompt)))
    cache = _cache(settings, digest_of(model=contestant.sha256, general=pairs))
    if (record := read_record(cache)) is None:
        losses = []
        with _loaded(settings, profile, contestant) as model:
            for text, answer in pairs:
                known = model.tokenize(text)
                # in one piece: a tokenizer may put a space before whatever a text begins with
                tokens = model.tokenize(text + answer)[len(known) :]
                loss, count = model.answer_loss(known, tokens)
                losses.append(loss / count)
        record = {"losses": losses}
        write_record(cache, record)
    known_losses: list[float] = record["losses"]
    return known_losses


def _loaded(settings: Settings, profile: Profile, contestant: Contestant) -> LlamaModel:
    return LlamaModel(contestant.gguf, threads=settings.threads, context=profile.serving.num_ctx)


def _cache(settings: Settings, digest: str) -> Path:
    return settings.artifacts / "answers" / f"{digest}.json"
