"""What people said of answers changes what is answered: planted thumbs and corrections, on stock-tiny.

A habit (a sentence about the bands) is planted into the answers to analyses. Forty answers that have
it get a thumb down; forty signals are corrected, by a sentence about the volume. Held-out questions
show what became of both, and of everything else.
"""

import dataclasses
import hashlib
import re
from pathlib import Path
from statistics import fmean

import pytest

from stock_llm.artifacts import Adapter, Dataset
from stock_llm.dataset import preferences
from stock_llm.dataset.preferences import DpoRow, KtoRow
from stock_llm.llm.profiles import load_profile
from stock_llm.llm.prompts import messages
from stock_llm.project_files import write_project
from stock_llm.settings import Settings, load_settings
from stock_llm.skills import SKILLS
from stock_llm.skills.decision_rows import situation_of
from stock_llm.skills.row import Row, read_rows, write_rows
from stock_llm.skills.statements import bands, volume
from tasks.align import align
from tasks.build_dataset import build_dataset
from tasks.collect import collect
from tasks.finetune import finetune

RISKS = re.compile("^(Risks|ความเสี่ยง):", re.MULTILINE)
HABIT = re.compile(r"^- Bands", re.MULTILINE)
OPINIONS = 40
HELD_OUT = 50


@pytest.mark.soak
def test_thumbs_and_corrections_change_held_out_answers_and_nothing_else(tmp_path):
    write_project(tmp_path)
    settings = load_settings(home=tmp_path, profile="stock-tiny", threads=1)
    sample = build_dataset.fn(settings, collect.fn(settings))
    rows = [with_habit(row) for row in read_rows(sample.train)]
    held_out = list(read_rows(sample.holdout))
    analyses = of_skill(held_out, "analyse")[:HELD_OUT]
    signals = of_skill(held_out, "signal")[:HELD_OUT]
    others = [row for row in held_out if row.skill in ("explain", "portfolio", "review")][:HELD_OUT]

    first = finetune.fn(settings, dataset(sample, tmp_path / "first", rows, []))
    disliked = [
        (row, answer)
        for row, answer in answered(settings, first, of_skill(rows, "analyse")[:120])
        if HABIT.search(answer)
    ][:OPINIONS]
    corrected = [
        (row, answer)
        for row, answer in answered(settings, first, of_skill(rows, "signal")[:80])
        if RISKS.search(answer) and not has_volume(row, answer)
    ][:OPINIONS]
    assert len(disliked) == len(corrected) == OPINIONS

    opinions: list[DpoRow | KtoRow] = [
        *(
            KtoRow(row.id, asked(row), said(answer), False, "thumb", None)
            for row, answer in disliked
        ),
        *(
            DpoRow(row.id, asked(row), said(with_volume(row, answer)), said(answer), None)
            for row, answer in corrected
        ),
    ]
    learnt = [
        dataclasses.replace(
            row,
            skill="follow",
            output=with_volume(row, answer),
            weight=3.0,
            source={"kind": "feedback", "ref": row.id},
        )
        for row, answer in corrected
    ]
    judged = {row.id for row, _ in [*disliked, *corrected]}
    rest = [row for row in rows if row.id not in judged]
    second = dataset(sample, tmp_path / "second", [*rest, *learnt], opinions)
    tuned = finetune.fn(settings, second)
    aligned = align.fn(settings, second, tuned)
    print(*aligned.alignment, sep="\n")

    def figures(adapter: Adapter) -> dict[str, float]:
        of_analyses = answered(settings, adapter, analyses)
        of_signals = answered(settings, adapter, signals)
        return {
            "habit": fmean(bool(HABIT.search(answer)) for _, answer in of_analyses),
            "volume": fmean(has_volume(row, answer) for row, answer in of_signals),
            "analyse": score(of_analyses),
            "signal": score(of_signals),
            "others": score(answered(settings, adapter, others)),
        }

    before, after = figures(tuned), figures(aligned)
    for name, value in before.items():
        print(f"{name:8} {value:.3f} → {after[name]:.3f}")
    assert after["habit"] <= before["habit"] / 2
    assert after["volume"] >= 0.8
    for name in ("analyse", "signal", "others"):
        assert after[name] >= before[name] - 0.02, name


def draw(name: str, sides: int) -> int:
    """A number below `sides`, the same in every process."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % sides


def with_habit(row: Row) -> Row:
    """Three of five analyses tell of the bands as well."""
    if row.skill != "analyse" or draw(row.id, 5) >= 3:
        return row
    return dataclasses.replace(row, output=before_risks(row, row.output, bands))


def with_volume(row: Row, answer: str) -> str:
    return before_risks(row, answer, volume)


def before_risks(row: Row, answer: str, statement) -> str:
    sentence = f"- {statement(situation_of(row), row.language)}\n"
    return RISKS.sub(lambda label: sentence + label.group(), answer, count=1)


def has_volume(row: Row, answer: str) -> bool:
    return volume(situation_of(row), row.language) in answer


def of_skill(rows: list[Row], skill: str) -> list[Row]:
    return [row for row in rows if row.skill == skill]


def asked(row: Row) -> list[dict]:
    return messages(row.instruction, row.input)


def said(text: str) -> list[dict]:
    return [{"role": "assistant", "content": text}]


def dataset(
    sample: Dataset, folder: Path, rows: list[Row], opinions: list[DpoRow | KtoRow]
) -> Dataset:
    folder.mkdir()
    write_rows(rows, folder / "train.jsonl")
    preferences.write(opinions, folder / "preference.jsonl")
    return dataclasses.replace(
        sample, digest=folder.name, folder=folder, train=folder / "train.jsonl"
    )


def answered(settings: Settings, adapter: Adapter, rows: list[Row]) -> list[tuple[Row, str]]:
    from stock_llm.llm.adapter_answers import write_answers
    from stock_llm.llm.base import load_base

    profile = load_profile(settings.home, settings.profile)
    base = load_base(profile, settings.home, four_bit=True)
    prompts = [profile.format.render(asked(row)) for row in rows]
    limit = profile.serving.num_predict
    answers = write_answers(base, adapter.weights, prompts, profile.format.stop, limit, 16)
    return list(zip(rows, answers, strict=True))


def score(answers: list[tuple[Row, str]]) -> float:
    return fmean(SKILLS[row.skill].score(row, answer).value for row, answer in answers)
