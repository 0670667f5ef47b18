"""The models that are judged on the same rows, and their answers.

Every one is a quantized GGUF, asked through llama.cpp, greedily, with the prompt that Ollama
renders for it. Answers are kept in data/artifacts/answers by model and prompts, and asked for once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stock_llm.artifacts import CHECKSUMS, BaseGguf, Candidate, load_or_make
from stock_llm.dataset.sources import general_questions
from stock_llm.errors import InputError
from stock_llm.llm.base import base_digest, fetch_base
from stock_llm.llm.gguf import write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.profiles import Profile
from stock_llm.llm.prompts import CHAT_TEMPLATE, STOP, Message, messages, render
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


@dataclass(frozen=True)
class Contestant:
    """A model to be asked: its file, and how a conversation becomes its prompt."""

    name: str
    gguf: Path
    sha256: str
    prompt: Callable[[list[Message]], str]


@dataclass(frozen=True)
class ModelAnswers:
    """One model's answers to the same rows, in their order."""

    name: str
    answers: list[str]
    scores: list[Score]
    tokens_per_second: float


def contestants(
    settings: Settings, profile: Profile, candidate: Candidate, champion: VersionInfo | None
) -> list[Contestant]:
    """Base, champion (if there is one) and challenger.

    Raises:
        InputError: the champion's files are not those that became champion.
    """
    base = _base_gguf(settings, profile)
    asked = [
        Contestant("base", base, file_sha256(base), render),
        Contestant("challenger", candidate.gguf, candidate.gguf_sha256, render),
    ]
    if champion:
        _refuse_if_damaged(champion)
        prompt = as_published(champion.gguf)
        asked.insert(1, Contestant("champion", champion.gguf, champion.gguf_sha256, prompt))
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


def _base_gguf(settings: Settings, profile: Profile) -> Path:
    """The base itself as a GGUF of the same quantization, made once."""
    kind = profile.gguf.quantization
    digest = digest_of(base=base_digest(profile, settings.home), quantization=kind)

    def make(folder: Path) -> BaseGguf:
        f16, gguf = folder / "f16.gguf", folder / f"{profile.name}-{kind}.gguf"
        write_gguf(fetch_base(profile, settings.home), f16, profile.name, CHAT_TEMPLATE)
        quantize_gguf(f16, gguf, kind, settings.threads)
        f16.unlink()
        return BaseGguf(digest, folder, gguf)

    return load_or_make(BaseGguf, settings.artifacts, digest, make, whole=True).gguf


def as_published(gguf: Path) -> Callable[[list[Message]], str]:
    """How a published version is asked: through the template and system text of the Modelfile that
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

    return prompt


def ask(
    settings: Settings, profile: Profile, contestant: Contestant, rows: list[Row]
) -> ModelAnswers:
    """All answers of a contestant; the same file is asked the same prompts once."""
    prompts = [contestant.prompt(messages(row.instruction, row.input)) for row in rows]
    limit = profile.serving.num_predict

    def generate(model: LlamaModel) -> dict[str, Any]:
        generations = [
            model.generate(prompt, max_tokens=limit, stop=STOP)
            for prompt in progress(prompts, f"asking the {contestant.name}")
        ]
        seconds = sum(generation.seconds for generation in generations)
        tokens = sum(generation.tokens_out for generation in generations)
        return {
            "answers": [generation.text for generation in generations],
            "tokens_per_second": tokens / seconds if seconds else 0.0,
        }

    digest = digest_of(model=contestant.sha256, prompts=prompts, limit=limit)
    record = _once(settings, profile, contestant, digest, generate)
    answers = record["answers"]
    scores = [SKILLS[row.skill].score(row, text) for row, text in zip(rows, answers, strict=True)]
    return ModelAnswers(contestant.name, answers, scores, record["tokens_per_second"])


def general_losses(settings: Settings, profile: Profile, contestant: Contestant) -> list[float]:
    """Loss on the reference answer of each general question, its end included, in nats per token.
    The prompt is the one that Ollama renders; computed once, as answers are.
    """
    pairs = [
        (contestant.prompt(messages(row.instruction)), f" {row.output}</s>")
        for row in general_questions.rows()
    ]

    def compute(model: LlamaModel) -> dict[str, Any]:
        losses = []
        for text, answer in pairs:
            prompt = model.tokenize(text)
            # in one piece: a tokenizer may put a space before whatever a text begins with
            loss, count = model.answer_loss(prompt, model.tokenize(text + answer)[len(prompt) :])
            losses.append(loss / count)
        return {"losses": losses}

    digest = digest_of(model=contestant.sha256, general=pairs)
    losses: list[float] = _once(settings, profile, contestant, digest, compute)["losses"]
    return losses


def _once(
    settings: Settings,
    profile: Profile,
    contestant: Contestant,
    digest: str,
    work: Callable[[LlamaModel], dict[str, Any]],
) -> dict[str, Any]:
    """The record of `digest`, read from disk or made with the contestant's model."""
    cache = settings.artifacts / "answers" / f"{digest}.json"
    if (record := read_record(cache)) is None:
        with LlamaModel(
            contestant.gguf, threads=settings.threads, context=profile.serving.num_ctx
        ) as model:
            record = work(model)
        write_record(cache, record)
    return record
