"""The folder of what names trades and files as the user's exports do: histories, parsed files, the
copy of a database. Its owner alone can read it.

What leaves it for a dataset, a model or the registry has salted hashes in place of trade ids.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from stock_llm.settings import Settings
from stock_llm.storage.atomic import make_private


def private_folder(settings: Settings) -> Path:
    """Return `data/private`, mode 0700; what earlier versions kept elsewhere is moved there."""
    folder = settings.path("data/private")
    make_private(folder)
    earlier = (
        *map(settings.artifacts.joinpath, ("history", "parts")),
        settings.path("data/database"),
    )
    for before in earlier:
        if before.is_dir():
            with suppress(OSError):  # another process moves it, or it was moved before
                before.rename(folder / before.name)
            shutil.rmtree(before, ignore_errors=True)
    return folder


def parse_cache(settings: Settings) -> Path:
    """Return the folder of parsed exports and candle files."""
    return private_folder(settings) / "parts"
