"""Every sample of every format through import and collect: twice changes nothing, nor does order;
only new files are read.
"""

import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from factories.further_samples import SHARED
from typer.testing import CliRunner

from stock_llm.cli.main import app
from stock_llm.errors import InputError
from stock_llm.importers import engine
from stock_llm.ledger.instruments import Instruments
from stock_llm.pipeline import import_command
from stock_llm.pipeline.inputs import input_digest
from stock_llm.portfolio import merging, positions
from stock_llm.portfolio.matching import LedgerName, match_names
from stock_llm.portfolio.valuation import ValuationInputs
from stock_llm.settings import load_settings
from tasks.collect import collect

EXPORTS = Path(__file__).parents[1] / "exports"
SAMPLES = sorted(
    path
    for folder in (EXPORTS, SHARED / "brokers")
    for path in folder.rglob("*")
    if path.suffix in (".csv", ".json", ".xml") and path.parent.name != "expected"
)
CANDLES = "Date,Open,High,Low,Close,Volume\n" + "".join(
    f"2024-03-{day:02d},10,12,9,11,500\n" for day in range(1, 11)
)
TRADES = "trade_id,date,symbol,side,quantity,price\nT1,2024-03-01,ABC,BUY,3,10.5\nT2,2024-03-04,ABC,SELL,1,11\n"


class Bookshelf:
    """Exports on disk as parts, in an order of one's own, and what becomes of them."""

    def __init__(self, folder, files, name):
        self.folder = folder
        folder.mkdir()
        self.parts = []
        for number, file in enumerate(files):
            part = folder / f"{number}.parquet"
            pq.write_table(
                engine.read_export(
                    file, lambda account: account and "hash", name(number, file)
                ).table,
                part,
            )
            self.parts.append(part)
        self.ledger = folder / "ledger.parquet"
        self.merged = merging.merge_ledger(self.parts, self.ledger)

    def positions(self):
        table = pq.read_table(self.ledger, columns=["symbol", "isin", "name"])
        named = {tuple(row.values()) for row in table.to_pylist()}
        instrument = match_names(
            [LedgerName(*name) for name in named], frozenset(), Instruments()
        ).instrument
        inputs = ValuationInputs(Instruments(), {})
        positions.write_positions(
            self.ledger,
            instrument,
            inputs,
            self.folder / "positions.parquet",
            self.folder / "steps.parquet",
        )
        return (self.folder / "positions.parquet").read_bytes()


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return Bookshelf(
        tmp_path_factory.mktemp("once") / "shelf",
        SAMPLES,
        lambda number, file: f"{number:03d} {file.name}",
    )


def test_every_sample_twice_leaves_the_ledger(once, tmp_path):
    assert once.merged.entries > 300
    twice = Bookshelf(
        tmp_path / "shelf", SAMPLES + SAMPLES, lambda number, file: f"{number:03d} {file.name}"
    )
    assert twice.merged.digest == once.merged.digest
    assert twice.merged.repeated == 2 * once.merged.repeated + once.merged.rows


@pytest.mark.parametrize("seed", [1, 2])
def test_another_order_gives_the_same_positions(once, tmp_path, seed):
    files = list(SAMPLES)
    random.Random(seed).shuffle(files)
    other = Bookshelf(tmp_path / "shelf", files, lambda number, file: f"{number:03d} {file.name}")
    assert other.merged.digest == once.merged.digest
    assert other.positions() == once.positions()


@pytest.fixture
def home(tmp_path) -> Path:
    (tmp_path / "my/candles").mkdir(parents=True)
    (tmp_path / "my/trades").mkdir()
    (tmp_path / "my/trades/a.csv").write_text(TRADES)
    (tmp_path / "my/candles/ABC.csv").write_text(CANDLES)
    return tmp_path


def settings_of(home, **given):
    return load_settings(
        home=home, **({"trades": Path("my/trades"), "candles": Path("my/candles")} | given)
    )


def contents(history):
    return {path.name: path.read_bytes() for path in sorted(history.folder.glob("*.parquet"))}


def test_only_what_is_new_is_read(home, monkeypatch):
    read = []
    whole = engine.read_export
    monkeypatch.setattr(
        engine, "read_export", lambda file, *rest: read.append(file.name) or whole(file, *rest)
    )
    collect.fn(settings_of(home))
    (home / "my/trades/b.csv").write_text(TRADES.replace("T1", "T3").replace("T2", "T4"))
    history = collect.fn(settings_of(home))
    assert read == ["a.csv", "b.csv"]
    assert (history.rows_kept["trades"], history.exports) == (
        4,
        {"a.csv": ["generic"], "b.csv": ["generic"]},
    )
    shutil.rmtree(home / "data/private")
    assert contents(collect.fn(settings_of(home))) == contents(history)


def test_a_killed_collect_goes_on_and_ends_in_the_same_bytes(home):
    for number in range(40):
        (home / f"my/trades/{number}.csv").write_text(TRADES.replace("T", f"F{number}-"))
        (home / f"my/candles/X{number}.csv").write_text(CANDLES)
    script = (
        "import sys; from pathlib import Path; from stock_llm.settings import load_settings; from tasks.collect import collect;"
        "print('ready', flush=True);"
        "collect.fn(load_settings(home=Path(sys.argv[1]), trades=Path('my/trades'), candles=Path('my/candles')))"
    )
    for delay in (0.05, 0.2, 0.4):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(home)], stdout=subprocess.PIPE
        ) as running:
            assert running.stdout and running.stdout.readline() == b"ready\n"
            time.sleep(delay)
            running.kill()
    survived = collect.fn(settings_of(home))
    assert survived.rows_kept == {"trades": 82, "candles": 410, "feedback": 0}
    shutil.rmtree(home / "data/private")
    assert contents(collect.fn(settings_of(home))) == contents(survived)


def test_a_brokers_export_goes_on_without_candles_for_all_of_it(home):
    shutil.copy(EXPORTS / "robinhood.csv", home / "my/trades")
    (home / "data").mkdir()
    history = collect.fn(settings_of(home))
    assert history.findings_count["no candles"] > 0
    table = (home / "data/instruments.csv").read_text()
    assert re.search(r"^alias,\w+,,", table, re.MULTILINE), "what fits nothing waits for its symbol"
    assert input_digest(settings_of(home)) == history.digest, "what was learnt is not news"
    symbol = re.search(r"^alias,(\w+),,", table, re.MULTILINE)[1]
    (home / "data/instruments.csv").write_text(
        table.replace(f"alias,{symbol},,", f"alias,{symbol},ABC,")
    )
    assert (
        collect.fn(settings_of(home)).findings_count.get("no candles", 0)
        < history.findings_count["no candles"]
    )


def test_a_plain_file_must_have_all_its_candles_unless_the_table_says_so(home):
    (home / "my/trades/b.csv").write_text(TRADES.replace("T", "U").replace("ABC", "XYZ"))
    with pytest.raises(
        InputError, match=r"b.csv, row 2: there are trades in XYZ .*kind leave-out, symbol XYZ"
    ):
        collect.fn(settings_of(home))
    (home / "data/instruments.csv").write_text("kind,symbol\nleave-out,XYZ\n")
    history = collect.fn(settings_of(home))
    assert history.rows_kept["trades"] == 4
    assert set(pq.read_table(history.steps)["symbol"].to_pylist()) == {"ABC"}
    assert set(pq.read_table(history.positions)["instrument"].to_pylist()) == {"ABC", "XYZ"}


def test_a_database_is_read_from_its_watermark_on(home):
    base = sqlite3.connect(home / "own.db")
    base.execute(
        "create table fills (id integer primary key, day text, side text, n real, price real, changed integer)"
    )
    base.executemany(
        "insert into fills values (?, ?, ?, ?, ?, ?)",
        [
            (1, "2024-03-01", "BUY", 3, 10.5, 1),
            (2, "2024-03-04", "SELL", 1, 11, 2),
            (3, "2024-03-05", "HOLD", 1, 11, 2),
        ],
    )
    base.commit()
    given = {
        "trades_sql": f"sqlite:///{home / 'own.db'}",
        "trades_query": "select id as trade_id, day as date, 'ABC' as symbol, side, n as quantity, price, changed from fills",
        "trades_watermark": "changed",
    }
    alone = load_settings(home=home, candles=Path("my/candles"), **given)
    first = collect.fn(alone)
    assert (first.rows_kept["trades"], first.rows_quarantined["trades"]) == (2, 1)
    assert collect.fn(alone) == first, "nothing new"
    base.execute("insert into fills values (4, '2024-03-06', 'BUY', 1, 10, 3)")
    base.execute("update fills set n = 2, changed = 4 where id = 2")
    base.commit()
    second = collect.fn(alone)
    assert (second.rows_kept["trades"], second.rows_quarantined["trades"]) == (3, 1)
    assert {
        row["entry_id"][-1]: int(row["quantity"])
        for row in pq.read_table(second.trades).to_pylist()
    } == {
        "1": 3,
        "2": 2,
        "4": 1,
    }
    both = collect.fn(settings_of(home, **given))
    assert both.rows_kept["trades"] == 5
    assert both.findings_count["suspect: duplicate"] == 1


def test_import_shows_and_stores_a_file(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setenv("STOCK_LLM_HOME", str(home))
    monkeypatch.setenv("STOCK_LLM_TRADES", "my/trades")
    monkeypatch.setenv("COLUMNS", "120")
    export = home / "export.csv"
    export.write_text(
        TRADES
        + "T3,someday,ABC,BUY,3,10.5\nT1,2024-03-01,ABC,BUY,3,10.5\nT9,2024-03-07,ABC,BUY,3,10.5\n"
    )

    def run(*arguments):
        done = CliRunner().invoke(app, ["import", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    shown = run("--look", "export.csv")
    for expected in (
        "A plain table of trades",
        "1 │ of 3 entries are not in the ledger yet",
        "the date cannot be read: 'someday' (row 4)",
    ):
        assert expected in shown
    assert "the row repeats the trade" in shown and "2 │ BUY" in shown
    assert sorted(path.name for path in (home / "my/trades").iterdir()) == ["a.csv"]
    assert "kept as" in run("export.csv")
    assert (home / "my/trades/export.csv").read_bytes() == export.read_bytes()
    assert "0 │ of 3 entries" in run("export.csv")
    assert sorted(path.name for path in (home / "my/trades").iterdir()) == ["a.csv", "export.csv"]
    (home / "bad.csv").write_text(TRADES.replace("2024", "soon"))
    assert "not kept: more than half of the rows of bad.csv are bad" in run("bad.csv")
    assert not (home / "my/trades/bad.csv").exists()
    export.write_text(TRADES.replace("10.5", "12"))
    assert "contradict" in run("--look", "export.csv")


def test_the_same_trades_in_two_formats_are_suspects(home):
    other = home / "other.csv"
    other.write_text(
        "Activity Date,Process Date,Settle Date,Instrument,Description,Trans Code,Quantity,Price,Amount\n"
        '3/1/2024,3/1/2024,3/4/2024,ABC,ABC INC,Buy,3,$10.50,"($31.50)"\n'
    )
    (look,) = import_command.preview_exports([other], settings_of(home))
    assert (look.added, look.conflicts) == (1, 0)
    (suspect,) = look.duplicates
    assert (suspect.symbol, suspect.rows) == ("ABC", 1)


def test_an_impossible_import_is_an_error_of_one_line(home):
    (home / "what.csv").write_text("a,b\n1,2\n")
    for name, message in (
        ("none.csv", "no such file"),
        ("what.csv", "no format knows this file.* --draft"),
    ):
        with pytest.raises(InputError, match=message):
            import_command.preview_exports([home / name], settings_of(home))
