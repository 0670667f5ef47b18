"""Annotations that Label Studio exports as "JSON": an array of tasks.

Each annotation of a task is one item: controls of the type rating are stars, textarea a correction
or a comment, choices a thumb. Skipped and empty annotations say nothing. Format:
labelstud.io/guide/task_format.
"""

from datetime import datetime
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

SOURCE = "label-studio"
"""The `source` of its items; a newer annotation under the same id replaces the older."""


def is_task(values: dict[str, Any]) -> bool:
    """Whether a record is a task with its annotations."""
    return isinstance(values.get("annotations"), list) and isinstance(values.get("data"), dict)


def ratings(task: dict[str, Any]) -> list[int]:
    """The whole numbers among the ratings of a task; none of another record."""
    values = []
    for annotation in task["annotations"] if is_task(task) else ():
        results = annotation.get("result") if isinstance(annotation, dict) else None
        for result in results if isinstance(results, list) else ():
            value = result.get("value") if isinstance(result, dict) else None
            rating = value.get("rating") if isinstance(value, dict) else None
            values += [rating] if type(rating) is int else []
    return values


def read_items(task: dict[str, Any], scale: int) -> list[FeedbackItem]:
    """The items of a task, one for each annotation that says something.

    Args:
        scale: most stars of a rating.

    Raises:
        ValueError: a field is missing or does not fit.
    """
    items = []
    for annotation in task["annotations"]:
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        opinion = _opinion(annotation.get("result") or [], scale)
        if not opinion:
            continue
        asked = asked_answer(task["data"])
        items.append(
            FeedbackItem(
                id=f"{SOURCE}-{task.get('project', '')}-{_required(annotation, 'id')}",
                created_at=_time(annotation.get("updated_at") or annotation.get("created_at")),
                user=_user(annotation.get("completed_by")),
                source=SOURCE,
                **facts_of(asked["instruction"], asked["input"]),
                **asked,
                **opinion,
            )
        )
    return items


def _opinion(results: list[Any], scale: int) -> Opinion:
    """
    Raises:
        ValueError: a result does not fit.
    """
    opinion, comments = Opinion(), []
    for result in results:
        try:
            kind, name, value = result["type"], str(result.get("from_name", "")), result["value"]
            if kind == "rating":
                opinion["rating"] = stars(value["rating"], scale)
            elif kind == "textarea":
                texts = value["text"] if isinstance(value["text"], list) else [value["text"]]
                text = "\n".join(map(str, texts)).strip()
                if text and is_correction(name):
                    opinion["correction"] = text
                elif text:
                    comments.append(text)
            elif kind == "choices":
                for choice in value["choices"]:
                    if (found := thumb(choice)) is not None:
                        opinion["thumb"] = found
                    else:
                        comments.append(str(choice))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a result of Label Studio: {error!r}") from None
    if comments:
        opinion["comment"] = "\n".join(comments)
    return opinion


def _user(completed_by: Any) -> str:
    """A number, or an object with the annotator's address, as the export was asked for."""
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("email") or completed_by.get("id")
    return "" if completed_by is None else str(completed_by)


def _time(given: Any) -> datetime:
    """
    Raises:
        ValueError: it is no time.
    """
    try:
        return datetime.fromisoformat(given)
    except (TypeError, ValueError):
        raise ValueError(f"updated_at is {given!r}, not an ISO 8601 time") from None


def _required(values: dict[str, Any], name: str) -> Any:
    if values.get(name) is None:
        raise ValueError(f"an annotation has no {name}")
    return values[name]
