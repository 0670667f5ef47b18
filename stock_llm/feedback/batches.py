"""Which items a candidate learnt from, and how many are ready for the next one: the SQL behind the
store's claims.

A batch is the items of one candidate's history: those of its dataset, and those that were seen and
left out of it, because they wait for the holdout to end or teach nothing. While the batch has a
lease, or once its candidate was judged promote or keep, its items do not count as ready; every
other verdict gives them back.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from stock_llm.errors import InputError
from stock_llm.feedback.item import DISLIKED, LIKED
from stock_llm.feedback.tables import BATCH, BATCH_ITEM, FEEDBACK

USING_VERDICTS = ("promote", "keep")
"""Verdicts that make the items of a batch used; every other gives them back."""

REFUSING_VERDICTS = ("reject", "blocked")
"""Verdicts after which the same items are not tried again."""

BIND = 900
"""Values in one IN (…): SQLite may have been built for 999."""


@dataclass(frozen=True)
class Refusal:
    """The last candidate was rejected or blocked, and its items were given back.

    Attributes:
        fresh: ready items that it did not have.
    """

    verdict: str
    reason: str
    settled_at: str
    fresh: int


@dataclass(frozen=True)
class FeedbackCounts:
    """How many items are ready for the next candidate.

    Attributes:
        ready: items that count, would teach something, and that no judged candidate and no training
            has seen.
        training: items in the dataset of a training under way.
        passed_over: items that a judged candidate left out of its dataset.
        refusal: the last judgement, if it gave its items back.
    """

    ready: int
    training: int
    passed_over: int
    refusal: Refusal | None


def teaches() -> sa.ColumnElement[bool]:
    """Whether an item has a correction, or one opinion of its answer: what `FeedbackItem.edit` and
    `FeedbackItem.liked` say, but for a correction that differs in spaces alone.
    """
    row = FEEDBACK.c
    corrects = sa.and_(
        sa.func.trim(sa.func.coalesce(row.correction, "")) != "",
        sa.func.trim(sa.func.coalesce(row.correction, "")) != sa.func.trim(row.response),
    )
    likes, dislikes = row.rating >= LIKED, row.rating <= DISLIKED
    up = sa.and_(row.thumb == "up", sa.not_(sa.func.coalesce(dislikes, False)))
    down = sa.and_(row.thumb == "down", sa.not_(sa.func.coalesce(likes, False)))
    rated = sa.and_(row.thumb.is_(None), sa.or_(likes, dislikes))
    return sa.func.coalesce(sa.or_(corrects, up, down, rated), False)


def items_of(*conditions: sa.ColumnElement[bool]) -> sa.Select[tuple[str]]:
    """The ids of the items of the batches that fit."""
    joined = sa.select(BATCH_ITEM.c.feedback).join(BATCH, BATCH.c.key == BATCH_ITEM.c.batch)
    return joined.where(*conditions)


def is_used() -> sa.ColumnElement[bool]:
    """Whether a batch keeps its items for good."""
    return BATCH.c.verdict.in_(USING_VERDICTS)


def is_leased(now: str) -> sa.ColumnElement[bool]:
    """Whether a batch is in a training under way."""
    return sa.and_(BATCH.c.verdict.is_(None), BATCH.c.lease_until > now)


def ready(live: sa.Select[tuple[str]], now: str) -> sa.ColumnElement[bool]:
    """Whether an item is ready for the next candidate.

    Args:
        live: the ids of the items that count.
    """
    taken = items_of(sa.or_(is_used(), is_leased(now)))
    return sa.and_(FEEDBACK.c.id.in_(live), FEEDBACK.c.id.not_in(taken), teaches())


def count(connection: sa.Connection, live: sa.Select[tuple[str]], now: str) -> FeedbackCounts:
    """How many items are ready, and what became of the last ones."""
    learnt, left_out = BATCH_ITEM.c.learnt == 1, BATCH_ITEM.c.learnt == 0
    passed_over = sa.and_(
        FEEDBACK.c.id.in_(live),
        FEEDBACK.c.id.in_(items_of(is_used(), left_out)),
        FEEDBACK.c.id.not_in(items_of(is_used(), learnt)),
    )
    is_ready = ready(live, now)
    last = connection.execute(
        sa.select(BATCH).where(BATCH.c.verdict.in_((*USING_VERDICTS, *REFUSING_VERDICTS)))
        .order_by(BATCH.c.settled_at.desc(), BATCH.c.key).limit(1)
    ).one_or_none()  # fmt: skip
    refusal = None
    if last is not None and last.verdict in REFUSING_VERDICTS:
        had = FEEDBACK.c.id.in_(items_of(BATCH.c.key == last.key))
        fresh = number(connection, sa.and_(is_ready, sa.not_(had)))
        refusal = Refusal(last.verdict, last.reason, last.settled_at, fresh)
    training = number(connection, FEEDBACK.c.id.in_(items_of(is_leased(now), learnt)))
    seen = number(connection, passed_over)
    return FeedbackCounts(number(connection, is_ready), training, seen, refusal)


def number(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> int:
    """How many items fit."""
    chosen = sa.select(sa.func.count()).select_from(FEEDBACK).where(condition)
    return connection.execute(chosen).scalar_one()


def claim(
    connection: sa.Connection,
    batch: str,
    learnt: set[str],
    left_out: set[str],
    lease: dict[str, Any],
) -> None:
    """Notes the items of a batch and gives it a lease; one that was judged promote or keep stays
    judged.

    Raises:
        InputError: an item of the dataset is not in the store.
    """
    here = existing(connection, FEEDBACK.c.id, sorted(learnt | left_out))
    if lost := sorted(learnt - here):
        raise InputError(
            f"the feedback store lost {len(lost)} items of the dataset, the first: '{lost[0]}'"
        )
    known = connection.execute(
        sa.select(BATCH.c.key, BATCH.c.verdict).where(BATCH.c.key == batch)
    ).one_or_none()
    if known is None:
        connection.execute(sa.insert(BATCH).values(key=batch, reason="", **lease))
    elif known.verdict not in USING_VERDICTS:
        renewed = lease | {"settled_at": None, "verdict": None, "reason": ""}
        connection.execute(sa.update(BATCH).where(BATCH.c.key == batch).values(renewed))
        # a dataset that was refused may have left out what this one has
        connection.execute(sa.delete(BATCH_ITEM).where(BATCH_ITEM.c.batch == batch))
    noted = sa.select(BATCH_ITEM.c.feedback).where(BATCH_ITEM.c.batch == batch)
    missing = here.difference(connection.execute(noted).scalars())
    if missing:
        rows = [
            {"batch": batch, "feedback": id, "learnt": int(id in learnt)} for id in sorted(missing)
        ]
        connection.execute(sa.insert(BATCH_ITEM), rows)


def existing(connection: sa.Connection, column: sa.Column[str], values: list[str]) -> set[str]:
    """The values that the column has."""
    parts = (values[start : start + BIND] for start in range(0, len(values), BIND))
    return {
        value
        for part in parts
        for value in connection.execute(sa.select(column).where(column.in_(part))).scalars()
    }
