"""A row of train.jsonl and holdout.jsonl, and the score of an answer to it.

The format extends Alpaca's three fields (instruction, input, output) by what the row is about,
where it came from and until when its label looks into the future.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_JSON = json.JSONEncoder(sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True)
class Row:
    """An instruction with the answer to train on.

    Attributes:
        as_of: ISO date of the last close that the input knows; empty for a text without a date.
        source: `kind` (trade, day, positions, feedback, rule, or that of a foreign file) and `ref`,
            the id of what it was made from.
        label: the class in the answer, for counts and baselines.
        label_from, label_until: first and last ISO date that the label looks at; `as_of` where it
            looks at nothing later.
        weight: how often training sees the row.
        facts: what the skill's scorer needs beside the answer.
    """

    skill: str
    language: str
    symbol: str
    as_of: str
    instruction: str
    input: str
    output: str
    source: dict[str, str]
    label: str
    label_from: str
    label_until: str
    weight: float = 1.0
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Readable and stable: what it is about and a hash of what is asked."""
        asked = f"{self.source['ref']}\0{self.instruction}\0{self.input}"
        mark = hashlib.sha256(asked.encode()).hexdigest()[:8]
        return "-".join(part for part in (self.skill, self.symbol, self.as_of, mark) if part)

    def to_json(self) -> str:
        """One line of JSON, keys sorted, so that the same row is the same bytes."""
        return _JSON.encode(vars(self) | {"id": self.id})


@dataclass(frozen=True)
class Score:
    """The score of one answer.

    Attributes:
        value: in [0, 1], the mean of the checks; 0 for an answer that does not parse.
        parsed: whether the answer was in the format that the skill asks for.
        checks: name of each check → its share passed, in [0, 1].
        said: the class that the answer states, empty when it did not parse.
        brier: the squared distance of the stated confidence from what came, in [0, 1], 0 at best;
            None where none is asked for. No part of `value`.
    """

    value: float
    parsed: bool
    checks: dict[str, float]
    said: str = ""
    brier: float | None = None


UNPARSED = Score(0.0, parsed=False, checks={})


def mean_of(said: str | None, brier: float | None = None, /, **checks: float) -> Score:
    """The score of an answer that parsed: every check counts the same, `brier` does not count."""
    value = sum(checks.values()) / len(checks)
    return Score(value, parsed=True, checks=checks, said=said or "", brier=brier)


def write_rows(rows: Iterable[Row], path: Path) -> int:
    """Writes JSON lines; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            stream.write(row.to_json() + "\n")
            count += 1
    return count


def read_rows(path: Path) -> Iterator[Row]:
    """Reads the rows of a file that `write_rows` wrote."""
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            values = json.loads(line)
            del values["id"]
            yield Row(**values)
