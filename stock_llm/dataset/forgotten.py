"""Marks a dataset that holds something that was forgotten later.

The mark is a small file beside the rows, which stay as they are.
"""

import json
from pathlib import Path

from stock_llm.storage.atomic import atomic_write

FILE = "forgotten.json"


def read(folder: Path) -> str:
    """Reads the marks as JSON text, sorted; empty if there are none."""
    marks = _marks(folder)
    return json.dumps(sorted(marks), ensure_ascii=False) if marks else ""


def add(folder: Path, mark: str) -> None:
    """Adds one mark, such as "feedback 17"; once more changes nothing. Whole or not at all."""
    marks = _marks(folder)
    if mark in marks:
        return
    atomic_write(folder / FILE, json.dumps(sorted({*marks, mark}), ensure_ascii=False))


def _marks(folder: Path) -> set[str]:
    file = folder / FILE
    return set(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else set()
