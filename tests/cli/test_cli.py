"""The command line as a person meets it: help at once, one clear line for bad input, nothing published."""

import importlib.metadata
import re
import resource
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness

from stock_llm import project_files
from stock_llm.cli import main
from stock_llm.settings import load_settings

PROJECT = Path(__file__).parents[2]
BAR = "Date,Open,High,Low,Close,Volume\n"
FILL = "date,symbol,side,quantity,price\n"


@pytest.fixture(scope="module")
def _prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


def run_command(monkeypatch, capsys, *arguments):
    """Exit code and both outputs of a command."""
    monkeypatch.setattr(sys, "argv", ["stock-llm", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    printed = capsys.readouterr()
    return ended.value.code, printed.out, printed.err


@pytest.fixture
def home(bare_home, monkeypatch):
    """A home whose trades and candles are fine, but too few to learn from."""
    shutil.copytree(
        PROJECT / "models" / "profiles", bare_home / "models" / "profiles", dirs_exist_ok=True
    )
    shutil.copytree(PROJECT / "models" / "stock-tiny", bare_home / "models" / "stock-tiny")
    (bare_home / "candles").mkdir()
    (bare_home / "candles" / "ABC.csv").write_text(f"{BAR}2024-03-01,10,12,9,11,500\n")
    (bare_home / "trades.csv").write_text(f"{FILL}2024-03-01,ABC,BUY,3,10.5\n")
    for name, value in {
        "HOME": bare_home,
        "TRADES": "trades.csv",
        "CANDLES": "candles",
        "OLLAMA_HOST": "",
    }.items():
        monkeypatch.setenv(f"STOCK_LLM_{name}", str(value))
    return bare_home


def test_help_answers_at_once_and_loads_nothing_heavy():
    command = [
        sys.executable,
        "-X",
        "importtime",
        Path(sys.executable).with_name("stock-llm"),
        "--help",
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert "rollback" in ran.stdout and "stock_llm.cli.main" in imported
    assert not imported & {
        "torch",
        "pandas",
        "numpy",
        "mlflow",
        "prefect",
        "sqlalchemy",
        "pyarrow",
        "llama_cpp",
        "pydantic",
    }
    spent = (
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    )  # not the clock: the machine may be busy
    assert spent < 1.0, "0.5 s with room for the tracing of imports"


BROKEN = {
    "no data": (
        lambda home: (home / "trades.csv").unlink(),
        ["trades.csv", "no such file or folder", "STOCK_LLM_TRADES"],
    ),
    "no candles": (
        lambda home: shutil.rmtree(home / "candles"),
        ["candles", "no such file or folder", "STOCK_LLM_CANDLES"],
    ),
    "empty": (
        lambda home: (home / "trades.csv").write_text(""),
        ["trades.csv", "the file is empty"],
    ),
    "missing column": (
        lambda home: (home / "trades.csv").write_text(
            "date,symbol,side,quantity\n2024-03-01,ABC,BUY,3\n"
        ),
        ["trades.csv", "price"],
    ),
    "unparseable date": (
        lambda home: (home / "trades.csv").write_text(f"{FILL}soon,ABC,BUY,3,10.5\n"),
        ["trades.csv", "row 2", "the date cannot be read: 'soon'"],
    ),
    "not a number, in Windows-1252": (
        lambda home: (home / "candles" / "ABC.csv").write_bytes(
            f"{BAR}2024-03-01,10,12,9,11,5\xe9\n".encode("latin-1")
        ),
        ["ABC.csv", "row 2", "volume is not a number"],
    ),
    "symbol without candles": (
        lambda home: (home / "trades.csv").write_text(f"{FILL}2024-03-01,XYZ,BUY,3,10.5\n"),
        ["candles", "XYZ", "Put XYZ.csv"],
    ),
    "too little": (
        lambda _: None,
        ["no decision can be made before the holdout", "Give a longer candle history"],
    ),
}


@pytest.mark.usefixtures("_prefect")
@pytest.mark.parametrize("fault", BROKEN)
def test_bad_input_is_one_line_and_nothing_is_published(home, monkeypatch, capsys, fault):
    break_it, wanted = BROKEN[fault]
    break_it(home)
    code, _, err = run_command(monkeypatch, capsys, "run", "--profile", "stock-tiny")
    said = [line for line in err.splitlines() if not re.match(r"\d\d:\d\d:\d\d \w+: took", line)]
    assert code == 1 and len(said) == 1 and said[0].startswith("error: "), err
    assert all(text in err for text in wanted), err
    assert not (home / "models" / "ollama").exists() and not list(home.glob("data/runs/*"))


@pytest.mark.usefixtures("home")
def test_a_profile_that_does_not_exist(monkeypatch, capsys):
    code, _, err = run_command(monkeypatch, capsys, "run", "--profile", "mistral-9b")
    assert (
        code == 1
        and "mistral-9b" in err
        and "stock-tiny" in err
        and len(err.strip().splitlines()) == 1
    )


@pytest.mark.usefixtures("home")
def test_a_setting_that_does_not_fit(monkeypatch, capsys):
    monkeypatch.setenv("STOCK_LLM_TRAIN_ROWS", "many")
    code, _, err = run_command(monkeypatch, capsys, "run")
    assert code == 1 and "train_rows" in err and "many" in err


@pytest.mark.usefixtures("home")
def test_a_full_disk_is_one_line(monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", "data/runs/x")

    monkeypatch.setattr("stock_llm.pipeline.run_record.finished", full)
    code, _, err = run_command(monkeypatch, capsys, "run")
    assert code == 1 and err.startswith(
        "error: data/runs/x: No space left on device. Nothing was published"
    )


@pytest.mark.usefixtures("home")
def test_an_interrupted_command_names_the_next_command(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("stock_llm.pipeline.run_record.finished", interrupted)
    code, _, err = run_command(monkeypatch, capsys, "run")
    assert code == 130 and "run the same command again" in err


@pytest.mark.usefixtures("home")
def test_a_bug_keeps_its_traceback(monkeypatch):
    def wrong(*_):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("stock_llm.pipeline.run_record.finished", wrong)
    monkeypatch.setattr(sys, "argv", ["stock-llm", "run"])
    with pytest.raises(ZeroDivisionError):
        main.main()


def test_feedback_from_a_file_is_taken_in_once(home, monkeypatch, capsys):
    items = (PROJECT / "data" / "sample" / "feedback.jsonl").read_text(encoding="utf-8")
    (home / "mine.jsonl").write_text(
        items.replace('"source": "sample"', '"source": "user"'), encoding="utf-8"
    )
    first = run_command(monkeypatch, capsys, "feedback", "import", str(home / "mine.jsonl"))
    again = run_command(monkeypatch, capsys, "feedback", "import", str(home / "mine.jsonl"))
    assert first[0] == again[0] == 0 and "240" in first[1] and first[1] != again[1]
    code, out, _ = run_command(monkeypatch, capsys, "feedback", "count")
    assert code == 0 and out.startswith("240 items, 240 ready")


def test_the_page_about_the_commands_is_their_help():
    made = runpy.run_path(str(PROJECT / "scripts" / "write_cli_docs.py"))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"](), "run `make docs`"


def test_the_page_about_the_settings_has_each_with_its_docstring():
    made = runpy.run_path(str(PROJECT / "scripts" / "write_settings_docs.py"))
    page = made["page"]()
    assert made["PAGE"].read_text(encoding="utf-8") == page, "run `make docs`"
    assert [line for line in page.splitlines() if line.endswith("|  |")] == []
    for name, model in (made["TABLES"] | made["PROFILE_TABLES"]).items():
        for field, about in model.model_fields.items():
            table = made["is_table"](about.annotation)
            assert table or f"| `{field}` |" in page, f"{name} {field}"


def test_the_version_is_that_of_the_package(monkeypatch, capsys):
    code, out, _ = run_command(monkeypatch, capsys, "--version")
    assert code == 0 and out == f"stock-llm {importlib.metadata.version('stock-llm')}\n"


def test_init_writes_a_project_folder_and_leaves_what_is_there(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "new" / "folder"
    code, out, _ = run_command(monkeypatch, capsys, "init", str(folder))
    assert code == 0 and f"cd {folder} && stock-llm doctor" in out
    for name in ("prefect.yaml", "models/profiles", "models/stock-tiny", "data/sample"):
        assert f"written: {folder / name}\n" in out
    tiny = folder / "models" / "stock-tiny" / "model.safetensors"
    assert tiny.read_bytes() == (PROJECT / "models/stock-tiny/model.safetensors").read_bytes()

    (folder / "stock-llm.toml").write_text("train_rows = 60\n")
    shutil.rmtree(folder / "data")
    code, out, _ = run_command(monkeypatch, capsys, "init", str(folder))
    assert code == 0 and out.count("already there, left as it is") == 4
    assert (folder / "stock-llm.toml").read_text() == "train_rows = 60\n"
    assert (folder / "data" / "sample" / "trades.csv").exists()


def test_every_setting_that_init_names_is_one(tmp_path, monkeypatch):
    lines = [line.removeprefix("# ") for line in project_files.CONFIG.splitlines()[2:]]
    (tmp_path / "stock-llm.toml").write_text("\n".join(lines))
    monkeypatch.setenv("STOCK_LLM_HOME", str(tmp_path))
    settings = load_settings()
    assert settings.base_currency == "EUR" and settings.trades == Path("data/trades")
    defaults = load_settings(home=tmp_path / "elsewhere")
    assert settings.gateway == defaults.gateway and settings.train_rows == defaults.train_rows


@pytest.mark.usefixtures("bare_home")
@pytest.mark.parametrize("command", ["kpis", "costs"])
@pytest.mark.parametrize("option", ["--fixed", "--per-million"])
@pytest.mark.parametrize("amount", ["nan", "inf", "-1", "1e12"])
def test_an_amount_that_is_none_is_refused(monkeypatch, capsys, command, option, amount):
    code, out, err = run_command(monkeypatch, capsys, command, option, amount)
    assert code == 2 and not out and option in err
