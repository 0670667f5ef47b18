"""The stock service over HTTP: /analyze, /generate-code, /translate, /feedback, and /v1/route,
which explains without executing.

numpy is imported at the first use, so that a gateway that only passes chats on stays small.
"""

import asyncio
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Request, Response

from stock_llm.errors import InputError
from stock_llm.gateway.api.disconnect import cancel_on_disconnect
from stock_llm.gateway.api.documentation import METADATA_HEADERS, REFUSALS
from stock_llm.gateway.api.handler import FeedbackSubject, RequestHandler
from stock_llm.gateway.api.json_body import ServiceJsonRoute
from stock_llm.gateway.api.request_hints import Hints, build_query
from stock_llm.gateway.api.service.feedback import FeedbackReceiver
from stock_llm.gateway.api.service.schemas import (
    EXAMPLES,
    AnalyzeRequest,
    AnalyzeResponse,
    CodeRequest,
    CodeResponse,
    FeedbackRequest,
    FeedbackResponse,
    HintFields,
    RouteRequest,
    RouteResponse,
    TranslateRequest,
    TranslateResponse,
    UserName,
)
from stock_llm.gateway.chat import ChatMessage, ChatRequest
from stock_llm.gateway.errors import BadRequest
from stock_llm.gateway.query import QueryType

_ANSWERED: dict[str, Any] = {
    "responses": {200: {"description": "The answer", "headers": METADATA_HEADERS}}
}


def service_routes(handler: RequestHandler, feedback_receiver: FeedbackReceiver) -> APIRouter:
    """The routes of the service."""
    routes = APIRouter(tags=["Service"], responses=REFUSALS, route_class=ServiceJsonRoute)

    async def answer(
        caller: Request,
        response: Response,
        hints: Hints,
        type: QueryType,
        body: HintFields,
        request: ChatRequest,
        subject: FeedbackSubject,
        **known: Any,
    ) -> tuple[str, dict[str, Any]]:
        """Text and metadata of the answer to a request; `known`: fields of the query."""
        feature = caller.url.path.removeprefix("/")
        request = replace(request, owner=handler.is_owner(caller))
        known |= body.hints(type)
        query = build_query(hints, request, feature, body.privacy, **known)
        work = handler.answer(request, query, subject)
        result = await cancel_on_disconnect(caller.receive, work)
        response.headers.update(result.metadata.headers())
        return result.answer.text, result.metadata.event()

    @routes.post("/analyze", **_ANSWERED)
    async def analyze(
        caller: Request,
        response: Response,
        hints: Hints,
        body: Annotated[AnalyzeRequest, Body(openapi_examples=EXAMPLES["analyze"])],
    ) -> AnalyzeResponse:
        """Analyses a stock: recommendation, confidence, insights, risks and levels, with its
        numbers checked. Without candles and indicators it is one of the gateway's own candles."""
        from stock_llm.gateway.api.service import service

        try:
            own = None
            if body.candles is None and body.indicators is None:
                own = await handler.grounder.stock(body.symbol.upper(), handler.is_owner(caller))
                if own is None:
                    raise InputError(
                        f"there are no candles of {body.symbol.upper()} here",
                        remedy="Give candles (at least 101 sessions) or indicators",
                    )
            prompt = await asyncio.to_thread(service.build_analysis, body, own)
        except InputError as error:
            raise BadRequest("gateway", str(error)) from None
        known = {"data_length": prompt.data_length, "language": prompt.language}
        request = handler.grounder.judged(prompt.request(body.model), prompt.as_taught)
        text, metadata = await answer(
            caller, response, hints, "analysis", body, request, prompt.subject, **known
        )
        return prompt.response(text, metadata)

    @routes.post("/generate-code", **_ANSWERED)
    async def generate_code(
        caller: Request,
        response: Response,
        hints: Hints,
        body: Annotated[CodeRequest, Body(openapi_examples=EXAMPLES["generate-code"])],
    ) -> CodeResponse:
        """Writes code in a language. It is parsed where that is possible, and never run."""
        from stock_llm.gateway.api.service import service

        request = service.code_request(body)
        subject = service.code_feedback_subject(request)
        text, metadata = await answer(caller, response, hints, "code", body, request, subject)
        return service.code_response(body, text, metadata)

    @routes.post("/translate", **_ANSWERED)
    async def translate(
        caller: Request,
        response: Response,
        hints: Hints,
        body: Annotated[TranslateRequest, Body(openapi_examples=EXAMPLES["translate"])],
    ) -> TranslateResponse:
        """Translates a text."""
        from stock_llm.gateway.api.service import service

        request = service.translate_request(body)
        subject = FeedbackSubject(request.question)
        text, metadata = await answer(
            caller, response, hints, "translation", body, request, subject
        )
        return service.translate_response(text, metadata)

    @routes.post("/feedback")
    async def feedback(
        caller: Request,
        body: Annotated[FeedbackRequest, Body(openapi_examples=EXAMPLES["feedback"])],
        x_user: Annotated[
            UserName,
            Header(
                description="Who gives the feedback; read where no token is asked for, and "
                "with the common token if gateway.trust_user_header is set"
            ),
        ] = "",
    ) -> FeedbackResponse:
        """Stores what somebody says about an answer of this gateway; retraining learns from it."""
        return await feedback_receiver.receive(
            caller, body, x_user.encode("latin-1").decode(errors="replace")
        )

    @routes.post("/v1/route")
    async def route(
        hints: Hints, body: Annotated[RouteRequest, Body(openapi_examples=EXAMPLES["route"])]
    ) -> RouteResponse:
        """Tells who would answer a question, and why. Nothing is executed and nothing is spent."""
        names = ("type", "complexity", "urgency", "data_length", "language")
        request = ChatRequest((ChatMessage("user", body.text),), body.model)
        known = {name: getattr(body, name) for name in names}
        query = build_query(hints, request, "route", body.privacy, **known)
        decision, left = handler.router.decide(query), handler.router.costs.left()
        fields = asdict(query)
        return RouteResponse(
            provider=decision.choice.provider,
            model=decision.choice.model,
            rule=decision.rule,
            policy=decision.policy,
            notes=list(decision.notes),
            fallback=[f"{choice.provider} {choice.model}".strip() for choice in decision.fallback],
            left_out=dict(decision.left_out),
            query={name: fields[name] for name in (*names, "privacy", "model")},
            estimated=sorted(query.estimated),
            budget_left={"today": float(left.today), "month": float(left.month)},
            resting=handler.router.resting(),
        )

    return routes
