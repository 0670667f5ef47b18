"""What is known of an answer's sentences, and what was added to its question."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds the columns; earlier calls have none of it."""
    op.add_column("call", sa.Column("grounding", sa.Text, nullable=False, server_default=""))
    for name in ("true", "false", "unchecked", "repaired"):
        op.add_column("call", sa.Column(f"{name}_sentences", sa.BigInteger))
    op.add_column("call", sa.Column("invented_numbers", sa.BigInteger))
    op.add_column("call", sa.Column("parses", sa.Boolean))
