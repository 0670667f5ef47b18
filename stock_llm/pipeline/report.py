"""What people read at the end: the holdout table, how a run ended, which versions there are.

In: a scorecard, an `Outcome`, versions. Out: Markdown for files and artifacts, plain text for the terminal. Computes nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stock_llm.artifacts import History, Scorecard
from stock_llm.pipeline.run_record import RunRecord

if TYPE_CHECKING:
    from rich.table import Table

    from stock_llm.pipeline.changes import Changes
    from stock_llm.pipeline.registry import VersionInfo

Scores = dict[str, dict[str, Any]]

SPEED = "tokens/s"
"""The one column that is not a share from 0 to 1."""


def holdout_table(table: Scores) -> str:
    """Models against metrics as a Markdown table; a dash where a model has no such metric."""
    cells = _cells(table)
    head, *rows = cells
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def differences(found: dict[str, dict[str, float]]) -> str:
    """The paired differences with their 95 % intervals, as a Markdown list."""
    return "\n".join(f"- {name}: {_interval(gap)}" for name, gap in found.items())


def judgement(scorecard: Scorecard) -> str:
    """A version for people who compare it in MLflow: the verdict with its reasons, the table, the differences."""
    head = f"{scorecard.verdict}: {'; '.join(scorecard.reasons)}"
    return f"{head}\n\n{holdout_table(scorecard.table)}\n\n{differences(scorecard.differences)}\n"


def markdown(outcome: RunRecord) -> str:
    """A run for people who look at it in Prefect or MLflow."""
    notes = "\n".join(f"- {note}" for note in [*outcome.reasons, *outcome.notes])
    return f"""# stock-llm:v{outcome.version}: {outcome.verdict}

{notes}

{holdout_table(outcome.table)}

Unparseable answers count as wrong. Differences of the challenger's score, 95 % intervals:

{differences(outcome.differences)}

How it was made, and where it is:

- set off by: {outcome.why}
- learnt from {outcome.train_rows} rows, {outcome.feedback} of them feedback: {outcome.tokens} tokens, loss {outcome.loss:.3f}
- published as {", ".join(f"`{name}`" for name in outcome.names)} at `{outcome.where}`
- MLflow: [version {outcome.version}]({_version_page(outcome)}), run `{outcome.run_id}`
- Modelfile: [{Path(outcome.modelfile).name}]({Path(outcome.modelfile).as_uri()})
- GGUF: `{outcome.gguf}`
"""


def outcome(found: RunRecord) -> str:
    """A run for the person who waited for it, with the next command to try."""
    cells = _cells(found.table)
    names, *numbers = (max(map(len, column)) for column in zip(*cells, strict=True))
    lines = [
        "  ".join(
            [
                name.ljust(names),
                *(cell.rjust(width) for cell, width in zip(row, numbers, strict=True)),
            ]
        )
        for name, *row in cells
    ]
    told = [
        f"learnt      {found.train_rows} rows, {found.feedback} of them feedback: loss {found.loss:.3f}, {found.seconds:.0f} s",
        "",
        *lines,
        "",
        f"difference  {'; '.join(f'{name} {_interval(gap)}' for name, gap in _overall(found.differences))}",
        f"verdict     {found.verdict}: {'; '.join(found.reasons)}",
        f"version     {found.version} of stock-llm, MLflow run {found.run_id} in {found.registry}",
        f"published   {', '.join(found.names)} at {found.where}",
        *(f"            {note}" for note in found.notes),
        f"next        {_next(found)}",
    ]
    return "\n".join(told)


def nothing_new(found: RunRecord) -> str:
    """What to say when the same inputs were judged before."""
    return (
        f"Nothing new: the same trades, candles, feedback, settings and code were judged on {found.finished_at[:16]} UTC.\n"
        f"v{found.version} of {found.profile}: {found.verdict}. Published as {', '.join(found.names)} at {found.where}.\n"
        f"Try: {_next(found)}"
    )


def history(found: History, new: "Changes", unused: int) -> str:
    """What was collected and what of it is new, as Markdown; the trades themselves are not shown."""
    lines = [
        "| | read | kept | set aside | repeated | no event | forgotten |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for kind, read in found.rows_read.items():
        others = (
            found.rows_quarantined,
            found.rows_duplicate,
            found.rows_skipped,
            found.rows_forgotten,
        )
        lines.append(
            f"| {kind} | {' | '.join(map(str, (read, found.rows_kept[kind], *(one.get(kind, 0) for one in others))))} |"
        )
    table = "\n".join(lines)
    entries = ", ".join(f"{count} {kind}" for kind, count in found.entries.items())
    rules = "\n".join(
        f"- {rule}: {count}{f', {new.findings[rule]} of them new' if rule in new.findings and new.since else ''}"
        for rule, count in found.findings_count.items()
    )
    return f"""{len(found.symbols)} symbols, {found.first_day} to {found.last_day}; {unused} feedback items are unused.

{table}

{_new(new)} Entries of the ledger: {entries or "none"}, from {len(found.exports)} exports
({", ".join(sorted({form for forms in found.exports.values() for form in forms}))}).

Findings, the text of each in `{found.findings}` and from `stock-llm positions`:

{rules or "- none"}

Rows that were set aside, each with its reason: `{found.quarantine}`
"""


def _new(new: "Changes") -> str:
    """What changed since the last time, in a sentence."""
    if not new.since:
        return f"The first time: {new.trades.added} entries and {new.candles.added} candles."
    told = [
        f"{what} {getattr(counts, how)} {how}"
        for what, counts in (("entries", new.trades), ("candles", new.candles))
        for how in ("added", "changed", "gone")
        if getattr(counts, how)
    ]
    told += [f"{new.quarantined} more rows set aside"] if new.quarantined else []
    return f"Since {new.since[:16]} UTC: {', '.join(told) or 'nothing new'}."


def waiting(unused: int, retrain_after: int) -> str:
    """Whether enough feedback has gathered to train, and how much is missing."""
    if unused > retrain_after:
        return f"{unused} feedback items are unused, more than {retrain_after}: training."
    return f"{unused} feedback items are unused; {retrain_after + 1 - unused} more are needed before a retrain."


def versions_table(versions: "Sequence[VersionInfo]") -> "Table":
    """The versions for a terminal of 60 columns and more, the newest first."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for head in ("", "made (UTC)", "base", "feed-\nback", "score", "against", "verdict"):
        table.add_column(head, overflow="fold")
    for version in versions:
        rival = f"v{version.champion_then}" if version.champion_then else "base"
        against = version.scores.get("champion" if version.champion_then else "base")
        table.add_row(
            f"v{version.number}",
            f"{version.created_at:%Y-%m-%d}",
            version.profile,
            str(version.feedback),
            _cell("score", version.scores.get("challenger")),
            f"{rival} {_cell('score', against)}",
            "\n".join([version.verdict, *version.aliases]),
        )
    return table


def _version_page(found: RunRecord) -> str:
    """On the registry's server, or on the one that `make up` starts; MLflow hides versions from its first view, GenAI's."""
    server = (
        found.registry.rstrip("/") if found.registry.startswith("http") else "http://127.0.0.1:5000"
    )
    return f"{server}/#/models/stock-llm/versions/{found.version}?workflowType=machine_learning"


def _next(found: RunRecord) -> str:
    model = "" if found.promoted else f" --model {found.names[0]}"
    return f'stock-llm ask{model} "Analyze {found.symbol}."'


def _overall(found: dict[str, dict[str, float]]) -> list[tuple[str, dict[str, float]]]:
    return [(name, gap) for name, gap in found.items() if name.startswith("challenger - ")]


def _interval(gap: dict[str, float]) -> str:
    return f"{gap['mean']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]"


def _cells(table: Scores) -> list[list[str]]:
    metrics = list(dict.fromkeys(metric for model in table.values() for metric in model))
    rows = [
        [name, *(_cell(metric, model.get(metric)) for metric in metrics)]
        for name, model in table.items()
    ]
    return [["model", *metrics], *rows]


def _cell(metric: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if metric == SPEED else f"{value:.3f}"
