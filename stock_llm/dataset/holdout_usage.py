"""How often a holdout was looked at. A judge that is asked too often is no judge any more: whoever
tries often enough passes.

In: holdouts by digest and period, candidates that were judged on them. Out: counts, and whether it
is time for other rows. Kept in data/looks.db (SQLite), which `make clean` leaves alone. The policy:
a holdout stays the same rows for its period (see stock_llm/dataset/splits.py); after
`LOOKS_PER_DRAW` looks its rows are drawn anew from the same period. Does not know rows.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stock_llm.storage.database import open_sqlite

CANDIDATES_PER_SAMPLE = 30
"""A weekly training looks thirteen times in a quarter; retrains on feedback come on top."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS holdout (digest TEXT PRIMARY KEY, period TEXT NOT NULL, frozen_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS look (
    digest TEXT NOT NULL, period TEXT NOT NULL, candidate TEXT NOT NULL, looked_at TEXT NOT NULL, PRIMARY KEY (digest, candidate)
);
"""


@dataclass(frozen=True)
class FrozenHoldout:
    """A holdout as it was first built, and how many candidates were judged on it."""

    digest: str
    period: str
    frozen_at: str
    looks: int


class HoldoutUsage:
    """The ledger of one project folder."""

    def __init__(self, path: Path):
        self._path = path

    def draw(self, period: str) -> int:
        """How often the rows of this period are to be drawn anew: once for every `LOOKS_PER_DRAW`
        candidates."""
        with self._open() as database:
            (count,) = database.execute(
                "SELECT count(DISTINCT candidate) FROM look WHERE period = ?", (period,)
            ).fetchone()
        return count // CANDIDATES_PER_SAMPLE

    def freeze(self, period: str, digest: str) -> None:
        """Notes that a period is judged by this holdout."""
        with self._open() as database:
            database.execute(
                "INSERT OR IGNORE INTO holdout VALUES (?, ?, ?)", (digest, period, _now())
            )

    def count_candidate(self, period: str, digest: str, candidate: str) -> int:
        """Counts a candidate that is judged on a holdout, once; returns the candidates judged on it
        so far."""
        with self._open() as database:
            database.execute(
                "INSERT OR IGNORE INTO look VALUES (?, ?, ?, ?)",
                (digest, period, candidate, _now()),
            )
            (count,) = database.execute(
                "SELECT count(*) FROM look WHERE digest = ?", (digest,)
            ).fetchone()
        return count

    def all(self) -> list[FrozenHoldout]:
        """Every holdout, the oldest first."""
        with self._open() as database:
            rows = database.execute(
                "SELECT digest, period, frozen_at, (SELECT count(*) FROM look WHERE look.digest = "
                "holdout.digest) "
                "FROM holdout ORDER BY frozen_at, digest"
            ).fetchall()
        return [FrozenHoldout(*row) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = open_sqlite(self._path)
        try:
            with database:
                database.executescript(_SCHEMA)
                yield database
        finally:
            database.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
