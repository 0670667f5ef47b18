"""Two versions side by side, from what was noted when each was judged: nothing is asked again."""

from dataclasses import dataclass

from stock_llm.artifacts import Adapter, Dataset, Scorecard, load
from stock_llm.errors import InputError
from stock_llm.evaluation import gate
from stock_llm.evaluation.gate import Interval
from stock_llm.operations.reports import answers as judged
from stock_llm.operations.reports import charts
from stock_llm.operations.reports.answers import JudgedAnswer
from stock_llm.operations.reports.page import Page, PageChart, PageList, PageTable, render
from stock_llm.operations.reports.version import (
    CHALLENGER,
    SHOWN,
    cell,
    changed_entry,
    questions,
)
from stock_llm.pipeline import registry
from stock_llm.pipeline.registry import VersionInfo
from stock_llm.settings import Settings
from stock_llm.skills.row import Row


@dataclass(frozen=True)
class ComparedVersion:
    """A version with what is known of it.

    Attributes:
        adapter: None where it was removed.
    """

    info: VersionInfo
    dataset: Dataset
    scorecard: Scorecard
    adapter: Adapter | None
    answers: list[JudgedAnswer]

    @property
    def name(self) -> str:
        return f"v{self.info.number}"


@dataclass(frozen=True)
class VersionComparison:
    """Two versions, the later one compared with the earlier.

    Attributes:
        differences: overall and by skill, of the questions that both answered; empty where they
            share none.
        shared: how many questions both answered.
    """

    first: ComparedVersion
    second: ComparedVersion
    differences: dict[str, Interval]
    shared: int

    @property
    def sentence(self) -> str:
        """What the comparison says."""
        names = f"{self.second.name} against {self.first.name}"
        if not self.differences:
            return f"{names}: they were judged on other questions, so only their tables compare."
        overall = self.differences["overall"]
        word = "better" if overall.low > 0 else "worse" if overall.high < 0 else "not different"
        proven = "" if word == "not different" else ", proven"
        return f"{names}: {word}{proven}, {overall} on {self.shared} questions."


def compare(settings: Settings, first: int, second: int) -> VersionComparison:
    """Compares two versions.

    Raises:
        InputError: there is no such version, or what was noted of it is gone.
    """
    one, other = _compared(settings, first), _compared(settings, second)
    before = {answer.id: answer for answer in one.answers}
    pairs = [(answer, before[answer.id]) for answer in other.answers if answer.id in before]
    rows = questions(other.dataset)
    return VersionComparison(one, other, _differences(pairs, rows, settings.seed), len(pairs))


def comparison_table(comparison: VersionComparison) -> list[tuple[str, str, str, str]]:
    """Metric, both versions' values, and the difference with its interval where both answered."""
    first, second = (
        version.scorecard.table.get(CHALLENGER, {})
        for version in (comparison.first, comparison.second)
    )
    names = {"score": "overall"}
    lines = []
    for metric in dict.fromkeys([*first, *second]):
        gap = comparison.differences.get(names.get(metric, metric))
        lines.append(
            (
                metric,
                cell(metric, first.get(metric)),
                cell(metric, second.get(metric)),
                str(gap) if gap else "",
            )
        )
    return lines


def comparison_page(comparison: VersionComparison) -> str:
    """The comparison as one HTML file."""
    first, second = comparison.first, comparison.second
    scores = {each.name: judged.skill_scores(each.answers) for each in (first, second)}
    curves = {
        each.name: [(e["step"], e["loss"]) for e in each.adapter.loss_curve if "loss" in e]
        for each in (first, second)
        if each.adapter
    }
    made = [PageChart("Scores by skill", charts.skills_chart(scores))]
    if any(curves.values()):
        made.append(PageChart("Training loss", charts.loss_chart(curves)))
    rows = questions(second.dataset)
    changed = judged.changed(second.answers, first.answers, SHOWN)
    return render(
        Page(
            title=f"stock-llm: {second.name} against {first.name}",
            sentence=comparison.sentence,
            verdict="",
            tables=[
                PageTable(
                    "Metrics",
                    ("metric", first.name, second.name, "difference, 95 % interval"),
                    comparison_table(comparison),
                )
            ],
            charts=made,
            lists=[
                PageList(
                    f"The {SHOWN} answers that changed most",
                    [
                        changed_entry(rows, after, before, second.name, first.name)
                        for after, before in changed
                    ],
                )
            ],
            facts=[
                (f"{each.name}, {what}", value)
                for each in (first, second)
                for what, value in (
                    ("verdict", each.info.verdict),
                    ("base", each.info.profile),
                    ("feedback", f"{each.info.feedback} items"),
                    ("rows to train on", str(each.dataset.train_rows)),
                    ("holdout", each.dataset.holdout_digest),
                )
            ],
        )
    )


def _compared(settings: Settings, number: int) -> ComparedVersion:
    info = next((each for each in registry.versions(settings) if each.number == number), None)
    if info is None:
        raise InputError(
            f"there is no version {number}", remedy="See which there are: stock-llm history"
        )
    dataset = load(Dataset, settings.artifacts / "dataset" / info.dataset)
    scorecard = load(Scorecard, settings.artifacts / "scorecard" / info.scorecard)
    if dataset is None or scorecard is None:
        raise InputError(
            f"what was noted of v{number} when it was judged is gone from {settings.artifacts}",
            remedy="Its table and its report are in MLflow: stock-llm up",
        )
    adapter = load(Adapter, settings.artifacts / "adapter" / info.adapter)
    answers = judged.read_answers(scorecard.items).get(CHALLENGER, [])
    return ComparedVersion(info, dataset, scorecard, adapter, answers)


def _differences(
    pairs: list[tuple[JudgedAnswer, JudgedAnswer]], rows: dict[str, Row], seed: int
) -> dict[str, Interval]:
    """Overall and by skill; questions of one stock and month are drawn together, as in the gate."""
    if not pairs:
        return {}
    groups = {"overall": pairs}
    for pair in pairs:
        groups.setdefault(pair[0].skill, []).append(pair)
    return {
        name: gate.difference(
            [after.value for after, _ in group],
            [before.value for _, before in group],
            [_cluster(rows.get(after.id), after.id) for after, _ in group],
            seed,
        )
        for name, group in groups.items()
    }


def _cluster(row: Row | None, id: str) -> str:
    return f"{row.symbol or row.id} {row.as_of[:7]}" if row else id
