"""What all pages share: the parts of the gateway that they use, the session of a request, and the
checks of what changes something."""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qs

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from stock_llm.errors import StockLLMError, StoreError
from stock_llm.gateway.accounting.conversations import ConversationStore
from stock_llm.gateway.api.handler import RequestHandler
from stock_llm.gateway.api.service.feedback import FeedbackReceiver
from stock_llm.gateway.api.session import CSRF_FIELD, CSRF_HEADER, Session, Sessions
from stock_llm.gateway.config import GatewayContext, GatewaySettings
from stock_llm.gateway.errors import STORE_FAILED
from stock_llm.gateway.pages import rendering
from stock_llm.gateway.pages.project import ProjectFunctions
from stock_llm.gateway.pages.rendering import PageContext
from stock_llm.gateway.pages.worker import ProjectWorker

T = TypeVar("T")

_FORM_BYTES = 32_768
"""Largest form without files: the longest reason in Thai, encoded."""


@dataclass(frozen=True)
class Site:
    """The parts that the pages use.

    Attributes:
        project: what they show of the project; `worker` runs it.
        models: names of the models that can be asked.
    """

    settings: GatewaySettings
    context: GatewayContext
    handler: RequestHandler
    sessions: Sessions
    feedback: FeedbackReceiver
    conversations: ConversationStore
    project: ProjectFunctions
    models: Callable[[], list[str]]
    worker: ProjectWorker = field(default_factory=ProjectWorker)

    def render(
        self, request: Request, page: str, template: str, status: int = 200, /, **values: Any
    ) -> HTMLResponse:
        """A page; a browser without a session gets one with it, if it need not log in."""
        known = self.session(request)
        may_have_one = request.state.trusted or not self.sessions.asks
        fresh = None
        if known is None and may_have_one:
            fresh = self.sessions.new(request.state.user)
        session = known or fresh or Session("", "", "")
        context = PageContext(
            page,
            session,
            rendering.language_of(request),
            rendering.theme_of(request),
            self.sessions.asks,
            self.handler.is_owner(request),
        )
        response = rendering.page(context, template, status, **values)
        if fresh:
            self.sessions.send(fresh, request, response)
        return response

    def session(self, request: Request) -> Session | None:
        """The session of a request."""
        session: Session | None = request.state.session
        return session

    def user(self, request: Request) -> str:
        """Whose conversations a request may see."""
        return str(request.state.user)

    def require_owner(self, request: Request) -> None:
        """
        Raises:
            HTTPException: 403: the ledger and the model are not the caller's.
        """
        if not self.handler.is_owner(request):
            raise HTTPException(403, "this page is for the owner of this machine")

    async def close(self) -> None:
        """Ends the process of the project, and the connections of the conversations."""
        await self.worker.close()
        self.conversations.close()


async def form_of(request: Request) -> Mapping[str, str]:
    """The fields of a form that was sent without files.

    Raises:
        HTTPException: 413: it is longer than any form of the pages.
    """
    body = await request.body()
    if len(body) > _FORM_BYTES:
        raise HTTPException(413, f"the form is longer than {_FORM_BYTES} bytes")
    fields = parse_qs(body.decode(errors="replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


def require_csrf(request: Request, form: Mapping[str, str] | None = None) -> Session:
    """The session of a request that changes something.

    Raises:
        HTTPException: 403: it does not come from a page of this gateway, or the session is over.
    """
    session: Session | None = request.state.session
    given = (form or {}).get(CSRF_FIELD) or request.headers.get(CSRF_HEADER, "")
    if session is None or not hmac.compare_digest(given.encode(), session.csrf.encode()):
        raise HTTPException(403, "this page is out of date; reload it and try again")
    return session


def problem_of(error: StockLLMError) -> str:
    """What a page says of an error; of a database's only that there is one, as the APIs do."""
    return STORE_FAILED if isinstance(error, StoreError) else str(error)


def redirect(url: str) -> Response:
    """The answer to a form: go and see that page."""
    return RedirectResponse(url, 303, headers={"cache-control": "no-store"})
