"""Files of feedback: JSON Lines or a JSON array of items, or an export of Open WebUI, Label Studio
or Argilla (`exports/`), which are recognised by their records.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stock_llm.errors import InputError
from stock_llm.feedback.exports import argilla, label_studio, open_webui, opinions
from stock_llm.feedback.item import OWNER, FeedbackItem, user_name
from stock_llm.storage.checksums import digest_of

DATED_SOURCES = (open_webui.SOURCE, label_studio.SOURCE)
"""Sources whose records keep their id when they are changed: the newer one replaces the older."""

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
    found = list(_values(read_text(path, strict=True)))
    scale = _scale(values for _, _, values in found)
    for row, raw, values in found:
        try:
            items = _items(values, given_by_all, scale)
        except (ValueError, RecursionError) as error:
            records.append(FileRecord(row, raw[:_SHOWN], reason=_reason(error)))
            continue
        for item, dated in items:
            given_by = given_by_all or (OWNER if item.user in owner_names else item.user)
            named = replace(item, user=given_by) if given_by != item.user else item
            records.append(FileRecord(row, raw[:_SHOWN], named, dated=dated))
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


def _scale(records: Iterable[Any]) -> int:
    """Most stars of the ratings of a labelling tool, whose records do not say: 10 where one of the
    file is above 5."""
    given = [
        rating
        for values in records
        if isinstance(values, dict)
        for tool in (label_studio, argilla)
        for rating in tool.ratings(values)
    ]
    return opinions.LONG_STARS if max(given, default=0) > opinions.STARS else opinions.STARS


def _reason(error: ValueError | RecursionError) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _items(values: Any, given_by_all: str, scale: int) -> list[tuple[FeedbackItem, bool]]:
    """The items of a record, each with whether it says when it was given; none where nobody said
    anything.

    Args:
        given_by_all: the user that was named for the whole file; empty: the record's own.
        scale: most stars of the ratings of a labelling tool.
    """
    if isinstance(values, ValueError):
        raise values
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    if "snapshot" in values:
        return [(open_webui.read_item(values), True)]
    if label_studio.is_task(values):
        return [(item, True) for item in label_studio.read_items(values, scale)]
    if argilla.is_record(values):
        return [(item, False) for item in argilla.read_items(values, scale)]
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
    return [(item, "created_at" in values)]
