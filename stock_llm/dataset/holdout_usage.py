"""Counts how many candidates were judged on a holdout. Reusing a holdout overfits to it.

The counts are kept in data/looks.db (SQLite), which `make clean` leaves alone. A holdout keeps its
rows for its period (see `splits.py`); after `CANDIDATES_PER_SAMPLE` candidates other rows are
sampled from the same period.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stock_llm.storage.database import open_sqlite

CANDIDATES_PER_SAMPLE = 30
"""Weekly training judges thirteen candidates in a quarter; retrains on feedback come on top."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS holdout (
    digest TEXT PRIMARY KEY, period TEXT NOT NULL, frozen_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS look (
    digest TEXT NOT NULL, period TEXT NOT NULL, candidate TEXT NOT NULL, looked_at TEXT NOT NULL,
    PRIMARY KEY (digest, candidate)
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
    """The counts in one SQLite file.

    Raises:
        StoreError: the file cannot be read or written; every method raises it.
    """

    def __init__(self, path: Path):
        self._path = path

    def draw(self, period: str) -> int:
        """How often this period is sampled anew: once per `CANDIDATES_PER_SAMPLE` candidates."""
        with self._open() as database:
            (count,) = database.execute(
                "SELECT count(DISTINCT candidate) FROM look WHERE period = ?", (period,)
            ).fetchone()
        return int(count) // CANDIDATES_PER_SAMPLE

    def freeze(self, period: str, digest: str) -> None:
        """Records the holdout that judges a period."""
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
        return int(count)

    def all(self) -> list[FrozenHoldout]:
        """Every holdout, the oldest first."""
        with self._open() as database:
            rows = database.execute(
                "SELECT digest, period, frozen_at, "
                "(SELECT count(*) FROM look WHERE look.digest = holdout.digest) "
                "FROM holdout ORDER BY frozen_at, digest"
            ).fetchall()
        return [FrozenHoldout(*row) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with open_sqlite(self._path, "count of judged candidates") as database:
            database.executescript(_SCHEMA)
            yield database


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
