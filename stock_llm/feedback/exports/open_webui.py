"""Ratings that Open WebUI exports under Admin Panel → Evaluations → Feedbacks: a JSON array.

Question and answer stand in the copy of the chat that comes with each rating. The reason that was
ticked and the comment are kept as a comment; neither is a correction.
"""

from datetime import UTC, datetime
from typing import Any

from stock_llm.feedback.exports.question_text import facts_of, split_question
from stock_llm.feedback.item import FeedbackItem

SOURCE = "open-webui"
"""The `source` of its items; a newer rating under the same id replaces the older."""


def read_item(values: dict[str, Any]) -> FeedbackItem:
    """The item of a rating.

    Raises:
        ValueError: the record is no rating with its chat.
    """
    try:
        data, messages = values["data"], values["snapshot"]["chat"]["chat"]["history"]["messages"]
        answer = messages[values["meta"]["message_id"]]
        question = messages[answer["parentId"]]
        earlier = "".join(
            f"{turn['role']}: {turn['content']}\n" for turn in _before(question, messages)
        )
        given_at = datetime.fromtimestamp(values["updated_at"], UTC)
        vote, stars = data["rating"], (data.get("details") or {}).get("rating")
        reasons = [str(text) for text in (data.get("reason"), data.get("comment")) if text]
        instruction, block = split_question(question["content"])
        response, model, id, user = (
            answer["content"],
            data["model_id"],
            values["id"],
            values["user_id"],
        )
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not a rating of Open WebUI with its chat: {error!r}") from None
    if vote not in (1, -1):
        raise ValueError(f"rating is {vote!r}, neither 1 nor -1")
    if stars is not None and (type(stars) is not int or not 1 <= stars <= 10):
        raise ValueError(f"details.rating is {stars!r}, not a whole number from 1 to 10")
    return FeedbackItem(
        id=id,
        created_at=given_at,
        user=user,
        source=SOURCE,
        **facts_of(instruction, block),
        instruction=instruction,
        input=f"{earlier}\n{block}".strip() if earlier else block,
        response=response,
        rating=(stars + 1) // 2 if stars else None,
        thumb="up" if vote == 1 else "down",
        comment=": ".join(reasons),
        model_version=model,
    )


def _before(question: dict[str, Any], messages: dict[str, Any]) -> list[dict[str, Any]]:
    """The turns before a question, the first one first."""
    turns: list[dict[str, Any]] = []
    seen = {question["id"]}
    while (parent := question.get("parentId")) in messages and parent not in seen:
        seen.add(parent)
        question = messages[parent]
        turns.insert(0, question)
    return turns
