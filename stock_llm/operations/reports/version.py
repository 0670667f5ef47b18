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
from stock_llm.skills import analyse, signal
from stock_llm.skills.row import Row, read_rows

SHOWN = 20
"""Answers in each list."""

CHALLENGER = "challenger"

SENTENCES = {
    "promote": "It is better than what it was judged against, and became the champion.",
    "keep": "It is not proven to be better: the champion stays.",
    "reject": "It is worse than what it was judged against: the champion stays.",
    "blocked": "It may not be used, whatever its score: the champion stays.",
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
        sentence=f"{scorecard.verdict}: {SENTENCES.get(scorecard.verdict, '')}",
        verdict=scorecard.verdict,
        reasons=scorecard.reasons,
        tables=[
            metrics_table(scorecard),
            difference_table(scorecard.differences),
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


def metrics_table(scorecard: Scorecard) -> PageTable:
    """A row for each metric, a column for each model."""
    metrics = dict.fromkeys(metric for model in scorecard.table.values() for metric in model)
    rows = [
        (metric, *(number(model.get(metric)) for model in scorecard.table.values()))
        for metric in metrics
    ]
    note = "Unparseable answers count as wrong. Shares from 0 to 1, but for losses and speeds."
    return PageTable("Holdout", ("metric", *scorecard.table), rows, note)


def difference_table(differences: dict[str, dict[str, float]]) -> PageTable:
    """The paired differences with their intervals."""
    rows = [
        (name, f"{gap['mean']:+.3f}", f"{gap['low']:+.3f}", f"{gap['high']:+.3f}", _whole(gap))
        for name, gap in differences.items()
    ]
    head = ("difference", "mean", "from", "to", "rows")
    return PageTable("Differences with 95 % intervals", head, rows)


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
        note = "Right answers against stated confidence."
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


def _whole(gap: dict[str, float]) -> str:
    return f"{gap['rows']:.0f}" if "rows" in gap else "–"
