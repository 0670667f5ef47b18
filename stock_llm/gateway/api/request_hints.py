"""What a caller says about a request besides its text; what nobody says is classified.

    x-stock-llm-type         analysis, code, translation or chat
    x-stock-llm-complexity   1 to 10
    x-stock-llm-urgency      1 to 10
    x-stock-llm-privacy      any or local; "local" never leaves this machine
    x-stock-llm-grounding    auto or off; whether computed numbers are added to the question

A header counts before a field of the body. Of several privacies, in headers or body, the strictest
counts.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Header
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from stock_llm.gateway.api import chat_tasks
from stock_llm.gateway.chat import ChatRequest
from stock_llm.gateway.config import GroundingMode
from stock_llm.gateway.providers.ollama_codec import GENERATE
from stock_llm.gateway.query import Privacy, Query, QueryType
from stock_llm.gateway.routing import classifier
from stock_llm.gateway.routing.router import EMBED

AUTO = "auto"
"""The model name that asks the router."""

Score = Annotated[int, Field(ge=1, le=10)]


def _split(values: Any) -> Any:
    """The values of a header that was sent several times or, as proxies do it, joined with
    commas."""
    if not isinstance(values, list):
        return values
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


class RequestHints(BaseModel):
    """The hints in the headers of a request."""

    x_stock_llm_type: Annotated[list[QueryType], BeforeValidator(_split)] = Field(
        [], description="What is wanted; classified where it is missing"
    )
    x_stock_llm_complexity: Annotated[list[Score], BeforeValidator(_split)] = Field(
        [], description="How hard it is; classified where it is missing"
    )
    x_stock_llm_urgency: Annotated[list[Score], BeforeValidator(_split)] = Field(
        [], description="How urgent it is; classified where it is missing"
    )
    x_stock_llm_privacy: Annotated[list[Privacy], BeforeValidator(_split)] = Field(
        [], description="local: the request never leaves the machine. The strictest value counts"
    )
    x_stock_llm_grounding: Annotated[list[GroundingMode], BeforeValidator(_split)] = Field(
        [],
        description="auto: computed numbers of your own are added to a question that names them; "
        "off: the question stays as it is. Of several values, off counts",
    )

    @model_validator(mode="after")
    def _agree(self) -> "RequestHints":
        for name in ("type", "complexity", "urgency"):
            if len(set(getattr(self, f"x_stock_llm_{name}"))) > 1:
                raise ValueError(f"x-stock-llm-{name} is given with two different values")
        return self

    def given(self) -> dict[str, Any]:
        """Type, complexity and urgency, as far as they are given."""
        names = ("type", "complexity", "urgency")
        values = {name: getattr(self, f"x_stock_llm_{name}") for name in names}
        return {name: value[0] for name, value in values.items() if value}

    def privacy(self, of_body: Privacy | None) -> Privacy:
        """The strictest privacy of headers and body."""
        return "local" if "local" in (*self.x_stock_llm_privacy, of_body) else "any"

    def grounding(self, of_body: GroundingMode | None) -> GroundingMode | None:
        """Whether numbers are added; None where nobody says."""
        said = (*self.x_stock_llm_grounding, of_body)
        return "off" if "off" in said else "auto" if "auto" in said else None


Hints = Annotated[RequestHints, Header()]
"""The type of a route's parameter for the hints."""


def build_query(
    hints: RequestHints,
    request: ChatRequest,
    feature: str,
    privacy: Privacy | None = None,
    **known: Any,
) -> Query:
    """The query of a request.

    Args:
        privacy: what the body says.
        known: fields of the query that the body says, or that the feature knows by itself; None:
            not known.
    """
    model = AUTO if request.model in (AUTO, f"{AUTO}:latest") else request.model
    fields: dict[str, Any] = {"data_length": len(request.text)}
    fields |= {name: value for name, value in known.items() if value is not None} | hints.given()
    fields["privacy"] = hints.privacy(privacy)
    # A chat program's own task costs no money, whatever model it names.
    if feature == chat_tasks.FEATURE:
        fields["privacy"], model = "local", AUTO
    needs = required_capabilities(request)
    return classifier.complete_query(
        request.question, **fields, model=model, feature=feature, needs=needs
    )


def embedding_query(hints: RequestHints, request: ChatRequest, privacy: Privacy | None) -> Query:
    """The query of a request for embeddings, whose texts are not classified."""
    model = AUTO if request.model in (AUTO, f"{AUTO}:latest") else request.model
    return Query(
        **hints.given(),
        privacy=hints.privacy(privacy),
        model=model,
        feature="embed",
        data_length=len(request.text),
        needs=frozenset({EMBED}),
    )


def required_capabilities(request: ChatRequest) -> frozenset[str]:
    """What a provider must be able to do."""
    extra: Mapping[str, Any] = request.extra
    needs = {
        "json-schema": isinstance(request.format, dict),
        "tools": bool(extra.get("tools")) or any(each.role == "tool" for each in request.messages),
        "images": any(each.extra.get("images") for each in request.messages),
        "thinking": bool(extra.get("think")),
        GENERATE: bool(extra.get(GENERATE)),
    }
    return frozenset(name for name, needed in needs.items() if needed)
