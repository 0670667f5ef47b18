"""Commands for what models are trained and judged with: dataset show."""

from typing import Annotated

import typer

from stock_llm.cli.options import load_settings

app = typer.Typer(help="What models were taught and judged with.", no_args_is_help=True)


@app.command("show")
def show(
    row: Annotated[
        str, typer.Argument(help="Id of a row, or its last eight letters. Without one: the card.")
    ] = "",
) -> None:
    """Print a row with its provenance: the lines of your files, the trades and the feedback that it
    was made of.

    Without an id: the card of the newest dataset, and how often each holdout was used.

    Examples:

        stock-llm dataset show

        stock-llm dataset show signal-KESTRO-2025-03-14-1a2b3c4d

        stock-llm dataset show 1a2b3c4d
    """
    from functools import partial

    from stock_llm.dataset import provenance
    from stock_llm.dataset.holdout_usage import HoldoutUsage
    from stock_llm.errors import InputError
    from stock_llm.pipeline.private_folder import private_folder
    from stock_llm.secrets import account_hash

    settings = load_settings()
    if row:
        hashed = partial(account_hash, folder=settings.secrets)
        sources = settings.dataset.sources(settings.home)
        histories = private_folder(settings) / "history"
        origin = provenance.find(settings.artifacts, histories, row, sources, hashed)
        print(provenance.markdown(origin))
        return
    datasets = provenance.datasets(settings.artifacts)
    if not datasets:
        raise InputError("no dataset was built yet", remedy="Run: stock-llm run")
    print(datasets[0].card.read_text(encoding="utf-8"))
    for holdout in HoldoutUsage(settings.path("data/looks.db")).all():
        print(
            f"holdout {holdout.digest}, {holdout.period}: frozen on {holdout.frozen_at[:10]}, "
            f"used {holdout.looks} times"
        )
