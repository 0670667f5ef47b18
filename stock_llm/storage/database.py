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
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from stock_llm.errors import InputError, StoreError

BUSY_SECONDS = 30
"""How long a connection waits for another one's lock."""

_ALLOW = "Make the file and its folder writable for you"
_REPAIR = "It is damaged: put a copy from a backup in its place, or move it away to begin a new one"
_SQLITE_REMEDIES = {
    sqlite3.SQLITE_BUSY: "Another program holds it: try again when that one has ended",
    sqlite3.SQLITE_FULL: "Make room on its disk and try again",
    sqlite3.SQLITE_IOERR: "See whether its disk is full or failing, and try again",
    sqlite3.SQLITE_READONLY: _ALLOW,
    sqlite3.SQLITE_CANTOPEN: _ALLOW,
}

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
        version_table: where Alembic keeps its revision; stores that share a database have each
            their own.
    """

    name: str
    setting: str
    migrations: Path
    lock: int
    version_table: str = "alembic_version"


def open_database(url: str, schema: Schema) -> sa.Engine:
    """Connect to an absolute URL and migrate its tables to the newest schema.

    Raises:
        InputError: the URL cannot be used, or a newer version of this program made the store.
        StoreError: the database cannot be read or written.
    """
    engine = connect(url, schema)
    _migrate(engine, schema)
    return engine


def connect(url: str, schema: Schema) -> sa.Engine:
    """Connect to an absolute URL; the tables stay as they are.

    Raises:
        InputError: the URL cannot be used.
        StoreError: the folder of the file cannot be made.
    """
    try:
        engine = sa.create_engine(url)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise InputError(
            f"the {schema.name}'s URL cannot be used: {error}", remedy=f"Set {schema.setting}"
        ) from None
    if engine.dialect.name == "sqlite":
        with _translated(engine, schema):
            _prepare_engine(engine)
    return engine


@contextmanager
def open_sqlite(path: Path, name: str) -> Iterator[sqlite3.Connection]:
    """Open a SQLite file that has no migrations for one transaction; make it if it is missing.

    Args:
        name: what messages call the store.

    Raises:
        StoreError: the file cannot be read or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path)) as connection:
            prepare_connection(connection)
            with connection:
                yield connection
    except (sqlite3.DatabaseError, OSError, UnicodeDecodeError) as error:
        raise StoreError(f"the {name} {path}: {error}. {_sqlite_remedy(error)}") from None


def _sqlite_remedy(problem: object) -> str:
    if isinstance(problem, OSError):
        return _ALLOW
    return _SQLITE_REMEDIES.get(getattr(problem, "sqlite_errorcode", 0) & 0xFF, _REPAIR)


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
    """Migrate in one transaction, which others that open the store wait for. A store that needs no
    migration is only read, so that opening one does not wait for those who write into it.

    Raises:
        InputError: the store was made by a newer version of this program.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(schema.migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    newest = ScriptDirectory.from_config(config).get_current_head()
    with read_transaction(engine, schema) as connection:
        options = {"version_table": schema.version_table}
        context = MigrationContext.configure(connection, opts=options)
        if context.get_current_revision() == newest:
            return
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


def check_sqlite(engine: sa.Engine, schema: Schema) -> None:
    """Read a SQLite file whole, about 100 MB a second; the server of another checks its own.

    Raises:
        StoreError: it is damaged.
    """
    if engine.dialect.name == "sqlite":
        with read_transaction(engine, schema) as connection:
            problem = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
        if problem != "ok":
            raise store_error(schema, engine.url, problem)


@contextmanager
def exclusive_transaction(
    engine: sa.Engine, schema: Schema, table: str = ""
) -> Iterator[sa.Connection]:
    """Run a transaction that no other SQLite writer overlaps.

    Args:
        table: which other writers wait for in PostgreSQL as well.

    Raises:
        InputError: a value is none that the database can hold.
        StoreError: the database refuses: the disk is full, the server is gone.
    """
    with (
        _translated(engine, schema),
        engine.connect().execution_options(immediate=True) as connection,
        connection.begin(),
    ):
        if table and connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"LOCK TABLE {table} IN EXCLUSIVE MODE"))
        yield connection


@contextmanager
def read_transaction(engine: sa.Engine, schema: Schema) -> Iterator[sa.Connection]:
    """Open a connection for reading. Raises: as `exclusive_transaction`."""
    with _translated(engine, schema), engine.connect() as connection:
        yield connection


def store_error(schema: Schema, url: sa.URL, problem: str, remedy: str = "") -> StoreError:
    """What is wrong with a database, in one line without the password.

    Args:
        remedy: by default that of a damaged one.
    """
    place = url.database if url.get_backend_name() == "sqlite" else url.render_as_string()
    return StoreError(
        f"the {schema.name} {place}: {' '.join(problem.split())}. {remedy or _REPAIR}"
    )


@contextmanager
def _translated(engine: sa.Engine, schema: Schema) -> Iterator[None]:
    try:
        yield
    except (sa.exc.DataError, sa.exc.IntegrityError, UnicodeEncodeError) as error:
        problem = getattr(error, "orig", error)
        raise InputError(f"the {schema.name} cannot hold a value: {problem}") from None
    except (sa.exc.DBAPIError, OSError, UnicodeDecodeError) as error:
        # error.orig alone: SQLAlchemy's own text repeats the statement with its values
        problem = getattr(error, "orig", error)
        remedy = f"See that its server runs and has room; {schema.setting} says where it is"
        if isinstance(problem, OSError) or engine.dialect.name == "sqlite":
            remedy = _sqlite_remedy(problem)
        raise store_error(schema, engine.url, str(problem), remedy) from None
