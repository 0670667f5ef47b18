"""The app `stock-llm`: which commands there are, and how errors are printed.

Each command is a function in another file of this folder. Errors that a person can act on become
one line on standard error and exit code 1. Nothing heavy is imported before a command runs, so that
`--help` answers at once.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from stock_llm.cli import (
    base,
    consumers,
    data,
    dataset,
    feedback,
    finetuning,
    profiles,
    project,
    services,
    serving,
    training,
    versions,
)

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

app = typer.Typer(
    help="Turns your own trading history and feedback into a better local model, again and again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"stock-llm {version('stock-llm')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options of the app itself."""


app.command()(training.run)
app.command()(training.retrain)
app.command("import")(data.import_)
app.command()(data.positions)
app.command()(serving.ask)
app.command()(serving.serve)
app.command()(serving.mcp)
app.command()(data.fetch)
app.command()(services.up)
app.command()(services.down)
app.command()(services.status)
app.command()(training.history)
app.command()(training.parity)
app.command()(training.rollback)
app.command()(versions.promote)
app.command()(versions.compare)
app.command()(versions.publish)
app.command()(versions.lineage)
app.command()(finetuning.finetune)
app.command()(project.init)
app.command()(project.doctor)
app.command()(serving.costs)
app.command()(serving.kpis)
app.command()(project.sample)
app.command()(data.forget)
app.add_typer(base.app, name="base")
app.add_typer(consumers.app, name="consumers")
app.add_typer(profiles.app, name="profiles")
app.add_typer(dataset.app, name="dataset")
app.add_typer(feedback.app, name="feedback")


def main() -> None:
    """Run the command that the arguments name."""
    with _errors_as_lines():
        app()


@contextmanager
def _errors_as_lines() -> Iterator[None]:
    try:
        yield
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print("\ninterrupted; run the same command again to go on from here", file=sys.stderr)
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)


def _message(error: Exception) -> str | None:
    """The line for an error that a person can act on; None for a bug, which keeps its traceback."""
    import errno

    from stock_llm.errors import StockLLMError

    if isinstance(error, StockLLMError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
    ):
        place = error.filename or "the disk"
        return (
            f"{place}: {error.strerror}. Nothing was published; make room or grant access, "
            "and run again"
        )
    return None


if __name__ == "__main__":
    main()
