"""Database stores: an SQLAlchemy engine for SQLite (WAL) or PostgreSQL, its tables migrated to the
newest schema.

Every SQLite file that the project makes is opened through here, so that several processes can open
and write one at once. MLflow's database is MLflow's own: pipeline/registry.py alone looks into it.
"""

import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from stock_llm.errors import InputError

BUSY_SECONDS = 30
"""How long a connection waits for another one's lock."""

_migrating = threading.Lock()
"""Alembic keeps the migration under way in module globals: one at a time in a process."""


@dataclass(frozen=True)
class Schema:
    """A store that has migrations.

    Attributes:
        name: what messages call it.
        setting: the setting that holds its URL.
        migrations: folder of its Alembic scripts.
        lock: number of its advisory lock in PostgreSQL.
    """

    name: str
    setting: str
    migrations: Path
    lock: int


def open_database(url: str, schema: Schema) -> sa.Engine:
    """Connect to an absolute URL and migrate its tables to the newest schema.

    Raises:
        InputError: the URL or the database cannot be used.
    """
    engine = connect(url, schema)
    _migrate(engine, schema)
    return engine


def connect(url: str, schema: Schema) -> sa.Engine:
    """Connect to an absolute URL; the tables stay as they are."""
    try:
        engine = sa.create_engine(url)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise InputError(
            f"the {schema.name}'s URL cannot be used: {error}", remedy=f"Set {schema.setting}"
        ) from None
    if engine.dialect.name == "sqlite":
        _prepare_engine(engine)
    return engine


def open_sqlite(path: Path) -> sqlite3.Connection:
    """Open a SQLite file that has no migrations, and make it if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    prepare_connection(connection)
    return connection


def prepare_connection(connection: sqlite3.Connection) -> None:
    """Make a connection wait for locks, keep foreign keys, and use WAL where it can be had."""
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    deadline = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] not in ("wal", "memory"):
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break  # a file that cannot have WAL, such as one without locks, keeps its mode
        except sqlite3.OperationalError as error:
            # The switch needs the file for itself, and SQLite does not apply busy_timeout to it.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, 0.02))
    connection.execute("PRAGMA foreign_keys = ON")


def _prepare_engine(engine: sa.Engine) -> None:
    if engine.url.database and engine.url.database != ":memory:":
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # `begin` below starts transactions, not the driver
        prepare_connection(connection)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A writer takes the lock at once: SQLite does not wait for it halfway through.
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _migrate(engine: sa.Engine, schema: Schema) -> None:
    """Migrate in one transaction, which others that open the store wait for.

    Raises:
        InputError: the store was made by a newer version of this program.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(schema.migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with exclusive_transaction(engine, schema) as connection, _migrating:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({schema.lock})"))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise InputError(
                f"the {schema.name} {engine.url.render_as_string()} was made by a newer version"
                f" of stock-llm: {error}",
                remedy="Update stock-llm",
            ) from None


@contextmanager
def exclusive_transaction(engine: sa.Engine, schema: Schema) -> Iterator[sa.Connection]:
    """Run a transaction that no other SQLite writer overlaps; in PostgreSQL, lock what you need.

    Raises:
        InputError: the database refuses: the disk is full, the server is gone.
    """
    try:
        with (
            engine.connect().execution_options(immediate=True) as connection,
            connection.begin(),
        ):
            yield connection
    except sa.exc.DatabaseError as error:
        # error.orig alone: SQLAlchemy's own text repeats the statement with its values
        raise InputError(
            f"the {schema.name} {engine.url.render_as_string()}: {error.orig}"
        ) from None
