"""Reads files of other people's data as a stream: alpaca, chat and sentiment, as JSON, JSON Lines
or CSV.

Arrays are read by ijson, so that a file may be larger than memory.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from stock_llm.dataset.config import SourceSettings
from stock_llm.errors import InputError

SUFFIXES = {
    "alpaca": (".json", ".jsonl"),
    "chat": (".json", ".jsonl"),
    "sentiment": (".json", ".jsonl", ".csv"),
}


@dataclass(frozen=True)
class SourceRecord:
    """One record of a source, as it was written.

    Attributes:
        file, row: where it stands; `row` is the line, in a JSON array the place.
        output: what is to be learnt; for sentiment one of its three classes.
    """

    file: str
    row: int
    instruction: str
    input: str
    output: str

    @property
    def size(self) -> int:
        """Bytes in UTF-8."""
        return sum(len(text.encode()) for text in (self.instruction, self.input, self.output))


def files(source: SourceSettings) -> list[Path]:
    """Lists the files of a source, sorted.

    Raises:
        InputError: there is none.
    """
    path = source.path
    if path.is_file():
        return [path]
    data_files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES[source.format] and file.is_file()
    )
    if not data_files:
        there = (
            f"no {', '.join(SUFFIXES[source.format])} file in it"
            if path.is_dir()
            else "no such file or folder"
        )
        raise InputError(
            f"no data to mix in: {there}",
            file=path,
            remedy="Correct the path of the [[dataset.source]] entry",
        )
    return data_files


def records(path: Path) -> Iterator[tuple[int, Any]]:
    """Place and value of every record, one at a time; a ValueError in place of a line that is no
    JSON.

    Raises:
        InputError: the file is not UTF-8, or a JSON array breaks off.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            if path.suffix.lower() == ".csv":
                yield from _csv_records(stream)
            elif _begins_with_bracket(stream):
                yield from _array_records(path)
            else:
                yield from _line_records(stream)
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text ({error.reason})", file=path, remedy="Save it in UTF-8"
        ) from None
    except csv.Error as error:
        raise InputError(f"not CSV: {error}", file=path, remedy="Export it again") from None


def _csv_records(stream: TextIO) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(stream, restkey="")
    for record in reader:
        yield reader.line_num, record


def _line_records(stream: TextIO) -> Iterator[tuple[int, Any]]:
    for row, line in enumerate(stream, start=1):
        if line.strip():
            try:
                yield row, json.loads(line)
            except ValueError as error:
                yield row, ValueError(f"not JSON: {error}")


def _begins_with_bracket(stream: TextIO) -> bool:
    first = next((line.lstrip() for line in stream if line.strip()), "")
    stream.seek(0)
    return first.startswith("[")


def _array_records(path: Path) -> Iterator[tuple[int, Any]]:
    import ijson

    row = 0
    with path.open("rb") as stream:
        if stream.read(3) != b"\xef\xbb\xbf":
            stream.seek(0)
        try:
            for row, record in enumerate(ijson.items(stream, "item", use_float=True), start=1):
                yield row, record
        except ijson.JSONError as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"the array breaks off after record {row}: {reason}",
                file=path,
                remedy="Repair the file",
            ) from None


def parse(record: Any, source: SourceSettings, file: str, row: int) -> SourceRecord:
    """Converts a record to instruction, input and output.

    Raises:
        ValueError: it is not what the format says, or one of its texts is missing; the message says
            which.
    """
    if isinstance(record, ValueError):
        raise record
    return SourceRecord(
        file, row, *(text.strip() for text in _FORMATS[source.format](record, source))
    )


def _alpaca(record: Any, source: SourceSettings) -> tuple[str, str, str]:  # noqa: ARG001  (all formats are read alike)
    return (
        _text(record, "instruction"),
        _text(record, "input", needed=False),
        _text(record, "output"),
    )


def _chat(record: Any, source: SourceSettings) -> tuple[str, str, str]:  # noqa: ARG001
    """The first question and its answer; a record whose answer was disliked (`label` false) teaches
    nothing."""
    turns = _mapping(record).get("messages") or record.get("conversations")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise ValueError("there are no messages")
    if record.get("label") is False:
        raise ValueError("its answer was disliked")
    texts = [
        (str(turn.get("role") or turn.get("from")), turn.get("content") or turn.get("value"))
        for turn in turns
    ]
    texts = [(role, text) for role, text in texts if role != "system"]
    if (
        len(texts) < 2
        or texts[0][0] not in ("user", "human")
        or texts[1][0] not in ("assistant", "gpt")
    ):
        raise ValueError("it does not begin with a question and an answer")
    question, answer = texts[0][1], texts[1][1]
    if (
        not isinstance(question, str)
        or not isinstance(answer, str)
        or not question.strip()
        or not answer.strip()
    ):
        raise ValueError("the question or the answer is not text")
    return question, "", answer


_TEXT_NAMES = ("text", "sentence", "headline", "title", "input")
_CLASS_NAMES = ("sentiment", "label", "output")
_CLASSES = {
    **dict.fromkeys(
        ("positive", "bullish", "moderately positive", "strong positive", "mildly positive"),
        "POSITIVE",
    ),
    **dict.fromkeys(
        ("negative", "bearish", "moderately negative", "strong negative", "mildly negative"),
        "NEGATIVE",
    ),
    "neutral": "NEUTRAL",
}
"""FinGPT's words; its nine-way datasets count as their three directions."""


def _sentiment(record: Any, source: SourceSettings) -> tuple[str, str, str]:
    """FinGPT's own instruction is dropped: the skill asks in its own words."""
    values = _mapping(record)
    name = next((name for name in _TEXT_NAMES if name in values), "text")
    label = next((values[name] for name in _CLASS_NAMES if name in values), None)
    if label is None:
        raise ValueError(f"there is no {', '.join(_CLASS_NAMES[:-1])} or {_CLASS_NAMES[-1]}")
    given = str(label).strip()
    known = source.labels.get(given) or _CLASSES.get(given.lower())
    if known is None:
        raise ValueError(
            f"'{given}' is no sentiment; say in the entry what it means: "
            f'labels = {{ "{given}" = "NEUTRAL" }}'
        )
    return "", _text(values, name), known


_FORMATS = {"alpaca": _alpaca, "chat": _chat, "sentiment": _sentiment}


def _mapping(record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    return record


def _text(record: Any, name: str, needed: bool = True) -> str:
    value = _mapping(record).get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"there is no {name}" if value is None else f"{name} is not text")
    if needed and not value.strip():
        raise ValueError(f"{name} is empty")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{name} has a character that is not text")
    return value
