"""Questions and answers, kept for a while so that feedback knows what it is about."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Makes the table."""
    texts = (
        "feature",
        "skill",
        "language",
        "symbol",
        "as_of",
        "instruction",
        "input",
        "response",
        "provider",
        "model",
    )
    op.create_table(
        "answer",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.Text, nullable=False, index=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in texts),
    )
