"""Who gave an item, of which answer and ticker it is an opinion, and whether it waits for
review.

The columns are computed as the program of then did: a migration gives the same whatever becomes of
the program.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_FIELDS = ("id", "created_at", "symbol", "instruction", "input", "response")

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_BLOCK_SYMBOL = re.compile(r"^\W*Symbol\s*[:：]\s*(\S+)", re.MULTILINE | re.IGNORECASE)


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
        texts = {name: _INVISIBLE.sub("", str(row[name])) for name in _FIELDS}
        values = {"answer": _answer_key(texts), "ticker": _ticker(texts), "number": number}
        values["day"] = _day(texts["created_at"])
        connection.execute(sa.update(table).where(table.c.id == row["id"]).values(values))


def _answer_key(texts: Mapping[str, str]) -> str:
    compared = [
        " ".join(texts[name].casefold().split()) for name in ("instruction", "input", "response")
    ]
    content = json.dumps({"answer": compared}, ensure_ascii=False)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:16]


def _ticker(texts: Mapping[str, str]) -> str:
    named = _BLOCK_SYMBOL.search(f"{texts['instruction']}\n{texts['input']}")
    name = named[1] if named else texts["symbol"]
    return unicodedata.normalize("NFKC", name).strip().upper()


def _day(created_at: str) -> str:
    """The day in UTC; of a text that is no time, its first ten characters."""
    try:
        return datetime.fromisoformat(created_at).astimezone(UTC).date().isoformat()
    except (ValueError, OverflowError):
        return created_at[:10]
