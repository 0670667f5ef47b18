"""Reads what figures of a period are counted from: recorded calls and feedback."""

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import sqlalchemy as sa

from stock_llm.gateway.accounting.tables import CALL, SCHEMA, dollars, text
from stock_llm.storage.database import open_database, read_transaction

if TYPE_CHECKING:
    from stock_llm.feedback.item import FeedbackItem


@dataclass(frozen=True)
class KpiSources:
    """Where the figures are read from.

    Attributes:
        costs_url, feedback_url: absolute SQLAlchemy URLs.
        daily, monthly: budgets in dollars.
    """

    costs_url: str
    feedback_url: str
    daily: Decimal
    monthly: Decimal


@dataclass(frozen=True, slots=True)
class CallRow:
    """A recorded call; `charged` in millionths of a dollar, what was checked of its answer as in
    `CallRecord`."""

    at: datetime
    status: str
    fell_back: bool
    charged: int
    seconds: float
    first_seconds: float | None
    id: str
    feature: str
    true_sentences: int | None
    false_sentences: int | None
    invented_numbers: int | None
    parses: bool | None


def read_calls(url: str, begin: datetime, end: datetime) -> list[CallRow]:
    """The calls between two times, in the order of their start."""
    names = [item.name for item in fields(CallRow)]
    chosen = sa.select(*(CALL.c[name] for name in names)).where(
        CALL.c.at >= text(begin), CALL.c.at < text(end)
    )
    engine = open_database(url, SCHEMA)
    with read_transaction(engine, SCHEMA) as connection:
        rows = connection.execute(chosen.order_by(CALL.c.at)).all()
    engine.dispose()
    return [CallRow(datetime.fromisoformat(at), *rest) for at, *rest in rows]


def read_feedback(url: str, begin: datetime, end: datetime) -> "list[FeedbackItem]":
    """What people said, the committed sample apart."""
    from stock_llm.feedback.store import SAMPLE_SOURCE, FeedbackStore

    items = FeedbackStore(url).all(sample=False)
    return [
        item for item in items if item.source != SAMPLE_SOURCE and begin <= item.created_at < end
    ]


def charged_in_month(url: str, end: datetime) -> Decimal:
    """Dollars that were charged in the calendar month that ends, so far, with a time."""
    first = (end - timedelta(microseconds=1)).replace(day=1, hour=0, minute=0, second=0)
    inside = CALL.c.at >= text(first.replace(microsecond=0)), CALL.c.at < text(end)
    engine = open_database(url, SCHEMA)
    with read_transaction(engine, SCHEMA) as connection:
        amount = connection.execute(sa.select(sa.func.sum(CALL.c.charged)).where(*inside)).scalar()
    engine.dispose()
    return dollars(int(amount or 0))
