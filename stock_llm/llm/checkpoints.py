"""Training checkpoints: sealed with checksums, and the latest whole one found again after a kill.

A trainer writes a checkpoint file by file into `checkpoint-STEP`. `seal_checkpoint` then adds a
list of the files with their SHA-256 and the digest of the training's inputs. A checkpoint without
this list was cut short; one with other files or bytes was changed; one of another training is not
ours. All of those are deleted.
"""

import json
import re
import shutil
from pathlib import Path

from stock_llm.storage.atomic import atomic_write
from stock_llm.storage.checksums import file_sha256

SEAL = "sealed.json"
TRAINER_STATE = "trainer_state.json"
"""Transformers' name for what a trainer knows beside weights and optimizer."""


def seal_checkpoint(checkpoint: Path, training: str) -> None:
    """Declares the files in `checkpoint` to be a whole checkpoint of `training`, the digest of its
    inputs.
    """
    files = _hashes(checkpoint)
    content = {"training": training, "files": files}
    atomic_write(checkpoint / SEAL, json.dumps(content, indent=1))


def latest_checkpoint(folder: Path, training: str) -> Path | None:
    """The checkpoint of `training` in `folder` that is furthest on; those that are not whole or not
    ours are deleted, and those whose best predecessor, whose weights would be kept in the end, is
    not there.
    """
    whole: list[Path] = []
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=_step):
        if _is_whole(checkpoint, training) and _best(checkpoint) in (None, checkpoint, *whole):
            whole.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return whole[-1] if whole else None


def _is_whole(checkpoint: Path, training: str) -> bool:
    try:
        sealed = json.loads((checkpoint / SEAL).read_text())
    except (OSError, ValueError):
        return False
    return bool(sealed == {"training": training, "files": _hashes(checkpoint)})


def _best(checkpoint: Path) -> Path | None:
    """The checkpoint with the lowest validation loss so far; None where none was taken."""
    try:
        state = json.loads((checkpoint / TRAINER_STATE).read_text())
    except FileNotFoundError:
        return None
    best = state.get("best_model_checkpoint")
    return Path(best) if best else None


def _hashes(checkpoint: Path) -> dict[str, str]:
    return {
        path.relative_to(checkpoint).as_posix(): file_sha256(path)
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and not path.name.startswith(SEAL)
    }


def _step(checkpoint: Path) -> int:
    number = re.fullmatch(r"checkpoint-(\d+)", checkpoint.name)
    return int(number[1]) if number else -1
