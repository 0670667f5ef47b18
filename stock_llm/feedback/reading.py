"""Files of feedback: JSON Lines, a JSON array of items, and Open WebUI's export of ratings.

Open WebUI writes the export under Admin Panel → Evaluations → Feedbacks. Question and answer stand
in the copy of the chat that comes with each rating.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stock_llm.errors import InputError
from stock_llm.feedback.item import OWNER, FeedbackItem, user_name
from stock_llm.storage.checksums import digest_of

OPEN_WEBUI = "open-webui"
"""The `source` of items from Open WebUI; a newer rating under the same id replaces the older."""

_SHOWN = 300
"""Characters of a rejected record that are shown."""


@dataclass(frozen=True)
class FileRecord:
    """One record of a file: an item, or the reason why it is none.

    Attributes:
        row: line of the file; place in the array if the file is one.
        raw: the record as text.
        dated: whether the record says when the item was given.
    """

    row: int
    raw: str
    item: FeedbackItem | None = None
    reason: str = ""
    dated: bool = True


def read_records(path: Path, user: str = "", owner_names: tuple[str, ...] = ()) -> list[FileRecord]:
    """Reads the records of a file in their order.

    Args:
        user: who gave all items of the file; empty: the user that each record names.
        owner_names: names in the file that mean the owner of this machine.

    Raises:
        InputError: the file is empty or not UTF-8, or the user's name is too long.
    """
    from stock_llm.tabular.text import read_text

    try:
        given_by_all = user_name(user) if user else ""
    except ValueError as error:
        raise InputError(str(error), remedy="Give a shorter name") from None
    records = []
    for row, raw, values in _values(read_text(path, strict=True)):
        try:
            item, dated = _item(values, given_by_all)
        except (ValueError, RecursionError) as error:
            records.append(FileRecord(row, raw[:_SHOWN], reason=_reason(error)))
            continue
        given_by = given_by_all or (OWNER if item.user in owner_names else item.user)
        item = replace(item, user=given_by) if given_by != item.user else item
        records.append(FileRecord(row, raw[:_SHOWN], item, dated=dated))
    return records


def _values(text: str) -> Iterator[tuple[int, str, Any]]:
    """Row, text and value of each record; a ValueError in place of a value that is not JSON."""
    if text.lstrip().startswith("["):
        try:
            values = json.loads(text)
            texts = [json.dumps(value, ensure_ascii=False) for value in values]
        except (ValueError, RecursionError):
            pass  # then it is a JSON Lines file whose first line is bad
        else:
            yield from zip(range(1, len(values) + 1), texts, values, strict=True)
            return
    for row, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield row, line, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield row, line, ValueError(f"not JSON: {_reason(error)}")


def _reason(error: ValueError | RecursionError) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _item(values: Any, given_by_all: str) -> tuple[FeedbackItem, bool]:
    """The item of a record, and whether it says when it was given.

    Args:
        given_by_all: the user that was named for the whole file; empty: the record's own.
    """
    if isinstance(values, ValueError):
        raise values
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    if "snapshot" in values:
        return _open_webui_item(values), True
    values = {
        name: value for name, value in values.items() if (name, value) != ("created_at", None)
    }
    if values.get("id") is None:
        # its content is its id, so that a file read twice gives the same items
        content = dict(values)
        if given_by_all:
            content.pop("user", None)
        if given_by_all not in ("", OWNER):
            content["user"] = given_by_all  # two people may have the same opinion
        values["id"] = digest_of(**content)
    item = FeedbackItem.from_json(values)
    comments = (item.correction or "").strip() or item.comment.strip()
    if item.rating is None and item.thumb is None and not comments:
        raise ValueError("it has no rating, thumb, correction or comment")
    return item, "created_at" in values


# Open WebUI


def _open_webui_item(values: dict[str, Any]) -> FeedbackItem:
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
        instruction, block = _split(question["content"])
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
    symbol, day = (_labelled(name, block) for name in ("Symbol", "Date"))
    return FeedbackItem(
        id=id,
        created_at=given_at,
        user=user,
        source=OPEN_WEBUI,
        language="th" if re.search("[\u0e01-\u0e5b]", instruction) else "en",
        symbol=symbol,
        as_of=day if re.fullmatch(r"\d{4}-\d\d-\d\d", day) else "",
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


def _split(content: str) -> tuple[str, str]:
    """Instruction and input of a question: what follows the first empty line is the input."""
    instruction, _, block = content.replace("\r\n", "\n").partition("\n\n")
    return (instruction, block.strip()) if block.strip() else (content, "")


def _labelled(name: str, block: str) -> str:
    match = re.search(rf"^{name}: (\S+)", block, re.MULTILINE)
    return match[1] if match else ""
