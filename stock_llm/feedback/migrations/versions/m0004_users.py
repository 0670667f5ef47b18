"""Who gave an item, of which answer and ticker it is an opinion, and whether it waits for
review."""

import sqlalchemy as sa
from alembic import op

from stock_llm.feedback.item import FeedbackItem

revision = "0004"
down_revision = "0003"

_FIELDS = (
    "id", "created_at", "source", "skill", "language", "symbol", "as_of", "instruction", "input",
    "response", "rating", "thumb", "correction", "comment", "response_id", "model_version",
)  # fmt: skip


def upgrade() -> None:
    for name, default, comment in (
        ("user", "owner", "who gave the item"),
        ("answer", "", "the same for opinions of the same answer"),
        ("ticker", "", "the stock that the question is about, in capitals"),
        ("day", "", "ISO date on which the item counts against the daily limit, UTC"),
        ("state", "accepted", "accepted, waiting or dropped"),
    ):
        column = sa.Column(name, sa.Text, nullable=False, server_default=default, comment=comment)
        op.add_column("feedback", column)
    order = "order of arrival: of opinions of the same time the highest is the newest"
    op.add_column(
        "feedback",
        sa.Column("number", sa.Integer, nullable=False, server_default="0", comment=order),
    )
    op.create_index("feedback_opinion", "feedback", ["user", "answer"])
    op.create_index("feedback_day", "feedback", ["user", "day"])

    added: list[sa.ColumnClause[object]] = [
        sa.column(name) for name in ("answer", "ticker", "day", "number")
    ]
    table = sa.table("feedback", *(sa.column(name) for name in _FIELDS), *added)
    connection = op.get_bind()
    old = sa.select(*(table.c[name] for name in _FIELDS)).order_by(table.c.created_at, table.c.id)
    rows = connection.execute(old).mappings().all()
    for number, row in enumerate(rows, start=1):
        item = FeedbackItem.from_json(dict(row))
        values = {"answer": item.answer_key, "ticker": item.ticker, "number": number}
        values["day"] = f"{item.created_at:%Y-%m-%d}"
        connection.execute(sa.update(table).where(table.c.id == item.id).values(values))
