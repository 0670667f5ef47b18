"""The user's files: which there are, and one digest that says whether anything is new.

In: settings. Out: paths, a digest. Imports nothing heavy, so that a run with nothing new is over in a blink. Does not
know columns.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from stock_llm.errors import InputError
from stock_llm.ledger.instruments import user_lines_digest
from stock_llm.settings import Settings
from stock_llm.storage.checksums import digest_of, file_sha256, files_sha256

if TYPE_CHECKING:
    from stock_llm.feedback.store import FeedbackStore

RECIPE = 2
"""Raised whenever collect makes something else from the same files."""

TRADE_SUFFIXES = (".csv", ".txt", ".tsv", ".json", ".xml", ".ofx", ".qfx", ".xlsx")
CANDLE_SUFFIXES = (".csv", ".txt", ".parquet")


def trade_files(settings: Settings) -> list[Path]:
    """The trades file, or those in the folder, sorted; none where a database takes the place of the sample."""
    sample = Settings.model_fields["trades"].default
    if settings.trades_sql and settings.trades == sample:
        return []
    return _files(settings.path(settings.trades), TRADE_SUFFIXES, "trades", "STOCK_LLM_TRADES")


def candle_files(settings: Settings) -> list[Path]:
    """The candles file, or those in the folder, sorted."""
    return _files(settings.path(settings.candles), CANDLE_SUFFIXES, "candles", "STOCK_LLM_CANDLES")


def rate_files(settings: Settings) -> list[Path]:
    """The files of exchange rates, sorted; maybe none."""
    path = settings.path(settings.fx)
    return _files(path, CANDLE_SUFFIXES, "exchange rates", "STOCK_LLM_FX") if path.exists() else []


def format_files(settings: Settings) -> list[Path]:
    """The user's own export formats, sorted; maybe none."""
    return sorted(settings.path(settings.formats).glob("*.toml"))


def _files(path: Path, suffixes: tuple[str, ...], what: str, dial: str) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in suffixes
        and file.is_file()
        and not file.name.startswith((".", "~"))
    )
    if not found:
        there = (
            f"no {', '.join(suffixes)} file in it" if path.is_dir() else "no such file or folder"
        )
        raise InputError(
            f"no {what}: {there}",
            file=path,
            remedy=f"Put your {what} there, or set {dial} to where they are",
        )
    return found


def input_digest(settings: Settings) -> str:
    """16 hex digits over all that a history is made of: the same as long as nothing is new.

    A database, where there is one, is asked for what is new first.

    Raises:
        InputError: there are no trades or no candles, or the database cannot be read.
    """
    trades, candles, importers = (
        trade_files(settings),
        candle_files(settings),
        Path(__file__).parents[1] / "importers",
    )
    store = open_feedback(settings)
    forgotten = store.forgotten()
    return digest_of(
        recipe=RECIPE,
        trades=_bytes_digest(trades, settings.path(settings.trades)),
        database=_database_digest(settings),
        candles=_bytes_digest(candles, settings.path(settings.candles)),
        formats=(
            files_sha256([*importers.rglob("*.py"), *importers.rglob("*.toml")], importers),
            _bytes_digest(format_files(settings), settings.path(settings.formats)),
        ),
        instruments=user_lines_digest(settings.path(settings.instruments)),
        rates=_bytes_digest(rate_files(settings), settings.path(settings.fx)),
        base_currency=settings.base_currency,
        exchange=settings.exchange,
        feedback=store.watermark(sample=settings.uses_sample),
        **({"forgotten": forgotten.digest} if forgotten else {}),
    )


def open_feedback(settings: Settings) -> "FeedbackStore":
    """The feedback store; while the sample's trades are used, the sample's own items are in it."""
    from stock_llm.feedback.store import (
        FeedbackStore,  # brings SQLAlchemy, which reading a file does not need
    )

    store = FeedbackStore(
        settings.url(settings.feedback_url), daily_limit=settings.feedback.daily_limit
    )
    items = settings.path("data/sample/feedback.jsonl")
    if settings.uses_sample and items.is_file():
        store.import_file(items)
    return store


def _database_digest(settings: Settings) -> str:
    if not settings.trades_sql:
        return ""
    from stock_llm.pipeline.trades_database import fetch_trades  # brings SQLAlchemy and Arrow

    return file_sha256(fetch_trades(settings).path)


def _bytes_digest(files: list[Path], given: Path) -> str:
    return files_sha256(files, given if given.is_dir() else given.parent)
