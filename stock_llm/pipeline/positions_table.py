"""Tables of positions and findings for the terminal."""

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from stock_llm.artifacts import History
from stock_llm.storage import findings
from stock_llm.storage.findings import Finding

if TYPE_CHECKING:
    from rich.table import Table

_MAX_PER_RULE = 5
"""Findings of one rule that are shown."""

_MAX_SYMBOLS = 3
"""Symbols that the line of a finding names."""


def positions_table(positions: Path, *, wide: bool = False) -> "Table":
    """Return the positions as a table: what is held first, then what was.

    Args:
        wide: with dividends, charges, gains in percent and average cost; else it fits 80 columns.
    """
    from rich import box
    from rich.table import Table

    rows = position_rows(positions)
    title = "positions, first in, first out"
    table = Table(
        title=f"{title}; Ø at average cost" if wide else title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    lines = [_wide_line(row) if wide else _line(row) for row in rows]
    for name in lines[0] if lines else ("",):
        left = name in ("", "in")
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    for line in lines:
        table.add_row(*line.values())
    return table


def position_rows(positions: Path) -> list[dict[str, Any]]:
    """Return the rows of `portfolio.positions.POSITION_SCHEMA`: what is held first."""
    rows: list[dict[str, Any]] = pq.read_table(positions).to_pylist()
    rows.sort(key=lambda row: (row["quantity"] == 0, row["instrument"], row["currency"]))
    return rows


def _line(row: dict[str, Any]) -> dict[str, str]:
    return {
        "": row["instrument"],
        "units": f"{row['quantity'].normalize():f}",
        "cost": _money(row["cost_fifo"]),
        "value": _money(row["value"]),
        "unrealised": _money(row["unrealised_fifo"], sign="+"),
        "%": _percent(row["unrealised_fifo"], row["cost_fifo"]),
        "realised": _money(row["realised_fifo"], sign="+"),
        "in": row["currency"],
    }


def _wide_line(row: dict[str, Any]) -> dict[str, str]:
    average = row["realised_average"], row["sold_cost_average"]
    return _line(row) | {
        "realised %": _percent(row["realised_fifo"], row["sold_cost_fifo"]),
        "dividends": _money(row["dividends"] + row["interest"]),
        "fees, taxes": _money(row["fees"] + row["taxes"]),
        "cost Ø": _money(row["cost_average"]),
        "realised Ø": _money(average[0], sign="+"),
        "realised Ø %": _percent(*average),
    }


@dataclass(frozen=True)
class FindingGroup:
    """Findings of one rule that differ in the symbol alone."""

    rule: str
    symbols: tuple[str, ...]
    text: str


def finding_groups(history: History) -> list[FindingGroup]:
    """Return the findings of a history by rule; those that differ in the symbol are one."""
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings.read(history.findings):
        text = finding.text.replace(finding.symbol, "SYMBOL") if finding.symbol else finding.text
        groups[finding.rule, text].append(finding)
    return [
        FindingGroup(rule, tuple(finding.symbol for finding in same), same[0].text)
        for (rule, _), same in sorted(groups.items(), key=lambda group: group[0][0])
    ]


def findings_table(history: History) -> "Table | str":
    """Return the findings as a table, some of each rule. All of them are in findings.parquet."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    by_rule: dict[str, list[FindingGroup]] = defaultdict(list)
    for group in finding_groups(history):
        by_rule[group.rule].append(group)
    if not by_rule:
        return "no findings"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("finding", "symbol", "what it is"):
        table.add_column(name, overflow="fold")
    for rule, groups in by_rule.items():
        for group in groups[:_MAX_PER_RULE]:
            more = len(group.symbols) - _MAX_SYMBOLS
            shown = ", ".join(group.symbols[:_MAX_SYMBOLS])
            table.add_row(rule, shown + (f" and {more} more" if more > 0 else ""), Text(group.text))
        if len(groups) > _MAX_PER_RULE:
            table.add_row(rule, "", f"and {len(groups) - _MAX_PER_RULE} more")
    return table


def _money(value: Decimal | None, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign},.2f}"


def _percent(gain: Decimal | None, cost: Decimal) -> str:
    return "–" if gain is None or not cost else f"{gain / cost * 100:+.1f}"
