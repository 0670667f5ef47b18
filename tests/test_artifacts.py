import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from stock_llm.artifacts import DAYS_UNFINISHED, RECORD, Adapter, load_or_make
from stock_llm.storage.checksums import digest_of, files_sha256


def adapter(folder, **changes):
    made = Adapter(
        digest="d", folder=folder, weights=folder / "weights", profile="stock-tiny", base_digest="b", rows=1, tokens=2, steps=3,
        train_loss=0.5, seconds=1.0, resumed_from_step=0, loss_curve=[{"step": 1.0, "loss": 0.7}],
    )  # fmt: skip
    return replace(made, **changes)


def make(folder):
    (folder / "weights").write_text("w")
    return adapter(folder)


def test_work_is_done_once(tmp_path):
    calls = []

    def work(folder):
        calls.append(folder)
        return make(folder)

    first = load_or_make(Adapter, tmp_path, "d", work)
    second = load_or_make(Adapter, tmp_path, "d", work)
    assert first == second
    assert len(calls) == 1
    assert first.weights == tmp_path / "adapter" / "d" / "weights"
    assert first.weights.read_text() == "w"


def test_interrupted_work_leaves_no_artifact_and_finds_its_files_again(tmp_path):
    def killed(folder):
        (folder / "half").write_text("checkpoint")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_or_make(Adapter, tmp_path, "d", killed)
    assert not (tmp_path / "adapter" / "d").exists()

    def again(folder):
        assert (folder / "half").read_text() == "checkpoint"
        return make(folder)

    assert load_or_make(Adapter, tmp_path, "d", again).steps == 3


def test_what_a_killed_writer_left_is_deleted_before_the_next_attempt(tmp_path):
    """A file of a whole model, on a disk that has no room for a second one."""
    partial = tmp_path / "adapter" / "d.partial"
    partial.mkdir(parents=True)
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    ).stdout.strip()
    dead, living = partial / f".f16.gguf.{gone}-a1b2c3.tmp", partial / f".x.{os.getpid()}-a1.tmp"
    for file in (dead, living):
        file.write_text("half")

    def work(folder):
        assert not dead.exists() and living.exists()
        return make(folder)

    load_or_make(Adapter, tmp_path, "d", work)


def test_what_nobody_went_on_with_for_a_month_is_deleted_with_the_next_of_its_kind(
    tmp_path, capsys
):
    """A digest of inputs that changed never comes back; its checkpoints would lie there for ever."""
    old, resumed, fresh = (tmp_path / "adapter" / f"{name}.partial" for name in ("old", "resumed", "fresh"))  # fmt: skip
    finished, other_kind = tmp_path / "adapter" / "whole", tmp_path / "candidate" / "x.partial"
    month = time.time() - (DAYS_UNFINISHED + 1) * 86400
    for folder in (old, resumed, fresh, finished, other_kind):
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "weights").write_text("w")
        if folder != fresh:
            for path in (folder / "checkpoints" / "weights", folder / "checkpoints", folder):
                os.utime(path, (month, month))
    (resumed / "checkpoints" / "weights").touch()

    load_or_make(Adapter, tmp_path, "d", make)
    assert not old.exists() and f"{old} was not gone on with" in capsys.readouterr().err
    assert all(folder.exists() for folder in (resumed, fresh, finished, other_kind))


def test_a_month_later_the_same_inputs_still_find_their_files(tmp_path):
    partial = tmp_path / "adapter" / "d.partial"
    partial.mkdir(parents=True)
    month = time.time() - (DAYS_UNFINISHED + 1) * 86400
    os.utime(partial, (month, month))
    (partial / "half").write_text("checkpoint")

    def work(folder):
        assert (folder / "half").exists()
        return make(folder)

    load_or_make(Adapter, tmp_path, "d", work)


def test_a_folder_without_its_record_is_made_again(tmp_path):
    load_or_make(Adapter, tmp_path, "d", make)
    (tmp_path / "adapter" / "d" / RECORD).unlink()
    assert load_or_make(Adapter, tmp_path, "d", make).weights.exists()


def test_a_moved_home_is_no_other_artifact(tmp_path):
    """Paths are kept relative to the folder, so that a project can be moved or copied."""
    load_or_make(Adapter, tmp_path / "here", "d", make)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = load_or_make(Adapter, tmp_path / "there", "d", lambda _: pytest.fail("made again"))
    assert moved.weights.read_text() == "w"
    assert "here" not in json.dumps(json.loads((moved.folder / RECORD).read_text()))


def test_digests_depend_on_content_not_on_order(tmp_path):
    assert digest_of(a=1, b=[2]) == digest_of(b=[2], a=1)
    assert digest_of(a=1) != digest_of(a=2)
    first, second = tmp_path / "one", tmp_path / "two"
    first.write_text("1")
    second.write_text("2")
    assert files_sha256([first, second], tmp_path) == files_sha256([second, first], tmp_path)
    before = files_sha256([first, second], tmp_path)
    second.write_text("3")
    assert files_sha256([first, second], tmp_path) != before
