"""The command line: the composition root. It alone may import flows, and only inside its commands, so that --help is quick.

Errors that a person can act on are one line on standard error and exit code 1; an interrupted command says how to go on.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stock_llm.settings import Settings

app = typer.Typer(
    help="Turns your own trading history and feedback into a better local model, again and again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
base_app = typer.Typer(help="The embedded base model.", no_args_is_help=True)
feedback_app = typer.Typer(help="What you said about answers: the store that retraining learns from.", no_args_is_help=True)
dataset_app = typer.Typer(help="What models were taught and judged with.", no_args_is_help=True)
app.add_typer(base_app, name="base")
app.add_typer(dataset_app, name="dataset")
app.add_typer(feedback_app, name="feedback")

Profile = Annotated[str | None, typer.Option(help="Base model: a file models/profiles/NAME.toml.")]
Trades = Annotated[Path | None, typer.Option(help="CSV file or folder with your trading history.")]
CandlesAt = Annotated[Path | None, typer.Option("--candles", help="Folder with daily candles, CSV or Parquet.")]


def main() -> None:
    """Entry point: translates errors into a line and an exit code."""
    with _told():
        app()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on from here", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        line = _one_line(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1)


def _one_line(error: Exception) -> str | None:
    """What to tell a person about an error that they can act on; None for a fault of ours, which deserves its traceback."""
    import errno

    from stock_llm.errors import StockLLMError

    if isinstance(error, StockLLMError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        return (
            f"{error.filename or 'the disk'}: {error.strerror}. Nothing was published; make room or grant access, and run again"
        )
    return None


def _settings(**given: object) -> "Settings":
    from stock_llm.environment import prepare
    from stock_llm.settings import load_settings

    prepare()
    return load_settings(**given)


@app.command()
def run(profile: Profile = None, trades: Trades = None, candles: CandlesAt = None) -> None:
    """Run the main job: collect, build the dataset, fine-tune, quantize, evaluate, register, publish.

    With nothing new since the last judged run it says so at once. Killed anywhere, it goes on when run again.

    Examples:

        stock-llm run

        stock-llm run --trades ~/broker/2025.csv --candles ~/candles

        stock-llm run --profile mistral-7b
    """
    from stock_llm import report
    from stock_llm.plan import finished

    settings = _settings(profile=profile, trades=trades, candles=candles)
    if known := finished(settings):
        print(report.nothing_new(known))
        return
    from flows.train import train_with

    outcome = train_with(settings, why="stock-llm run")
    print(report.outcome(outcome))


@app.command()
def ask(
    text: Annotated[str, typer.Argument(help="Your question. A symbol of your candles gets its computed numbers.")],
    show_prompt: Annotated[bool, typer.Option("--show-prompt", help="Print what the model sees, before the answer.")] = False,
    model: Annotated[str, typer.Option(help="Name of a published model.")] = "stock-llm:latest",
    candles: CandlesAt = None,
) -> None:
    """Ask the published model.

    Examples:

        stock-llm ask "Analyze KESTRO."

        stock-llm ask --show-prompt "ควรซื้อ ถือ หรือขาย KESTRO"

        stock-llm ask --model stock-llm:v1 "What does RSI14 mean?"
    """
    from stock_llm.ask import ask as asked

    reply = asked(_settings(candles=candles), text, model)
    if show_prompt:
        print(f"{reply.prompt}\n{'-' * 40}")
    print(reply.text)


@app.command()
def history() -> None:
    """List the versions with their scores and verdicts, and which one is champion.

    Example:

        stock-llm history
    """
    from rich.console import Console

    from stock_llm import registry, report

    Console().print(report.versions_table(registry.versions(_settings())))


@app.command()
def rollback(
    number: Annotated[int, typer.Argument(help="The version to go back to, as `stock-llm history` numbers it.")],
) -> None:
    """Make an earlier version the champion again: `stock-llm:latest` and the registry's alias, together.

    Example:

        stock-llm rollback 3
    """
    from tasks.publish import roll_back

    roll_back(_settings(), number)
    print(f"stock-llm:latest and the champion are v{number}")


@app.command()
def doctor() -> None:
    """Look at this machine: what is installed, disk, memory, GPU, servers, and what each missing thing costs.

    Exit code 1 when the main job cannot run.

    Example:

        stock-llm doctor
    """
    from rich.console import Console

    from stock_llm.doctor import examine, table

    findings = examine(_settings())
    Console().print(table(findings))
    if any(finding.fatal for finding in findings):
        raise typer.Exit(1)


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("data/sample"),
    measure: Annotated[bool, typer.Option("--measure", help="Write nothing; measure how predictable the sample is.")] = False,
) -> None:
    """Write the fictional sample: candles, trades and feedback. The same bytes every time.

    Examples:

        stock-llm sample

        stock-llm sample --measure
    """
    from stock_llm import sample as made

    settings = _settings()
    if measure:
        print(made.measure(settings.path(folder)))
    else:
        made.write_sample(settings.path(folder))
        print(f"written to {settings.path(folder)}")


@base_app.command("build")
def base_build(
    minutes: Annotated[float, typer.Option(help="How long to train.")] = 60.0,
    folder: Annotated[Path, typer.Option(help="Where to write the model.")] = Path("models/stock-tiny"),
) -> None:
    """Make stock-tiny from nothing: corpus, tokenizer, weights, card. Killed, it goes on when run again.

    Example:

        stock-llm base build --minutes 60 --folder models/my-tiny
    """
    from stock_llm.base.build import build

    settings = _settings()
    build(settings, settings.path(folder), minutes)


@dataset_app.command("show")
def dataset_show(
    row: Annotated[str, typer.Argument(help="Id of a row, or its last eight letters. Without one: the card.")] = "",
) -> None:
    """Print a row with its provenance: the lines of your files, the trades and the feedback that it was made of.

    Without an id: the card of the newest dataset, and how often each holdout was looked at.

    Examples:

        stock-llm dataset show

        stock-llm dataset show signal-KESTRO-2025-03-14-1a2b3c4d

        stock-llm dataset show 1a2b3c4d
    """
    from stock_llm import provenance
    from stock_llm.errors import InputError
    from stock_llm.looks import Looks

    settings = _settings()
    if row:
        print(provenance.markdown(provenance.find(settings, row)))
        return
    known = provenance.datasets(settings)
    if not known:
        raise InputError("no dataset was built yet", remedy="Run: stock-llm run")
    print(known[0].card.read_text(encoding="utf-8"))
    for one in Looks(settings).all():
        print(f"holdout {one.digest}, {one.period}: frozen on {one.frozen_at[:10]}, {one.looks} looks")


@app.command()
def forget(
    feedback: Annotated[str | None, typer.Option(metavar="ID", help="An item of feedback.")] = None,
    trade: Annotated[str | None, typer.Option(metavar="ID", help="A trade, by its id in your file or in the ledger.")] = None,
    account: Annotated[str | None, typer.Option(metavar="ID", help="All trades of an account, as your file names it.")] = None,
) -> None:
    """Forget an item of feedback, a trade or an account: the next run learns without it, and what learnt from it is marked.

    Your own files are not changed. A model that learnt from it answers as before until the next run makes another.

    Examples:

        stock-llm forget --feedback 3f2a

        stock-llm forget --trade T00005

        stock-llm forget --account U1234567
    """
    from stock_llm import forgetting
    from stock_llm.errors import InputError

    given = [pair for pair in (("feedback", feedback), ("trade", trade), ("account", account)) if pair[1] is not None]
    if not given:
        raise InputError("nothing to forget was named", remedy="Give --feedback ID, --trade ID or --account ID")
    settings = _settings()
    for kind, name in given:
        print(forgetting.told(forgetting.forget(settings, kind, name), settings))  # type: ignore[arg-type]


@feedback_app.command("import")
def feedback_import(
    file: Annotated[Path, typer.Argument(help="JSON Lines, one item a line, as in data/sample/feedback.jsonl.")],
) -> None:
    """Take feedback items from a file. Items that are in already change nothing.

    Example:

        stock-llm feedback import my-feedback.jsonl
    """
    from stock_llm.feedback import Feedback

    settings = _settings()
    print(Feedback(settings.url(settings.feedback_url)).import_jsonl(file))


@feedback_app.command("count")
def feedback_count() -> None:
    """Say how many items are in, how many no judged model has learnt from, and how many a retrain waits for.

    Example:

        stock-llm feedback count
    """
    from stock_llm.feedback import Feedback

    settings = _settings()
    store = Feedback(settings.url(settings.feedback_url))
    unused = store.unused(settings.uses_sample)
    missing = max(0, settings.retrain_after + 1 - unused)
    print(f"{len(store.all(settings.uses_sample))} items, {unused} unused; a retrain waits for {missing} more")
