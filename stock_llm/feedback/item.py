"""One item of feedback, and how it is written as JSON and Parquet. Does not know the store, nor what is learnt from an item."""

import json
import unicodedata
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from stock_llm.evaluation.answers import LANGUAGES, Language
from stock_llm.storage.checksums import digest_of

Thumb = Literal["up", "down"]

LIKED, DISLIKED = 4, 2
"""Stars from which on, and up to which, a rating says whether an answer was good; three say neither."""


@dataclass(frozen=True, kw_only=True)
class FeedbackItem:
    """What somebody said about one answer: a rating, a thumb, a correction, a comment, or several of them.

    Attributes:
        id: the giver's own, or made up: the same id is the same item.
        created_at: with a time zone; kept in UTC.
        source: who or what gave it: "user", "gateway", "sample" …
        as_of: ISO date of the last close that the question knew; empty where it was about no day.
        instruction, input, response: the question as it was put to the model, and its answer.
        rating: 1 (useless) to 5 (just right).
        correction: the answer that the user wanted instead.
        response_id: the gateway's id of the answer; empty where it has none.

    Raises:
        ValueError: a field does not fit; the message names it.
    """

    instruction: str
    response: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    source: str = "user"
    skill: str = ""
    language: Language = "en"
    symbol: str = ""
    as_of: str = ""
    input: str = ""
    rating: int | None = None
    thumb: Thumb | None = None
    correction: str | None = None
    comment: str = ""
    response_id: str = ""
    model_version: str = ""

    def __post_init__(self) -> None:
        for name in _TEXTS:
            _check_text(name, getattr(self, name))
        for name in ("id", "source", "instruction", "response"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty")
        if not isinstance(self.created_at, datetime) or self.created_at.tzinfo is None:
            raise ValueError(f"created_at is {self.created_at}, not a time with a time zone")
        if self.language not in LANGUAGES:
            raise ValueError(f"language is {self.language!r}, not one of {', '.join(LANGUAGES)}")
        if self.rating is not None and (type(self.rating) is not int or not 1 <= self.rating <= 5):
            raise ValueError(f"rating is {self.rating!r}, not a whole number from 1 to 5")
        if self.thumb is not None and self.thumb not in get_args(Thumb):
            raise ValueError(f"thumb is {self.thumb!r}, neither 'up' nor 'down'")
        if self.correction is not None:
            _check_text("correction", self.correction)
        if self.as_of and not _is_iso_date(self.as_of):
            raise ValueError(f"as_of is {self.as_of!r}, not a date such as 2026-01-31")
        object.__setattr__(self, "created_at", self.created_at.astimezone(UTC))

    @property
    def digest(self) -> str:
        """16 hex digits over the whole item."""
        return digest_of(**self.to_json())

    @property
    def edit(self) -> str | None:
        """The correction; None where there is none, or where only spaces (in code, those count) or signs without a shape tell it
        from the response."""
        wanted, given = (self.correction or "").strip(), self.response.strip()
        seen, before = _visible(wanted), _visible(given)
        same = seen == before if "```" in wanted else seen.split() == before.split()
        return None if not seen.strip() or same else wanted

    @property
    def liked(self) -> bool | None:
        """Whether the answer was good as it was; None where nothing says so, or thumb, rating and edit contradict each other."""
        votes = {self.thumb == "up"} if self.thumb else set()
        if self.rating is not None and (self.rating <= DISLIKED or self.rating >= LIKED):
            votes.add(self.rating >= LIKED)
        if len(votes) != 1 or (True in votes and self.edit is not None):
            return None
        return votes.pop()

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON knows them, the time as ISO 8601 in UTC."""
        return asdict(self) | {"created_at": self.created_at.isoformat(timespec="microseconds")}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "FeedbackItem":
        """The item of a JSON object; what is missing gets its default.

        Raises:
            ValueError: a field is unknown, missing or does not fit.
        """
        if unknown := sorted(set(values) - {item.name for item in fields(cls)}):
            raise ValueError(f"unknown field {unknown[0]!r}")
        if missing := sorted({"instruction", "response"} - set(values)):
            raise ValueError(f"there is no {missing[0]}")
        given = {
            name: value for name, value in values.items() if value is not None or name in _NULLABLE
        }
        if "created_at" in given:
            try:
                given["created_at"] = datetime.fromisoformat(given["created_at"])
            except (TypeError, ValueError):
                raise ValueError(
                    f"created_at is {given['created_at']!r}, not an ISO 8601 time"
                ) from None
        return cls(**given)


def _visible(text: str) -> str:
    return (
        text
        if text.isascii()
        else "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    )


_NULLABLE = ("rating", "thumb", "correction")
_TEXTS = tuple(
    item.name for item in fields(FeedbackItem) if item.name not in ("created_at", *_NULLABLE)
)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}, not text")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(
            f"{name} has a character that is not text: {value!r}"
        )  # a database would refuse it


def _is_iso_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def read_line(line: str) -> FeedbackItem:
    """The item of a line of JSON.

    One without an id gets it from its content, so that a file read twice is the same items; it must say when it was given.

    Raises:
        ValueError: the line is not a JSON object, not an item, or says nothing of the answer.
    """
    try:
        values = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    if "created_at" not in values:
        raise ValueError("there is no created_at")
    if "id" not in values:
        values["id"] = digest_of(**values)
    item = FeedbackItem.from_json(values)
    if (
        item.rating is None
        and item.thumb is None
        and not (item.correction or "").strip()
        and not item.comment.strip()
    ):
        raise ValueError("it has no rating, thumb, correction or comment")
    return item


def write_parquet(items: Iterable[FeedbackItem], path: Path) -> None:
    """One row an item, in the order given; the same items are the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"rating": pa.int64()}
    schema = pa.schema(
        [(item.name, types.get(item.name, pa.string())) for item in fields(FeedbackItem)]
    )
    pq.write_table(
        pa.Table.from_pylist([item.to_json() for item in items], schema=schema),
        path,
        compression="zstd",
    )


def read_parquet(path: Path) -> list[FeedbackItem]:
    """The items of a file that `write_parquet` wrote."""
    import pyarrow.parquet as pq

    return [FeedbackItem.from_json(row) for row in pq.read_table(path).to_pylist()]
