"""Records that Argilla 2 writes with `dataset.records.to_json(…)`: an array.

The responses of one user to a record are one item: a whole number is stars, a label a thumb, a text
a correction or a comment. A record does not say when they were given. Suggestions, which models
made, are left out. Format: `Record.to_dict` of the package argilla.
"""

from collections.abc import Mapping
from typing import Any

from stock_llm.feedback.exports.opinions import (
    Opinion,
    asked_answer,
    is_correction,
    stars,
    thumb,
)
from stock_llm.feedback.exports.question_text import facts_of
from stock_llm.feedback.item import FeedbackItem
from stock_llm.storage.checksums import digest_of

SOURCE = "argilla"


def is_record(values: dict[str, Any]) -> bool:
    """Whether a record has fields, and responses by question."""
    return isinstance(values.get("fields"), dict) and isinstance(values.get("responses"), dict)


def ratings(record: dict[str, Any]) -> list[int]:
    """The whole numbers among the responses to a record; none of another record."""
    return [
        response["value"]
        for responses in (record["responses"].values() if is_record(record) else ())
        for response in (responses if isinstance(responses, list) else ())
        if isinstance(response, dict) and type(response.get("value")) is int
    ]


def read_items(record: dict[str, Any], scale: int) -> list[FeedbackItem]:
    """The items of a record, one for each user who said something.

    Args:
        scale: most stars of a rating.

    Raises:
        ValueError: a field is missing or does not fit.
    """
    by_user: dict[str, dict[str, Any]] = {}
    for question, responses in record["responses"].items():
        for response in responses if isinstance(responses, list) else ():
            if not isinstance(response, dict):
                raise ValueError(f"a response to {question!r} is {response!r}, not an object")
            if response.get("value") is not None:
                user = str(response.get("user_id") or "")
                by_user.setdefault(user, {})[question] = response["value"]
    if not by_user:
        return []
    metadata = record.get("metadata")
    asked = asked_answer(record["fields"], metadata if isinstance(metadata, dict) else {})
    items = []
    for user, said in by_user.items():
        if opinion := _opinion(said, scale):
            content = {"record": str(record.get("id")), "user": user, **asked, **opinion}
            items.append(
                FeedbackItem(
                    id=f"{SOURCE}-{digest_of(**content)}",
                    user=user,
                    source=SOURCE,
                    **facts_of(asked["instruction"], asked["input"]),
                    **asked,
                    **opinion,
                )
            )
    return items


def _opinion(said: Mapping[str, Any], scale: int) -> Opinion:
    """
    Raises:
        ValueError: a value does not fit.
    """
    opinion, comments = Opinion(), []
    for question, value in said.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, int) and not isinstance(part, bool):
                opinion["rating"] = stars(part, scale)
            elif (found := thumb(part)) is not None:
                opinion["thumb"] = found
            elif isinstance(part, str) and is_correction(question) and part.strip():
                opinion["correction"] = part.strip()
            elif isinstance(part, str) and part.strip():
                comments.append(part.strip())
    if comments:
        opinion["comment"] = "\n".join(comments)
    return opinion
