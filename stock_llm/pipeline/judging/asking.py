"""Asks a contestant every question, once, and marks its answers.

Answers are kept in data/artifacts/answers, a file for each model and a line for each prompt, as
they come: a run that is killed loses those it was working on. Who answers is this process
(`own_runtime`) or an Ollama (`ollama_judge`).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from stock_llm.dataset.sources import general_questions
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.profiles import Profile
from stock_llm.llm.prompts import Message, messages
from stock_llm.llm.runtime.answer import Generation
from stock_llm.pipeline.judging import ollama_judge, own_runtime, timing
from stock_llm.pipeline.judging.contestants import Contestant
from stock_llm.pipeline.judging.ollama_judge import OllamaJudge
from stock_llm.pipeline.judging.time_left import progress
from stock_llm.settings import Settings
from stock_llm.skills import SKILLS
from stock_llm.skills.row import Row, Score
from stock_llm.storage.checksums import digest_of, read_record, write_record
from stock_llm.storage.record_log import RecordLog
from stock_llm.truth.verdicts import false_sentences


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


@dataclass(frozen=True)
class Question:
    """A row as a contestant is asked. `key` is the digest of all that its answer depends on, the
    model apart.
    """

    turns: list[Message]
    prompt: str
    key: str


def ask(
    settings: Settings,
    profile: Profile,
    contestant: Contestant,
    rows: list[Row],
    judge: OllamaJudge | None = None,
) -> ModelAnswers:
    """All answers of a contestant; the same file is asked the same prompt once.

    Args:
        judge: answers in place of this process.
    """
    questions = [question(profile, contestant, row) for row in rows]
    by = judge.name if judge else ""
    file = answers_folder(settings) / f"{digest_of(model=contestant.sha256, judge=by)}.jsonl"
    log = RecordLog(file)
    known = {record["key"]: record["text"] for record in log.records}
    missing = list({each.key: each for each in questions if each.key not in known}.values())
    if missing:
        timer = timing.Timer(settings, profile, contestant.name, here=judge is None)
        description = f"asking the {contestant.name}"
        expected = timer.expected(len(missing))
        at_once = (
            ollama_judge.AT_ONCE
            if judge
            else own_runtime.rows_at_once(contestant.gguf, settings.threads)
        )
        with (
            progress(len(missing), description, at_once, expected) as ended,
            timer.timing(len(missing)),
        ):
            for place, generation in _generate(settings, profile, contestant, missing, judge):
                log.append({"key": missing[place].key, **asdict(generation)})
                known[missing[place].key] = generation.text
                ended()
    answers = [known[each.key] for each in questions]
    scores = [SKILLS[row.skill].score(row, text) for row, text in zip(rows, answers, strict=True)]
    false = [false_sentences(row, text) for row, text in zip(rows, answers, strict=True)]
    return ModelAnswers(contestant.name, answers, scores, false)


def question(profile: Profile, contestant: Contestant, row: Row) -> Question:
    """A row as a contestant is asked."""
    turns = messages(row.instruction, row.input)
    prompt = contestant.prompt(turns)
    serving = profile.serving
    key = digest_of(
        prompt=prompt,
        limit=serving.num_predict,
        context=serving.num_ctx,
        stop=contestant.stop,
    )
    return Question(turns, prompt, key)


def _generate(
    settings: Settings,
    profile: Profile,
    contestant: Contestant,
    questions: list[Question],
    judge: OllamaJudge | None,
) -> Iterator[tuple[int, Generation]]:
    if judge:
        return judge.generate(contestant, [each.turns for each in questions])
    return own_runtime.generate(
        contestant.gguf,
        [each.prompt for each in questions],
        profile.serving,
        contestant.stop,
        settings.threads,
        lora=contestant.lora,
    )


def general_losses(settings: Settings, profile: Profile, contestant: Contestant) -> list[float]:
    """Loss on the reference answer of each general question, its end included, in nats per token.
    The prompt is the one that Ollama renders; computed once, as answers are.
    """
    pairs = []
    for row in general_questions.rows():
        prompt = contestant.prompt(messages(row.instruction))
        whole = contestant.prompt(messages(row.instruction, answer=row.output))
        pairs.append((prompt, whole.removeprefix(prompt)))
    digest = digest_of(model=contestant.sha256, general=pairs)
    cache = answers_folder(settings) / f"{digest}.json"
    if (record := read_record(cache)) is None:
        losses = []
        context = profile.serving.num_ctx
        gguf, lora = contestant.gguf, contestant.lora
        with LlamaModel(gguf, settings.threads, context, lora) as model:
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


def answers_folder(settings: Settings) -> Path:
    """Where answers are kept, and what was measured while they came."""
    return settings.artifacts / "answers"
