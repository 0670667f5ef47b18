"""The collect stage: counts that add up, the same bytes for the same input, nothing private, and
refusals that help.
"""

import hashlib
import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stock_llm.artifacts import History
from stock_llm.errors import InputError
from stock_llm.feedback.item import FeedbackItem
from stock_llm.feedback.store import FeedbackStore
from stock_llm.ledger.entries import LEDGER_SCHEMA
from stock_llm.pipeline.inputs import input_digest
from stock_llm.secrets import account_hash
from stock_llm.settings import Settings, load_settings
from tasks.collect import collect

SAMPLE = Path(__file__).parents[2] / "data" / "sample"

CANDLES = "Date,Open,High,Low,Close,Volume\n" + "".join(
    f"2024-03-{day:02d},10,12,9,11,500\n" for day in range(1, 11)
)
TRADES = (
    "trade_id,date,symbol,side,quantity,price,fee,currency,account,note\n"
    "T1,2024-03-01T15:00:00Z,ABC,BUY,3,10.5,1,USD,U7654321,my secret plan\n"
    "T2,2024-03-04T15:00:00Z,ABC,SELL,1,11,1,USD,U7654321,\n"
    "T2,2024-03-04T15:00:00Z,ABC,SELL,1,11,1,USD,U7654321,\n"
    "T3,someday,ABC,SELL,1,11,1,USD,U7654321,another plan\n"
)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home with its own trades, candles and secrets."""
    monkeypatch.setenv("STOCK_LLM_SECRETS", str(tmp_path / "secrets"))
    (tmp_path / "my/candles").mkdir(parents=True)
    (tmp_path / "my/trades.csv").write_text(TRADES)
    (tmp_path / "my/candles/ABC.csv").write_text(CANDLES)
    return tmp_path


def settings_of(home: Path) -> Settings:
    return load_settings(home=home, trades=Path("my/trades.csv"), candles=Path("my/candles"))


def contents(history: History) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in (history.trades, history.candles, history.feedback, history.quarantine)
    }


def test_every_row_is_stored_set_aside_or_counted(home):
    history = collect.fn(settings_of(home))
    assert history.rows_read == {"trades": 4, "candles": 10, "feedback": 0}
    assert history.rows_kept == {"trades": 2, "candles": 10, "feedback": 0}
    assert history.rows_quarantined == {"trades": 1, "candles": 0, "feedback": 0}
    assert history.rows_duplicate == {"trades": 1, "candles": 0, "feedback": 0}
    assert (history.symbols, history.first_day, history.last_day) == (
        ["ABC"],
        "2024-03-01",
        "2024-03-10",
    )
    ledger = pq.read_table(history.trades)
    assert ledger.schema.equals(LEDGER_SCHEMA)
    assert ledger["entry_id"].to_pylist() == ["generic:T1", "generic:T2"]
    (bad,) = pq.read_table(history.quarantine).to_pylist()
    assert (bad["kind"], bad["file"], bad["row"]) == ("trades", "trades.csv", 5)
    assert bad["reason"] == "the date cannot be read: 'someday'"


def test_the_same_input_is_the_same_bytes_and_the_same_digest(home):
    settings = settings_of(home)
    first = collect.fn(settings)
    before = contents(first)
    shutil.rmtree(home / "data" / "private")
    again = collect.fn(settings)
    assert again.digest == first.digest == input_digest(settings)
    assert contents(again) == before


def test_nothing_new_reads_no_file_again(home):
    history = collect.fn(settings_of(home))
    stamp = history.trades.stat().st_mtime_ns
    assert collect.fn(settings_of(home)) == history
    assert history.trades.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    "changed", ["my/trades.csv", "my/candles/ABC.csv", "my/candles/new.csv", "feedback"]
)
def test_anything_new_is_another_digest(home, changed):
    settings = settings_of(home)
    before = input_digest(settings)
    if changed == "feedback":
        FeedbackStore(settings.url(settings.feedback_url)).add(
            [FeedbackItem(instruction="x", response="y", thumb="up")]
        )
    else:
        with (home / changed).open("a") as stream:
            stream.write("\n")
    assert input_digest(settings) != before


def test_feedback_is_carried_over(home):
    settings = settings_of(home)
    FeedbackStore(settings.url(settings.feedback_url)).add(
        [FeedbackItem(id=name, instruction=name, response="y", thumb="up") for name in ("b", "a")]
    )
    history = collect.fn(settings)
    assert history.feedback_ids == ["a", "b"]
    assert len(pq.read_table(history.feedback)) == history.rows_kept["feedback"] == 2


def test_accounts_and_notes_do_not_leave(home):
    history = collect.fn(settings_of(home))
    (account,) = set(pq.read_table(history.trades)["account"].to_pylist())
    assert (
        account
        == account_hash("U7654321", settings_of(home).secrets)
        != hashlib.sha256(b"U7654321").hexdigest()[:16]
    )
    ledger = str(pq.read_table(history.trades).to_pylist())
    assert "7654321" not in ledger
    assert "plan" not in ledger


def _hash_in(home: str) -> str:
    return account_hash("U1", load_settings(home=Path(home)).secrets)


def test_the_salt_is_made_once_for_the_owner_alone(home):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert len(set(pool.map(_hash_in, [str(home)] * 16, chunksize=1))) == 1
    folder = home / "secrets"
    assert [path.name for path in folder.iterdir()] == ["salt"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "salt").stat().st_mode & 0o777 == 0o600
    (folder / "salt").unlink()
    assert account_hash("U1", settings_of(home).secrets) != account_hash(
        "U2", settings_of(home).secrets
    )
    assert account_hash("", settings_of(home).secrets) == ""


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda home: (home / "my/trades.csv").unlink(),
            "trades.csv: no trades: no such file or folder.* set STOCK_LLM_TRADES",
        ),
        (
            lambda home: shutil.rmtree(home / "my/candles"),
            "candles: no candles: no such file or folder",
        ),
        (
            lambda home: (home / "my/candles/ABC.csv").unlink(),
            "no candles: no .csv, .txt, .parquet file in it",
        ),
        (lambda home: (home / "my/trades.csv").write_text(""), "trades.csv: the file is empty"),
        (lambda home: (home / "my/trades.csv").write_bytes(b"\x00\x01\x02" * 99), "trades.csv: "),
        (
            lambda home: (home / "my/candles/ABC.csv").write_bytes(b"\xd0\xcf\x11\xe0" * 99),
            "ABC.csv: this is an old Excel workbook",
        ),
        (
            lambda home: (home / "my/trades.csv").write_text(TRADES.replace("2024", "soon")),
            "row 2: 4 of 4 rows are bad.*'soon-03",
        ),
        (
            lambda home: (home / "my/trades.csv").write_text(TRADES.replace("price", "preis")),
            "column 'price' is missing",
        ),
        (
            lambda home: (home / "my/candles/ABC.csv").rename(home / "my/candles/XYZ.csv"),
            r"my/trades.csv, row 2: there are trades in ABC but no candles for it in .*my/candles. Put ABC.csv",
        ),
    ],
)
def test_fatal_errors_name_the_place_and_the_remedy(home, break_it, message):
    break_it(home)
    with pytest.raises(InputError, match=message):
        collect.fn(settings_of(home))
    assert not list((home / "data" / "private").glob("history/*/artifact.json"))


def test_a_folder_of_trades(home):
    (home / "my/trades").mkdir()
    for name in ("a.csv", "b.csv"):
        shutil.copy(home / "my/trades.csv", home / "my/trades" / name)
    settings = load_settings(home=home, trades=Path("my/trades"), candles=Path("my/candles"))
    history = collect.fn(settings)
    assert history.rows_kept["trades"] == 2
    assert history.rows_duplicate["trades"] == 4


def test_the_sample_is_whole(home):
    shutil.copytree(SAMPLE, home / "data/sample")
    history = collect.fn(load_settings(home=home))
    assert history.rows_kept["trades"] == history.rows_read["trades"] == 700
    assert history.rows_kept["candles"] == history.rows_read["candles"] == 12516
    assert history.last_day == "2025-12-31"


def test_asking_whether_anything_is_new_loads_no_heavy_library(home):
    script = (
        "import sys; from pathlib import Path; from stock_llm.pipeline.inputs import input_digest;"
        "from stock_llm.settings import load_settings;"
        "input_digest(load_settings(home=Path(sys.argv[1]), trades=Path('my/trades.csv'), candles=Path('my/candles')));"
        "print({'pandas', 'pyarrow', 'prefect', 'numpy', 'torch'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(home)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "set()"
