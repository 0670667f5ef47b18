"""Commands of the main job and its versions: run, retrain, history, rollback."""

import shutil
from typing import TYPE_CHECKING, Annotated

import typer

from stock_llm.cli.json_output import Json, only_json
from stock_llm.cli.options import Candles, Profile, Trades, load_settings
from stock_llm.cli.versions import Reason, ask_reason, move_champion, version_number
from stock_llm.errors import InputError

if TYPE_CHECKING:
    from stock_llm.settings import Settings


def run(
    profile: Profile = None,
    trades: Trades = None,
    candles: Candles = None,
    as_json: Json = False,
) -> None:
    """Run the main job: collect, build the dataset, fine-tune, quantize, evaluate, register,
    publish.

    With nothing new since the last judged run it says so at once. Before it starts it says what the
    base needs in memory and disk and about how long fine-tuning and judging take, and refuses a
    base that does not fit this machine. Killed anywhere, it goes on when run again.

    Examples:

        stock-llm run

        stock-llm run --trades ~/broker/2025.csv --candles ~/candles

        stock-llm run --profile mistral-7b

        stock-llm run --json | jq .verdict
    """
    from stock_llm.pipeline import preflight, report
    from stock_llm.pipeline.run_record import finished

    with only_json(as_json) as result:
        settings = load_settings(profile=profile, trades=trades, candles=candles)
        if known := finished(settings):
            result |= {"new": False} | vars(known)
            print(report.nothing_new(known))
            return
        preflight.require(settings)
        print(preflight.report(settings), flush=True)
        from flows.train import train_with

        record = train_with(settings, why="stock-llm run")
        result |= {"new": True} | vars(record)
        print(report.outcome(record, shutil.get_terminal_size().columns))


def retrain(
    why: Annotated[
        bool, typer.Option("--why", help="Only say why it would train, or what is missing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say this, and what a run would need; train nothing.")
    ] = False,
    now: Annotated[
        bool, typer.Option("--now", help="Train whether or not enough has gathered.")
    ] = False,
) -> None:
    """Train if enough feedback has gathered since the last judged version; else say what is
    missing.

    What counts is feedback that would teach something and that no judged version has seen. A
    candidate that was rejected or blocked gives its items back; they are tried again when 20 new
    ones have come.

    Examples:

        stock-llm retrain --why

        stock-llm retrain --dry-run

        stock-llm retrain --now
    """
    from stock_llm.operations.retraining import decide

    settings = load_settings()
    decision = decide(settings)
    print(decision.text, flush=True)
    if why:
        return
    if dry_run:
        from stock_llm.pipeline import preflight

        print(f"\n{'A run' if decision.due or now else 'A run, when it comes,'} would need:")
        print(preflight.report(settings))
        return
    if not (decision.due or now):
        print("To train all the same: stock-llm retrain --now")
        return
    run_now(settings, decision.why or "stock-llm retrain --now")


def run_now(settings: "Settings", why: str) -> None:
    """Runs the main job and prints how it ended."""
    from flows.train import train_with
    from stock_llm.pipeline import preflight, report

    preflight.require(settings)
    record = train_with(settings, why=why)
    print(report.outcome(record, shutil.get_terminal_size().columns))


def history(as_json: Json = False) -> None:
    """List the versions with their scores and verdicts, and which one is champion.

    Examples:

        stock-llm history

        stock-llm history --json | jq '.versions[0].scores'
    """
    from rich.console import Console

    from stock_llm.pipeline import registry, report

    with only_json(as_json) as result:
        versions = registry.versions(load_settings())
        result["versions"] = versions
    if not as_json:
        Console().print(report.versions_table(versions))


def parity(
    version: Annotated[
        str | None,
        typer.Argument(
            help="The version, 7 or v7, as `stock-llm history` numbers it; without it, the newest."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as it is kept.")] = False,
) -> None:
    """Print the parity report of a version: that its prompts, limits and answers are those of the
    model that was trained, and how far each step (adapter, merge, f16, quantized) is from the one
    before it.

    Examples:

        stock-llm parity

        stock-llm parity v3 --json
    """
    from rich.console import Console

    from stock_llm.parity.report import FILE, read_report, tables
    from stock_llm.pipeline import registry

    known = {item.number: item for item in registry.versions(load_settings())}
    wanted = version_number(version) if version else max(known, default=0)
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
    version: Annotated[
        str | None,
        typer.Argument(
            help="The version to go back to, 7 or v7, as `stock-llm history` numbers it. Default: "
            "the one that the champion replaced."
        ),
    ] = None,
    reason: Reason = None,
) -> None:
    """Make an earlier version the champion again: `stock-llm:latest` in all places that it was
    published to, and the registry's alias, together.

    A version that a place has lost is put back first. A place that does not answer is named, the
    command fails, and the next `stock-llm publish` or `run` moves `:latest` there.

    Examples:

        stock-llm rollback

        stock-llm rollback v3 --reason "the new one invents numbers"
    """
    from stock_llm.pipeline import registry

    settings = load_settings()
    move_champion(settings, version, registry.ROLLBACK_REASON, ask_reason(reason))
