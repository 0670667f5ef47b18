"""Conversations of the chat page, and the time to the first piece of each answer."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Makes the tables and the column."""
    op.add_column(
        "call",
        sa.Column(
            "first_seconds", sa.Float, comment="to the first piece; null where nothing was streamed"
        ),
    )
    op.create_table(
        "conversation",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, nullable=False, comment="whose token; empty: the common one"),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Text, nullable=False, index=True),
    )
    op.create_table(
        "turn",
        sa.Column("id", sa.Text, primary_key=True, comment="of the cost record and the answer"),
        sa.Column("conversation", sa.Text, nullable=False, index=True),
        sa.Column("at", sa.Text, nullable=False, index=True),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False, comment="JSON, as in the end of a stream"),
    )
