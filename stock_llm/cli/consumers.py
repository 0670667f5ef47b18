"""Commands about those who use published versions: consumers list, add, remove, check."""

from typing import Annotated

import typer

from stock_llm.cli.options import load_settings

app = typer.Typer(
    no_args_is_help=True,
    help="Ollama servers of others, which pull versions from the gateway (publish.serve).",
)


@app.command("list")
def list_() -> None:
    """List who may pull, which version each has since when, and who is behind.

    Example:

        stock-llm consumers list
    """
    from rich.console import Console

    from stock_llm.pipeline.publication import consumers

    Console().print(consumers.table(consumers.states(load_settings())))


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Whose Ollama it is, in your words.")],
    key: Annotated[
        str,
        typer.Argument(
            help="Its public key, `ssh-ed25519 AAAA…`: the content of ~/.ollama/id_ed25519.pub of "
            "the user that runs it."
        ),
    ],
) -> None:
    """Let the Ollama of another machine pull published versions.

    The gateway has to be started with publish.serve = true, at an address that others reach. The
    key counts at once.

    Example:

        stock-llm consumers add office "ssh-ed25519 AAAAC3Nz…"
    """
    from stock_llm.pipeline.publication import consumers

    settings = load_settings()
    added = consumers.keys(settings).add(name, key)
    print(f"{added.name} may pull: {consumers.pull_command(settings)}")
    if not settings.publish.serve:
        print("The gateway serves nobody yet: set serve = true in [publish] and start it again")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="As `stock-llm consumers list` has it.")],
) -> None:
    """Let an Ollama pull no more, at once; what it has stays there.

    Example:

        stock-llm consumers remove office
    """
    from stock_llm.pipeline.publication import consumers

    consumers.keys(load_settings()).remove(name)
    print(f"{name} may pull no more")


@app.command()
def check(
    address: Annotated[
        str | None,
        typer.Option(
            "--at",
            help="An Ollama or a gateway. Default: the Ollama that is published to, else "
            "the gateway.",
        ),
    ] = None,
) -> None:
    """Ask the published model one question through every kind of program that is installed here:
    curl, Ollama's command, its Python client, OpenAI's, LangChain.

    Ends with exit code 1 where one of them has no answer. docs/consumers.md shows each.

    Examples:

        stock-llm consumers check

        stock-llm consumers check --at 127.0.0.1:11435
    """
    from rich.console import Console

    from stock_llm.pipeline.publication import consumer_checks

    checks = list(consumer_checks.run_checks(load_settings(), address or ""))
    Console().print(consumer_checks.table(checks))
    if any(check.outcome == "failed" for check in checks):
        raise typer.Exit(1)
