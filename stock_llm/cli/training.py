"""Commands of the main job and its versions: run, history, rollback."""

import shutil
from typing import Annotated

import typer

from stock_llm.cli.options import Candles, Profile, Trades, load_settings
from stock_llm.errors import InputError


def run(profile: Profile = None, trades: Trades = None, candles: Candles = None) -> None:
    """Run the main job: collect, build the dataset, fine-tune, quantize, evaluate, register,
    publish.

    With nothing new since the last judged run it says so at once. Before it starts it says what the
    base needs in memory and disk and about how long fine-tuning takes, and refuses a base that does
    not fit this machine. Killed anywhere, it goes on when run again.

    Examples:

        stock-llm run

        stock-llm run --trades ~/broker/2025.csv --candles ~/candles

        stock-llm run --profile mistral-7b
    """
    from stock_llm.pipeline import preflight, report
    from stock_llm.pipeline.run_record import finished

    settings = load_settings(profile=profile, trades=trades, candles=candles)
    if known := finished(settings):
        print(report.nothing_new(known))
        return
    preflight.require(settings)
    print(preflight.report(settings), flush=True)
    from flows.train import train_with

    record = train_with(settings, why="stock-llm run")
    print(report.outcome(record, shutil.get_terminal_size().columns))


def history() -> None:
    """List the versions with their scores and verdicts, and which one is champion.

    Example:

        stock-llm history
    """
    from rich.console import Console

    from stock_llm.pipeline import registry, report

    Console().print(report.versions_table(registry.versions(load_settings())))


def parity(
    number: Annotated[
        int | None,
        typer.Argument(
            help="The version, as `stock-llm history` numbers it; without it, the newest."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as it is kept.")] = False,
) -> None:
    """Print the parity report of a version: that its prompts, limits and answers are those of the
    model that was trained, and how far each step (adapter, merge, f16, quantized) is from the one
    before it.

    Examples:

        stock-llm parity

        stock-llm parity 3 --json
    """
    from rich.console import Console

    from stock_llm.parity.report import FILE, read_report, tables
    from stock_llm.pipeline import registry

    known = {version.number: version for version in registry.versions(load_settings())}
    wanted = max(known, default=0) if number is None else number
    if wanted not in known:
        raise InputError(
            f"there is no version {wanted}" if known else "there is no version yet",
            remedy="See which there are: stock-llm history" if known else "Run: stock-llm run",
        )
    folder = known[wanted].gguf.parent
    report = read_report(folder)
    if as_json:
        print((folder / FILE).read_text(encoding="utf-8"), end="")
        return
    console = Console()
    for part in tables(report):
        console.print(part, highlight=False, markup=False)


def rollback(
    number: Annotated[
        int, typer.Argument(help="The version to go back to, as `stock-llm history` numbers it.")
    ],
) -> None:
    """Make an earlier version the champion again: `stock-llm:latest` and the registry's alias,
    together.

    Example:

        stock-llm rollback 3
    """
    from tasks.publish import roll_back

    roll_back(load_settings(), number)
    print(f"stock-llm:latest and the champion are v{number}")
