"""docs/cli.md from the commands' own help, so that it cannot say anything else. `make docs` writes
it, a test holds it."""

import html
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from stock_llm.cli.main import app

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"


def page() -> str:
    """The Markdown. Typer escapes it for HTML, which the examples, being code, must not be."""
    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="stock-llm")
    return (
        html.unescape(
            get_docs_for_click(obj=command, ctx=context, name="stock-llm", title="Commands")
        ).rstrip()
        + "\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
