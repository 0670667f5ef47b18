"""How many answers hold a false sentence: free, within the grammar of true answers, and repaired.

`python benchmarks/truth.py [HOME] [--gguf FILE] [--folder FOLDER]` asks the champion of a project folder, else its newest version,
the questions of the newest dataset's holdout that show numbers, greedily, with and without the grammar; `repaired` puts the true
sentence of its kind in the place of each false one of the free answers. `JSON schema` is what a server could be asked for that takes
a schema and no grammar: the labels as properties, the true sentences as an enumeration, put back into the form afterwards. Answers are kept as JSON in FOLDER (default:
HOME/data/truth), and a run that was interrupted goes on. Sentences count as different by their words, not by their numbers.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from stock_llm import environment

environment.prepare()

from stock_llm.dataset.provenance import datasets  # noqa: E402
from stock_llm.errors import InputError  # noqa: E402
from stock_llm.evaluation.answers import LABELS, LANGUAGES, VERDICTS, SkillAnswer  # noqa: E402
from stock_llm.llm.json_schema import compile_schema  # noqa: E402
from stock_llm.llm.llama_cpp import LlamaModel  # noqa: E402
from stock_llm.llm.profiles import load_profile  # noqa: E402
from stock_llm.llm.prompts import messages, user_text  # noqa: E402
from stock_llm.llm.sampler import Sampler  # noqa: E402
from stock_llm.pipeline import registry  # noqa: E402
from stock_llm.pipeline.report import holdout_table  # noqa: E402
from stock_llm.settings import Settings, load_settings  # noqa: E402
from stock_llm.skills import SKILLS  # noqa: E402
from stock_llm.skills.row import Row, read_rows  # noqa: E402
from stock_llm.storage.atomic import atomic_write  # noqa: E402
from stock_llm.storage.checksums import digest_of, file_sha256  # noqa: E402
from stock_llm.truth.answer_grammar import language_of, true_answers  # noqa: E402
from stock_llm.truth.subjects import read_subject  # noqa: E402
from stock_llm.truth.verdicts import false_sentences, lines_of, repair  # noqa: E402

Answer = dict[str, Any]
"""text, tokens, seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("home", type=Path, nargs="?", default=Path(), help="default: this folder")
    parser.add_argument("--gguf", type=Path, help="another model than the folder's")
    parser.add_argument("--folder", type=Path, help="where answers are kept")
    given = parser.parse_args()
    settings = load_settings(home=given.home)
    if not (built := datasets(settings.artifacts)):
        raise InputError("no dataset was built yet", remedy="Run: stock-llm run")
    gguf = given.gguf or _newest(settings)
    rows = [row for row in read_rows(built[0].holdout) if read_subject(_question(row))]
    folder = given.folder or settings.path("data/truth")
    free = ask(settings, gguf, rows, folder, lambda _: "")
    guided = ask(settings, gguf, rows, folder, lambda row: true_answers(_question(row)))
    repaired = [
        answer | {"text": _repaired(row, answer["text"])}
        for row, answer in zip(rows, free, strict=True)
    ]
    schema = ask(settings, gguf, rows, folder, lambda row: compile_schema(_schema(row)))
    told = [
        answer | {"text": _text(row, answer["text"])}
        for row, answer in zip(rows, schema, strict=True)
    ]
    ways = {"free": free, "grammar": guided, "repaired": repaired, "JSON schema": told}
    print(f"{gguf.name}, {len(rows)} questions of the holdout that show numbers\n")
    print(holdout_table({name: _summary(rows, answers) for name, answers in ways.items()}))
    print("\nAnswers with a false sentence, by skill and language:\n")
    print(holdout_table({name: _by_kind(rows, answers) for name, answers in ways.items()}))


def ask(
    settings: Settings, gguf: Path, rows: list[Row], folder: Path, grammar: Callable[[Row], str]
) -> list[Answer]:
    """The greedy answer to each row, each within its grammar; those of an earlier run are read."""
    profile = load_profile(settings.home, settings.profile)
    serving, prompt_format = profile.serving, profile.format
    sha256, answers = file_sha256(gguf), []
    with LlamaModel(gguf, threads=settings.threads, context=serving.num_ctx) as model:
        for row in rows:
            prompt, rules = prompt_format.render(messages(row.instruction, row.input)), grammar(row)
            digest = digest_of(model=sha256, prompt=prompt, rules=rules, limit=serving.num_predict)
            kept = folder / f"{digest}.json"
            if not kept.exists():
                with Sampler(model, {"temperature": 0.0}, rules) if rules else nullcontext() as it:
                    pick = it.pick if it else None
                    made = model.generate(prompt, serving.num_predict, prompt_format.stop, pick)
                told = {"text": made.text, "tokens": made.tokens_out, "seconds": made.seconds}
                atomic_write(kept, json.dumps(told, ensure_ascii=False))
            answers.append(json.loads(kept.read_text(encoding="utf-8")))
    return answers


def _newest(settings: Settings) -> Path:
    known = registry.versions(settings)
    if not known:
        raise InputError("no version was registered yet", remedy="Run: stock-llm run")
    return (registry.champion(settings) or known[0]).gguf


def _question(row: Row) -> str:
    return user_text(row.instruction, row.input)


def _repaired(row: Row, text: str) -> str:
    subject = read_subject(_question(row))
    assert subject
    return repair(text, subject, "th" if row.language == "th" else "en")


def _forms(row: Row) -> list[SkillAnswer]:
    subject = read_subject(_question(row))
    assert subject
    return subject.answers(language_of(row.instruction))


def _names(answer: SkillAnswer) -> list[str]:
    """The fields of a form, levels apart."""
    names = (*VERDICTS, "confidence", "insights", "risks")
    return [name for name in names if getattr(answer, name) not in (None, ())]


def _schema(row: Row) -> dict[str, Any]:
    """The true answers to a row's question as JSON."""
    subject = read_subject(_question(row))
    assert subject
    language = language_of(row.instruction)
    sentences = {"enum": [statement.text for statement in subject.statements(language)]}
    listed = {"type": "array", "items": sentences, "minItems": 1, "maxItems": 4}

    def values(answer: SkillAnswer, name: str) -> dict[str, Any]:
        if name in VERDICTS:
            return {"enum": VERDICTS[name] if name == "recommendation" else [getattr(answer, name)]}
        if name == "confidence":
            return {"type": "integer", "minimum": 0, "maximum": 100}
        return listed

    forms = [
        {LABELS[language][name]: values(answer, name) for name in _names(answer)}
        for answer in _forms(row)
    ]
    closed = {"type": "object", "additionalProperties": False}
    return {"anyOf": [closed | {"properties": form, "required": list(form)} for form in forms]}


def _text(row: Row, written: str) -> str:
    """JSON as an answer, levels added; as it is where it broke off."""
    try:
        told = json.loads(written)
    except ValueError:
        return written
    for answer in _forms(row):
        names = _names(answer)
        if [LABELS[answer.language][name] for name in names] == list(told):
            values = (tuple(it) if isinstance(it, list) else it for it in told.values())
            fields: dict[str, Any] = dict(zip(names, values, strict=True))
            return replace(answer, **fields).text()
    return written


def _summary(rows: list[Row], answers: list[Answer]) -> dict[str, float]:
    scores = [
        SKILLS[row.skill].score(row, answer["text"])
        for row, answer in zip(rows, answers, strict=True)
    ]
    seconds = sum(answer["seconds"] for answer in answers)
    sentences = [sentence for answer in answers for sentence in lines_of(answer["text"])]
    return {
        "false answers": fmean(_is_false(rows, answers)),
        "score": fmean(score.value for score in scores),
        "parsed": fmean(score.parsed for score in scores),
        "tokens/s": sum(answer["tokens"] for answer in answers) / seconds,
        "seconds each": seconds / len(answers),
        "sentences each": len(sentences) / len(answers),
        "different ones": len({re.sub(r"[+-]?\d[\d.,]*", "#", text) for text in sentences}),
    }


def _by_kind(rows: list[Row], answers: list[Answer]) -> dict[str, float]:
    false = _is_false(rows, answers)
    kinds: dict[str, list[float]] = {}
    for row, value in zip(rows, false, strict=True):
        kinds.setdefault(row.skill, []).append(value)
        kinds.setdefault(row.language, []).append(value)
    order = sorted(kinds, key=lambda name: (name in LANGUAGES, name))
    return {f"{name} ({len(kinds[name])})": fmean(kinds[name]) for name in order}


def _is_false(rows: list[Row], answers: list[Answer]) -> list[float]:
    return [
        float(bool(false_sentences(row, answer["text"])))
        for row, answer in zip(rows, answers, strict=True)
    ]


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
