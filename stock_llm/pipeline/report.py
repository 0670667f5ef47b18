"""Reports: the holdout table, the end of a run, what was collected, the list of versions.

Markdown for files and Prefect artifacts, plain text and tables for the terminal.
"""

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stock_llm.artifacts import History, Scorecard
from stock_llm.network import local_url
from stock_llm.pipeline.registry import MEMORY, SPEED, SPEED_METRICS, version_page
from stock_llm.pipeline.run_record import RunRecord
from stock_llm.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table

    from stock_llm.pipeline.changes import Changes
    from stock_llm.pipeline.registry import VersionInfo

Scores = dict[str, dict[str, Any]]

GENERAL_LOSS = "general loss"
"""In nats per token."""
NOT_SHARES = (*SPEED_METRICS, GENERAL_LOSS)
"""Metrics of the holdout table that are no shares from 0 to 1."""


def holdout_table(table: Scores) -> str:
    """Models against metrics as a Markdown table; a dash where a model has no such metric."""
    cells = _cells(table)
    head, *rows = cells
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def differences(gaps: dict[str, dict[str, float]]) -> str:
    """The paired differences with their 95 % intervals, as a Markdown list."""
    return "\n".join(f"- {name}: {_interval(gap)}" for name, gap in gaps.items())


def headline(scorecard: Scorecard) -> str:
    """A version in a sentence: the verdict with its first reason."""
    return ": ".join([scorecard.verdict, *scorecard.reasons[:1]])


def judgement(scorecard: Scorecard) -> str:
    """A version for people who compare it in MLflow: the verdict with its reasons, the table, the
    differences.
    """
    head = f"{scorecard.verdict}: {'; '.join(scorecard.reasons)}"
    return f"{head}\n\n{holdout_table(scorecard.table)}\n\n{differences(scorecard.differences)}\n"


def markdown(run: RunRecord, settings: Settings) -> str:
    """A run for people who look at it in Prefect, with the way to the other pages."""
    notes = "\n".join(f"- {note}" for note in [*run.reasons, *run.notes])
    learnt = "".join(f"- preferences: {note}\n" for note in run.alignment)
    pages = f"{local_url(settings.gateway.host, settings.gateway.port)}/pages"
    return f"""# stock-llm:v{run.version}: {run.verdict}

{notes}

{holdout_table(run.table)}

Unparseable answers count as wrong. Differences of the challenger's score with 95 % intervals:

{differences(run.differences)}

How it was made, and where it is:

- set off by: {run.why}
- trained on {run.train_rows} rows, {run.feedback} of them feedback
- {run.tokens} tokens, loss {run.loss:.3f}
{learnt}- published as {", ".join(f"`{name}`" for name in run.names)} at `{run.where}`
- MLflow: [version {run.version}]({version_page(settings, run.version)}), run `{run.run_id}`
- [all versions and the way back]({pages}/model)
- Modelfile: [{Path(run.modelfile).name}]({Path(run.modelfile).as_uri()})
- GGUF: `{run.gguf}`
"""


def outcome(run: RunRecord, width: int = 80) -> str:
    """A run for the person who waited for it, with the next command to try.

    Args:
        width: columns of the terminal; the table takes no more, from 60 on.
    """
    lines = [
        f"learnt      {run.train_rows} rows, {run.feedback} of them feedback: "
        f"loss {run.loss:.3f}, {run.seconds:.0f} s",
        *(f"preferences {note}" for note in run.alignment),
        "",
        _terminal_table(run.table, width),
        "",
        f"difference  {'; '.join(_overall(run.differences))}",
        f"verdict     {run.verdict}: {run.reasons[0]}",
        *(f"            {reason}" for reason in run.reasons[1:]),
        f"version     {run.version} of stock-llm, MLflow run {run.run_id} in {run.registry}",
        f"published   {', '.join(run.names)} at {run.where}",
        *(f"            {note}" for note in run.notes),
        f"next        {_next(run)}",
    ]
    return "\n".join(lines)


def nothing_new(run: RunRecord) -> str:
    """What to say when the same inputs were judged before."""
    return (
        "Nothing new: the same trades, candles, feedback, settings and code were judged on "
        f"{run.finished_at[:16]} UTC.\n"
        f"v{run.version} of {run.profile}: {run.verdict}. "
        f"Published as {', '.join(run.names)} at {run.where}.\n"
        f"Try: {_next(run)}"
    )


def history(collected: History, new: "Changes", ready: int) -> str:
    """What was collected and what of it is new, as Markdown; no trade itself is shown.

    Args:
        ready: items of feedback that the next training would learn from.
    """
    lines = [
        "| | read | kept | quarantined | repeated | no event | forgotten |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for kind, read in collected.rows_read.items():
        others = (
            collected.rows_quarantined,
            collected.rows_duplicate,
            collected.rows_skipped,
            collected.rows_forgotten,
        )
        counts = (read, collected.rows_kept[kind], *(rows.get(kind, 0) for rows in others))
        lines.append(f"| {kind} | {' | '.join(map(str, counts))} |")
    table = "\n".join(lines)
    entries = ", ".join(f"{count} {kind}" for kind, count in collected.entries.items())
    rules = "\n".join(
        f"- {rule}: {count}"
        + (f", {new.findings[rule]} of them new" if rule in new.findings and new.since else "")
        for rule, count in collected.findings_count.items()
    )
    days = f"{collected.first_day} to {collected.last_day}"
    return f"""{len(collected.symbols)} symbols, {days}; {ready} items of feedback are ready.

{table}

{_new(new)} Entries of the ledger: {entries or "none"}, from {len(collected.exports)} exports
({", ".join(sorted({form for forms in collected.exports.values() for form in forms}))}).

Findings, the text of each in `{collected.findings}` and from `stock-llm positions`:

{rules or "- none"}

Rows that were quarantined, each with its reason: `{collected.quarantine}`
"""


def _new(new: "Changes") -> str:
    """What changed since the last time, in a sentence."""
    if not new.since:
        return f"The first time: {new.trades.added} entries and {new.candles.added} candles."
    parts = [
        f"{what} {getattr(counts, how)} {how}"
        for what, counts in (("entries", new.trades), ("candles", new.candles))
        for how in ("added", "changed", "gone")
        if getattr(counts, how)
    ]
    parts += [f"{new.quarantined} more rows quarantined"] if new.quarantined else []
    return f"Since {new.since[:16]} UTC: {', '.join(parts) or 'nothing new'}."


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
            "\n".join([version.profile, *_speed(version)]),
            str(version.feedback),
            _cell("score", version.scores.get("challenger")),
            f"{rival} {_cell('score', against)}",
            "\n".join([version.verdict, *version.aliases]),
        )
    return table


def _speed(version: "VersionInfo") -> list[str]:
    """How fast it answers; nothing where that was not measured."""
    speed = version.speed.get(SPEED)
    return [] if speed is None else [f"{speed:.0f} tok/s"]


def _next(run: RunRecord) -> str:
    model = "" if run.promoted else f" --model {run.names[0]}"
    return f'stock-llm ask{model} "Analyze {run.symbol}."'


def _overall(gaps: dict[str, dict[str, float]]) -> list[str]:
    return [
        f"{name} {_interval(gap)}" for name, gap in gaps.items() if name.startswith("challenger - ")
    ]


def _interval(gap: dict[str, float]) -> str:
    return f"{gap['mean']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]"


def _cells(table: Scores) -> list[list[str]]:
    metrics = list(dict.fromkeys(metric for model in table.values() for metric in model))
    rows = [
        [name, *(_cell(metric, model.get(metric)) for metric in metrics)]
        for name, model in table.items()
    ]
    return [["model", *metrics], *rows]


def _terminal_table(table: Scores, width: int) -> str:
    """Metrics against models in plain text; names that have no room go on in the next line."""
    from rich.console import Console
    from rich.table import Table

    (_, *models), *rows = zip(*_cells(table), strict=True)
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_column("metric")
    for model in models:
        grid.add_column("\n".join(model.split()), justify="right", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    console = Console(width=width, file=StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(grid)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _cell(metric: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if metric in (SPEED, MEMORY) else f"{value:.3f}"
