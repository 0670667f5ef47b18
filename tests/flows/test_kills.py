"""`stock-llm run` from an empty home, killed with SIGKILL at random moments: the next run completes, in one version.

KILLS sets how often (60), SEED the moments, WHOLE_RUN_SECONDS saves measuring how long a run takes. Every fourth kill waits for the
seconds in which MLflow's database is made, the others fall anywhere in the time that a whole run takes. Runs only with -m soak: a kill
with the run after it takes a minute or two; FULL_KILLS=5 kills as often at the full settings, with stock-tiny and the whole sample,
which takes ten minutes each and runs only where it is set.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from stock_llm.ollama.store import OllamaStore

ROOT = Path(__file__).parents[2]
CONFIG = """
profile = "tiny"
trades = "mine/trades.csv"
candles = "mine/candles"
exchange = "24/5"
train_rows = 50
ollama_host = ""
"""

pytestmark = [pytest.mark.soak, pytest.mark.timeout(6 * 3600)]


@pytest.fixture(scope="module")
def empty_home(tiny_base, tmp_path_factory) -> Path:
    """A home with inputs, the tiny base and nothing else."""
    home = tmp_path_factory.mktemp("empty") / "home"
    shutil.copytree(tiny_base / "models", home / "models")
    profile = home / "models" / "profiles" / "tiny.toml"
    profile.write_text(profile.read_text().replace("num_predict = 160", "num_predict = 24"))
    shutil.copytree(ROOT / "data" / "sample", home / "mine")
    (home / "stock-llm.toml").write_text(CONFIG)
    return home


def start(home: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "STOCK_LLM_HOME": str(home),
        "PREFECT_HOME": str(home.parents[1] / "prefect"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", "from stock_llm.cli.main import main; main()", "run"]
    with (home / "output.txt").open("ab") as output:
        return subprocess.Popen(command, env=environment, cwd=home, stdout=output, stderr=output)


def processes_of(home: Path) -> list[psutil.Process]:
    """All processes that were started for this home, the grandchildren too."""
    processes = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("STOCK_LLM_HOME") == str(home):
                processes.append(process)
    return processes


def wait_until_gone(home: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while left := processes_of(home):
        assert time.monotonic() < end, f"still running: {[process.cmdline() for process in left]}"
        time.sleep(0.5)


def wait_for_registry(home: Path, process: subprocess.Popen[bytes]) -> None:
    """Until MLflow begins to make its database."""
    while process.poll() is None and not list((home / "mlflow").glob("*mlflow.db*new")):
        time.sleep(0.05)


def progress_of(home: Path) -> str:
    done = sorted(
        {record.parents[1].name for record in (home / "data").glob("*/*/*/artifact.json")}
    )
    registry = "mlflow" if (home / "mlflow" / "mlflow.db").exists() else ""
    return " ".join([*done, registry]).strip() or "nothing"


def complete(home: Path) -> float:
    """Seconds that a run to the end takes; checks what it leaves."""
    began = time.monotonic()
    assert start(home).wait() == 0, (home / "output.txt").read_text()[-3000:]
    seconds = time.monotonic() - began
    wait_until_gone(home)
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as database:
        versions = database.execute("SELECT version FROM model_versions").fetchall()
    assert versions == [(1,)]
    store = OllamaStore(home / "models" / "ollama")
    assert set(store.list_models()) - {"stock-llm:latest"} == {"stock-llm:v1"}
    assert store.verify() == []
    assert len(list((home / "data" / "runs").glob("*.json"))) == 1
    assert list((home / "data").glob("*/*/*.partial")) == []
    return seconds


def test_the_run_after_a_kill_completes_in_one_version(empty_home, tmp_path):
    kill_and_complete(empty_home, tmp_path, int(os.environ.get("KILLS", "60")))


@pytest.mark.skipif("FULL_KILLS" not in os.environ, reason="FULL_KILLS is not set")
def test_the_run_after_a_kill_completes_at_full_settings(tmp_path):
    home = tmp_path / "full" / "home"
    for folder in ("models/profiles", "models/stock-tiny", "data/sample"):
        shutil.copytree(ROOT / folder, home / folder)
    (home / "stock-llm.toml").write_text('ollama_host = ""\n')
    kill_and_complete(home, tmp_path, int(os.environ["FULL_KILLS"]))


def kill_and_complete(empty_home: Path, tmp_path: Path, kills: int) -> None:
    """Kills a run so many times, each in a copy of the home, and runs it again to its end."""
    whole = float(os.environ.get("WHOLE_RUN_SECONDS", "0"))
    if not whole:
        home = tmp_path / "whole" / "home"
        shutil.copytree(empty_home, home)
        whole = complete(home)
        print(f"a whole run takes {whole:.0f} s", flush=True)
    chance = random.Random(int(os.environ.get("SEED", "1")))
    for number in range(1, kills + 1):
        home = tmp_path / f"kill{number}" / "home"
        shutil.copytree(empty_home, home)
        process = start(home)
        began = time.monotonic()
        if number % 4 == 0:
            wait_for_registry(home, process)
            time.sleep(chance.uniform(0, 0.12 * whole))
        else:
            time.sleep(chance.uniform(0, whole))
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed = time.monotonic() - began
        reached = progress_of(home)
        wait_until_gone(home)
        seconds = complete(home)
        print(
            f"{number}: killed after {killed:.1f} s ({reached}); completed in {seconds:.0f} s",
            flush=True,
        )
        shutil.rmtree(home.parent)
