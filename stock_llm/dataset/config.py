"""The table `[dataset]` of stock-llm.toml: what is mixed into the dataset, and how amounts are
scaled."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SourceSettings(BaseModel):
    """Other people's data that is mixed in: an entry `[[dataset.source]]` of stock-llm.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    """A file or a folder of files: .json (an array of objects, or one object a line), .jsonl, for
    sentiment also .csv."""

    format: Literal["alpaca", "sentiment", "chat"]
    """alpaca: instruction, input, output. sentiment: a text and its class. chat: messages, or
    ShareGPT's conversations."""

    licence: str
    """SPDX expression of the data, such as Apache-2.0 or CC-BY-4.0; LicenseRef-NAME where SPDX has
    none."""

    weight: float = Field(default=0.1, gt=0)
    """Rows of this source for each row of your own: 0.1 of 1,000 train rows are 100. Which ones is
    drawn by the seed."""

    longest: int = Field(default=500, ge=50)
    """Bytes of a row in UTF-8, question, input and answer together; a longer one is quarantined,
    not cut. A token is a byte or more, so that 500 fit every base. Raise it with a base that reads
    more."""

    labels: dict[str, Literal["POSITIVE", "NEGATIVE", "NEUTRAL"]] = {}
    """sentiment: what the classes mean if they are numbers:
    { "0" = "NEGATIVE", "1" = "POSITIVE", "2" = "NEUTRAL" }."""

    allow_non_commercial: bool = False
    """Mix it in though its licence forbids commercial use. Every model of this line is published:
    keep yours where the licence allows it to be."""


class DatasetSettings(BaseModel):
    """What is mixed into the dataset, and how amounts are scaled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: tuple[SourceSettings, ...] = ()
    """Other people's data to mix in."""

    amount_scale: float = Field(default=1.0, gt=0)
    """Factor on the quantities of your trades before rows are made: positions keep their
    proportions and lose their size."""

    def sources(self, home: Path) -> tuple[SourceSettings, ...]:
        """The sources, their paths taken from `home` unless absolute."""
        return tuple(
            source.model_copy(update={"path": home / source.path.expanduser()})
            for source in self.source
        )
