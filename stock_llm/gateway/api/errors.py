"""Errors in the format of the API that was called: one line, the right status, Retry-After where it
helps."""

import logging
from collections.abc import Mapping

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect as UploadAborted

from stock_llm.errors import StockLLMError, StoreError
from stock_llm.gateway.api.anthropic import responses as anthropic
from stock_llm.gateway.api.disconnect import ClientDisconnect
from stock_llm.gateway.api.json_body import describe
from stock_llm.gateway.api.ollama import responses as ollama
from stock_llm.gateway.api.openai import responses as openai
from stock_llm.gateway.errors import STORE_FAILED, BadRequest, GatewayError

RETRY_SECONDS = 5
"""Retry-After of a 503 that does not know better."""

_log = logging.getLogger(__name__)


def error_body(path: str, status: int, text: str) -> bytes:
    """The body of an error in the format of the API that a path belongs to."""
    if path.startswith("/v1/messages"):
        return orjson.dumps(anthropic.error_body(status, text))
    if path.startswith("/v1/"):
        return orjson.dumps(openai.error_body(status, text))
    return ollama.error_body(text)


def add_error_handlers(app: FastAPI) -> None:
    """Makes the app answer every exception with one line; a fault of the gateway itself is
    logged."""

    @app.exception_handler(GatewayError)
    async def failed(request: Request, failure: GatewayError) -> Response:
        own = isinstance(failure, BadRequest) or failure.provider == "gateway"
        headers = {}
        if failure.retry_after or failure.status == 503:
            headers["retry-after"] = str(max(1, round(failure.retry_after or RETRY_SECONDS)))
        return _error(request, failure.status, failure.reason if own else str(failure), headers)

    @app.exception_handler(ClientDisconnect)
    @app.exception_handler(UploadAborted)
    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)

    @app.exception_handler(StockLLMError)
    async def out_of_order(request: Request, error: StockLLMError) -> Response:
        _log.error("%s: %s", request.url.path, error)
        is_store = isinstance(error, StoreError)  # callers are told no paths of this machine
        return _error(request, 503, STORE_FAILED if is_store else str(error))

    @app.exception_handler(RequestValidationError)
    async def unfit(request: Request, error: RequestValidationError) -> Response:
        in_headers = error.errors()[0]["loc"][0] == "header"
        return _error(request, 400 if in_headers else 422, describe(error.errors()))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        texts = {404: "404 page not found", 405: "405 method not allowed"}
        if error.status_code in texts:
            text = texts[error.status_code]
            return PlainTextResponse(text, error.status_code, headers=error.headers)
        return _error(request, error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        _log.error("%s %s", request.method, request.url.path, exc_info=error)
        return _error(request, 500, "internal gateway error; see the log")


def _error(
    request: Request, status: int, text: str, headers: Mapping[str, str] | None = None
) -> Response:
    path = request.url.path
    media_type = "application/json"
    if not path.startswith("/v1/"):
        media_type = "application/json; charset=utf-8"
    body = error_body(path, status, text)
    return Response(body, status, media_type=media_type, headers=dict(headers or {}))
