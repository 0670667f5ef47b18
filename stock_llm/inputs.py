"""The user's files: which there are, their text, and one digest that says whether anything is new.

In: settings. Out: paths, text, a digest. Imports nothing heavy, so that a run with nothing new is over in a blink. Does not
know columns.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from stock_llm.artifacts import digest_of, files_sha256
from stock_llm.errors import InputError
from stock_llm.settings import Settings

if TYPE_CHECKING:
    from stock_llm.feedback import Feedback

RECIPE = 1
"""Raised whenever collect makes something else from the same files."""

TRADE_SUFFIXES = (".csv", ".txt")
CANDLE_SUFFIXES = (".csv", ".txt", ".parquet")


def trade_files(settings: Settings) -> list[Path]:
    """The trades file, or those in the folder, sorted."""
    return _files(settings.path(settings.trades), TRADE_SUFFIXES, "trades", "STOCK_LLM_TRADES")


def candle_files(settings: Settings) -> list[Path]:
    """The candles file, or those in the folder, sorted."""
    return _files(settings.path(settings.candles), CANDLE_SUFFIXES, "candles", "STOCK_LLM_CANDLES")


def _files(path: Path, suffixes: tuple[str, ...], what: str, dial: str) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in suffixes and file.is_file() and not file.name.startswith((".", "~"))
    )
    if not found:
        there = f"no {', '.join(suffixes)} file in it" if path.is_dir() else "no such file or folder"
        raise InputError(f"no {what}: {there}", file=path, remedy=f"Put your {what} there, or set {dial} to where they are")
    return found


def read_text(path: Path) -> str:
    """A whole file as text, without the byte order mark that spreadsheets put before it.

    Raises:
        InputError: the file is empty or not UTF-8.
    """
    content = path.read_bytes()
    if not content.strip():
        raise InputError("the file is empty", file=path, remedy="Export it again")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"not UTF-8 text (byte 0x{content[error.start]:02x})", file=path, row=row, remedy="Save it as CSV in UTF-8"
        ) from None


def input_digest(settings: Settings) -> str:
    """16 hex digits over all trade files, candle files and feedback: the same as long as nothing is new.

    Raises:
        InputError: there are no trades or no candles.
    """
    trades, candles = trade_files(settings), candle_files(settings)
    store = open_feedback(settings)
    forgotten = store.forgotten()
    return digest_of(
        recipe=RECIPE,
        trades=_bytes_digest(trades, settings.path(settings.trades)),
        candles=_bytes_digest(candles, settings.path(settings.candles)),
        feedback=store.watermark(sample=settings.uses_sample),
        **({"forgotten": forgotten.digest} if forgotten else {}),
    )


def open_feedback(settings: Settings) -> "Feedback":
    """The feedback store; while the sample's trades are used, the sample's own items are in it."""
    from stock_llm.feedback import Feedback  # brings SQLAlchemy, which reading a file does not need

    store = Feedback(settings.url(settings.feedback_url))
    items = settings.path("data/sample/feedback.jsonl")
    if settings.uses_sample and items.is_file():
        store.import_jsonl(items)
    return store


def _bytes_digest(files: list[Path], given: Path) -> str:
    return files_sha256(files, given if given.is_dir() else given.parent)
