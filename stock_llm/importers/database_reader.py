"""Reads trades from a database: any SQLAlchemy URL and a query.

In: URL, query, and the watermark of the last time. Out: the same `Import` as of a file, and the
watermark for the next time. The query's columns are found by name, as in a plain table
(generic.toml: date, symbol, side, quantity, price, …) or as a format of the user's says. Rows come
in chunks and stay columns of text, so memory does not hold them twice; the database is only read. A
URL holds a password: it is in no message and in no entry. Watermarks are stored by
pipeline/trades_database.py.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from stock_llm.errors import InputError
from stock_llm.importers.engine import Import, import_sheets
from stock_llm.importers.format_spec import Format, Header, available_formats, best_format
from stock_llm.importers.table_reader import Sheet, Workbook
from stock_llm.ledger.entries import LEDGER_SCHEMA

if TYPE_CHECKING:
    import sqlalchemy as sa

_CHUNK = 10_000
"""Rows that the database hands over at a time."""

_DRIVERS = {
    "postgresql": ("psycopg[binary]", "postgresql+psycopg"),
    "mysql": ("pymysql", "mysql+pymysql"),
    "mariadb": ("pymysql", "mariadb+pymysql"),
    "mssql": ("pyodbc", "mssql+pyodbc"),
    "oracle": ("oracledb", "oracle+oracledb"),
    "duckdb": ("duckdb-engine", "duckdb"),
}
"""Kind of database → what to install, and how its URL begins then."""

_COLUMNS = (
    "date, symbol, side, quantity, price, and time, isin, fee, tax, currency, account, trade_id"
    " where there are such"
)


@dataclass(frozen=True)
class DatabaseSource:
    """Where trades are.

    Attributes:
        name: what entries and messages call it.
        url: SQLAlchemy URL; shown in no message, for it may hold a password.
        query: one SELECT. A table's own names are given the known ones by it: `SELECT day AS date,
            … FROM fills`.
        watermark: a column that only grows, such as a number or the time of the last change; only
            rows from the last one seen on are read, so there must be a trade_id. Empty: every row,
            every time.
        timezone: IANA zone of times without one; empty: UTC.
    """

    name: str
    url: str = field(repr=False)
    query: str
    watermark: str = ""
    timezone: str = ""


@dataclass(frozen=True)
class QueryResult:
    """What a query gave, and what to give `read` the next time; an empty watermark: there was
    none."""

    imported: Import
    watermark: str


def read_query(
    source: DatabaseSource,
    account_hash: Callable[[str], str],
    since: str = "",
    own: Path | None = None,
) -> QueryResult:
    """Imports a query's rows; they are numbered as they come.

    Args:
        source: the database and the query.
        account_hash: what makes a salted hash of an account id.
        since: the watermark of the last time. Rows that have just this one are read again: a later
            row may have it too.
        own: folder with the user's formats.

    Raises:
        InputError: no driver, no server, no table, a query that is no SELECT, or columns that no
            format knows.
    """
    engine = _engine(source)
    try:
        with _translated(source), engine.connect() as connection:
            header, columns, watermark = _rows(connection, source, since)
    finally:
        engine.dispose()
    form = _format(header, source, own)
    size = len(columns[0]) if columns else 0
    if not size:
        return QueryResult(Import(source.name, (form,), LEDGER_SCHEMA.empty_table(), 0), since)

    def raw(row: int) -> str:
        return ",".join(column[row - 1].as_py() for column in columns)

    sheet = Sheet(form, header, columns, np.arange(1, size + 1), raw)
    imported = import_sheets(Workbook(source.name, [sheet]), account_hash, Path(source.name))
    return QueryResult(imported, watermark or since)


def _engine(source: DatabaseSource) -> "sa.Engine":
    import sqlalchemy as sa

    try:
        url = sa.make_url(source.url)
    except sa.exc.ArgumentError:
        raise InputError(
            "not a database URL",
            file=source.name,
            remedy="It looks like postgresql+psycopg://user:password@host/database",
        ) from None
    in_file = (
        url.get_backend_name() == "sqlite"
        and url.database not in (None, "", ":memory:")
        and "uri" not in url.query
    )
    if in_file and not Path(str(url.database)).is_file():
        raise InputError(
            f"there is no SQLite file {url.database}", file=source.name, remedy="Correct the URL"
        )
    try:
        return sa.create_engine(url, hide_parameters=True)
    except (ImportError, sa.exc.NoSuchModuleError):
        package, begin = _DRIVERS.get(
            url.get_backend_name(), ("the driver that SQLAlchemy's documentation names", "its name")
        )
        raise InputError(
            f"no driver for {url.drivername} is installed",
            file=source.name,
            remedy=f"Run: pip install '{package}', and begin the URL with {begin}://",
        ) from None
    except sa.exc.ArgumentError as error:
        raise InputError(
            f"the URL cannot be used: {_harmless(error, source)}", file=source.name
        ) from None


@contextmanager
def _translated(source: DatabaseSource) -> Iterator[None]:
    """Turns errors of SQLAlchemy and its drivers into InputError, nowhere with the URL."""
    import sqlalchemy as sa

    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        raise InputError(
            f"the database says: {_harmless(error, source)}",
            file=source.name,
            remedy="Try the query in the database's own shell; a colon in it is written \\:",
        ) from None


def _harmless(error: Exception, source: DatabaseSource) -> str:
    """The first line of an error, without anything secret that the URL holds."""
    import sqlalchemy as sa

    text = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
    text = text.replace(source.url, "***")
    url = sa.make_url(source.url)
    secrets = [str(url.password or ""), url.render_as_string(hide_password=False)]
    for name, value in url.query.items():
        if re.search(r"pass|pwd|secret|token|key", name, re.IGNORECASE):
            secrets += [value] if isinstance(value, str) else list(value)
    raw = re.search(r"://[^:@/]*:([^@]*)@", source.url)  # as it was typed, before %40 became @
    for secret in sorted({*secrets, raw[1] if raw else ""} - {""}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text[:300]


def _rows(
    connection: "sa.Connection", source: DatabaseSource, since: str
) -> tuple[Header, list[pa.ChunkedArray], str]:
    """Header, columns as text, and the highest watermark."""
    import sqlalchemy as sa

    query = _query(connection, source, since)
    _only_read(connection)
    streaming = connection.execution_options(stream_results=True, yield_per=_CHUNK)
    result = streaming.execute(sa.text(query), {"since": _parsed(since)} if since else {})
    names = list(result.keys())
    at = _place(names, source)
    parts: list[list[pa.Array]] = [[] for _ in names]
    highest: Any = None
    for chunk in result.partitions(_CHUNK):
        for place, values in enumerate(zip(*chunk, strict=True)):
            parts[place].append(pa.array([_text(value) for value in values], pa.string()))
            if place == at:
                highest = _highest((*values, highest), source)
    return (
        Header(names),
        [pa.chunked_array(part, pa.string()) for part in parts],
        "" if highest is None else _written(highest),
    )


def _highest(values: Sequence[Any], source: DatabaseSource) -> Any:
    try:
        return max((value for value in values if value is not None), default=None)
    except TypeError:
        raise InputError(
            f"the watermark {source.watermark} has values that cannot be compared, such as numbers"
            " and text",
            file=source.name,
            remedy="CAST it to one type in the query",
        ) from None


def _only_read(connection: "sa.Connection") -> None:
    """Lets the database refuse or undo a query that writes all the same (`WITH … DELETE`)."""
    backend = connection.dialect.name
    if backend == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    elif backend == "postgresql":
        connection.execution_options(postgresql_readonly=True)
    elif backend in ("mysql", "mariadb"):
        connection.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")


def _query(connection: "sa.Connection", source: DatabaseSource, since: str) -> str:
    query = source.query.strip().rstrip(";")
    bare = re.sub(r"^(?:\s|--.*\n|/\*.*?\*/)+", "", query, flags=re.DOTALL)
    if not re.match(r"(?:select|with)\b", bare, re.IGNORECASE):
        raise InputError(
            "the query is no SELECT: a source is only read",
            file=source.name,
            remedy="Write SELECT … FROM …",
        )
    if not source.watermark or not since:
        return query
    column = connection.dialect.identifier_preparer.quote(source.watermark)
    return f"SELECT * FROM ({query}) stock_llm_source WHERE {column} >= :since OR {column} IS NULL"


def _place(names: Sequence[str], source: DatabaseSource) -> int:
    if not source.watermark:
        return -1
    lower = [name.lower() for name in names]
    if source.watermark.lower() not in lower:
        raise InputError(
            f"the query has no column {source.watermark}, the watermark; it has {', '.join(names)}",
            file=source.name,
            remedy="Add it to the query, or leave the watermark out",
        )
    return lower.index(source.watermark.lower())


def _format(header: Header, source: DatabaseSource, own: Path | None) -> Format:
    """The format of the columns, named after the source, so that ids of two databases differ."""
    form = best_format(available_formats(own), header, "csv")
    if form is None:
        raise InputError(
            f"the query gives the columns {', '.join(header.cells)[:200]}, which no format knows",
            file=source.name,
            remedy=f"Name them in the query, as in SELECT day AS date: {_COLUMNS}",
        )
    ids = form.columns["trade_id"].names if "trade_id" in form.columns else ()
    if source.watermark and all(header.find(name) is None for name in ids):
        raise InputError(
            "with a watermark there must be a column trade_id, or equal trades of two readings"
            " could not be told apart",
            file=source.name,
            remedy="Select the table's key AS trade_id, or leave the watermark out",
        )
    slug = re.sub(r"[^a-z0-9]+", "-", source.name.lower()).strip("-") or "database"
    changes = {
        "name": f"sql-{slug}",
        "timezone": source.timezone or form.timezone,
        "ignored": (*form.ignored, source.watermark),
    }
    return form.model_copy(update=changes)


def _text(value: Any) -> str:
    """A database's value as an export would write it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8", "replace")
    return str(value)


_KINDS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "Decimal": Decimal,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "str": str,
}


def _written(value: Any) -> str:
    """A watermark as text, with its kind: databases compare numbers with numbers."""
    kind = type(value).__name__
    if kind not in _KINDS:
        return f"str:{value}"
    return f"{kind}:{value.isoformat() if isinstance(value, date) else value}"


def _parsed(text: str) -> Any:
    kind, _, value = text.partition(":")
    return _KINDS.get(kind, str)(value)
