"""Takes feedback on answers of this gateway: from POST /feedback, and from the chat page.

The feedback store is imported and opened at the first use, so that a gateway that only passes chats
on stays small.
"""

import asyncio
import hashlib
from typing import TYPE_CHECKING

from starlette.requests import Request

from stock_llm.gateway.accounting.answer_log import AnswerLog, AnswerRecord
from stock_llm.gateway.api.openai.responses import parse_response_id
from stock_llm.gateway.api.service.schemas import FeedbackRequest, FeedbackResponse
from stock_llm.gateway.config import GatewayContext
from stock_llm.gateway.errors import BadRequest, UnknownModel

if TYPE_CHECKING:
    from stock_llm.feedback.store import FeedbackStore

SHARED_TOKEN = "shared-token"
"""The user of feedback from a caller with the common token who names nobody."""


class FeedbackReceiver:
    """Puts feedback into the store, as its user's.

    Args:
        answers: where the answers are that it is about.
        trust_user_header: whether callers with the common token may name the user in X-User.
    """

    def __init__(self, answers: AnswerLog, context: GatewayContext, trust_user_header: bool):
        self._answers, self._context = answers, context
        self._trust_user_header = trust_user_header
        self._store: FeedbackStore | None = None
        self._opening = asyncio.Lock()

    async def receive(
        self, caller: Request, body: FeedbackRequest, named: str = ""
    ) -> FeedbackResponse:
        """Stores what somebody says about an answer.

        Args:
            named: the user that the header X-User names.

        Raises:
            BadRequest: this gateway did not issue the response id, or the user cannot be.
            UnknownModel: the answer is not kept.
        """
        state = caller.state
        in_header = bool(
            named and not state.user and (self._trust_user_header or not state.trusted)
        )
        given = named if in_header else state.user or (SHARED_TOKEN if state.trusted else "")
        user = await asyncio.to_thread(_user, given, self._context.owner_names, in_header)
        id = self._answers.unsign(parse_response_id(body.response_id))
        if id is None:
            raise BadRequest("gateway", "this gateway did not issue that response_id")
        record = await self._answers.find(id)
        if record is None:
            text = "that answer is not kept: it is too old (gateway.keep_answers_days) or too long"
            raise UnknownModel("gateway", text)
        store = await self._open()
        return await asyncio.to_thread(_add, store, body, record, user, self._context.uses_sample)

    async def unused(self) -> int:
        """How many items no judged model has learnt from.

        Raises:
            InputError, StoreError: the store cannot be opened or read.
        """
        store = await self._open()
        return await asyncio.to_thread(store.unused, self._context.uses_sample)

    async def _open(self) -> "FeedbackStore":
        async with self._opening:
            if self._store is None:
                self._store = await asyncio.to_thread(_open_store, self._context)
        return self._store


def _open_store(context: GatewayContext) -> "FeedbackStore":
    from stock_llm.feedback.event import ThresholdWatch
    from stock_llm.feedback.store import FeedbackStore

    watch = ThresholdWatch(context.prefect_api_url, context.uses_sample, context.retrain_after)
    return FeedbackStore(
        context.feedback_url, daily_limit=context.daily_limit, after_add=watch.after_write
    )


def _user(given: str, owner_names: tuple[str, ...], in_header: bool) -> str:
    """The user of an item; the owner for no name and for the owner's names.

    Raises:
        BadRequest: the name is too long, or a header claims to be the owner without the settings
            saying so.
    """
    from stock_llm.feedback.item import OWNER, user_name

    try:
        user = user_name(given)
    except ValueError as error:
        raise BadRequest("gateway", f"the name of the {error}") from None
    if user in owner_names:
        return OWNER
    if in_header and user == OWNER:
        text = "X-User names the owner of this machine; feedback.owner_names adds names that may"
        raise BadRequest("gateway", text)
    return user


def _add(
    store: "FeedbackStore",
    body: FeedbackRequest,
    record: AnswerRecord,
    user: str,
    uses_sample: bool,
) -> FeedbackResponse:
    """Adds one item for one opinion, dated as the answer: the same opinion sent twice is the same
    item."""
    from stock_llm.evaluation.answers import LANGUAGES
    from stock_llm.feedback.item import OWNER, FeedbackItem

    parts = (record.id, body.rating, body.thumb, body.correction, body.comment)
    opinion = repr(parts if user == OWNER else (*parts, user))
    item = FeedbackItem(
        id=f"gateway-{hashlib.sha256(opinion.encode()).hexdigest()[:24]}",
        source="gateway",
        instruction=record.instruction,
        input=record.input,
        response=record.response,
        skill=record.skill,
        language=record.language if record.language in LANGUAGES else "en",
        symbol=record.symbol,
        as_of=record.as_of,
        rating=body.rating,
        thumb=body.thumb,
        correction=body.correction,
        comment=body.comment,
        response_id=record.id,
        model_version=record.model,
        created_at=record.at,
        user=user,
    )
    added = store.add([item])
    return FeedbackResponse(id=item.id, new=bool(added.new), unused=store.unused(uses_sample))
