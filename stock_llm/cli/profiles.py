"""Commands for the catalogue of base models: profiles list, profiles pin."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stock_llm.cli.options import load_settings

if TYPE_CHECKING:
    from stock_llm.llm.bases.hub import HubModel
    from stock_llm.llm.profiles import Profile
    from stock_llm.machine import Machine
    from stock_llm.pipeline.preflight import Preflight
    from stock_llm.settings import Settings

app = typer.Typer(help="Base models: models/profiles/*.toml.", no_args_is_help=True)


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, in bytes and seconds.")] = False,
) -> None:
    """List the base models: what each needs to be trained, merged and judged, about how long
    fine-tuning takes, and whether this machine can do it; below that, why not.

    Memory and disk are computed from a model's sizes before it is downloaded. Times are for the
    setting `train_rows`, from what one kind of machine was measured to do: rough.

    Examples:

        stock-llm profiles list

        stock-llm profiles list --json
    """
    from stock_llm.llm.profiles import load_profile, profile_names
    from stock_llm.machine import this_machine

    settings, machine = load_settings(), this_machine()
    listed = [
        _Listed.of(settings, load_profile(settings.home, name), machine)
        for name in profile_names(settings.home)
    ]
    if as_json:
        print(json.dumps([each.as_json() for each in listed], indent=1, ensure_ascii=False))
    else:
        _print(listed)


@dataclass(frozen=True)
class _Listed:
    """A profile in the list. `preflight` is None where the sizes of the base are not known."""

    profile: "Profile"
    preflight: "Preflight | None"
    missing: str

    @classmethod
    def of(cls, settings: "Settings", profile: "Profile", machine: "Machine") -> "_Listed":
        from stock_llm.llm.bases.needs import find_base
        from stock_llm.pipeline.preflight import examine

        here = find_base(profile, settings.home) is not None
        return cls(profile, examine(settings, profile, machine), _missing(profile, here))

    @property
    def why_not(self) -> list[str]:
        """What stands between this profile and a run; empty: nothing."""
        lacks = self.preflight.lacks if self.preflight else ["its sizes are not known"]
        return [*filter(None, [self.missing]), *lacks]

    def as_json(self) -> dict[str, Any]:
        about = self.profile.about
        shown: dict[str, Any] = {
            "name": self.profile.name,
            "billion_parameters": about.parameters or None,
            "licence": self.profile.licence,
            "languages": about.languages,
        }
        if self.preflight:
            shown |= {
                "memory": {stage.name: stage.memory for stage in self.preflight.stages},
                "disk": self.preflight.disk,
                "fine_tuning_seconds": round(self.preflight.seconds),
                "judged_rows": self.preflight.judged_rows,
                "judging_seconds": round(self.preflight.judging_seconds or 0) or None,
            }
        return shown | {"why_not": self.why_not}


def _print(listed: list[_Listed]) -> None:
    """The list for a terminal of 80 columns, or 60."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from stock_llm.pipeline.preflight import duration

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("base", overflow="fold")
    for head in ("1e9\nweights", "GiB to\ntrain", "\nmerge", "\njudge", "\ndisk"):
        table.add_column(head, justify="right")
    table.add_column("fine-tuning\nabout")
    table.add_column("runs\nhere")
    for each in listed:
        about = each.profile.about.parameters
        cells = [""] * 5
        if found := each.preflight:
            cells = [f"{stage.memory / 2**30:.1f}" for stage in found.stages]
            cells += [f"{found.disk / 2**30:.1f}", duration(found.seconds)]
        can = "[yellow]no[/]" if each.why_not else "[green]yes[/]"
        table.add_row(each.profile.name, f"{about:g}" if about else "", *cells, can)
    console = Console()
    console.print(table)
    for each in listed:
        reasons = [each.profile.licence, *each.why_not]
        console.print(f"\n[bold]{each.profile.name}[/]: {escape('; '.join(reasons))}")


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
