"""Commands about versions: promote, compare, publish, lineage."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from stock_llm.cli.options import load_settings

if TYPE_CHECKING:
    from stock_llm.settings import Settings

Reason = Annotated[
    str | None,
    typer.Option(help="Why; kept with the version. Asked for where a terminal is watching."),
]


def promote(
    version: Annotated[
        str, typer.Argument(help="The version, 7 or v7, as `stock-llm history` numbers it.")
    ],
    reason: Reason = None,
) -> None:
    """Make a version the champion whatever its verdict was: `stock-llm:latest` and the registry's
    alias, together.

    The next candidate is judged against it.

    Examples:

        stock-llm promote 4

        stock-llm promote 4 --reason "shorter answers"
    """
    from stock_llm.pipeline import registry

    settings = load_settings()
    move_champion(settings, version, registry.PROMOTE_REASON, ask_reason(reason))


def compare(
    first: Annotated[str, typer.Argument(help="The earlier version, 3 or v3.")],
    second: Annotated[str, typer.Argument(help="The later version.")],
) -> None:
    """Compare two versions: what both answered, the difference by skill, the answers that changed
    most. Prints the table and writes a page.

    Examples:

        stock-llm compare 3 7

        stock-llm compare v3 v7
    """
    from rich.console import Console
    from rich.table import Table

    from stock_llm.operations.reports import comparison as reports
    from stock_llm.storage.atomic import atomic_write

    settings = load_settings()
    found = reports.compare(settings, version_number(first), version_number(second))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("metric", found.first.name, found.second.name, "difference"):
        table.add_column(head, justify="left" if head == "metric" else "right")
    for line in reports.comparison_table(found):
        table.add_row(*line)
    page = settings.path(f"data/reports/{found.first.name}-{found.second.name}.html")
    atomic_write(page, reports.comparison_page(found))
    console = Console(highlight=False)
    console.print(found.sentence)
    console.print(table)
    console.print(f"page: {page}", soft_wrap=True)


def ask_reason(given: str | None) -> str:
    """The reason that was given, else what a person at the terminal says; it may be empty."""
    if given is None and sys.stdin.isatty():
        given = str(typer.prompt("Why", default="", show_default=False))
    return (given or "").strip()


def publish(
    version: Annotated[
        str | None,
        typer.Argument(help="Only this version, 7 or v7. Default: all that are in the folder."),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            help="Only to this Ollama, as OLLAMA_HOST names it, or to `registry`, the one of "
            "publish.registry; may be given again. Default: all places that versions were "
            "published to."
        ),
    ] = None,
) -> None:
    """Put back whatever is missing where versions are published: in the folder, from the files that
    the version was made from, and at Ollama servers, from the folder.

    A server pulls what it lacks from this machine, bit for bit. With nothing missing, nothing is
    sent. `:latest` becomes the champion wherever that is.

    Examples:

        stock-llm publish

        stock-llm publish v3

        stock-llm publish v3 --to http://127.0.0.1:11434

        stock-llm publish --to registry
    """
    from stock_llm.pipeline.publication import restoring

    given = version_number(version) if version else None
    done = restoring.publish_again(load_settings(), given, to or ())
    print("\n".join(done) or "nothing is missing where versions are published")


def lineage(
    id: Annotated[
        str, typer.Argument(help="The ID that `ollama list` shows, or more digits of the digest.")
    ],
) -> None:
    """Tell which version an ID in `ollama list` is: its run, data, base, licence and verdict.

    Example:

        stock-llm lineage 1f5c9ad1b2c3
    """
    from stock_llm.pipeline.publication import lineage as pipeline

    print(pipeline.describe(pipeline.find(load_settings(), id)))


def move_champion(settings: "Settings", version: str | None, tag: str, reason: str) -> None:
    """Make a version the champion in all places, keep the reason with it, and say so.

    Args:
        version: 7 or v7; None: the one that the champion replaced.
        tag: the registry's tag for the reason.

    Raises:
        PublishError: it cannot be published, or a place does not answer.
    """
    from stock_llm.pipeline.publication import restoring

    given = version_number(version) if version else None
    number = restoring.move_champion(settings, given, tag, reason)
    print(f"stock-llm:latest and the champion are v{number}")


def version_number(text: str) -> int:
    """N of 7 or v7.

    Raises:
        InputError: not a version.
    """
    from stock_llm.errors import InputError

    number = text.removeprefix("v")
    if not (number.isascii() and number.isdecimal() and int(number)):
        raise InputError(f"{text!r} is no version", remedy="Write 7 or v7: stock-llm history")
    return int(number)
