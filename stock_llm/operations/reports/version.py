"""The page of one version: the verdict in a sentence, what it rests on, and answers to look at."""

from collections.abc import Sequence

from stock_llm.artifacts import Adapter, Candidate, Dataset, Scorecard
from stock_llm.operations.reports import answers as judged
from stock_llm.operations.reports import charts
from stock_llm.operations.reports.answers import JudgedAnswer
from stock_llm.operations.reports.page import (
    Page,
    PageChart,
    PageEntry,
    PageList,
    PageTable,
    render,
)
from stock_llm.pipeline.registry import MEMORY, SPEED
from stock_llm.pipeline.report import GENERAL_LOSS
from stock_llm.skills import analyse, signal
from stock_llm.skills.row import Row, read_rows

SHOWN = 20
"""Answers in each list."""

CHALLENGER = "challenger"

ENDINGS = {
    "promote": "so it became the champion",
    "keep": "so the champion stays",
    "reject": "so the champion stays",
    "blocked": "so the champion stays, whatever the score",
}


def version_page(
    title: str, dataset: Dataset, adapter: Adapter, candidate: Candidate, scorecard: Scorecard
) -> str:
    """The page as HTML.

    Args:
        title: of the version, such as "stock-llm:v7".
    """
    rows = questions(dataset)
    answers = judged.read_answers(scorecard.items)
    reference = "champion" if "champion" in answers else "base"
    mine, theirs = answers.get(CHALLENGER, []), answers.get(reference, [])
    page = Page(
        title=title,
        sentence=verdict_sentence(title, scorecard),
        verdict=scorecard.verdict,
        reasons=scorecard.reasons,
        tables=[
            metrics_table(scorecard),
            *_other_differences(scorecard),
            *_confusion(mine),
        ],
        charts=_charts({CHALLENGER: mine, reference: theirs}, adapter, candidate),
        lists=[
            PageList(
                f"The {SHOWN} worst answers",
                [_entry(rows, one) for one in judged.worst(mine, SHOWN)],
            ),
            PageList(
                f"The {SHOWN} answers that changed most",
                [
                    changed_entry(rows, after, before, CHALLENGER, reference)
                    for after, before in judged.changed(mine, theirs, SHOWN)
                ],
            ),
        ],
        facts=_facts(dataset, adapter, candidate, scorecard),
    )
    return render(page)


def questions(dataset: Dataset) -> dict[str, Row]:
    """The rows that judged, by id; none of those whose file is gone."""
    files = [file for file in (dataset.holdout, dataset.corrections) if file.exists()]
    return {row.id: row for file in files for row in read_rows(file)}


def verdict_sentence(title: str, scorecard: Scorecard) -> str:
    """How the version was judged, and what became of it."""
    against = f"champion v{scorecard.champion}" if scorecard.champion else "untuned base"
    score, rival = _overall_scores(scorecard)
    gap = scorecard.differences.get(f"challenger - {_reference(scorecard)}")
    first = scorecard.reasons[0].partition(",")[0] if scorecard.reasons else "no reason was noted"
    figures = f" (score {number(score)} against {number(rival)}, difference {_interval(gap)})"
    return (
        f"{scorecard.verdict}: {title} against the {against}: {first}"
        f"{figures if gap else ''}, {ENDINGS.get(scorecard.verdict, 'so the champion stays')}."
    )


def metrics_table(scorecard: Scorecard) -> PageTable:
    """A row for each metric, a column for each model, and what lies between the version and what it
    was judged against. Models that were not asked, the baselines, stand in the note.
    """
    models = {name: row for name, row in scorecard.table.items() if row.get("score") is not None}
    metrics = dict.fromkeys(metric for model in models.values() for metric in model)
    rows = []
    for metric in metrics:
        gap = _gap_of(scorecard, metric)
        cells = [cell(metric, model.get(metric)) for model in models.values()]
        rows.append((metric, *cells, _interval(gap), _whole(gap)))
    note = "Unparseable answers count as wrong. Shares from 0 to 1, but for losses and speeds."
    baselines = [
        f"{name} {number(value)}"
        for name, model in scorecard.table.items()
        if name not in models and (value := model.get("signal accuracy")) is not None
    ]
    note += f" Signal accuracy of baselines: {', '.join(baselines)}." if baselines else ""
    gap_of = f"challenger - {_reference(scorecard)}, 95 % interval"
    return PageTable("Holdout", ("metric", *models, gap_of, "rows"), rows, note)


def _other_differences(scorecard: Scorecard) -> list[PageTable]:
    """The paired differences that belong to no row of the table."""
    metrics = dict.fromkeys(metric for model in scorecard.table.values() for metric in model)
    told = [id(gap) for metric in metrics if (gap := _gap_of(scorecard, metric))]
    rows = [
        (name, _interval(gap), _whole(gap))
        for name, gap in scorecard.differences.items()
        if id(gap) not in told
    ]
    head = ("difference", "95 % interval", "rows")
    return [PageTable("Other differences", head, rows)] if rows else []


def _reference(scorecard: Scorecard) -> str:
    return "champion" if scorecard.champion else "base"


def _overall_scores(scorecard: Scorecard) -> tuple[float | None, float | None]:
    """The version's, and that of what it was judged against."""
    mine, theirs = (
        scorecard.table.get(name, {}).get("score") for name in (CHALLENGER, _reference(scorecard))
    )
    return mine, theirs


def _gap_of(scorecard: Scorecard, metric: str) -> dict[str, float] | None:
    """The difference that belongs to a metric."""
    gap = f"challenger - {_reference(scorecard)}"
    names = {"score": gap, "false answers": f"false answers, {gap}"}
    names[GENERAL_LOSS] = f"{GENERAL_LOSS}, challenger - base"
    return scorecard.differences.get(names.get(metric, metric))


def changed_entry(
    rows: dict[str, Row], after: JudgedAnswer, before: JudgedAnswer, mine: str, theirs: str
) -> PageEntry:
    """One question with the answers of two models."""
    head = f"{after.value - before.value:+.2f}  {after.skill}  {after.id}  (right: {after.label})"
    return PageEntry(
        head,
        [
            ("question", judged.question(rows.get(after.id))),
            (f"{mine}, {after.value:.2f}", after.answer),
            (f"{theirs}, {before.value:.2f}", before.answer),
        ],
    )


def _entry(rows: dict[str, Row], one: JudgedAnswer) -> PageEntry:
    row = rows.get(one.id)
    texts = [("question", judged.question(row)), ("answer", one.answer)]
    texts.append(("right", row.output if row else ""))
    texts.append(("false sentences", "\n".join(one.false)))
    return PageEntry(f"{one.value:.2f}  {one.skill}  {one.id}  (right: {one.label})", texts)


def _confusion(mine: Sequence[JudgedAnswer]) -> list[PageTable]:
    labels, said, counts = judged.confusion(mine, (signal.NAME, analyse.NAME))
    if not labels:
        return []
    rows = [(label, *(str(counts[label, word]) for word in said)) for label in labels]
    note = "Rows: what came. Columns: what the challenger said."
    return [PageTable("Confusion of signals", ("", *said), rows, note)]


def _charts(
    answers: dict[str, list[JudgedAnswer]], adapter: Adapter, candidate: Candidate
) -> list[PageChart]:
    scores = {name: judged.skill_scores(given) for name, given in answers.items() if given}
    points = {name: judged.calibration(given) for name, given in answers.items()}
    points = {name: found for name, found in points.items() if found}
    curve = [(entry["step"], entry["loss"]) for entry in adapter.loss_curve if "loss" in entry]
    made = []
    if scores:
        made.append(PageChart("Scores by skill", charts.skills_chart(scores)))
    if points:
        note = "Right answers against stated confidence, with the number of answers of each point."
        made.append(PageChart("Calibration", charts.calibration_chart(points), note))
    if curve:
        made.append(PageChart("Training loss", charts.loss_chart({CHALLENGER: curve})))
    if candidate.losses:
        note = "Loss on the same rows after each step from the adapter to the file that is served."
        made.append(PageChart("Ladder", charts.ladder_chart(candidate.losses), note))
    return made


def _facts(
    dataset: Dataset, adapter: Adapter, candidate: Candidate, scorecard: Scorecard
) -> list[tuple[str, str]]:
    against = f"v{scorecard.champion}" if scorecard.champion else "the untuned base"
    return [
        ("judged against", against),
        ("base", adapter.profile),
        ("rows", f"{dataset.train_rows} to train on, {dataset.holdout_rows} that judge"),
        ("feedback", f"{len(dataset.feedback_ids)} items"),
        ("holdout", f"from {dataset.holdout_from}"),
        (
            "training",
            f"{adapter.tokens} tokens, {adapter.seconds:.0f} s, loss {adapter.train_loss:.3f}",
        ),
        ("file", f"{candidate.quantization}, {candidate.gguf_bytes / 1e6:.1f} MB"),
        ("SHA-256", candidate.gguf_sha256),
        ("dataset, adapter, candidate", f"{dataset.digest}, {adapter.digest}, {candidate.digest}"),
    ]


def number(value: float | None) -> str:
    """A metric as a cell."""
    return "–" if value is None else f"{value:.3f}"


def cell(metric: str, value: float | None) -> str:
    """The same, without digits that say nothing."""
    return f"{value:.0f}" if value is not None and metric in (SPEED, MEMORY) else number(value)


def _interval(gap: dict[str, float] | None) -> str:
    return f"{gap['mean']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]" if gap else ""


def _whole(gap: dict[str, float] | None) -> str:
    return f"{gap['rows']:.0f}" if gap and "rows" in gap else ""
