"""What people said of answers changes what is answered: planted thumbs and corrections, on stock-tiny.

A habit (a sentence about the bands) is planted into the answers to analyses, and forty answers that
have it get a thumb down. Or forty signals are corrected, by a sentence about the volume. Held-out
questions show what became of it, and of everything else.
"""

import dataclasses
import hashlib
import re
from dataclasses import dataclass
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


pytestmark = [pytest.mark.soak, pytest.mark.timeout(2 * 3600)]


@dataclass(frozen=True)
class Trained:
    """The sample, with the habit in its training rows, and what was fine-tuned on it."""

    settings: Settings
    sample: Dataset
    rows: list[Row]
    adapter: Adapter

    def answered(self, skill: str, count: int) -> list[tuple[Row, str]]:
        """The adapter's answers to the first of the training rows."""
        return answered(self.settings, self.adapter, of_skill(self.rows, skill)[:count])

    def with_opinions(
        self, opinions: list[DpoRow | KtoRow], judged: list[Row], learnt: list[Row]
    ) -> dict[str, tuple[float, float]]:
        """Trains anew without the judged rows and with these opinions; the figures of held-out
        answers before and after preference tuning.
        """
        folder = self.settings.home / opinions[0].__class__.__name__
        ids = {row.id for row in judged}
        rows = [row for row in self.rows if row.id not in ids]
        tuning = dataset(self.sample, folder, [*rows, *learnt], opinions)
        tuned = finetune.fn(self.settings, tuning)
        aligned = align.fn(self.settings, tuning, tuned)
        print(*aligned.alignment, sep="\n")
        before, after = self._figures(tuned), self._figures(aligned)
        for name, value in before.items():
            print(f"{name:8} {value:.3f} → {after[name]:.3f}")
        return {name: (value, after[name]) for name, value in before.items()}

    def _figures(self, adapter: Adapter) -> dict[str, float]:
        held_out = list(read_rows(self.sample.holdout))
        analyses, signals = (
            answered(self.settings, adapter, of_skill(held_out, skill)[:HELD_OUT])
            for skill in ("analyse", "signal")
        )
        others = [row for row in held_out if row.skill in ("explain", "portfolio", "review")]
        return {
            "habit": fmean(bool(HABIT.search(answer)) for _, answer in analyses),
            "volume": fmean(has_volume(row, answer) for row, answer in signals),
            "analyse": score(analyses),
            "signal": score(signals),
            "others": score(answered(self.settings, adapter, others[:HELD_OUT])),
        }


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("planted")
    write_project(folder)
    settings = load_settings(home=folder, profile="stock-tiny", threads=1)
    sample = build_dataset.fn(settings, collect.fn(settings))
    rows = [with_habit(row) for row in read_rows(sample.train)]
    adapter = finetune.fn(settings, dataset(sample, folder / "first", rows, []))
    return Trained(settings, sample, rows, adapter)


def test_forty_thumbs_down_on_a_habit_make_it_rarer_and_change_nothing_else(trained):
    disliked = [
        (row, answer) for row, answer in trained.answered("analyse", 120) if HABIT.search(answer)
    ][:OPINIONS]
    assert len(disliked) == OPINIONS
    thumbs: list[DpoRow | KtoRow] = [
        KtoRow(row.id, asked(row), said(answer), False, "thumb", None) for row, answer in disliked
    ]

    figures = trained.with_opinions(thumbs, [row for row, _ in disliked], [])

    before, after = figures["habit"]
    assert before >= 0.25
    assert after <= before / 2
    nothing_else_fell(figures)


def test_forty_corrections_are_followed_and_change_nothing_else(trained):
    corrected = [
        (row, answer)
        for row, answer in trained.answered("signal", 80)
        if RISKS.search(answer) and not has_volume(row, answer)
    ][:OPINIONS]
    assert len(corrected) == OPINIONS
    corrections: list[DpoRow | KtoRow] = [
        DpoRow(row.id, asked(row), said(with_volume(row, answer)), said(answer), None)
        for row, answer in corrected
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

    figures = trained.with_opinions(corrections, [row for row, _ in corrected], learnt)

    assert figures["volume"][1] >= 0.8
    nothing_else_fell(figures)


def nothing_else_fell(figures: dict[str, tuple[float, float]]) -> None:
    """By more than two points."""
    for name in ("analyse", "signal", "others"):
        before, after = figures[name]
        assert after >= before - 0.02, name


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
