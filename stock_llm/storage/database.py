"""How a store's database is opened: made or migrated first, SQLite (WAL) or PostgreSQL.

In: an SQLAlchemy URL and what the store is. Out: an engine whose transactions are safe side by side. Does not know what is in it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from stock_llm.errors import InputError


@dataclass(frozen=True)
class Schema:
    """A store: what people call it, the setting with its URL, the folder of its migrations, its number for PostgreSQL's locks."""

    name: str
    setting: str
    migrations: Path
    lock: int


def open_database(url: str, schema: Schema) -> sa.Engine:
    """The engine of an absolute URL, its tables at the newest schema.

    Raises:
        InputError: the URL or the database cannot be used.
    """
    engine = connect(url, schema)
    _migrate(engine, schema)
    return engine


def connect(url: str, schema: Schema) -> sa.Engine:
    """The engine of an absolute URL, its tables as they are."""
    try:
        engine = sa.create_engine(url)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise InputError(
            f"the {schema.name}'s URL cannot be used: {error}", remedy=f"Set {schema.setting}"
        ) from None
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    return engine


def _prepare_sqlite(engine: sa.Engine) -> None:
    """Readers never wait (WAL); a writer takes the lock when it begins, not halfway, where waiting would not help."""
    if engine.url.database and engine.url.database != ":memory:":
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)

    @sa.event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = (
            None  # transactions begin where `begin` below says, not where the driver guesses
        )
        connection.execute("PRAGMA busy_timeout = 30000")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _migrate(engine: sa.Engine, schema: Schema) -> None:
    """Brings the tables to the newest schema, in one transaction: two that open a store at once do not disturb each other.

    Raises:
        InputError: the store was made by a newer version of this program.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(schema.migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with exclusive_transaction(engine, schema) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({schema.lock})"))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise InputError(
                f"the {schema.name} {engine.url.render_as_string()} was made by a newer version of stock-llm: {error}",
                remedy="Update stock-llm",
            ) from None


@contextmanager
def exclusive_transaction(engine: sa.Engine, schema: Schema) -> Iterator[sa.Connection]:
    """A transaction that on SQLite no other writer is inside of at the same time; on PostgreSQL, lock what must be.

    Raises:
        InputError: the database refuses: the disk is full, the server is gone.
    """
    try:
        with engine.connect().execution_options(immediate=True) as connection, connection.begin():
            yield connection
    except sa.exc.DatabaseError as error:
        # the driver's own words: SQLAlchemy's repeat the statement with what people wrote; a URL's password is hidden
        raise InputError(
            f"the {schema.name} {engine.url.render_as_string()}: {error.orig}"
        ) from None
