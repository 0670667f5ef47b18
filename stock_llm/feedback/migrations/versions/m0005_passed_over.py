"""Which items of a candidate's history were left out of its dataset."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    column = sa.Column(
        "learnt",
        sa.Integer,
        nullable=False,
        server_default="1",
        comment="1: in the dataset; 0: seen and left out of it",
    )
    op.add_column("batch_item", column)
