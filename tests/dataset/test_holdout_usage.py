import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from stock_llm.dataset.holdout_usage import CANDIDATES_PER_SAMPLE, HoldoutUsage
from stock_llm.errors import StoreError
from stock_llm.storage import database

METHODS = {
    "draw": lambda usage: usage.draw("Q3"),
    "freeze": lambda usage: usage.freeze("Q3", "h1"),
    "count": lambda usage: usage.count_candidate("Q3", "h1", "candidate"),
    "all": lambda usage: usage.all(),
}


@pytest.fixture
def usage(tmp_path):
    return HoldoutUsage(tmp_path / "data" / "looks.db")


def test_a_candidate_counts_once_however_often_it_is_judged(usage):
    usage.freeze("Q3", "h1")
    usage.freeze("Q3", "h1")
    assert usage.count_candidate("Q3", "h1", "candidate 1") == 1
    assert usage.count_candidate("Q3", "h1", "candidate 1") == 1
    assert usage.count_candidate("Q3", "h1", "candidate 2") == 2
    (holdout,) = usage.all()
    assert (holdout.digest, holdout.period, holdout.looks) == ("h1", "Q3", 2)


def test_a_period_that_was_used_often_gets_other_rows(usage):
    assert usage.draw("Q3") == 0
    for number in range(CANDIDATES_PER_SAMPLE - 1):
        usage.count_candidate("Q3", "h1", f"candidate {number}")
    assert usage.draw("Q3") == 0
    usage.count_candidate("Q3", "h1", "the last")
    assert usage.draw("Q3") == 1
    assert usage.draw("Q4") == 0


def test_concurrent_uses_are_all_counted(usage):
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda number: usage.count_candidate("Q3", "h1", f"candidate {number}"), range(40)
            )
        )
    assert usage.count_candidate("Q3", "h1", "one more") == 41


@pytest.mark.parametrize("method", METHODS)
def test_a_damaged_file_is_told(usage, tmp_path, method):
    usage.freeze("Q3", "h1")
    file = tmp_path / "data" / "looks.db"
    file.write_bytes(b"no database" * 500)
    with pytest.raises(StoreError, match=r"looks\.db: file is not a database\. It is damaged"):
        METHODS[method](usage)


def test_a_damaged_page_is_told(usage, tmp_path):
    for number in range(200):
        usage.count_candidate("Q3", "h1", f"candidate {number} {'x' * 100}")
    file = tmp_path / "data" / "looks.db"
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"malformed\. It is damaged"):
        usage.draw("Q3")


@pytest.mark.parametrize("method", METHODS)
def test_a_locked_file_is_told(usage, tmp_path, monkeypatch, method):
    usage.freeze("Q3", "h1")
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    with sqlite3.connect(tmp_path / "data" / "looks.db") as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("INSERT INTO holdout VALUES ('h2', 'Q3', 'now')")
        with pytest.raises(StoreError, match=r"looks\.db: database is locked\. Another program"):
            METHODS[method](usage)
    other.close()


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"Make the file and its folder writable"):
        HoldoutUsage(tmp_path / "data" / "looks.db").draw("Q3")


def test_a_file_that_may_only_be_read_is_told(usage, monkeypatch):
    usage.freeze("Q3", "h1")
    connect = sqlite3.connect
    monkeypatch.setattr(
        database.sqlite3, "connect", lambda path: connect(f"file:{path}?mode=ro", uri=True)
    )
    with pytest.raises(StoreError, match=r"readonly database\. Make the file and its folder"):
        usage.count_candidate("Q3", "h1", "candidate")
