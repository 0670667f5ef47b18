"""A database as a source of trades, on a real SQLite file, and on a PostgreSQL server."""

import logging
import sqlite3
import tracemalloc
from decimal import Decimal

import pytest
import sqlalchemy as sa

from stock_llm.errors import InputError
from stock_llm.importers import database_reader, engine
from stock_llm.importers.database_reader import DatabaseSource

D = Decimal
QUERY = """
    SELECT id AS trade_id, day AS date, paper AS symbol, side, units AS quantity, price, fee, money AS currency, depot AS account
    FROM fills
"""
ROWS = [
    (1, "2024-01-15 14:30:00", "AAPL", "BUY", 10, 182.5, 1, "USD", "DE-4711"),
    (2, "2024-01-16", "MSFT", "sell", 2.5, 390.25, 0, "USD", "DE-4711"),
    (3, "2024-01-17", "SAP.DE", "BUY", "1.234", "160,10", None, "EUR", "DE-4712"),
    (4, "whenever", "AAPL", "BUY", 1, 1, 0, "USD", "DE-4711"),
    (5, "2024-01-18", "AAPL", "HODL", 1, 1, 0, "USD", "DE-4711"),
    (6, "2024-01-18", "AAPL", "BUY", 1, 180, 0, "USD", None),
    (7, "2024-01-18", "AAPL", "BUY", 1, 180, 0, "USD", None),
]


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "portfolio.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE fills (id INTEGER, day, paper, side, units, price, fee, money, depot)"
        )
        connection.executemany("INSERT INTO fills VALUES (?,?,?,?,?,?,?,?,?)", ROWS)
    return f"sqlite:///{path}"


def _hash(account: str) -> str:
    return f"hash of {account}" if account else ""


def test_rows_become_entries(database):
    read = database_reader.read_query(DatabaseSource("portfolio", database, QUERY), _hash).imported
    assert (read.rows_read, read.rows_kept, len(read.quarantined)) == (7, 5, 2)
    entries = sorted(read.entries, key=lambda entry: entry.source_row)
    assert [
        (entry.kind, entry.symbol, entry.quantity, entry.price, entry.fee, entry.currency)
        for entry in entries
    ] == [
        ("BUY", "AAPL", D(10), D("182.5"), D(1), "USD"),
        ("SELL", "MSFT", D("2.5"), D("390.25"), D(0), "USD"),
        ("BUY", "SAP.DE", D(1234), D("160.1"), D(0), "EUR"),
        ("BUY", "AAPL", D(1), D(180), D(0), "USD"),
        ("BUY", "AAPL", D(1), D(180), D(0), "USD"),
    ]
    assert entries[0].executed_at.isoformat() == "2024-01-15T14:30:00+00:00"
    assert entries[0].account == "hash of DE-4711"
    assert entries[0].entry_id == "sql-portfolio:1"
    assert [row.reason for row in read.quarantined] == [
        "the date cannot be read: 'whenever'",
        "unknown action 'HODL'",
    ]
    assert read.quarantined[0].raw.startswith("4,whenever,AAPL")


def test_a_database_gives_what_the_same_table_as_a_file_gives(database, tmp_path):
    query = QUERY.replace("id AS trade_id, ", "") + " WHERE id IN (1, 2, 6, 7)"
    from_sql = database_reader.read_query(
        DatabaseSource("portfolio", database, query), _hash
    ).imported
    path = tmp_path / "portfolio.csv"
    lines = ["date,symbol,side,quantity,price,fee,currency,account"]
    lines += [
        ",".join("" if value is None else str(value) for value in ROWS[at][1:])
        for at in (0, 1, 5, 6)
    ]
    path.write_text("\n".join(lines))
    from_file = engine.read_export(path, _hash)
    different = ("entry_id", "source_format", "source_file", "source_row")
    assert (
        from_sql.table.drop_columns(different).to_pylist()
        == from_file.table.drop_columns(different).to_pylist()
    )
    assert len(set(from_sql.table["entry_id"].to_pylist())) == 4  # two equal fills are two


def test_only_what_is_new_is_read(database):
    source = DatabaseSource("portfolio", database, QUERY, watermark="trade_id")
    first = database_reader.read_query(source, _hash)
    assert first.watermark == "int:7"
    again = database_reader.read_query(source, _hash, since=first.watermark)
    assert [entry.entry_id for entry in again.imported.entries] == [
        "sql-portfolio:7"
    ]  # a row with the same mark may have come late
    with sqlite3.connect(database.removeprefix("sqlite:///")) as connection:
        connection.execute(
            "INSERT INTO fills VALUES (8, '2024-02-01', 'NVDA', 'BUY', 1, 600, 0, 'USD', NULL)"
        )
        connection.execute(
            "INSERT INTO fills VALUES (NULL, '2024-02-02', 'NVDA', 'BUY', 1, 601, 0, 'USD', NULL)"
        )
    later = database_reader.read_query(source, _hash, since=again.watermark)
    assert [
        entry.price for entry in sorted(later.imported.entries, key=lambda entry: entry.price)
    ] == [
        D(180),
        D(600),
        D(601),
    ]
    assert later.watermark == "int:8"


def test_nothing_new_is_no_error(database):
    source = DatabaseSource("portfolio", database, QUERY, watermark="trade_id")
    read = database_reader.read_query(source, _hash, since="int:99")
    assert (read.imported.rows_read, read.imported.table.num_rows, read.watermark) == (
        0,
        0,
        "int:99",
    )


def test_a_watermark_of_several_kinds(database):
    with sqlite3.connect(database.removeprefix("sqlite:///")) as connection:
        connection.execute(
            "INSERT INTO fills VALUES ('eight', '2024-02-01', 'NVDA', 'BUY', 1, 600, 0, 'USD', NULL)"
        )
    with pytest.raises(InputError, match="trade_id has values that cannot be compared"):
        database_reader.read_query(
            DatabaseSource("portfolio", database, QUERY, watermark="trade_id"), _hash
        )


@pytest.mark.parametrize(
    ("mark", "text"),
    [(7, "int:7"), ("2024-01-18", "str:2024-01-18"), (D("7.5"), "Decimal:7.5"), (1.5, "float:1.5")],
)
def test_watermarks_keep_their_type(mark, text):
    assert database_reader._written(mark) == text
    assert database_reader._parsed(text) == mark
    assert type(database_reader._parsed(text)) is type(mark)


def test_a_users_own_format_names_the_columns(database, tmp_path):
    own = tmp_path / "formats"
    own.mkdir()
    (own / "fills.toml").write_text(
        'name = "fills"\ntitle = "Our system"\nheader = ["paper", "units"]\n[columns]\ndate = "day"\nsymbol = "paper"\n'
        'action = "side"\nquantity = "units"\nprice = "price"\ncurrency = "money"\n[kinds]\nBUY = "BUY"\nSELL = "sell"\n'
    )
    read = database_reader.read_query(
        DatabaseSource("ours", database, "SELECT * FROM fills"), _hash, own=own
    ).imported
    assert read.rows_kept == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": "SELECT * FROM fillz"}, "no such table: fillz"),
        ({"query": "SELECT colour FROM fills"}, "no such column: colour"),
        (
            {"query": "SELECT day, paper FROM fills"},
            "gives the columns day, paper, which no format knows.*AS date",
        ),
        ({"query": "DELETE FROM fills"}, "no SELECT"),
        ({"query": "SELECT :x AS date FROM fills"}, "colon"),
        ({"watermark": "changed"}, "no column changed.*it has trade_id, date"),
        (
            {"query": QUERY.replace("id AS trade_id", "id AS number"), "watermark": "number"},
            "must be a column trade_id",
        ),
        ({"url": "sqlite:////nowhere/at/all.db"}, "there is no SQLite file"),
        ({"url": "nonsense"}, "not a database URL"),
        (
            {"url": "oracle+oracledb://u:hunter2@h/d"},
            "no driver for oracle.oracledb.*pip install 'oracledb'",
        ),
        ({"url": "unheardof://u:hunter2@h/d"}, "no driver for unheardof"),
    ],
)
def test_errors_name_the_source_and_the_remedy(database, change, message):
    given = {"name": "portfolio", "url": database, "query": QUERY, **change}
    with pytest.raises(InputError, match=message) as caught:
        database_reader.read_query(DatabaseSource(**given), _hash)
    assert str(caught.value).startswith("portfolio: ")
    assert "hunter2" not in str(caught.value)


def test_the_database_is_only_read(database):
    with pytest.raises(InputError):
        database_reader.read_query(
            DatabaseSource("portfolio", database, "WITH x AS (SELECT 1) DELETE FROM fills"), _hash
        )
    with sqlite3.connect(database.removeprefix("sqlite:///")) as connection:
        assert connection.execute("SELECT count(*) FROM fills").fetchone() == (7,)


def test_passwords_are_in_no_message_log_or_entry(caplog, monkeypatch):
    """A driver that puts the whole URL into its error, as some do."""
    caplog.set_level(logging.DEBUG)
    url = "postgresql+psycopg://me:p%40ss-word@127.0.0.1:1/db?sslpassword=second-secret"

    def connect(*_args, **_kwargs):
        raise sqlite3.OperationalError(f"cannot connect with {url} nor p@ss-word nor second-secret")

    real = sa.create_engine
    monkeypatch.setattr(
        sa, "create_engine", lambda *_args, **kwargs: real("sqlite://", creator=connect, **kwargs)
    )
    with pytest.raises(InputError) as caught:
        database_reader.read_query(DatabaseSource("portfolio", url, QUERY), _hash)
    shown = [
        str(caught.value),
        repr(caught.value.__cause__),
        repr(DatabaseSource("portfolio", url, QUERY)),
        caplog.text,
    ]
    assert caught.value.__suppress_context__
    for secret in ("p@ss-word", "p%40ss-word", "second-secret"):
        assert not any(secret in text for text in shown)


def test_rows_come_in_chunks(tmp_path, monkeypatch):
    """While 10,000 rows are fetched, Python never holds more than a chunk of 200 of them."""
    monkeypatch.setattr(database_reader, "_CHUNK", 200)
    path = tmp_path / "big.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE fills (id INTEGER, day, paper, side, units, price, fee, money, depot)"
        )
        rows = (
            (at, "2024-01-15", f"S{at % 50}", "BUY", at % 90 + 1, 1.5, 0, "USD", "a")
            for at in range(10_000)
        )
        connection.executemany("INSERT INTO fills VALUES (?,?,?,?,?,?,?,?,?)", rows)
    source = DatabaseSource("big", f"sqlite:///{path}", QUERY, watermark="trade_id")
    with database_reader._engine(source).connect() as connection:
        tracemalloc.start()
        header, columns, watermark = database_reader._rows(connection, source, "")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (len(header.cells), len(columns[0]), watermark) == (9, 10_000, "int:9999")
    assert peak < 1_000_000  # as tuples of Python objects they are several times that


@pytest.fixture
def fills(postgres):
    server = sa.create_engine(postgres)
    with server.begin() as connection:
        connection.execute(
            sa.text(
                """
                CREATE TABLE fills
                (id bigint, at timestamptz, paper text, side text, units numeric(20, 6), price numeric(20, 6), changed timestamp)
                """
            )
        )
        connection.execute(
            sa.text(
                """
                INSERT INTO fills
                SELECT n, timestamptz '2024-01-15 09:30:00-05' + n * interval '1 minute', 'S' || n % 7,
                    CASE n % 2 WHEN 0 THEN 'buy' ELSE 'sell' END, n / 8.0, 100.25, timestamp '2024-02-01' + n * interval '1 hour'
                FROM generate_series(1, 25000) n
                """
            )
        )
    server.dispose()
    return postgres


def test_postgresql(fills):
    query = """
        SELECT id AS trade_id, at AS date, paper AS symbol, side, units AS quantity, price, changed
        FROM fills ORDER BY id
    """
    source = DatabaseSource("warehouse", fills, query, watermark="changed")
    first = database_reader.read_query(source, _hash)
    assert first.imported.rows_kept == 25_000
    entry = min(first.imported.entries, key=lambda entry: entry.executed_at)
    assert (entry.kind, entry.symbol, entry.quantity, entry.price) == (
        "SELL",
        "S1",
        D("0.125"),
        D("100.25"),
    )
    assert entry.executed_at.isoformat() == "2024-01-15T14:31:00+00:00"
    assert first.watermark.startswith("datetime:2026-12-08T16:00")
    assert database_reader.read_query(source, _hash, since=first.watermark).imported.rows_kept == 1
    with pytest.raises(InputError, match="nowhere") as caught:
        database_reader.read_query(
            DatabaseSource("warehouse", fills, "SELECT * FROM nowhere"), _hash
        )
    assert "does not exist" in str(caught.value)


def test_orders_that_were_not_carried_out_are_no_trades(tmp_path):
    path = tmp_path / "orders.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE orders (date, symbol, side, quantity, price, status)")
        states = ("Filled", "Cancelled", "Rejected", "Open")
        connection.executemany(
            "INSERT INTO orders VALUES ('2024-05-06', 'ACME', 'BUY', 1, 10, ?)",
            [(state,) for state in states],
        )
    read = database_reader.read_query(
        DatabaseSource("orders", f"sqlite:///{path}", "SELECT * FROM orders"), _hash
    ).imported
    assert read.rows_kept == 1
    assert [row.row for row in read.skipped] == [2, 3, 4]
