"""With --json a command prints one object on standard output and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from stock_llm.cli import main
from stock_llm.cli.json_output import only_json, plain
from stock_llm.pipeline import run_record
from stock_llm.pipeline.run_record import RunRecord

PROJECT = Path(__file__).parents[2]

RECORD = RunRecord(
    why="a test", plan="p", finished_at="2026-01-01T00:00:00+00:00", profile="tiny", version=3,
    run_id="r", registry="sqlite:///mlflow.db", train_rows=50, holdout_rows=20, feedback=1, tokens=9,
    seconds=1.5, loss=2.0, table={"base": {"score": None}}, differences={}, verdict="keep",
    reasons=["not enough evidence"], names=["stock-llm:v3"], where="models/ollama", promoted=False,
    notes=[], gguf="m.gguf", modelfile="Modelfile", symbol="ABC",
)  # fmt: skip


@pytest.fixture
def home(bare_home, monkeypatch):
    shutil.copytree(PROJECT / "data" / "sample", bare_home / "data" / "sample")
    for name, value in {"HOME": bare_home, "OLLAMA_HOST": "", "PROFILE": "tiny"}.items():
        monkeypatch.setenv(f"STOCK_LLM_{name}", str(value))
    return bare_home


@pytest.fixture
def run_command(monkeypatch, capfd):
    def run(*arguments):
        """Exit code, and the object on standard output; None where that is empty."""
        monkeypatch.setattr(sys, "argv", ["stock-llm", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        printed = capfd.readouterr().out
        return ended.value.code, json.loads(printed) if printed else None

    return run


@pytest.mark.usefixtures("home")
def test_history_doctor_and_costs(run_command):
    assert run_command("history", "--json") == (0, {"versions": []})
    code, found = run_command("doctor", "--json")
    assert code == 1 and found["ready"] is False, "the profile has no weights"
    checks = {check["name"]: check for check in found["checks"]}
    assert checks["base model"]["fatal"] and checks["trades"]["good"]
    code, found = run_command("costs", "--json", "--days", "7")
    assert code == 0 and found["period"]["providers"] == [] and found["left"]


@pytest.mark.usefixtures("home")
def test_positions(run_command):
    code, found = run_command("positions", "--json")
    assert code == 0
    held = {row["instrument"]: Decimal(row["quantity"]) for row in found["positions"]}
    assert held and all(quantity >= 0 for quantity in held.values())
    assert isinstance(found["findings"], list)


@pytest.mark.usefixtures("home")
def test_a_look_at_an_export(run_command):
    file = PROJECT / "data" / "sample" / "trades.csv"
    code, found = run_command("import", "--look", "--json", str(file))
    assert code == 0
    (seen,) = found["files"]
    assert (seen["rows"], seen["events"], seen["mostly_bad"]) == (700, 700, False)
    assert sum(seen["entries"].values()) == 700
    assert run_command("import", "--json", str(file)) == (1, None), "it would copy the file"


@pytest.mark.usefixtures("home")
def test_a_run_with_nothing_new_and_one_that_fails(run_command, monkeypatch, home):
    monkeypatch.setattr(run_record, "finished", lambda _: RECORD)
    code, found = run_command("run", "--json")
    assert code == 0 and found == plain(RECORD) | {"new": False}
    monkeypatch.undo()
    monkeypatch.setenv("STOCK_LLM_HOME", str(home))
    assert run_command("run", "--json", "--trades", "nowhere.csv") == (1, None)


def test_what_is_printed_meanwhile_goes_to_standard_error(capfd):
    with only_json(True) as result:
        print("by Python")
        os.write(1, b"by C\n")
        subprocess.run(["echo", "by a program"], check=True)
        result["ok"] = True
    out, err = capfd.readouterr()
    assert json.loads(out) == {"ok": True}
    assert set(err.splitlines()) == {"by Python", "by C", "by a program"}
    print("again")
    assert capfd.readouterr().out == "again\n"


def test_values_become_plain_json():
    values = {
        "a": float("nan"),
        "b": Decimal("1E+2"),
        "c": datetime(2026, 1, 2, tzinfo=UTC),
        "d": date(2026, 1, 2),
        "e": Path("x"),
        "f": (1, {2}),
        "g": RECORD,
    }
    found = plain(values)
    assert found["g"]["version"] == 3
    del found["g"]
    assert found == {
        "a": None,
        "b": "100",
        "c": "2026-01-02T00:00:00+00:00",
        "d": "2026-01-02",
        "e": "x",
        "f": [1, [2]],
    }
