"""Digests of what was answered from the ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Makes the table; of earlier answers nothing is known."""
    op.create_table(
        "ledger_answer",
        sa.Column("digest", sa.BigInteger, primary_key=True, autoincrement=False, comment="keyed"),
    )
