"""The stock service over HTTP: /analyze, /generate-code, /translate, /feedback, and /v1/route, which explains without executing.

In: checked JSON. Out: JSON with the story of the answer. What the service is made of (numpy, the feedback store) is imported at
the first use: a gateway that only passes chats on stays small. Does not know prompts or providers.
"""

import asyncio
import hashlib
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response

from stock_llm.errors import InputError
from stock_llm.gateway.api import openapi
from stock_llm.gateway.api.handler import (
    ChatResult,
    FeedbackSubject,
    RequestHandler,
    cancel_on_disconnect,
)
from stock_llm.gateway.api.openai import responses
from stock_llm.gateway.api.request_hints import build_query
from stock_llm.gateway.api.service.models import (
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
)
from stock_llm.gateway.chat import ChatMessage, ChatRequest
from stock_llm.gateway.errors import BadRequest, UnknownModel
from stock_llm.gateway.query import Query, QueryType
from stock_llm.settings import Settings

_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": text}
    for status, text in {
        400: "The request is at fault",
        401: "The token is missing or wrong",
        403: "Not allowed from where the request came",
        404: "There is no such model, or no such response",
        413: "The request is too large",
        422: "A field does not fit, or the model declined to answer",
        429: "A provider takes no more requests for now",
        502: "A provider answered with something that is no answer",
        503: "Nobody can answer now; Retry-After says when to ask again",
        504: "A provider did not answer in time",
    }.items()
}


_ANSWERS: dict[str, Any] = {
    "openapi_extra": {"parameters": openapi.SCORES},
    "responses": {200: {"description": "The answer", "headers": openapi.STORY}},
}


def service_routes(desk: RequestHandler, settings: Settings) -> APIRouter:
    """The routes of the service."""
    routes = APIRouter(tags=["Service"], responses=_REFUSALS)
    opened: dict[str, Any] = {}
    opening = asyncio.Lock()

    async def answer(
        caller: Request, told: Response, request: ChatRequest, query: Query, about: FeedbackSubject
    ) -> ChatResult:
        outcome = await cancel_on_disconnect(caller.receive, desk.answer(request, query, about))
        told.headers.update(outcome.story.headers())
        return outcome

    @routes.post("/analyze", **_ANSWERS)
    async def analyze(
        caller: Request,
        told: Response,
        asked: Annotated[AnalyzeRequest, Body(openapi_examples=EXAMPLES["analyze"])],
    ) -> AnalyzeResponse:
        """Analyses a stock: recommendation, confidence, insights, risks and levels, its numbers checked."""
        from stock_llm.gateway.api.service import service

        try:
            question = await asyncio.to_thread(service.analysis, asked)
        except InputError as error:
            raise BadRequest("gateway", str(error)) from None
        request = question.request(asked.model)
        known = {"data_length": question.data_length, "language": question.language}
        query = _query(caller, asked, request, "analysis", "analyze", **known)
        outcome = await answer(caller, told, request, query, question.about)
        return question.reply(outcome.answer.text, outcome.story.event())

    @routes.post("/generate-code", **_ANSWERS)
    async def generate_code(
        caller: Request,
        told: Response,
        asked: Annotated[CodeRequest, Body(openapi_examples=EXAMPLES["generate-code"])],
    ) -> CodeResponse:
        """Writes code in a language. It is parsed where that can be done, and never run."""
        from stock_llm.gateway.api.service import service

        request = service.code_request(asked)
        query = _query(caller, asked, request, "code", "generate-code")
        outcome = await answer(caller, told, request, query, service.code_feedback_subject(request))
        return service.code_response(asked, outcome.answer.text, outcome.story.event())

    @routes.post("/translate", **_ANSWERS)
    async def translate(
        caller: Request,
        told: Response,
        asked: Annotated[TranslateRequest, Body(openapi_examples=EXAMPLES["translate"])],
    ) -> TranslateResponse:
        """Translates a text."""
        from stock_llm.gateway.api.service import service

        request = service.translate_request(asked)
        query = _query(caller, asked, request, "translation", "translate")
        outcome = await answer(
            caller, told, request, query, FeedbackSubject(request.messages[-1].content)
        )
        return service.translate_response(outcome.answer.text, outcome.story.event())

    @routes.post("/feedback")
    async def feedback(
        asked: Annotated[FeedbackRequest, Body(openapi_examples=EXAMPLES["feedback"])],
    ) -> FeedbackResponse:
        """Takes in what somebody says about an answer of this gateway; retraining learns from it."""
        id = desk.kept.unsign(responses.parse_response_id(asked.response_id))
        if id is None:
            raise BadRequest("gateway", "this gateway did not issue that response_id")
        said = await desk.kept.find(id)
        if said is None:
            raise UnknownModel(
                "gateway",
                "that answer is not kept: it is too old (gateway.keep_answers_days) or too long",
            )
        async with opening:
            if "store" not in opened:
                opened["store"] = await asyncio.to_thread(_open_store, settings)
        return await asyncio.to_thread(_add, opened["store"], asked, id, said, settings.uses_sample)

    @routes.post("/v1/route", openapi_extra={"parameters": openapi.SCORES})
    async def route(
        caller: Request, asked: Annotated[RouteRequest, Body(openapi_examples=EXAMPLES["route"])]
    ) -> RouteResponse:
        """Says who would answer a question, and why. Nothing is executed and nothing is spent."""
        names = ("type", "complexity", "urgency", "data_length", "language")
        request = ChatRequest((ChatMessage("user", asked.text),), asked.model)
        query = build_query(
            caller.headers,
            request,
            "route",
            asked.privacy,
            **{name: getattr(asked, name) for name in names},
        )
        decision, left = desk.gateway.decide(query), desk.gateway.costs.left()
        told = asdict(query)
        return RouteResponse(
            provider=decision.choice.provider,
            model=decision.choice.model,
            rule=decision.rule,
            policy=decision.policy,
            notes=list(decision.notes),
            fallback=[f"{choice.provider} {choice.model}".strip() for choice in decision.fallback],
            left_out=dict(decision.left_out),
            query={name: told[name] for name in (*names, "privacy", "model")},
            estimated=sorted(query.estimated),
            budget_left={"today": float(left.today), "month": float(left.month)},
            resting=desk.gateway.resting(),
        )

    return routes


def _query(
    caller: Request,
    asked: HintFields,
    request: ChatRequest,
    type: QueryType,
    feature: str,
    **known: Any,
) -> Query:
    scores = {"type": type, "complexity": asked.complexity, "urgency": asked.urgency}
    return build_query(caller.headers, request, feature, asked.privacy, **scores, **known)


def _open_store(settings: Settings) -> Any:
    from stock_llm.feedback.store import FeedbackStore

    return FeedbackStore(settings.url(settings.feedback_url))


def _add(store: Any, asked: FeedbackRequest, id: str, said: Any, sample: bool) -> FeedbackResponse:
    """One item for one opinion, dated as the answer: the same one sent twice is the same item."""
    from stock_llm.evaluation.answers import LANGUAGES
    from stock_llm.feedback.item import FeedbackItem

    opinion = repr((id, asked.rating, asked.thumb, asked.correction, asked.comment))
    item = FeedbackItem(
        id=f"gateway-{hashlib.sha256(opinion.encode()).hexdigest()[:24]}",
        source="gateway",
        instruction=said.instruction,
        input=said.input,
        response=said.response,
        skill=said.skill,
        language=said.language if said.language in LANGUAGES else "en",
        symbol=said.symbol,
        as_of=said.as_of,
        rating=asked.rating,
        thumb=asked.thumb,
        correction=asked.correction,
        comment=asked.comment,
        response_id=id,
        model_version=said.model,
        created_at=said.at,
    )
    added = store.add([item])
    return FeedbackResponse(id=item.id, new=bool(added.new), unused=store.unused(sample))
