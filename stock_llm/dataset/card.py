"""Writes the dataset card: a Markdown page and its plots.

The counts are taken while the rows are written (`Tally`), so that no row is read twice.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stock_llm.artifacts import History
from stock_llm.dataset.splits import EMBARGO_DAYS, FROZEN_CORRECTIONS, TimeSplit
from stock_llm.skills.decision_point import HORIZON
from stock_llm.skills.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BIN = 200
"""Characters of one bar of the lengths."""

SHOWN_SYMBOLS = 30

NAMES = ("train", "holdout", "corrections")


@dataclass
class Tally:
    """Counts of the rows of one file."""

    rows: int = 0
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(skill, label) → rows."""
    symbols: Counter[str] = field(default_factory=Counter)
    months: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    """Characters of question, input and answer, in bins of `BIN`."""
    last_label: str = ""
    longest: int = 0

    def counting(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Counts the rows while passing them on."""
        for row in rows:
            size = len(row.instruction) + len(row.input) + len(row.output)
            self.rows += 1
            self.labels[row.skill, row.label] += 1
            self.symbols[row.symbol or "none"] += 1
            self.months[row.as_of[:7] or "undated"] += 1
            self.languages[row.language] += 1
            self.sources[row.source["kind"]] += 1
            self.lengths[size // BIN * BIN] += 1
            self.last_label = max(self.last_label, row.label_until)
            self.longest = max(self.longest, size)
            yield row

    @property
    def skills(self) -> dict[str, int]:
        """Skill → rows, sorted."""
        counts: Counter[str] = Counter()
        for (skill, _), count in self.labels.items():
            counts[skill] += count
        return dict(sorted(counts.items()))


def write_card(
    path: Path,
    history: History,
    split: TimeSplit,
    digest: str,
    draw: int,
    tallies: dict[str, Tally],
    purged: int,
    notes: list[str],
) -> None:
    """Writes the card, and its plots beside it as a PNG of the same name.

    Args:
        digest: of the holdout.
        draw: how often the rows of this holdout period were drawn anew.
        tallies: one for each of `NAMES`.
        notes: further lines, about what was left out and why.
    """
    train, holdout, frozen = (tallies[name] for name in NAMES)
    lines = [
        "# Dataset card",
        "",
        f"From {history.rows_kept.get('trades', 0)} trades, {history.rows_kept.get('candles', 0)} "
        f"candles of "
        f"{len(history.symbols)} symbols ({history.first_day} to {history.last_day}) and "
        f"{history.rows_kept.get('feedback', 0)} feedback items; "
        f"{sum(history.rows_quarantined.values())} rows were quarantined by collect.",
        "",
        f"- Holdout: **{split.period}**, {holdout.rows} rows, digest `{digest}`, draw {draw + 1}. "
        f"It moves when a quarter ends.",
        f"- Train labels end before {split.train_before}, {EMBARGO_DAYS} days ahead of it; "
        f"{purged} decisions in between, or "
        "reaching over its end, were purged.",
        f"- A label is the outcome of the {HORIZON} sessions after the next open, in the stock's "
        f"own volatility. Rows of "
        "the kinds `rule` and `positions` state a rule, not an outcome.",
        f"- {frozen.rows} corrections are frozen, about one chain in {FROZEN_CORRECTIONS}: never "
        f"trained on, they measure "
        "whether corrections are followed.",
        *(f"- {note}" for note in notes),
        f"- Longest row: {max(tally.longest for tally in tallies.values())} characters. "
        "Where a row comes from: `stock-llm dataset show ID`.",
        "",
        "![counts by task, label, symbol, time and length](card.png)",
        "",
        "| skill | label | train | holdout |",
        "|---|---|--:|--:|",
    ]
    keys = sorted(train.labels | holdout.labels)
    lines += [
        f"| {skill} | {label} | {train.labels[skill, label]} | {holdout.labels[skill, label]} |"
        for skill, label in keys
    ]
    lines += [
        f"| all | | {train.rows} | {holdout.rows} |",
        f"| of them Thai | | {train.languages['th']} | {holdout.languages['th']} |",
        "",
        "| made from | train | holdout |",
        "|---|--:|--:|",
        *(
            f"| {kind} | {train.sources[kind]} | {holdout.sources[kind]} |"
            for kind in sorted(train.sources | holdout.sources)
        ),
        "",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    _plot(path.with_suffix(".png"), tallies)


def _plot(path: Path, tallies: dict[str, Tally]) -> None:
    """Counts by task, label, symbol, month and length, one colour a file; the same bytes for the
    same counts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 14), layout="constrained")
    parts = figure.subplot_mosaic(
        [["task", "label"], ["symbol", "symbol"], ["time", "time"], ["length", "length"]]
    )
    symbols = sum((tally.symbols for tally in tallies.values()), Counter())
    common = [
        symbol
        for symbol, _ in sorted(symbols.items(), key=lambda item: (-item[1], item[0]))[
            :SHOWN_SYMBOLS
        ]
    ]
    labels: dict[str, Counter[str]] = {name: Counter() for name in tallies}
    for name, tally in tallies.items():
        for (_, label), count in tally.labels.items():
            labels[name][label] += count
    _bars(parts["task"], {name: tally.skills for name, tally in tallies.items()}, "rows by task")
    _bars(parts["label"], labels, "rows by label")
    shown = {name: {key: tally.symbols[key] for key in common} for name, tally in tallies.items()}
    _bars(
        parts["symbol"],
        shown,
        "rows by symbol"
        if len(symbols) <= len(common)
        else f"rows of the {len(common)} commonest symbols",
    )
    _bars(
        parts["time"],
        {name: tally.months for name, tally in tallies.items()},
        "rows by month of the last known close",
    )
    lengths = {
        name: {f"{start:05d}": count for start, count in tally.lengths.items()}
        for name, tally in tallies.items()
    }
    _bars(parts["length"], lengths, f"rows by characters, in steps of {BIN}")
    parts["task"].legend()
    figure.savefig(path, dpi=80, metadata={"Software": None})


def _bars(
    axes: "Axes", counts: dict[str, dict[str, int]] | dict[str, Counter[str]], title: str
) -> None:
    """A group of bars per key, one bar per file."""
    keys = sorted({key for tally in counts.values() for key in tally})
    width = 0.8 / len(counts)
    for at, (name, tally) in enumerate(counts.items()):
        axes.bar(
            [place + at * width for place in range(len(keys))],
            [tally.get(key, 0) for key in keys],
            width,
            label=name,
        )
    every = -(-len(keys) // 40)
    places = range(0, len(keys), every)
    axes.set_xticks(
        [place + 0.4 - width / 2 for place in places],
        [keys[place].lstrip("0") or "0" for place in places],
        rotation=60,
        ha="right",
    )
    axes.set_title(title)
