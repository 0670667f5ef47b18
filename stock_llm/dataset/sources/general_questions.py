"""A fixed set of general questions with reference answers: what fine-tuning should not forget.

Terms of charts, numbers, plain language and a little of the world, in English and Thai, none of
them a skill's. The loss of a model on the answers is its general loss. Nothing is trained on that
asks or says nearly the same (`tasks/build_dataset.py`).
"""

import json
from functools import cache
from pathlib import Path

from stock_llm.dataset.sources.mixing import general_row
from stock_llm.evaluation.answers import Language
from stock_llm.skills.row import Row

FILE = Path(__file__).with_suffix(".jsonl")

KIND = "general question"


@cache
def rows() -> tuple[Row, ...]:
    """The questions as rows that judge, in the order of the file."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return tuple(_row(number, **json.loads(line)) for number, line in enumerate(lines, start=1))


def _row(number: int, language: Language, question: str, answer: str) -> Row:
    return general_row(language, question, "", answer, KIND, f"{KIND} {number}")
