import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from stock_llm.errors import InputError, StoreError
from stock_llm.feedback.item import FeedbackItem, read_parquet, write_parquet
from stock_llm.feedback.store import LEASE, SAMPLE_SOURCE, AddCounts, FeedbackStore, ForgottenMarks
from stock_llm.feedback.tables import SCHEMA
from stock_llm.storage.database import connect

PROJECT = Path(__file__).parents[2]
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def item(number, **changes):
    values = {
        "id": f"i{number}",
        "instruction": f"Analyze ACME {number}",
        "response": "Trend: UP",
        "thumb": "up",
        "created_at": NOON,
    }
    return FeedbackItem(**values | changes)


class Clock:
    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def url(store_url):
    return store_url


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(url, clock):
    return FeedbackStore(url, clock)


def test_items_come_back_as_given_oldest_first(store):
    bangkok = timezone(timedelta(hours=7))
    later = item(
        1,
        created_at=NOON + timedelta(minutes=1),
        thumb=None,
        rating=2,
        correction="ขาย 😀\r\n",
        comment="' OR 1=1 --",
        as_of="2026-02-27",
    )
    earlier = item(2, created_at=datetime(2026, 3, 2, 18, 59, tzinfo=bangkok))
    assert store.add([later, earlier]) == AddCounts(new=2, known=0)
    assert store.all(sample=True) == [earlier, later]
    assert store.all(sample=True)[0].created_at.tzinfo is UTC


def test_an_id_is_one_item_for_good(store):
    store.add([item(1)])
    assert store.add([item(1), item(2), item(2)]) == AddCounts(new=1, known=2)
    for again in ([item(3), item(1, thumb="down")], [item(4), item(4, rating=1)]):
        with pytest.raises(InputError, match=f"another item with the id '{again[1].id}'"):
            store.add(again)
    assert [item.id for item in store.all(sample=True)] == ["i1", "i2"]
    assert store.all(sample=True)[0].thumb == "up"


def test_the_sample_counts_only_with_its_trades(store):
    store.add([item(1, source=SAMPLE_SOURCE), item(2)])
    own = store.watermark(sample=False)
    assert [item.id for item in store.all(sample=False)] == ["i2"]
    assert (store.unused(sample=False), store.unused(sample=True)) == (1, 2)
    store.add([item(3, source=SAMPLE_SOURCE)])
    assert store.watermark(sample=False) == own


def test_the_watermark_changes_with_the_items_alone(store, url):
    empty = store.watermark(sample=True)
    store.add([item(1), item(2)])
    two = store.watermark(sample=True)
    store.add([item(1)])
    store.claim("b", ["i1"])
    store.settle("b", "keep")
    assert FeedbackStore(url).watermark(sample=True) == two != empty
    store.add([item(0, created_at=NOON - timedelta(days=9))])
    assert store.watermark(sample=True) != two


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rating": 6}, "rating"), ({"rating": True}, "rating"), ({"thumb": "sideways"}, "thumb"), ({"id": " "}, "id is empty"),
        ({"created_at": NOON.replace(tzinfo=None)}, "time zone"), ({"as_of": "20260131"}, "as_of"),
        ({"language": "fr"}, "language"),
        ({"comment": "a\0b"}, "comment"),
        ({"correction": "\ud800"}, "correction"),
        ({"symbol": 7}, "symbol"),
    ],
)  # fmt: skip
def test_a_wrong_value_names_its_field(change, message):
    with pytest.raises(ValueError, match=message):
        item(1, **change)


def test_parquet_holds_all_of_an_item(tmp_path):
    items = [
        item(1),
        item(2, thumb=None, rating=5, correction="", comment="ดี"),
        item(3, correction="x"),
    ]
    write_parquet(items, tmp_path / "f.parquet")
    assert read_parquet(tmp_path / "f.parquet") == items
    write_parquet([], tmp_path / "none.parquet")
    assert read_parquet(tmp_path / "none.parquet") == []


def jsonl(path, *lines):
    path.write_text(
        "\n".join(
            line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)
            for line in lines
        )
    )
    return path


def test_a_file_is_read_once_however_often(store, tmp_path):
    anonymous = {
        "instruction": "q",
        "response": "a",
        "rating": 4,
        "created_at": "2026-03-01T00:00:00Z",
    }
    path = jsonl(tmp_path / "f.jsonl", item(1).to_json(), "", anonymous)
    first, second = store.import_file(path), store.import_file(path)
    assert (first.new, first.known, first.rejected) == (2, 0, [])
    assert (second.new, second.known, second.rejected) == (0, 2, [])
    assert store.unused(sample=True) == 2


def test_bad_lines_are_reported_with_their_row(store, tmp_path):
    store.add([item(9)])
    good = [item(number).to_json() for number in range(1, 8)]
    bad = [
        "{not json",
        "[1]",
        item(1).to_json() | {"rating": 9},
        item(2, comment="other").to_json(),
        item(9, thumb="down").to_json(),
    ]
    bad += [
        item(8).to_json() | {"stars": 5},
        item(8).to_json() | {"thumb": None, "correction": " "},
    ]
    result = store.import_file(jsonl(tmp_path / "f.jsonl", *good, *bad), name="mine.jsonl")
    assert result.new == 7
    reasons = {rejected.row: rejected.reason for rejected in result.rejected}
    assert sorted(reasons) == [8, 9, 10, 11, 12, 13, 14]
    assert reasons[10] == "rating is 9, not a whole number from 1 to 5"
    assert (
        reasons[11] == "another item has the id 'i2'"
        and reasons[12] == "another item has the id 'i9'"
    )
    assert reasons[13] == "unknown field 'stars'"
    assert reasons[14] == "it has no rating, thumb, correction or comment"
    assert {rejected.file for rejected in result.rejected} == {"mine.jsonl"}


def test_a_file_without_feedback_stores_nothing(store, tmp_path):
    path = jsonl(tmp_path / "f.jsonl", item(1).to_json(), "symbol,side", "ACME,BUY")
    with pytest.raises(InputError, match=r"f\.jsonl, row 2: 2 of 3 rows are bad"):
        store.import_file(path)
    assert store.all(sample=True) == []
    path.write_bytes(b"\xff\x80")
    with pytest.raises(InputError, match="UTF-8"):
        store.import_file(path)


@pytest.mark.parametrize(
    ("verdict", "left"), [("promote", 1), ("keep", 1), ("reject", 3), ("failed", 3)]
)
def test_only_a_judged_candidate_uses_its_items(store, verdict, left):
    store.add([item(1), item(2), item(3)])
    store.claim("b", ["i1", "i2"])
    assert store.unused(sample=True) == 1
    store.settle("b", verdict, "because")
    assert store.unused(sample=True) == left


def test_what_was_used_once_stays_used(store):
    """Every dataset has all accepted feedback in it, so that the same item is in many."""
    store.add([item(1), item(2)])
    store.claim("first", ["i1"])
    store.settle("first", "keep")
    store.claim("second", ["i1", "i2"])
    assert store.unused(sample=True) == 0
    store.settle("second", "reject")
    assert store.unused(sample=True) == 1
    store.claim("first", ["i1"])
    store.settle("first", "failed", "killed when run once more")
    assert store.unused(sample=True) == 1


def test_a_crash_gives_the_items_back_when_the_lease_ends(store, clock):
    store.add([item(1)])
    store.claim("b", ["i1"])
    clock.now += LEASE - timedelta(minutes=1)
    assert store.unused(sample=True) == 0
    store.claim("b", ["i1"])
    clock.now += LEASE - timedelta(minutes=1)
    assert store.unused(sample=True) == 0
    clock.now += timedelta(minutes=2)
    assert store.unused(sample=True) == 1
    store.settle("b", "keep")
    assert store.unused(sample=True) == 0


def test_unknown_names_are_refused(store):
    store.add([item(1)])
    with pytest.raises(InputError, match="'gone'"):
        store.claim("b", ["i1", "gone"])
    assert store.unused(sample=True) == 1
    with pytest.raises(InputError, match="no feedback was claimed for 'b'"):
        store.settle("b", "keep")


def test_many_writers_and_openers_at_once(url):
    """Eight threads open the same new store and write the same and other items: none is lost or doubled."""
    failed = []

    def write(number):
        try:
            store = FeedbackStore(url)
            for turn in range(5):
                store.add([item("same"), item(f"{number}-{turn}")])
            store.claim(f"batch {number}", ["isame", f"i{number}-0"])
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(FeedbackStore(url).all(sample=True)) == 41
    assert FeedbackStore(url).unused(sample=True) == 32


def test_the_oldest_schema_is_upgraded_with_its_items(tmp_path):
    """A store as the first version of the schema made it, row written by hand."""
    path = tmp_path / "old.db"
    config = Config()
    config.set_main_option("script_location", str(SCHEMA.migrations))
    engine = connect(f"sqlite:///{path}", SCHEMA)
    with engine.connect().execution_options(immediate=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, ScriptDirectory.from_config(config).get_base())
    old = item(1, comment="old")
    row = old.to_json() | {"digest": old.digest}
    del row["user"]
    odd = row | {"id": "odd", "language": "xx", "created_at": "once", "symbol": "kite"}
    with sqlite3.connect(path) as raw:
        assert {
            name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        } == {
            "feedback",
            "alembic_version",
        }
        for values in (row, odd):
            raw.execute(
                f"INSERT INTO feedback ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                list(values.values()),
            )

    store = FeedbackStore(f"sqlite:///{path}")  # a row that is no item does not keep it shut
    columns = "SELECT answer, ticker, day, state, number FROM feedback ORDER BY number"
    with sqlite3.connect(path) as raw:
        assert raw.execute(columns).fetchall() == [
            (old.answer_key, "", "2026-03-02", "accepted", 1),
            (old.answer_key, "KITE", "once", "accepted", 2),
        ]
    assert store.forget("feedback", "odd")
    assert store.all(sample=True) == [old]
    assert store.add([old]) == AddCounts(new=0, known=1)
    store.claim("b", ["i1"])
    assert store.unused(sample=True) == 0
    assert store.forget("feedback", "i1") and not store.has("i1")
    assert store.add([old]) == AddCounts(new=0, known=0, forgotten=1)


def test_forgotten_items_release_their_batches_and_stay_out(store, url):
    store.add([item(1), item(2)])
    store.claim("b", ["i1", "i2"])
    store.settle("b", "keep")
    before = store.watermark(sample=True)
    assert store.forget("feedback", "i1")
    assert not store.forget("feedback", "i1")
    assert store.forget("account", "0123")
    assert [item.id for item in store.all(sample=True)] == ["i2"]
    assert store.watermark(sample=True) != before
    assert store.add([item(1, thumb="down"), item(3)]) == AddCounts(new=1, known=0, forgotten=1)
    assert store.unused(sample=True) == 1
    with pytest.raises(InputError, match="lost 1 items"):
        store.claim("c", ["i1"])
    again = FeedbackStore(url).forgotten()
    assert again == ForgottenMarks(feedback=frozenset({"i1"}), account=frozenset({"0123"}))
    assert bool(again) and not ForgottenMarks()


def test_a_newer_schema_is_left_alone(url):
    FeedbackStore(url)
    engine = sa.create_engine(url)
    with engine.begin() as raw:
        raw.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(InputError, match="newer version"):
        FeedbackStore(url)


def test_errors_name_the_store_and_hide_its_password(tmp_path):
    path = tmp_path / "text.db"
    path.write_text(
        "not a database, though it is longer than a header of one hundred bytes would be " * 3
    )
    with pytest.raises(StoreError, match=r"text\.db: file is not a database\. It is damaged"):
        FeedbackStore(f"sqlite:///{path}")
    with pytest.raises(InputError, match="STOCK_LLM_FEEDBACK_URL"):
        FeedbackStore("feedback.db")
    with pytest.raises(StoreError, match=r"text\.db.* Make the file and its folder writable"):
        FeedbackStore(f"sqlite:///{path}/feedback.db")
    with pytest.raises(
        StoreError, match=r"postgres:\*\*\*@127\.0\.0\.1:1/x: connection failed"
    ) as failed:
        FeedbackStore("postgresql+psycopg://postgres:secret@127.0.0.1:1/x")
    assert "secret" not in str(failed.value) and "\n" not in str(failed.value)


CALLS = {
    "add": lambda store: store.add([item(2)]),
    "import": lambda store: store.import_file(PROJECT / "data" / "sample" / "feedback.jsonl"),
    "accept": lambda store: store.accept(["i1"]),
    "claim": lambda store: store.claim("b", ["i1"]),
    "settle": lambda store: store.settle("a", "keep"),
    "forget": lambda store: store.forget("feedback", "i1"),
    "all": lambda store: store.all(sample=True),
    "watermark": lambda store: store.watermark(sample=True),
    "unused": lambda store: store.unused(sample=True),
    "waiting": lambda store: store.waiting(),
    "forgotten": lambda store: store.forgotten(),
    "has": lambda store: store.has("i1"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_locked_or_damaged_store_is_told_by_every_method(tmp_path, monkeypatch, call):
    monkeypatch.setattr("stock_llm.storage.database.BUSY_SECONDS", 0.1)
    path = tmp_path / "f.db"
    store = FeedbackStore(f"sqlite:///{path}")
    store.add([item(1)])
    store.claim("a", ["i1"])
    store._engine.dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"f\.db: database is locked\. Another program holds"):
            call(store)
        holder.execute("ROLLBACK")
    path.write_bytes(path.read_bytes()[:8192] + b"\xff" * (path.stat().st_size - 8192))
    with pytest.raises(
        StoreError, match=r"f\.db: database disk image is malformed\. It is damaged"
    ):
        call(store)


def test_a_full_disk_is_told_and_keeps_what_was_there(tmp_path):
    store = FeedbackStore(f"sqlite:///{tmp_path}/f.db")
    store.add([item(1)])

    @sa.event.listens_for(store._engine, "begin")
    def leave_no_room(connection):
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # the file keeps its size

    with pytest.raises(StoreError, match=r"f\.db: database or disk is full\. Make room"):
        store.add([item(number, response="x" * 9000) for number in range(2, 9)])
    assert store.all(sample=True) == [item(1)]


def test_a_value_that_no_database_holds_is_the_users_fault(store):
    with pytest.raises(InputError, match="cannot hold a value"):
        store.has("\ud800")


@pytest.mark.parametrize("state", ["bccepted", "ACCEPTED", "", None, b"\x01\x02", 7])
def test_a_state_that_there_is_not_is_told_with_its_item(tmp_path, state):
    store = FeedbackStore(f"sqlite:///{tmp_path}/f.db")
    store.add([item(1), item(2)])
    with closing(sqlite3.connect(tmp_path / "f.db")) as raw, raw:
        (sql,) = raw.execute("SELECT sql FROM sqlite_master WHERE name = 'feedback'").fetchone()
        raw.execute("PRAGMA writable_schema = ON")  # NULL is what only damage can write
        raw.execute(
            "UPDATE sqlite_master SET sql = ? WHERE name = 'feedback'",
            (sql.replace("state TEXT DEFAULT 'accepted' NOT NULL", "state TEXT"),),
        )
    with closing(sqlite3.connect(tmp_path / "f.db")) as raw, raw:
        raw.execute("UPDATE feedback SET state = ? WHERE id = ?", (state, item(1).id))
    for read in (
        lambda: store.all(sample=True),
        lambda: store.watermark(sample=True),
        lambda: store.unused(sample=True),
        store.waiting,
        lambda: store.add([item(1)]),
    ):
        with pytest.raises(StoreError, match=rf"the item '{item(1).id}' is damaged: its state is "):
            read()
    store.forget("feedback", item(1).id)
    assert store.all(sample=True) == [item(2)]


def test_flipped_bytes_are_told_or_change_nothing(tmp_path):
    items = [item(number, response="word " * 40) for number in range(40)]
    whole = FeedbackStore(f"sqlite:///{tmp_path}/whole.db")
    whole.add(items)
    whole._engine.dispose()
    with closing(sqlite3.connect(tmp_path / "whole.db")) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content, chance, errors = (tmp_path / "whole.db").read_bytes(), random.Random(4), 0
    for number in range(60):
        flipped = bytearray(content)
        for _ in range(4):
            flipped[chance.randrange(len(content))] ^= chance.randrange(1, 256)
        path = tmp_path / f"{number}.db"
        path.write_bytes(flipped)
        try:
            assert FeedbackStore(f"sqlite:///{path}").all(sample=True) == sorted(
                items, key=lambda each: each.id
            )
        except StoreError as error:
            errors += str(path) in str(error)
    assert errors > 20


_WRITER = """
import sys
from stock_llm.feedback.item import FeedbackItem
from stock_llm.feedback.store import FeedbackStore

store = FeedbackStore(sys.argv[1])
print("open", flush=True)
for turn in range(1000):
    items = [
        FeedbackItem(id=f"{sys.argv[2]}-{turn}-{n}", instruction=f"{turn} {n}?", response="a", symbol=str(n))
        for n in range(5)
    ]
    store.add(items)
"""


def test_a_writer_that_is_killed_leaves_whole_additions(tmp_path):
    url = f"sqlite:///{tmp_path}/f.db"
    chance = random.Random(5)
    for number in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", _WRITER, url, str(number)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None and child.stdout.readline() == "open\n"
        time.sleep(chance.uniform(0.0, 0.3))
        child.kill()
        child.wait()
        stored = FeedbackStore(url)
        waiting = sum(len(group.items) for group in stored.waiting())
        assert (len(stored.all(sample=True)) + waiting) % 5 == 0
        assert stored.add([item(f"after-{number}-{n}") for n in range(5)]).new == 5
