"""benchmarks/rehearsal.py at two layers: Mistral-7B's shape goes through the project's own loading and training."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
REHEARSAL = PROJECT / "benchmarks" / "rehearsal.py"
VOCABULARY = PROJECT / "models" / "stock-tiny" / "tokenizer.model"
"""In place of Mistral's own, which would have to be downloaded; the model's shape does not change."""


def rehearse(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(REHEARSAL), "--folder", str(folder), "--vocabulary", str(VOCABULARY)]  # fmt: skip
    return subprocess.run([*command, *options], capture_output=True, text=True, cwd=PROJECT)


@pytest.mark.timeout(600)
def test_two_layers_of_mistral_7b_are_trained_within_their_share_of_memory(tmp_path):
    ended = rehearse(tmp_path / "work", "--layers", "2", "--tokens", "384", "--stages", "write", "train")  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    lines = {line.split()[0]: line.split() for line in ended.stdout.splitlines()[2:]}
    assert list(lines) == ["write", "train"]
    written = lines["write"]
    assert written[5:] == ["1.4", "GB"], "two layers, embeddings and lm_head in bfloat16"
    _, seconds, _, resident, own, tokens, *note = lines["train"]
    assert 4 * 360 < int(tokens) <= 4 * 384
    assert note[:4] == ["tokens", "in", "2", "steps,"]
    # the 30 other layers weigh 0.105 GiB each in 4 bits: 3.2 GiB, and the goal is 8 GiB for all 32
    assert 0.7 < float(own) < 8 - 3.2 - 1
    assert float(seconds) > 0 and float(resident) > 0
    assert list((tmp_path / "work").iterdir()) == [], "the model is deleted"


def test_what_cannot_be_is_refused(tmp_path):
    ended = rehearse(tmp_path / "work", "--layers", "0")
    assert ended.returncode == 2 and "at least one layer" in ended.stderr
    ended = rehearse(tmp_path / "work", "--layers", "100000")
    assert ended.returncode == 1
    assert "Free some space, name another disk with --folder" in ended.stderr
