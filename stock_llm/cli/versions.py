"""Commands that decide about versions and compare them: promote, compare."""

import sys
from typing import Annotated

import typer

from stock_llm.cli.options import load_settings

Reason = Annotated[
    str | None,
    typer.Option(help="Why; kept with the version. Asked for where a terminal is watching."),
]


def promote(
    number: Annotated[int, typer.Argument(help="The version, as `stock-llm history` numbers it.")],
    reason: Reason = None,
) -> None:
    """Make a version the champion whatever its verdict was: `stock-llm:latest` and the registry's
    alias, together.

    The next candidate is judged against it.

    Examples:

        stock-llm promote 4

        stock-llm promote 4 --reason "shorter answers"
    """
    from stock_llm.pipeline import registry
    from tasks.publish import roll_back

    settings = load_settings()
    why = ask_reason(reason)
    roll_back(settings, number)
    registry.mark(settings, number, registry.PROMOTE_REASON, why)
    print(f"stock-llm:latest and the champion are v{number}")


def compare(
    first: Annotated[int, typer.Argument(help="The earlier version.")],
    second: Annotated[int, typer.Argument(help="The later version.")],
) -> None:
    """Compare two versions: what both answered, the difference by skill, the answers that changed
    most. Prints the table and writes a page.

    Example:

        stock-llm compare 3 7
    """
    from rich.console import Console
    from rich.table import Table

    from stock_llm.operations.reports import comparison as reports
    from stock_llm.storage.atomic import atomic_write

    settings = load_settings()
    found = reports.compare(settings, first, second)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("metric", found.first.name, found.second.name, "difference"):
        table.add_column(head, justify="left" if head == "metric" else "right")
    for line in reports.comparison_table(found):
        table.add_row(*line)
    page = settings.path(f"data/reports/v{first}-v{second}.html")
    atomic_write(page, reports.comparison_page(found))
    console = Console(highlight=False)
    console.print(found.sentence)
    console.print(table)
    console.print(f"page: {page}", soft_wrap=True)


def ask_reason(given: str | None) -> str:
    """The reason that was given, else what a person at the terminal says; it may be empty."""
    if given is None and sys.stdin.isatty():
        given = str(typer.prompt("Why", default="", show_default=False))
    return (given or "").strip()
