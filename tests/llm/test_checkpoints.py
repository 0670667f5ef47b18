from stock_llm.llm.checkpoints import latest_checkpoint, seal_checkpoint


def checkpoint(folder, step, training="mine"):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "weights").write_bytes(b"weights %d" % step)
    (path / "state").write_bytes(b"state %d" % step)
    if training:
        seal_checkpoint(path, training)
    return path


def test_the_newest_is_by_step_not_by_name(tmp_path):
    assert latest_checkpoint(tmp_path, "mine") is None
    checkpoint(tmp_path, 9)
    last = checkpoint(tmp_path, 10)
    assert latest_checkpoint(tmp_path, "mine") == last


def test_incomplete_changed_or_foreign_checkpoints_are_not_used(tmp_path):
    good = checkpoint(tmp_path, 1)
    cut = checkpoint(tmp_path, 2)
    (cut / "weights").write_bytes(b"wei")
    extended = checkpoint(tmp_path, 3)
    (extended / "more").write_bytes(b"")
    lessened = checkpoint(tmp_path, 4)
    (lessened / "state").unlink()
    unsealed = checkpoint(tmp_path, 5, training="")
    foreign = checkpoint(tmp_path, 6, training="another")
    half = checkpoint(tmp_path, 7)
    (half / "sealed.json").write_text('{"training": "mi')

    assert latest_checkpoint(tmp_path, "mine") == good
    assert not any(path.exists() for path in (cut, extended, lessened, unsealed, foreign, half))
