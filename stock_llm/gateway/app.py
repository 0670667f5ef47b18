"""The gateway as one ASGI app: everything is made here, and ended here.

In: settings. Out: an app that speaks Ollama's API, OpenAI's, and the stock service's own. Errors become one line in the words of
the API that was asked. One process, one event loop: the limits and the cache count on it. Start it with `serve`.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from stock_llm.errors import InputError, StockLLMError
from stock_llm.gateway.accounting.answer_log import AnswerLog
from stock_llm.gateway.accounting.cost_store import CostStore
from stock_llm.gateway.accounting.metrics import GatewayMetrics
from stock_llm.gateway.accounting.prices import load_prices
from stock_llm.gateway.api import docs_page
from stock_llm.gateway.api.handler import ClientDisconnect, RequestHandler
from stock_llm.gateway.api.middleware import AccessMiddleware, check_bind, is_loopback
from stock_llm.gateway.api.ollama import responses as ollama_responses
from stock_llm.gateway.api.ollama.routes import ollama_routes
from stock_llm.gateway.api.openai import responses as openai_responses
from stock_llm.gateway.api.openai.routes import openai_routes
from stock_llm.gateway.api.service.routes import service_routes
from stock_llm.gateway.config import GatewaySettings
from stock_llm.gateway.errors import BadRequest, GatewayError
from stock_llm.gateway.providers.registry import ProviderRegistry
from stock_llm.gateway.routing.fallback import FallbackRouter
from stock_llm.gateway.routing.policy import load_policy
from stock_llm.secrets import signing_key
from stock_llm.settings import Settings

SHUTDOWN_SECONDS = 60
"""Seconds that answers under way have after the gateway was told to stop."""

_IDLE = 75
"""Seconds for which an idle connection is kept: longer than clients keep theirs, so that none sends into a closing one."""

_ABOUT = """
Local models, the Claude command and the Claude API behind one door. The model name `auto` asks the router; what it would decide
is told by `POST /v1/route`. Every answer says who gave it, why, for how much and how long it took.
"""

_log = logging.getLogger(__name__)


def create_app(settings: Settings) -> ASGIApp:
    """The app; its providers are looked at when it starts.

    Raises:
        InputError: a dial, the policy or the database cannot be used.
    """
    dials = settings.gateway
    check_bind(dials)
    policy = load_policy(dials.policy, {"keep_back": dials.keep_back}, settings.home, dials.servers)
    store = settings.path(settings.ollama_store)
    backends = ProviderRegistry(dials, settings.ollama_host, store, settings.threads)
    prices = load_prices()
    url = settings.url(dials.costs_url)
    costs = CostStore(url, dials.daily_dollars, dials.monthly_dollars)
    kept = AnswerLog(url, signing_key(settings.secrets), dials.keep_answers_days)
    metrics = _metrics(backends, costs)
    gateway = FallbackRouter(
        backends.providers, policy=policy, costs=costs, prices=prices, max_tokens=dials.max_tokens, timeout=dials.timeout,
        attempt_failed=metrics.attempt_failed,
    )  # fmt: skip
    desk = RequestHandler(
        gateway, kept, metrics, int(dials.cache_megabytes * 2**20), dials.cache_minutes * 60
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await backends.refresh()
        watching = asyncio.create_task(backends.watch(desk.forget))
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await backends.close()
            await kept.close()
            await asyncio.to_thread(costs.close)

    app = FastAPI(
        title="stock-llm gateway",
        description=_ABOUT,
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.add_api_route("/docs", docs_page.page, include_in_schema=False)
    app.include_router(
        ollama_routes(desk, backends, dials.manage_models or is_loopback(dials.host), dials.timeout)
    )
    app.include_router(service_routes(desk, settings))  # before /v1/models/{name}
    app.include_router(openai_routes(desk, backends))
    _add_state(app, backends, gateway, metrics)
    _add_errors(app)
    return AccessMiddleware(app, dials)


def serve(settings: Settings) -> None:
    """Runs the gateway until it is told to stop; answers under way are finished first.

    Raises:
        InputError: a dial cannot be used, or the address is taken.
    """
    import uvicorn

    app = create_app(settings)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", ws="none", access_log=False, server_header=False, log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_SECONDS, timeout_keep_alive=_IDLE,
    )  # fmt: skip
    with suppress(KeyboardInterrupt), _listening(settings.gateway) as taken:
        host, port = taken.getsockname()[:2]
        switched_off = [
            name for name in ("claude_cli", "claude_api") if not getattr(settings.gateway, name)
        ]
        print(
            f"stock-llm gateway on http://{f'[{host}]' if ':' in host else host}:{port}, documented at /docs",
            flush=True,
        )
        if switched_off:
            print(
                f"off: {', '.join(switched_off)} (STOCK_LLM_GATEWAY__CLAUDE_CLI=true switches one on)",
                flush=True,
            )
        uvicorn.Server(config).run([taken])


def _listening(dials: GatewaySettings) -> socket.socket:
    """
    Raises:
        InputError: the address cannot be listened on.
    """
    try:
        family = socket.getaddrinfo(dials.host, dials.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((dials.host, dials.port), family=family, backlog=2048)
    except OSError as error:
        raise InputError(
            f"cannot listen on {dials.host}:{dials.port}: {error.strerror}",
            remedy="Choose another --host or --port",
        ) from None


def _metrics(backends: ProviderRegistry, costs: CostStore) -> GatewayMetrics:
    metrics = GatewayMetrics()
    metrics.watch(
        "stock_llm_machine_running",
        "Requests that local models work on.",
        lambda: backends.local_limit.running,
    )
    metrics.watch(
        "stock_llm_machine_waiting",
        "Requests that wait for local models.",
        lambda: backends.local_limit.waiting,
    )
    metrics.watch(
        "stock_llm_budget_left_today_dollars",
        "Left of the daily budget.",
        lambda: float(costs.left().today),
    )
    metrics.watch(
        "stock_llm_budget_left_month_dollars",
        "Left of the monthly budget.",
        lambda: float(costs.left().month),
    )
    return metrics


def _add_state(
    app: FastAPI, backends: ProviderRegistry, gateway: FallbackRouter, metrics: GatewayMetrics
) -> None:
    """Health, readiness, metrics."""

    @app.get("/healthz", tags=["State"])
    async def alive() -> dict[str, str]:
        """Whether the gateway runs."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["State"], responses={503: {"description": "No provider answers"}})
    async def ready() -> Response:
        """Whether a question could be answered, and how each provider is."""
        resting = gateway.resting()
        told = {
            name: {
                "ok": health.ok,
                "detail": health.detail,
                "resting_seconds": resting.get(name, 0.0),
            }
            for name, health in backends.health.items()
        }
        ok = any(health.ok for health in backends.health.values())
        return _json(
            {"status": "ok" if ok else "no provider answers", "providers": told}, 200 if ok else 503
        )

    @app.get("/metrics", tags=["State"], response_class=PlainTextResponse)
    async def numbers() -> Response:
        """Prometheus metrics, named as OpenTelemetry names them."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_errors(app: FastAPI) -> None:
    """Every error is one line in the words of the API that was asked; a fault of ours is logged and told as such."""

    @app.exception_handler(GatewayError)
    async def failed(request: Request, failure: GatewayError) -> Response:
        headers = (
            {"retry-after": str(max(1, round(failure.retry_after)))}
            if failure.retry_after
            else None
        )
        text = (
            failure.reason
            if isinstance(failure, BadRequest) or failure.provider == "gateway"
            else str(failure)
        )
        return _error(request, failure.status, text, headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=499)

    @app.exception_handler(StockLLMError)
    async def out_of_order(request: Request, error: StockLLMError) -> Response:
        _log.error("%s: %s", request.url.path, error)
        return _error(request, 503, str(error))

    @app.exception_handler(RequestValidationError)
    async def unfit(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return _error(request, 422, f"{where}: {first['msg']}" if where else str(first["msg"]))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if error.status_code in (404, 405):
            said = "404 page not found" if error.status_code == 404 else "405 method not allowed"
            return PlainTextResponse(said, error.status_code, headers=error.headers)
        return _error(request, error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        _log.error("%s %s", request.method, request.url.path, exc_info=error)
        return _error(request, 500, "the gateway itself is at fault; its log says more")


def _error(
    request: Request, status: int, text: str, headers: Mapping[str, str] | None = None
) -> Response:
    if request.url.path.startswith("/v1/"):
        return _json(openai_responses.error_body(status, text), status, headers)
    return Response(
        ollama_responses.error(text),
        status,
        media_type="application/json; charset=utf-8",
        headers=headers,
    )


def _json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json", headers=headers)
