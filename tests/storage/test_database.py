"""Stores that are opened at the same moment wait for each other."""

import sqlite3
import subprocess
import sys
import threading

import pytest

from stock_llm.feedback.tables import SCHEMA as FEEDBACK
from stock_llm.gateway.accounting.tables import SCHEMA as COSTS
from stock_llm.storage.database import open_database, open_sqlite

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
        "    connection = open_sqlite(pathlib.Path(sys.argv[1], f'{number}.db'))\n"
        "    connection.execute('CREATE TABLE IF NOT EXISTS t (x)')\n"
        "    connection.execute('INSERT INTO t VALUES (1)')\n"
        "    connection.commit()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        assert process.communicate()[1] == b""
    for number in range(20):
        connection = open_sqlite(tmp_path / f"{number}.db")
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (4,)
        connection.close()


def test_a_switch_that_others_block_is_given_up_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr("stock_llm.storage.database.BUSY_SECONDS", 0.2)
    holder = sqlite3.connect(tmp_path / "held.db")
    holder.execute("CREATE TABLE t (x)")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        open_sqlite(tmp_path / "held.db")
    holder.close()
