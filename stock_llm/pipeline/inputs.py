"""One digest over the user's inputs, which says whether anything is new.

Imports nothing heavy, so that a run with nothing new is over at once.
"""

import time
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING

from stock_llm.errors import InputError
from stock_llm.ledger.instruments import user_lines_digest
from stock_llm.pipeline.input_files import (
    candle_files,
    folder_of,
    format_files,
    rate_files,
    trade_files,
)
from stock_llm.settings import Settings
from stock_llm.storage.checksums import digest_of, file_sha256, files_sha256

if TYPE_CHECKING:
    from stock_llm.feedback.store import FeedbackStore

RECIPE = 2
"""Raised whenever collect makes something else from the same files."""

_DATABASE_SECONDS = 600
"""How often a server looks for new rows in a database of trades."""


def input_digest(settings: Settings, *, candles_required: bool = True) -> str:
    """Return 16 hex digits over all that a history is made of.

    A database, where there is one, is asked for what is new first.

    Raises:
        InputError: there are no trades or no candles, or the database cannot be read.
    """
    trades = trade_files(settings)
    candles = candle_files(settings, required=candles_required)
    importers = Path(__file__).parents[1] / "importers"
    store = open_feedback(settings)
    forgotten = store.forgotten()
    return digest_of(
        recipe=RECIPE,
        trades=_files_digest(trades, settings.path(settings.trades)),
        database=_database_digest(settings),
        candles=_files_digest(candles, settings.path(settings.candles)),
        formats=(
            files_sha256([*importers.rglob("*.py"), *importers.rglob("*.toml")], importers),
            _files_digest(format_files(settings), settings.path(settings.formats)),
        ),
        instruments=user_lines_digest(settings.path(settings.instruments)),
        rates=_files_digest(rate_files(settings), settings.path(settings.fx)),
        base_currency=settings.base_currency,
        exchange=settings.exchange,
        feedback=store.watermark(sample=settings.uses_sample),
        **({"forgotten": forgotten.digest} if forgotten else {}),
    )


def open_feedback(settings: Settings) -> "FeedbackStore":
    """Open the feedback store; with the sample's trades, the sample's own items are in it."""
    from stock_llm.feedback.store import FeedbackStore  # brings SQLAlchemy

    store = FeedbackStore(
        settings.url(settings.feedback_url), daily_limit=settings.feedback.daily_limit
    )
    items = settings.path("data/sample/feedback.jsonl")
    if settings.uses_sample and items.is_file():
        store.import_file(items)
    return store


class InputState:
    """Tells a server whether the user's files have changed since its last look."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._store: tuple[Hashable, str] = ((), "")

    def __call__(self) -> Hashable | None:
        """A value that changes when a file does; None where there are no trades to read.

        It looks at names, sizes and times, not at contents. A database of trades is looked at every
        ten minutes.
        """
        settings = self._settings
        try:
            files = [*trade_files(settings), *candle_files(settings, required=False)]
            files += [*rate_files(settings), *format_files(settings)]
        except InputError:
            return None
        return (
            tuple(map(_state, files)),
            user_lines_digest(settings.path(settings.instruments)),
            self._forgotten(),
            int(time.time() / _DATABASE_SECONDS) if settings.trades_sql else 0,
        )

    def _forgotten(self) -> str:
        """Digest of what is forgotten; the store is opened only after something was written."""
        url = self._settings.url(self._settings.feedback_url)
        file = url.removeprefix("sqlite:///")
        state = tuple(_state(Path(f"{file}{suffix}")) for suffix in ("", "-wal"))
        if file == url or state != self._store[0]:
            marks = open_feedback(self._settings).forgotten()
            state = tuple(_state(Path(f"{file}{suffix}")) for suffix in ("", "-wal"))
            self._store = state, marks.digest if marks else ""
        return self._store[1]


def _state(file: Path) -> tuple[str, int, int]:
    try:
        found = file.stat()
    except OSError:
        return str(file), 0, 0
    return str(file), found.st_size, found.st_mtime_ns


def _database_digest(settings: Settings) -> str:
    if not settings.trades_sql:
        return ""
    from stock_llm.pipeline.trades_database import fetch_trades  # brings SQLAlchemy and Arrow

    return file_sha256(fetch_trades(settings).path)


def _files_digest(files: list[Path], given: Path) -> str:
    return files_sha256(files, folder_of(given))
