"""Commands for a project folder and the machine: init, doctor, sample."""

from pathlib import Path
from typing import Annotated

import typer

from stock_llm.cli.json_output import Json, only_json
from stock_llm.cli.options import load_settings


def init(
    folder: Annotated[
        Path, typer.Argument(help="The folder to write into; made if it does not exist.")
    ] = Path(),
) -> None:
    """Write what a project folder needs: stock-llm.toml, prefect.yaml, profiles, stock-tiny and the
    sample.

    A file that is already there is left as it is.

    Examples:

        stock-llm init ~/trading

        cd ~/trading && stock-llm run
    """
    from stock_llm.project_files import write_project

    written, existing = write_project(folder)
    for path in written:
        print(f"written: {path}")
    for path in existing:
        print(f"already there, left as it is: {path}")
    where = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    print(f"\nNext: {where}stock-llm doctor, then stock-llm run")


def doctor(as_json: Json = False) -> None:
    """Check this machine: what is installed, disk, memory, GPU, servers, and what each missing
    thing costs.

    Exit code 1 when the main job cannot run.

    Examples:

        stock-llm doctor

        stock-llm doctor --json | jq '.checks[] | select(.good | not)'
    """
    from rich.console import Console

    from stock_llm.doctor import run_checks, table

    with only_json(as_json) as result:
        findings = run_checks(load_settings())
        result["checks"] = findings
        result["ready"] = not any(finding.fatal for finding in findings)
    if not as_json:
        Console().print(table(findings))
    if any(finding.fatal for finding in findings):
        raise typer.Exit(1)


def sample(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("data/sample"),
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Write nothing; measure how predictable the sample is."),
    ] = False,
) -> None:
    """Write the fictional sample: candles, trades and feedback. The same bytes every time.

    Examples:

        stock-llm sample

        stock-llm sample --measure
    """
    from stock_llm.synthetic.sample import market

    settings = load_settings()
    if measure:
        print(market.measure_predictability(settings.path(folder)))
    else:
        market.write_sample(settings.path(folder))
        print(f"written to {settings.path(folder)}")
