"""Feedback items, each as it was given."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "created_at",
            sa.Text,
            nullable=False,
            comment="UTC, ISO 8601 with microseconds: sorts as text",
        ),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("skill", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("as_of", sa.Text, nullable=False),
        sa.Column("instruction", sa.Text, nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("response", sa.Text, nullable=False),
        sa.Column("rating", sa.Integer),
        sa.Column("thumb", sa.Text),
        sa.Column("correction", sa.Text),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("response_id", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column(
            "digest",
            sa.Text,
            nullable=False,
            comment="of the whole item: the same id with other content is refused",
        ),
        sa.CheckConstraint("rating BETWEEN 1 AND 5", name="rating_is_1_to_5"),
        sa.CheckConstraint("thumb IN ('up', 'down')", name="thumb_is_up_or_down"),
    )
    op.create_index("feedback_created_at", "feedback", ["created_at", "id"])
