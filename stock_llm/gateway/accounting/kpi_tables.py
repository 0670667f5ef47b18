"""Figures of a period as CSV, and as a table for a terminal."""

import csv
from io import StringIO
from typing import TYPE_CHECKING

from stock_llm.gateway.accounting.kpis import KpiReport

if TYPE_CHECKING:
    from rich.table import Table

TABLES = ("kpis", "providers", "days")
"""Names of the tables of a report."""


def csv_of(report: KpiReport, table: str) -> str:
    """One of the `TABLES` as CSV."""
    out = StringIO()
    writer = csv.writer(out)
    if table == "kpis":
        writer.writerow(["kpi", "value", "unit", "target", "reached", "counted", "beside", "how"])
        for kpi in report.kpis:
            reached = {None: "", True: "yes", False: "no"}[kpi.reached]
            value = "" if kpi.value is None else f"{kpi.value:.6g}"
            target = kpi.shown_target if kpi.target is not None else ""
            row = [kpi.name, value, kpi.unit, target, reached, kpi.counted, kpi.beside, kpi.how]
            writer.writerow(row)
    elif table == "providers":
        head = "provider calls tokens_in tokens_out cached charged_usd notional_usd mean_seconds"
        writer.writerow(head.split())
        for each in report.costs.providers:
            counts = (each.calls, each.tokens_in, each.tokens_out, each.cached)
            amounts = (each.charged, each.notional, f"{each.mean_seconds:.3f}")
            writer.writerow([_cell(each.provider) or "nobody", *counts, *amounts])
    else:
        writer.writerow(["day", "calls", "without_answer", "charged_usd", "median_seconds"])
        for day in report.days:
            seconds = f"{day.median_seconds:.3f}"
            writer.writerow([day.day, day.calls, day.failed, day.charged, seconds])
    return out.getvalue()


def _cell(value: str) -> str:
    """A text that no table program takes for a formula."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def render(report: KpiReport) -> "Table":
    """The figures as a table for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = f"{report.since} to {report.until} (UTC)"
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False
    )
    for name in ("", "", "target", "", "over", "beside"):
        table.add_column(name, justify="left" if name in ("", "beside") else "right")
    for kpi in report.kpis:
        word, style = {None: ("", ""), True: ("ok", "green"), False: ("MISSED", "red")}[kpi.reached]
        table.add_row(
            kpi.name,
            Text(kpi.shown, justify="right"),
            kpi.shown_target,
            Text(word, style=style),
            f"{kpi.counted:,}",
            kpi.beside,
        )
    return table
