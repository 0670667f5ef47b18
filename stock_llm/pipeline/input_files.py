"""Finds the user's files: exports, candles, exchange rates, formats."""

from pathlib import Path

from stock_llm.errors import InputError
from stock_llm.settings import Settings

TRADE_SUFFIXES = (".csv", ".txt", ".tsv", ".json", ".xml", ".ofx", ".qfx", ".xlsx")
CANDLE_SUFFIXES = (".csv", ".txt", ".parquet")


def trade_files(settings: Settings) -> list[Path]:
    """Return the trades file, or those in the folder, sorted.

    There are none where a database takes the place of the sample.

    Raises:
        InputError: there is no such file, or none in the folder.
    """
    sample = Settings.model_fields["trades"].default
    if settings.trades_sql and settings.trades == sample:
        return []
    return _require(settings.path(settings.trades), TRADE_SUFFIXES, "trades", "STOCK_LLM_TRADES")


def candle_files(settings: Settings, *, required: bool = True) -> list[Path]:
    """Return the candles file, or those in the folder, sorted.

    Raises:
        InputError: they are required and there are none.
    """
    path = settings.path(settings.candles)
    if not required:
        return _find(path, CANDLE_SUFFIXES)
    return _require(path, CANDLE_SUFFIXES, "candles", "STOCK_LLM_CANDLES")


def rate_files(settings: Settings) -> list[Path]:
    """Return the files of exchange rates, sorted; maybe none.

    Raises:
        InputError: their folder is there and has none.
    """
    path = settings.path(settings.fx)
    if not path.exists():
        return []
    return _require(path, CANDLE_SUFFIXES, "exchange rates", "STOCK_LLM_FX")


def format_files(settings: Settings) -> list[Path]:
    """Return the user's own export formats, sorted; maybe none."""
    return sorted(settings.path(settings.formats).glob("*.toml"))


def name_of(file: Path, given: Path) -> str:
    """Return what a file is called: its path in the folder that was given, or its name."""
    return file.relative_to(folder_of(given)).as_posix()


def folder_of(given: Path) -> Path:
    """Return the folder of what was given, which is a file or a folder itself."""
    return given if given.is_dir() else given.parent


def download_folder(settings: Settings, symbol: str) -> Path:
    """Return the folder that a downloaded symbol belongs to: that of candles, or of exchange rates.

    Raises:
        InputError: it is the sample's, which is fictional and stays so, or it is a file.
    """
    folder = settings.path(settings.fx if symbol.endswith("=X") else settings.candles)
    if folder.resolve().is_relative_to(settings.path("data/sample").resolve()):
        raise InputError(
            "these are the candles of the fictional sample",
            file=folder,
            remedy="Give a folder of your own: --candles ~/candles, or candles in stock-llm.toml",
        )
    if folder.is_file():
        raise InputError(
            "this is a file", file=folder, remedy="Set it to a folder, and put the file into it"
        )
    return folder


def _require(path: Path, suffixes: tuple[str, ...], what: str, setting: str) -> list[Path]:
    if files := _find(path, suffixes):
        return files
    problem = f"no {', '.join(suffixes)} file in it" if path.is_dir() else "no such file or folder"
    raise InputError(
        f"no {what}: {problem}",
        file=path,
        remedy=f"Put your {what} there, or set {setting} to where they are",
    )


def _find(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in suffixes
        and file.is_file()
        and not file.name.startswith((".", "~"))
    )
