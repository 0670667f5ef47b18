"""Fine-tuning killed with SIGKILL at five points: the next run ends with the adapter of a run that was not killed.

One process imports the libraries and forks a child for each point; each child kills itself there.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from factories.rows import rows_of_all_skills

from stock_llm.artifacts import Adapter, Dataset
from stock_llm.llm.checkpoints import latest_checkpoint
from stock_llm.settings import Settings, load_settings
from stock_llm.skills.row import write_rows
from tasks import finetune

PROJECT = Path(__file__).parents[2]
RESUMED_FROM = {
    "before_the_first_checkpoint": 0,
    "within_a_step": 5,
    "while_a_checkpoint_is_written": 4,
    "while_the_validation_loss_is_taken": 5,
    "after_training_before_the_rename": 0,  # its checkpoints are gone
}
"""Point → the step from which the next run goes on. A step is two forward passes; each second one is followed by an evaluation and has
a checkpoint if its loss is the lowest so far; each other one has a checkpoint.
"""

PARENT = """
import json, os, signal, sys
from pathlib import Path

import torch

torch.set_num_threads(1)
from stock_llm import artifacts
from stock_llm.artifacts import Dataset
from stock_llm.llm import trainer
from stock_llm.llm.training import watch
from stock_llm.settings import load_settings
from tasks import finetune

watch.SECONDS_BETWEEN_CHECKPOINTS, watch.CHECKPOINT_SHARE = 0.0, 1e9


def killing(owner, name, when):
    whole = getattr(owner, name)

    def killed(*given, **named):
        if when(*given):
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*given, **named)

    setattr(owner, name, killed)


def before_the_first_checkpoint():
    killing(trainer.AnswerTrainer, "_save_checkpoint", lambda *_: True)


def within_a_step():
    passes = iter(range(1000))
    killing(trainer.AnswerTrainer, "compute_loss", lambda *_: next(passes) == 2 * 5 + 1)


def while_a_checkpoint_is_written():
    # its weights are on the disk
    killing(trainer.AnswerTrainer, "_save_optimizer_and_scheduler", lambda self, _: self.state.global_step == 5)


def while_the_validation_loss_is_taken():
    killing(trainer.AnswerTrainer, "log", lambda self, logs, *_: "eval_loss" in logs and self.state.global_step == 6)


def after_training_before_the_rename():
    killing(artifacts, "move_into_place", lambda *_: True)


for point, (home, dataset) in json.loads(sys.argv[1]).items():
    child = os.fork()
    if not child:
        try:
            globals()[point]()
            settings = load_settings(home=home, profile="tiny", threads=1)
            paths = ("folder", "train", "holdout", "corrections", "card")
            given = {name: Path(value) if name in paths else value for name, value in dataset.items()}
            finetune.finetune.fn(settings, Dataset(**given))
        finally:
            os._exit(1)
    print(point, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def homes(tiny_base, tmp_path_factory) -> dict[str, tuple[Settings, Dataset]]:
    """A home for each point, and `whole`. There is dropout, so that the random numbers have to go on too."""
    rows = [
        dataclasses.replace(row, input=row.input[:120], output=row.output[:60])
        for row in rows_of_all_skills(44)
        if row.skill != "code"
    ]
    made = {}
    for name in ("whole", *RESUMED_FROM):
        home = tmp_path_factory.mktemp(name)
        shutil.copytree(tiny_base / "models", home / "models")
        file = home / "models/profiles/tiny.toml"
        text = file.read_text().replace(
            "accumulate = 1", "accumulate = 2\nearly_stopping_patience = 9"
        )
        file.write_text(
            text.replace("dropout = 0.0", "dropout = 0.1").replace("epochs = 1", "epochs = 2.5")
        )
        train = home / "train.jsonl"
        write_rows(rows, train)
        made[name] = (load_settings(home=home, profile="tiny", threads=1), Dataset(
            digest="rows", folder=home, train=train, holdout=train, corrections=train, card=train, holdout_from="2024-06-01",
            train_until="2024-05-20", horizon_days=5, prompt_version=1, train_rows=len(rows), holdout_rows=0, correction_rows=0,
            counts={}, purged=0, holdout_digest="", feedback_ids=[],
        ))  # fmt: skip
    return made


@pytest.fixture(scope="module")
def killed(homes) -> dict[str, int]:
    """Point → exit code of the run that was to be killed there."""
    given = {
        name: (str(homes[name][0].home), dataclasses.asdict(homes[name][1]))
        for name in RESUMED_FROM
    }
    ended = subprocess.run(
        [sys.executable, "-c", PARENT, json.dumps(given, default=str)],
        capture_output=True, text=True, cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "STOCK_LLM_SECRETS": str(homes["whole"][0].home)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    lines = [line.split() for line in ended.stdout.splitlines()]
    return {line[0]: int(line[1]) for line in lines if line and line[0] in RESUMED_FROM}


@pytest.fixture(scope="module")
def whole(homes) -> Adapter:
    """The adapter of a run that was not killed."""
    return finetune.finetune.fn(*homes["whole"])


@pytest.mark.parametrize("point", RESUMED_FROM)
def test_the_next_run_ends_with_the_same_adapter(homes, killed, whole, point):
    from safetensors.torch import load_file

    settings, dataset = homes[point]
    assert killed[point] == -9
    assert not list(settings.artifacts.rglob("artifact.json")) or point.startswith("after")
    resumed = finetune.finetune.fn(settings, dataset)

    assert resumed.resumed_from_step == RESUMED_FROM[point]
    assert (resumed.digest, resumed.steps, resumed.tokens, resumed.kept_step) == (
        *(whole.digest, whole.steps, whole.tokens, whole.kept_step),
    )
    expected = [round(entry["loss"], 4) for entry in whole.loss_curve]
    assert [round(entry["loss"], 4) for entry in resumed.loss_curve] == expected
    file = "adapter_model.safetensors"
    weights = load_file(resumed.weights / file)
    for name, weight in load_file(whole.weights / file).items():
        assert (weights[name] - weight).abs().max() < 1e-6, name


def test_a_damaged_checkpoint_is_not_used(tmp_path):
    def checkpoint(step: int, best: int | None = None) -> Path:
        from stock_llm.llm.checkpoints import seal_checkpoint

        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "optimizer.pt").write_bytes(b"whole")
        state = {"best_model_checkpoint": best and str(tmp_path / f"checkpoint-{best}")}
        (folder / "trainer_state.json").write_text(json.dumps(state))
        seal_checkpoint(folder, "x")
        return folder

    first, best, last, newest = checkpoint(1), checkpoint(3, 3), checkpoint(4, 3), checkpoint(5, 3)
    (newest / "optimizer.pt").write_bytes(b"cut sh")
    assert latest_checkpoint(tmp_path, "x") == last
    assert not newest.exists()
    (best / "optimizer.pt").unlink()
    assert latest_checkpoint(tmp_path, "x") == first, "the best weights so far are gone"
    assert [folder.name for folder in tmp_path.iterdir()] == ["checkpoint-1"]
