"""Keeps the conversations of the chat page on this machine, as long as answers are kept.

They lie in the gateway's database. Each belongs to the user whose token the page was opened with;
on a loopback address without tokens there is only one user, the empty name.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from stock_llm.gateway.accounting.answer_log import ANSWER
from stock_llm.gateway.accounting.tables import META, SCHEMA, storable, text
from stock_llm.storage.database import exclusive_transaction, open_database, read_transaction

CONVERSATION = sa.Table(
    "conversation",
    META,
    *(sa.Column(name, sa.Text) for name in ("id", "user", "title", "updated_at")),
)
TURN = sa.Table(
    "turn",
    META,
    *(
        sa.Column(name, sa.Text)
        for name in ("id", "conversation", "at", "question", "answer", "metadata")
    ),
)

MAX_LISTED = 200
"""Conversations that a list shows, the newest first."""

_TITLE = 80
"""Characters of a title, the beginning of the first question."""

_FOR_EVER = 36_500
"""Days: so many that a date can still be computed."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question with its answer.

    Attributes:
        id: of the answer, without its signature.
        metadata: who answered, why, cost, time: `ResponseMetadata.event`.
    """

    id: str
    at: str
    question: str
    answer: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation; `turns` is empty in a list."""

    id: str
    title: str
    updated_at: str
    turns: tuple[Turn, ...] = ()


class ConversationStore:
    """The conversations behind one SQLAlchemy URL.

    Args:
        url: absolute; the gateway's database.
        days: how long a turn is kept; 0: nothing is kept.

    Raises:
        InputError: the URL cannot be used.
        StoreError: the database cannot be used; every method raises it.
    """

    def __init__(self, url: str, days: float):
        self._engine = open_database(url, SCHEMA)
        self._age = timedelta(days=min(days, _FOR_EVER))

    @property
    def keeps(self) -> bool:
        """Whether anything is kept."""
        return bool(self._age)

    def add(self, conversation: str, user: str, turn: Turn) -> None:
        """Adds a turn to a conversation, which is made with its first one; deletes what is too old.

        A conversation of another user is left alone: the turn is not kept.
        """
        if not self.keeps:
            return
        with exclusive_transaction(self._engine, SCHEMA) as connection:
            self._delete_old(connection)
            chosen = sa.select(CONVERSATION.c.user).where(CONVERSATION.c.id == conversation)
            owner = connection.execute(chosen).scalar_one_or_none()
            if owner is None:
                title = " ".join(turn.question.split())[:_TITLE]
                values = {"id": conversation, "user": user, "title": storable(title)}
                connection.execute(sa.insert(CONVERSATION).values(**values, updated_at=turn.at))
            elif owner != user:
                return
            else:
                mine = CONVERSATION.c.id == conversation
                connection.execute(sa.update(CONVERSATION).where(mine).values(updated_at=turn.at))
            row = {
                "id": turn.id,
                "conversation": conversation,
                "at": turn.at,
                "question": turn.question,
                "answer": turn.answer,
                "metadata": json.dumps(dict(turn.metadata), ensure_ascii=False),
            }
            values = {name: storable(value) for name, value in row.items()}
            connection.execute(sa.insert(TURN).values(values))

    def find(self, user: str, search: str = "") -> list[Conversation]:
        """A user's conversations, the newest first.

        Args:
            search: words that title, question or answer have to contain, each of them.
        """
        young = sa.select(TURN.c.conversation).where(TURN.c.at >= self._oldest())
        chosen = sa.select(CONVERSATION).where(CONVERSATION.c.user == user)
        for word in search.split():
            texts = (TURN.c.question, TURN.c.answer)
            young = young.where(sa.or_(*(each.icontains(word, autoescape=True) for each in texts)))
        chosen = chosen.where(CONVERSATION.c.id.in_(young))
        newest = chosen.order_by(CONVERSATION.c.updated_at.desc()).limit(MAX_LISTED)
        with read_transaction(self._engine, SCHEMA) as connection:
            rows = connection.execute(newest).all()
        return [Conversation(row.id, row.title, row.updated_at) for row in rows]

    def read(self, id: str, user: str) -> Conversation | None:
        """A user's conversation with its turns, the oldest first; None where there is none."""
        mine = sa.and_(CONVERSATION.c.id == id, CONVERSATION.c.user == user)
        turns = (
            sa.select(TURN)
            .where(TURN.c.conversation == id, TURN.c.at >= self._oldest())
            .order_by(TURN.c.at, TURN.c.id)
        )
        with read_transaction(self._engine, SCHEMA) as connection:
            row = connection.execute(sa.select(CONVERSATION).where(mine)).one_or_none()
            found = connection.execute(turns).all() if row else ()
        if row is None or not found:
            return None
        parts = (
            Turn(each.id, each.at, each.question, each.answer, json.loads(each.metadata))
            for each in found
        )
        return Conversation(row.id, row.title, row.updated_at, tuple(parts))

    def delete(self, id: str, user: str | None = None) -> int:
        """Deletes a conversation with the answers that are kept for feedback; returns how many
        turns it had.

        Args:
            user: whose it has to be; None: anybody's.
        """
        mine = CONVERSATION.c.id == id
        if user is not None:
            mine = sa.and_(mine, CONVERSATION.c.user == user)
        with exclusive_transaction(self._engine, SCHEMA) as connection:
            if not connection.execute(sa.delete(CONVERSATION).where(mine)).rowcount:
                return 0
            turns = sa.select(TURN.c.id).where(TURN.c.conversation == id)
            connection.execute(sa.delete(ANSWER).where(ANSWER.c.id.in_(turns)))
            return connection.execute(sa.delete(TURN).where(TURN.c.conversation == id)).rowcount

    def delete_answer(self, id: str) -> int:
        """Deletes what is kept of one answer: its turn, and the copy for feedback; returns how many
        rows those were."""
        with exclusive_transaction(self._engine, SCHEMA) as connection:
            rows = connection.execute(sa.delete(ANSWER).where(ANSWER.c.id == id)).rowcount
            rows += connection.execute(sa.delete(TURN).where(TURN.c.id == id)).rowcount
            self._delete_empty(connection)
        return rows

    def close(self) -> None:
        """Closes the connections."""
        self._engine.dispose()

    def _oldest(self) -> str:
        return text(datetime.now(UTC) - self._age)

    def _delete_old(self, connection: sa.Connection) -> None:
        if connection.execute(sa.delete(TURN).where(TURN.c.at < self._oldest())).rowcount:
            self._delete_empty(connection)

    def _delete_empty(self, connection: sa.Connection) -> None:
        filled = sa.select(TURN.c.conversation)
        connection.execute(sa.delete(CONVERSATION).where(CONVERSATION.c.id.not_in(filled)))
