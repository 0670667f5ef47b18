"""The mark on a dataset that something in it was forgotten later: one small file beside its rows,
which stay as they were.

In: the dataset's folder, what was forgotten. Out: the marks. Does not know the store, nor models.
"""

import json
from pathlib import Path

from stock_llm.storage.atomic import atomic_write

FILE = "forgotten.json"


def read(folder: Path) -> str:
    """The marks as JSON text, sorted; empty where there is none."""
    found = _marks(folder)
    return json.dumps(sorted(found), ensure_ascii=False) if found else ""


def add(folder: Path, mark: str) -> None:
    """Adds one mark, such as "feedback 17"; once more changes nothing. Whole or not at all."""
    marks = _marks(folder)
    if mark in marks:
        return
    atomic_write(folder / FILE, json.dumps(sorted({*marks, mark}), ensure_ascii=False))


def _marks(folder: Path) -> set[str]:
    file = folder / FILE
    return set(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else set()
