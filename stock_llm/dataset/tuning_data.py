"""Divides what a model is trained on: rows for fine-tuning, opinions for preference tuning, and the
validation slice that decides whether the latter becomes part of a candidate.

The slice is cut from the end of the training time, and only where there are opinions to tune on:
where there are none, fine-tuning gets every row.
"""

from dataclasses import dataclass

from stock_llm.artifacts import Dataset
from stock_llm.dataset import preferences
from stock_llm.dataset.preferences import DpoRow, KtoRow
from stock_llm.llm.profiles import PreferencesConfig
from stock_llm.llm.prompts import Message, messages
from stock_llm.skills.row import Row, read_rows

LARGEST_SLICE = 10
"""The slice is at most the tenth part of the rows."""


@dataclass(frozen=True)
class TuningData:
    """Rows and opinions by their use.

    Attributes:
        rows: for fine-tuning.
        validation: neither trained on nor part of the holdout; empty where nothing is tuned.
        corrections: pairs of answers.
        thumbs: single answers that a person liked or disliked and did not correct.
    """

    rows: list[Row]
    validation: list[Row]
    corrections: list[DpoRow]
    thumbs: list[KtoRow]


def tuning_data(dataset: Dataset, tuning: PreferencesConfig) -> TuningData:
    """Divides a dataset. What the market alone says of an answer is no opinion; a kind of opinion
    may be too rare to be used.
    """
    opinions = preferences.read(dataset.folder / "preference.jsonl")
    corrections = [row for row in opinions if isinstance(row, DpoRow)]
    corrected = {row.feedback for row in corrections}
    thumbs = [
        row
        for row in opinions
        if isinstance(row, KtoRow) and row.said != "outcome" and row.feedback not in corrected
    ]
    rows = list(read_rows(dataset.train))
    if max(len(corrections), len(thumbs)) < tuning.at_least:
        return TuningData(rows, [], corrections, thumbs)
    asked = {_said(row.prompt) for row in opinions}
    dated = [
        place
        for place, row in enumerate(rows)
        if row.as_of
        and row.source["kind"] != "feedback"
        and _said(messages(row.instruction, row.input)) not in asked
    ]
    dated.sort(key=lambda place: (rows[place].as_of, rows[place].id))
    count = min(tuning.validation_rows, len(rows) // LARGEST_SLICE)
    cut = set(dated[len(dated) - count :])
    return TuningData(
        [row for place, row in enumerate(rows) if place not in cut],
        [row for place, row in enumerate(rows) if place in cut],
        corrections,
        thumbs,
    )


def _said(turns: list[Message]) -> tuple[str, ...]:
    return tuple(turn["content"] for turn in turns)
