"""The stock service over HTTP: /analyze, /generate-code, /translate, /feedback, and /v1/route, which explains without executing.

In: checked JSON. Out: JSON with the story of the answer. What the service is made of (numpy, the feedback store) is imported at
the first use: a gateway that only passes chats on stays small. Does not know prompts or providers.
"""

import asyncio
import hashlib
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request

from stock_llm.errors import InputError
from stock_llm.gateway import estimate
from stock_llm.gateway.chat import ChatRequest
from stock_llm.gateway.desk import About, Desk, Outcome, unless_gone
from stock_llm.gateway.failures import BadRequest, UnknownModel
from stock_llm.gateway.ollama_requests import needs_of
from stock_llm.gateway.query import Query, Type
from stock_llm.gateway.service_models import (
    EXAMPLES,
    AnalyzeReply,
    AnalyzeRequest,
    CodeReply,
    CodeRequest,
    FeedbackReply,
    FeedbackRequest,
    RouteReply,
    RouteRequest,
    Scored,
    TranslateReply,
    TranslateRequest,
)
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


def service_routes(desk: Desk, settings: Settings) -> APIRouter:
    """The routes of the service."""
    routes = APIRouter(tags=["Service"], responses=_REFUSALS)
    opened: dict[str, Any] = {}
    opening = asyncio.Lock()

    def query_for(asked: Scored, request: ChatRequest, type: Type, feature: str, **known: Any) -> Query:
        given = {"complexity": asked.complexity, "urgency": asked.urgency, **known}
        return estimate.complete(
            request.text, type=type, model=asked.model, feature=feature, privacy=asked.privacy, needs=needs_of(request),
            **{name: value for name, value in given.items() if value is not None},
        )  # fmt: skip

    async def answer(caller: Request, asked: ChatRequest, query: Query, about: About) -> Outcome:
        return await unless_gone(caller.receive, desk.answer(asked, query, about))

    @routes.post("/analyze")
    async def analyze(
        caller: Request, asked: Annotated[AnalyzeRequest, Body(openapi_examples=EXAMPLES["analyze"])]
    ) -> AnalyzeReply:
        """Analyses a stock: recommendation, confidence, insights, risks and levels, its numbers checked."""
        from stock_llm.gateway import service

        try:
            question = await asyncio.to_thread(service.analysis, asked)
        except InputError as error:
            raise BadRequest("gateway", str(error)) from None
        plain = question.request(asked.model, taught=True)
        scores = {"data_length": question.data_length, "language": question.language}
        query = query_for(asked, plain, "analysis", "analyze", **scores)
        request = question.request(asked.model, service.is_taught(desk.gateway.decide(query).choice.model))
        query = query_for(asked, request, "analysis", "analyze", complexity=query.complexity, urgency=query.urgency, **scores)
        outcome = await answer(caller, request, query, question.about)
        return question.reply(outcome.answer.text, outcome.story.event())

    @routes.post("/generate-code")
    async def generate_code(
        caller: Request, asked: Annotated[CodeRequest, Body(openapi_examples=EXAMPLES["generate-code"])]
    ) -> CodeReply:
        """Writes code in a language. It is parsed where that can be done, and never run."""
        from stock_llm.gateway import service

        request = service.code_request(asked)
        outcome = await answer(caller, request, query_for(asked, request, "code", "generate-code"), service.code_about(request))
        return service.code_reply(asked, outcome.answer.text, outcome.story.event())

    @routes.post("/translate")
    async def translate(
        caller: Request, asked: Annotated[TranslateRequest, Body(openapi_examples=EXAMPLES["translate"])]
    ) -> TranslateReply:
        """Translates a text."""
        from stock_llm.gateway import service

        request = service.translate_request(asked)
        about = About(request.messages[-1].content)
        outcome = await answer(caller, request, query_for(asked, request, "translation", "translate"), about)
        return service.translate_reply(outcome.answer.text, outcome.story.event())

    @routes.post("/feedback")
    async def feedback(asked: Annotated[FeedbackRequest, Body(openapi_examples=EXAMPLES["feedback"])]) -> FeedbackReply:
        """Takes in what somebody says about an answer of this gateway; retraining learns from it."""
        id = desk.kept.unsign(asked.response_id)
        if id is None:
            raise BadRequest("gateway", "this gateway did not issue that response_id")
        said = await desk.kept.find(id)
        if said is None:
            raise UnknownModel("gateway", "that answer is not kept: it is too old (gateway.keep_answers_days) or too long")
        async with opening:
            if "store" not in opened:
                opened["store"] = await asyncio.to_thread(_open_store, settings)
        return await asyncio.to_thread(_add, opened["store"], asked, id, said, settings.uses_sample)

    @routes.post("/v1/route")
    async def route(asked: Annotated[RouteRequest, Body(openapi_examples=EXAMPLES["route"])]) -> RouteReply:
        """Says who would answer a question, and why. Nothing is executed and nothing is spent."""
        names = ("type", "complexity", "urgency", "data_length", "language")
        given = {name: value for name in names if (value := getattr(asked, name)) is not None}
        query = estimate.complete(asked.text, model=asked.model, privacy=asked.privacy, feature="route", **given)
        decision, left = desk.gateway.decide(query), desk.gateway.costs.left()
        told = asdict(query)
        return RouteReply(
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


def _open_store(settings: Settings) -> Any:
    from stock_llm.feedback import Feedback

    return Feedback(settings.url(settings.feedback_url))


def _add(store: Any, asked: FeedbackRequest, id: str, said: Any, sample: bool) -> FeedbackReply:
    """One item for one opinion, dated as the answer: the same one sent twice is the same item."""
    from stock_llm.answers import LANGUAGES
    from stock_llm.feedback_item import FeedbackItem

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
    return FeedbackReply(id=item.id, new=bool(added.new), unused=store.unused(sample))
