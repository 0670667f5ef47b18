"""Options that several commands share, and the settings that they are read into."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stock_llm.settings import Settings

Profile = Annotated[str | None, typer.Option(help="Base model: a file models/profiles/NAME.toml.")]
Trades = Annotated[Path | None, typer.Option(help="Export of a broker, or folder of exports.")]
Candles = Annotated[
    Path | None, typer.Option("--candles", help="Folder with daily candles, CSV or Parquet.")
]


def load_settings(**given: object) -> "Settings":
    """Settings of environment, stock-llm.toml and `given`, which wins; sets the environment of the
    libraries first.

    Raises:
        InputError: a setting does not fit.
    """
    from stock_llm import settings
    from stock_llm.environment import prepare

    prepare()
    return settings.load_settings(**given)
