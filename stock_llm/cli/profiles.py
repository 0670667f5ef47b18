"""Commands for the catalogue of base models: profiles list, profiles pin."""

from typing import TYPE_CHECKING, Annotated

import typer

from stock_llm.cli.options import load_settings

if TYPE_CHECKING:
    from stock_llm.llm.bases.hub import HubModel
    from stock_llm.llm.profiles import Profile

app = typer.Typer(help="Base models: models/profiles/*.toml.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """List the base models: parameters, licence, and what is missing to train one.

    Examples:

        stock-llm profiles list
    """
    from rich.console import Console
    from rich.table import Table

    from stock_llm.llm.profiles import load_profile, local_base, profile_names

    settings = load_settings()
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for head in ("profile", "billion\nparameters", "licence", "missing"):
        table.add_column(head, overflow="fold")
    for name in profile_names(settings.home):
        profile = load_profile(settings.home, name)
        here = local_base(profile, settings.home) is not None
        size = f"{profile.about.parameters:g}" if profile.about.parameters else ""
        table.add_row(name, size, profile.licence, _missing(profile, here))
    Console().print(table)


@app.command("pin")
def pin(
    name: Annotated[str, typer.Argument(help="A profile whose base is a model on the hub.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show what a base is on the hub today (licence, files, size), and write its commit into the
    profile.

    Examples:

        stock-llm profiles pin mistral-7b
    """
    from stock_llm.llm.bases.hub import check_files, look_up, pin_commit
    from stock_llm.llm.profiles import load_profile

    settings = load_settings()
    profile = load_profile(settings.home, name)
    model = look_up(profile)
    print(_described(model, profile))
    check_files(model)
    if profile.revision == model.commit:
        print("This commit is pinned already.")
        return
    if not yes:
        typer.confirm(f"Pin commit {model.commit}?", abort=True)
    file = settings.path(f"models/profiles/{name}.toml")
    pin_commit(file, model.commit)
    print(f"pinned in {file}. Next: stock-llm run --profile {name}")


def _missing(profile: "Profile", here: bool) -> str:
    """What stands between this profile and a training; empty: nothing."""
    if profile.about.unsupported:
        return profile.about.unsupported
    if here or profile.revision:
        return ""
    if profile.package:
        return f"stock-llm base fetch {profile.name}"
    return f"stock-llm profiles pin {profile.name}"


def _described(model: "HubModel", profile: "Profile") -> str:
    size = sum(model.files.values()) / 1e9
    lines = [
        f"{model.id}, commit {model.commit}"
        + (f", changed {model.changed_at:%Y-%m-%d}" if model.changed_at else ""),
        f"licence: {model.licence or 'none named'} (the profile says {profile.licence})"
        + (
            f"; its owner wants terms to be accepted: https://huggingface.co/{model.id}, then "
            "`hf auth login`"
            if model.gated
            else ""
        ),
        f"{len(model.files)} files, {size:.1f} GB:",
        *(f"  {name:50} {size / 1e6:>10,.1f} MB" for name, size in model.files.items()),
    ]
    return "\n".join(lines)
