"""The command finetune: fine-tuning on another machine."""

from pathlib import Path
from typing import Annotated

import typer

from stock_llm.cli.options import Candles, Profile, Trades, load_settings


def finetune(
    file: Annotated[
        Path | None, typer.Argument(metavar="BUNDLE", help="A bundle, to be trained here.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", help="Train nothing; write what fine-tuning needs to this file."),
    ] = None,
    take_back: Annotated[
        Path | None,
        typer.Option(
            "--take-back",
            help="An adapter that was trained elsewhere: check it and put it in its place.",
        ),
    ] = None,
    profile: Profile = None,
    trades: Trades = None,
    candles: Candles = None,
) -> None:
    """Fine-tune on another machine: write a bundle here, train it there, take its adapter back.

    A bundle holds the training rows, the profile and a base that is a folder of this machine. It
    holds no exports, ledger, feedback, settings or keys. The rows themselves show what a model is
    to learn: symbols, dates, prices, quantities and results of your trades, and corrections in
    their authors' words.

    Examples:

        stock-llm finetune --bundle finetune.zip --profile mistral-7b

        stock-llm finetune finetune.zip

        accelerate launch --num_processes 2 --no_python stock-llm finetune finetune.zip

        stock-llm finetune --take-back finetune-adapter.zip
    """
    if sum(given is not None for given in (file, bundle, take_back)) != 1:
        raise typer.BadParameter("give a BUNDLE to train, or --bundle, or --take-back")
    if file:
        from stock_llm.environment import prepare

        prepare()
        from flows import finetune_elsewhere

        if archive := finetune_elsewhere.train_bundle(file):
            print(f"written to {archive}")
            print("Where the bundle was written: stock-llm finetune --take-back " + archive.name)
        return

    settings = load_settings(profile=profile, trades=trades, candles=candles)
    from flows import finetune_elsewhere

    if bundle:
        content = finetune_elsewhere.write_bundle(settings, bundle)
        base = content.profile.path
        print(
            f"written to {bundle}: {content.rows:,} rows, profile {content.profile.name}, base "
            + ("included" if base == "base" else f"{base} (fetched there)")
        )
        print(f"Where it is to be trained: stock-llm finetune {bundle.name}")
    elif take_back:
        adapter = finetune_elsewhere.take_back(settings, take_back)
        print(f"adapter {adapter.digest}: {adapter.steps:,} steps, loss {adapter.train_loss:.3f}")
        print(f"Next: stock-llm run --profile {adapter.profile}")
