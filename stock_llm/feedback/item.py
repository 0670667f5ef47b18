"""One item of feedback, and how it is written as JSON and Parquet."""

import re
import unicodedata
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from stock_llm.evaluation.answers import LANGUAGES, Language
from stock_llm.storage.checksums import digest_of
from stock_llm.unicode import fold

Thumb = Literal["up", "down"]

LIKED, DISLIKED = 4, 2
"""Ratings from `LIKED` on say that an answer was good, up to `DISLIKED` that it was not."""

OWNER = "owner"
"""The user of items that name no user: the owner of this machine."""

LONGEST_NAME = 200
"""Characters of a user's name."""


@dataclass(frozen=True, kw_only=True)
class FeedbackItem:
    """One person's opinion of one answer: a rating, thumb, correction, comment, or several of them.

    Attributes:
        id: given by the source, or made up; the same id is the same item.
        created_at: with a time zone; kept in UTC.
        user: who gave the item, as `user_name` writes it.
        source: how the item arrived: "user", "gateway", "open-webui", "sample" …
        as_of: ISO date of the last close that the question knew; empty if it was about no day.
        instruction, input, response: the question as the model got it, and its answer.
        rating: 1 (useless) to 5 (just right).
        correction: the answer that the user wanted instead.
        response_id: the gateway's id of the answer; empty if it has none.

    Raises:
        ValueError: a field does not fit; the message names it.
    """

    instruction: str
    response: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    user: str = OWNER
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
        object.__setattr__(self, "user", user_name(self.user))

    @property
    def digest(self) -> str:
        """16 hex digits over the whole item; the owner is left out, as in stores without users."""
        values = self.to_json()
        if self.user == OWNER:
            del values["user"]
        return digest_of(**values)

    @property
    def answer_key(self) -> str:
        """16 hex digits over question and response: the same for opinions of the same answer."""
        return answer_key(self.instruction, self.input, self.response)

    @property
    def ticker(self) -> str:
        """The stock of the question's block, else `symbol`, in capitals; empty if there is none."""
        named = _BLOCK_SYMBOL.search(fold(f"{self.instruction}\n{self.input}"))
        return ticker_name(named[1] if named else self.symbol)

    @property
    def edit(self) -> str | None:
        """The correction; None if there is none or it looks like the response.

        Spaces count only in code, invisible characters never.
        """
        wanted, given = (self.correction or "").strip(), self.response.strip()
        after, before = fold(wanted), fold(given)
        same = after == before if "```" in wanted else after.split() == before.split()
        return None if not after.strip() or same else wanted

    @property
    def liked(self) -> bool | None:
        """Whether the answer was good; None if nothing says so or the votes contradict each other.

        Votes are the thumb, the rating and, against the answer, an edit.
        """
        votes = {self.thumb == "up"} if self.thumb else set()
        if self.rating is not None and (self.rating <= DISLIKED or self.rating >= LIKED):
            votes.add(self.rating >= LIKED)
        if len(votes) != 1 or (True in votes and self.edit is not None):
            return None
        return votes.pop()

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, the time as ISO 8601 in UTC."""
        return asdict(self) | {"created_at": self.created_at.isoformat(timespec="microseconds")}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "FeedbackItem":
        """The item of a JSON object; a field that is missing or null gets its default.

        Raises:
            ValueError: a field is unknown, missing or does not fit.
        """
        if unknown := sorted(set(values) - {item.name for item in fields(cls)}):
            raise ValueError(f"unknown field {unknown[0]!r}")
        for name in ("instruction", "response"):
            if values.get(name) is None:
                raise ValueError(f"{name} is null" if name in values else f"there is no {name}")
        given = {name: value for name, value in values.items() if value is not None}
        if "created_at" in given:
            try:
                given["created_at"] = datetime.fromisoformat(given["created_at"])
            except (TypeError, ValueError):
                raise ValueError(
                    f"created_at is {given['created_at']!r}, not an ISO 8601 time"
                ) from None
        return cls(**given)


def user_name(given: str) -> str:
    """A user's name as items have it: visible characters, small letters; `OWNER` for an empty one.

    Raises:
        ValueError: the name is longer than `LONGEST_NAME`.
    """
    name = " ".join(unicodedata.normalize("NFKC", fold(given)).casefold().split()) or OWNER
    if len(name) > LONGEST_NAME:
        raise ValueError(f"user has {len(name)} characters, more than {LONGEST_NAME}")
    return name


def ticker_name(given: str) -> str:
    """A ticker as items have it: visible characters, capitals."""
    return unicodedata.normalize("NFKC", fold(given)).strip().upper()


def answer_key(instruction: str, input: str, response: str) -> str:
    """`FeedbackItem.answer_key` of these texts; case, spaces and invisible characters are
    ignored."""
    texts = (" ".join(fold(text).casefold().split()) for text in (instruction, input, response))
    return digest_of(answer=list(texts))


_BLOCK_SYMBOL = re.compile(r"^\W*Symbol\s*[:：]\s*(\S+)", re.MULTILINE | re.IGNORECASE)
_NULLABLE = ("rating", "thumb", "correction")
_TEXTS = tuple(
    item.name for item in fields(FeedbackItem) if item.name not in ("created_at", *_NULLABLE)
)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}, not text")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value):
        # a database would refuse it
        raise ValueError(f"{name} has a character that is not text: {value!r}")


def _is_iso_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def write_parquet(items: Iterable[FeedbackItem], path: Path) -> None:
    """Writes one row an item, in the order given; the same items give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"rating": pa.int64()}
    schema = pa.schema(
        [(item.name, types.get(item.name, pa.string())) for item in fields(FeedbackItem)]
    )
    table = pa.Table.from_pylist([item.to_json() for item in items], schema=schema)
    pq.write_table(table, path, compression="zstd")


def read_parquet(path: Path) -> list[FeedbackItem]:
    """Reads the items of a file that `write_parquet` wrote."""
    import pyarrow.parquet as pq

    return [FeedbackItem.from_json(row) for row in pq.read_table(path).to_pylist()]
