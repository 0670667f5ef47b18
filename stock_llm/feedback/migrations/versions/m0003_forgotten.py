"""What must be forgotten: marks of feedback, trades and accounts that are left out from then on,
whoever brings them again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "forgotten",
        sa.Column("kind", sa.Text, primary_key=True, comment="feedback, trade or account"),
        sa.Column(
            "mark",
            sa.Text,
            primary_key=True,
            comment="id of the item or ledger entry, salted hash of the account",
        ),
        sa.Column(
            "forgotten_at", sa.Text, nullable=False, comment="UTC, ISO 8601 with microseconds"
        ),
        sa.CheckConstraint("kind IN ('feedback', 'trade', 'account')", name="kind_is_known"),
    )
