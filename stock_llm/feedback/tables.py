"""The tables of the feedback store, and its write transactions."""

from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path

import sqlalchemy as sa

from stock_llm.feedback.item import FeedbackItem
from stock_llm.storage.database import Schema, exclusive_transaction

META = sa.MetaData()
FEEDBACK = sa.Table(
    "feedback",
    META,
    *(
        sa.Column(item.name, sa.Integer if item.name == "rating" else sa.Text)
        for item in fields(FeedbackItem)
    ),
    *(sa.Column(name, sa.Text) for name in ("digest", "answer", "ticker", "day", "state")),
    sa.Column("number", sa.Integer),
)
BATCH = sa.Table(
    "batch",
    META,
    *(
        sa.Column(name, sa.Text)
        for name in ("key", "claimed_at", "lease_until", "settled_at", "verdict", "reason")
    ),
)
BATCH_ITEM = sa.Table(
    "batch_item",
    META,
    sa.Column("batch", sa.Text),
    sa.Column("feedback", sa.Text),
    sa.Column("learnt", sa.Integer),
)
FORGOTTEN = sa.Table(
    "forgotten", META, *(sa.Column(name, sa.Text) for name in ("kind", "mark", "forgotten_at"))
)

SCHEMA = Schema(
    "feedback store", "STOCK_LLM_FEEDBACK_URL", Path(__file__).parent / "migrations", lock=7366427
)


def writing(engine: sa.Engine) -> AbstractContextManager[sa.Connection]:
    """A transaction that no other writer overlaps. Raises: as `exclusive_transaction`."""
    return exclusive_transaction(engine, SCHEMA, "batch")
