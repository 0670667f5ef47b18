"""Which items went into the dataset of which candidate, and what was judged of it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "batch",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("claimed_at", sa.Text, nullable=False),
        sa.Column("lease_until", sa.Text, nullable=False),
        sa.Column("settled_at", sa.Text),
        sa.Column("verdict", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "batch_item",
        sa.Column("batch", sa.Text, sa.ForeignKey("batch.key"), primary_key=True),
        sa.Column("feedback", sa.Text, sa.ForeignKey("feedback.id"), primary_key=True),
    )
    op.create_index("batch_item_feedback", "batch_item", ["feedback"])
