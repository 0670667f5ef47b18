"""What /openapi.json says of the answers: statuses, headers, media types. And the page GET /docs,
Swagger UI from an installed package."""

from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, Response

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": text}
    for status, text in {
        400: "The request is at fault",
        401: "The token is missing or wrong",
        403: "Not allowed from where the request came",
        404: "There is no such model, or no such response",
        408: "The request came too slowly",
        413: "The request is too large",
        422: "A field does not fit, or the model declined to answer",
        429: "A provider takes no more requests for now",
        431: "The request has too many or too large headers",
        501: "The provider that has the model cannot do this",
        502: "A provider sent something that is no answer",
        503: "Nobody can answer now; Retry-After says when to ask again",
        504: "A provider did not answer in time",
        508: "The request came from this gateway itself",
    }.items()
}
"""Status → what it means, for every route."""

METADATA_HEADERS = {
    f"x-stock-llm-{name}": {"description": text, "schema": {"type": "string"}}
    for name, text in {
        "provider": "Who answered",
        "rule": "Why",
        "cost": "Dollars",
        "time": "Milliseconds of each part",
        "response-id": "For POST /feedback",
        "grounding": "Which of your own numbers were added to the question, and of which day",
        "sentences": "How many sentences of the answer are true, false or cannot be checked",
        "note": "What else there is to know, such as that candles are old",
    }.items()
}
"""Headers of every answer of a model."""

_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'"
)


def answered_with(
    stream_type: str = "", headers: dict[str, Any] = METADATA_HEADERS
) -> dict[str, Any]:
    """The arguments of a route.

    Args:
        stream_type: media type of an answer in pieces.
        headers: of the answer; by default those of one that a model gives.
    """
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if stream_type:
        content[stream_type] = {"schema": {"type": "string"}}
    answer = {"description": "The answer", "headers": headers, "content": content}
    return {"responses": REFUSALS | {200: answer}, "response_model": None}


def docs_routes() -> APIRouter:
    """GET /docs, which loads nothing from elsewhere."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    async def page() -> HTMLResponse:
        html = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="stock-llm gateway",
            swagger_js_url="/docs/swagger-ui-bundle.js",
            swagger_css_url="/docs/swagger-ui.css",
            swagger_favicon_url="data:,",
        )
        html.headers["content-security-policy"] = _POLICY
        return html

    @routes.get("/docs/{name}")
    async def asset(name: str) -> Response:
        if name not in _ASSETS:
            return Response("404 page not found", 404, media_type="text/plain")
        file = str(files("fastapi_offline") / "static" / name)
        return FileResponse(file, media_type=_ASSETS[name])

    return routes
