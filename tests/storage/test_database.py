"""Stores that are opened at the same moment wait for each other."""

import sqlite3
import subprocess
import sys
import threading

import pytest

from stock_llm.errors import StoreError
from stock_llm.feedback.tables import SCHEMA as FEEDBACK
from stock_llm.gateway.accounting.tables import SCHEMA as COSTS
from stock_llm.storage.database import open_database, open_sqlite, prepare_connection

ROUNDS = 5
"""With 150 rounds the store of before failed in six."""


@pytest.mark.parametrize("schema", [FEEDBACK, COSTS], ids=["feedback", "costs"])
def test_eight_threads_open_a_new_store_at_once(tmp_path, schema):
    def open_store(url):
        try:
            open_database(url, schema).dispose()
        except Exception as error:
            failures.append(error)

    failures: list[Exception] = []
    for number in range(ROUNDS):
        url = f"sqlite:///{tmp_path / f'{number}.db'}"
        threads = [threading.Thread(target=open_store, args=[url]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_processes_switch_a_new_file_to_wal_at_once(tmp_path):
    code = (
        "import sys, pathlib\n"
        "from stock_llm.storage.database import open_sqlite\n"
        "for number in range(20):\n"
        "    path = pathlib.Path(sys.argv[1], f'{number}.db')\n"
        "    with open_sqlite(path, 'test store') as connection:\n"
        "        connection.execute('CREATE TABLE IF NOT EXISTS t (x)')\n"
        "        connection.execute('INSERT INTO t VALUES (1)')\n"
        "        connection.commit()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        assert process.communicate()[1] == b""
    for number in range(20):
        with open_sqlite(tmp_path / f"{number}.db", "test store") as connection:
            assert connection.execute("SELECT count(*) FROM t").fetchone() == (4,)


def test_a_switch_that_others_block_is_given_up_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr("stock_llm.storage.database.BUSY_SECONDS", 0.2)
    holder = sqlite3.connect(tmp_path / "held.db")
    holder.execute("CREATE TABLE t (x)")
    holder.execute("BEGIN EXCLUSIVE")
    with (
        pytest.raises(StoreError, match="Another program holds it"),
        open_sqlite(tmp_path / "held.db", "test store"),
    ):
        pass
    holder.close()


@pytest.mark.parametrize("query", ["nolock=1", "vfs=unix-dotfile"])
def test_a_file_that_cannot_have_wal_is_used_without_it(tmp_path, query):
    connection = sqlite3.connect(f"file:{tmp_path / 'plain.db'}?{query}", uri=True)
    prepare_connection(connection)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    connection.close()


def test_a_switch_waits_while_another_connection_recovers_the_file():
    class Recovering:
        """Refuses the first switch as SQLite does while another process reads an old WAL."""

        refused = False

        def __init__(self, connection):
            self.execute_there = connection.execute

        def execute(self, statement):
            if statement.endswith("WAL") and not self.refused:
                self.refused = True
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
                raise error
            return self.execute_there(statement)

    connection = Recovering(sqlite3.connect(""))
    prepare_connection(connection)
    assert connection.refused


def test_opening_a_store_that_needs_no_migration_waits_for_no_writer(tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    open_database(url, FEEDBACK).dispose()
    writer = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    opened = threading.Thread(target=lambda: open_database(url, FEEDBACK).dispose())
    opened.start()
    opened.join(20)  # a lock is waited for 30 s
    assert not opened.is_alive()
    writer.close()
