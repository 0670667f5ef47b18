"""Commands for the feedback store: feedback import, feedback count."""

from pathlib import Path
from typing import Annotated

import typer

from stock_llm.cli.options import load_settings

app = typer.Typer(
    help="What you said about answers: the store that retraining learns from.", no_args_is_help=True
)


@app.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="JSON Lines, one item a line, as in data/sample/feedback.jsonl.")
    ],
) -> None:
    """Take feedback items from a file. Items that are already stored change nothing.

    Example:

        stock-llm feedback import my-feedback.jsonl
    """
    from stock_llm.feedback.store import FeedbackStore

    settings = load_settings()
    print(FeedbackStore(settings.url(settings.feedback_url)).import_jsonl(file))


@app.command("count")
def count() -> None:
    """Print how many items are stored, how many no judged model was trained with, and how many a retrain waits for.

    Example:

        stock-llm feedback count
    """
    from stock_llm.feedback.store import FeedbackStore

    settings = load_settings()
    store = FeedbackStore(settings.url(settings.feedback_url))
    unused = store.unused(settings.uses_sample)
    missing = max(0, settings.retrain_after + 1 - unused)
    print(
        f"{len(store.all(settings.uses_sample))} items, {unused} unused; a retrain waits for {missing} more"
    )
