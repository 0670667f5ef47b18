"""Positions and findings for the terminal.

In: positions.parquet and the findings of a `History`. Out: tables for rich. Computes nothing but returns in percent.
"""

from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from stock_llm.artifacts import History
from stock_llm.storage import findings

if TYPE_CHECKING:
    from rich.table import Table

_EACH = 5
"""Findings of one rule that are shown."""


def positions_table(positions: Path) -> "Table":
    """What is held first, then what was."""
    from rich.table import Table

    shown = Table(
        title="positions: first in, first out; average cost in the last two columns",
        title_justify="left",
    )
    for name in (
        "",
        "units",
        "cost",
        "value",
        "unrealised",
        "realised",
        "dividends",
        "fees, taxes",
        "",
        "cost Ø",
        "realised Ø",
    ):
        shown.add_column(name, justify="left" if not name else "right")
    rows = pq.read_table(positions).to_pylist()
    for row in sorted(
        rows, key=lambda row: (row["quantity"] == 0, row["instrument"], row["currency"])
    ):
        shown.add_row(
            row["instrument"],
            f"{row['quantity'].normalize():f}",
            _money(row["cost_fifo"]),
            _money(row["value"]),
            _gain(row["unrealised_fifo"], row["cost_fifo"]),
            _gain(row["realised_fifo"], row["sold_cost_fifo"]),
            _money(row["dividends"] + row["interest"]),
            _money(row["fees"] + row["taxes"]),
            row["currency"],
            _money(row["cost_average"]),
            _gain(row["realised_average"], row["sold_cost_average"]),
        )
    return shown


def findings_table(history: History) -> "Table":
    """The findings, some of each rule; all of them are in findings.parquet."""
    from rich.table import Table
    from rich.text import Text

    shown = Table("found", "", "", title=f"findings ({history.findings})", title_justify="left")
    by_rule = defaultdict(list)
    for one in findings.read(history.findings):
        by_rule[one.rule].append(one)
    for rule, some in sorted(by_rule.items()):
        for one in some[:_EACH]:
            shown.add_row(rule, one.symbol, Text(one.text))
        if len(some) > _EACH:
            shown.add_row(rule, "", f"and {len(some) - _EACH} more")
    return shown


def _money(value: Decimal | None) -> str:
    return "–" if value is None else f"{value:,.2f}"


def _gain(value: Decimal | None, cost: Decimal) -> str:
    if value is None:
        return "–"
    return f"{value:+,.2f}" + (f" ({value / cost * 100:+.1f} %)" if cost else "")
