"""Calls, what each day cost, and what is reserved for calls under way. Amounts are millionths of a
dollar."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "call",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "at", sa.Text, nullable=False, comment="UTC, ISO 8601 with microseconds: sorts as text"
        ),
        sa.Column("feature", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("complexity", sa.Integer, nullable=False),
        sa.Column("urgency", sa.Integer, nullable=False),
        sa.Column(
            "provider", sa.Text, nullable=False, comment="who answered; empty when nobody did"
        ),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column(
            "path",
            sa.Text,
            nullable=False,
            comment="every provider that was tried, with its failure",
        ),
        sa.Column("fell_back", sa.Boolean, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("tokens_in", sa.BigInteger, nullable=False),
        sa.Column("tokens_out", sa.BigInteger, nullable=False),
        sa.Column("cached_read", sa.BigInteger, nullable=False),
        sa.Column("cached_write", sa.BigInteger, nullable=False),
        sa.Column(
            "charged",
            sa.BigInteger,
            nullable=False,
            comment="by usage-priced providers: counts against the budgets",
        ),
        sa.Column(
            "notional",
            sa.BigInteger,
            nullable=False,
            comment="what a provider of fixed price says that it was worth",
        ),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("provider_seconds", sa.Float, nullable=False),
        sa.Column("route_seconds", sa.Float, nullable=False),
        sa.CheckConstraint(
            "status IN ('ok', 'failed', 'cut', 'cancelled', 'lost')", name="status_is_known"
        ),
        sa.CheckConstraint("charged >= 0", name="charged_is_not_negative"),
    )
    op.create_index("call_at", "call", ["at"])
    op.create_table(
        "spent",
        sa.Column("day", sa.Text, primary_key=True, comment="UTC, YYYY-MM-DD"),
        sa.Column("charged", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "reservation",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "day",
            sa.Text,
            nullable=False,
            comment="that it will be counted on, whenever it is settled",
        ),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("feature", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.Text, nullable=False),
    )
