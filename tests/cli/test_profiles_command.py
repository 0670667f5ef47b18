"""`stock-llm profiles list`: what each base needs, and why it does not run here."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from stock_llm import machine
from stock_llm.cli import main
from stock_llm.llm.bases import needs

PROJECT = Path(__file__).parents[2]
GIB = 1 << 30


@pytest.fixture
def listed(tmp_path, monkeypatch, capsys):
    """A function that lists the committed profiles on a machine with 8 GiB of memory and 60 GiB of disk free, and returns the text."""
    shutil.copytree(PROJECT / "models", tmp_path / "models")
    monkeypatch.setenv("STOCK_LLM_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "this_machine", lambda: machine.Machine(8 * GIB, None))
    monkeypatch.setattr(needs, "free_disk", lambda _: 60 * GIB)

    def run(*options: str, columns: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["stock-llm", "profiles", "list", *options])
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert ended.value.code in (0, None)
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("columns", [66, 80])
def test_every_base_has_a_line_with_its_needs_and_one_with_its_reasons(listed, columns):
    said = listed(columns=columns)
    assert all(len(line) <= columns for line in said.splitlines())
    lines = {line.split()[0]: line.split() for line in said.splitlines()[2:15]}
    assert len(lines) == 13
    assert lines["stock-tiny"][-1] == "yes"
    assert lines["llama2-13b"][-1] == "no"
    reasons = " ".join(said[said.index("\n\n") :].split())
    assert "stock-tiny: Apache-2.0" in reasons
    assert "llama2-13b: Llama 2 Community License (to be accepted on the hub)" in reasons
    assert "merging needs" in reasons and "8.0 GiB are free" in reasons
    assert "stock-llm profiles pin llama2-13b" in reasons
    assert "phi-2: MIT; stock-llm profiles pin phi-2" in reasons


def test_as_json_for_programs(listed):
    found = {each["name"]: each for each in json.loads(listed("--json"))}
    assert len(found) == 13
    assert found["stock-tiny"]["why_not"] == []
    large = found["mistral-7b"]
    needed = large["memory"]
    assert needed["fine-tuning"] > needed["merging"] > 4e9 and needed["judging"] > 4e9
    assert large["disk"] > 35e9
    assert large["fine_tuning_seconds"] > 3600
    assert large["why_not"][0] == "stock-llm profiles pin mistral-7b"
