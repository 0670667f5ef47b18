"""The two benchmarks of fine-tuning, on models of a few layers: what they print, not how much."""

import importlib
import math
import sys
from pathlib import Path

import pytest
from factories.rows import rows_of_all_skills

from stock_llm.skills.row import write_rows

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that runs a benchmark in this process and returns what it prints."""
    monkeypatch.syspath_prepend(BENCHMARKS)

    def run(name: str, *options: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *options])
        importlib.import_module(name).main()
        return capsys.readouterr().out

    return run


def test_every_way_is_given_the_same_time_and_has_a_loss(run, tiny_base, tmp_path):
    file = tmp_path / "train.jsonl"
    write_rows([row for row in rows_of_all_skills(60) if row.skill != "code"], file)
    printed = run(
        "training", "--seconds", "1.5", "--threads", "1", "--rows", str(file), "--home", str(tiny_base), "--profile", "tiny",
    )  # fmt: skip
    lines = printed.splitlines()
    assert lines[0].startswith("tiny, ") and "for validation, 1.5 CPU-seconds a way" in lines[0]
    table = {line.split()[0]: line.split()[1:] for line in lines[2:5]}
    assert list(table) == ["plain", "trl", "ours"]
    for speed, padding, tokens, steps, _, loss in table.values():
        counts = [int(cell.replace(",", "")) for cell in (speed, tokens, steps)]
        assert all(count > 0 for count in counts)
        seconds = counts[1] / counts[0]
        assert 1.4 <= seconds <= 6, "the given time, and the step in which it ended"
        assert 0 < float(loss) < math.log(600)
        assert 0 <= int(padding.rstrip("%")) < 60
    assert "times as fast as the plain recipe (goal: 2.5)" in lines[5]


def test_on_a_small_shape_ours_and_trl_are_trained(run, tmp_path):
    printed = run("gpu_training", "--small", "--tokens", "24", "--batches", "2", "--folder", str(tmp_path))  # fmt: skip
    lines = printed.splitlines()
    assert "matrix product" in lines[0] and lines[1].startswith("24 tokens a row")
    for line, (way, batch) in zip(lines[3:], (("ours", 2), ("TRL", 8), ("TRL", 1)), strict=True):
        name, rows, speed, mfu, peak, kept = line.split(maxsplit=5)
        assert (name, int(rows)) == (way, batch)
        assert int(speed.replace(",", "")) > 0 and float(mfu.rstrip("%")) >= 0 and float(peak) > 0
        assert kept == ("all activations" if way == "ours" else "inputs of layers")
    assert list(tmp_path.iterdir()) == [], "the base is deleted"


def test_without_a_gpu_nothing_is_measured(run):
    assert "PyTorch sees no GPU here" in run("gpu_training")
