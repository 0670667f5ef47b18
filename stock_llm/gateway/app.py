"""The gateway as one ASGI app, and the server that runs it.

In: the gateway's settings and what it needs from the project. Out: an app that speaks Ollama's API,
OpenAI's, Anthropic's, and the stock service's own. One process with one event loop: limits and
cache count on it.
"""

import asyncio
import logging
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response

from stock_llm.errors import InputError, StockLLMError
from stock_llm.gateway.accounting.answer_log import AnswerLog
from stock_llm.gateway.accounting.conversations import ConversationStore
from stock_llm.gateway.accounting.cost_store import CostStore
from stock_llm.gateway.accounting.ledger_answers import LedgerAnswers
from stock_llm.gateway.accounting.metrics import GatewayMetrics
from stock_llm.gateway.accounting.prices import load_prices
from stock_llm.gateway.api.anthropic.routes import anthropic_routes
from stock_llm.gateway.api.connection import LimitedHttpProtocol
from stock_llm.gateway.api.documentation import docs_routes
from stock_llm.gateway.api.errors import add_error_handlers
from stock_llm.gateway.api.grounding import Grounder
from stock_llm.gateway.api.handler import RequestHandler
from stock_llm.gateway.api.middleware import AccessMiddleware, check_bind
from stock_llm.gateway.api.model_registry import PREFIX, registry_routes
from stock_llm.gateway.api.ollama.routes import ollama_routes
from stock_llm.gateway.api.openai.routes import openai_routes
from stock_llm.gateway.api.response_cache import ResponseCache
from stock_llm.gateway.api.service.feedback import FeedbackReceiver
from stock_llm.gateway.api.service.routes import service_routes
from stock_llm.gateway.config import GatewayContext, GatewaySettings
from stock_llm.gateway.pages.project import ProjectFunctions
from stock_llm.gateway.pages.routes import pages_routes
from stock_llm.gateway.pages.site import Site
from stock_llm.gateway.providers.provider import Provider
from stock_llm.gateway.providers.registry import ProviderRegistry
from stock_llm.gateway.providers.tool_loop import ToolCallingProvider, ToolLimits
from stock_llm.gateway.routing.cloud_filter import CloudFilter
from stock_llm.gateway.routing.fallback import FallbackRouter
from stock_llm.gateway.routing.policy import load_policy
from stock_llm.truth.blocks import has_ledger

SHUTDOWN_SECONDS = 60
"""Seconds that answers under way have after a signal to stop; then streams end with an
error line."""

_CLOSING_SECONDS = 5
"""Seconds that such error lines have to reach their callers."""

_IDLE_SECONDS = 75
"""Seconds for which an idle connection stays open: longer than clients keep theirs, so that none
sends into a closing one."""

_DESCRIPTION = """
One address for local models, the Claude command and the Claude API. The model name `auto` asks the
router; `POST /v1/route` tells what it would decide. Every answer says who gave it, why, what it
cost and how long it took.
"""


_log = logging.getLogger(__name__)


class GatewayApp(AccessMiddleware):
    """The ASGI app; `handler` can end its streams."""

    def __init__(
        self,
        app: FastAPI,
        settings: GatewaySettings,
        key: bytes,
        handler: RequestHandler,
        without_token: tuple[str, ...] = (),
    ):
        super().__init__(app, settings, key, without_token)
        self.handler = handler


class GatewayServer(uvicorn.Server):
    """uvicorn with the gateway's limits, which ends streams with an error line when the time for a
    shutdown is over."""

    def __init__(self, app: GatewayApp, shutdown_seconds: float = SHUTDOWN_SECONDS, **options: Any):
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=LimitedHttpProtocol,
            ws="none",
            access_log=False,
            server_header=False,
            log_level="warning",
            timeout_graceful_shutdown=int(shutdown_seconds) + _CLOSING_SECONDS,
            timeout_keep_alive=_IDLE_SECONDS,
            **options,
        )
        super().__init__(config)
        self._handler, self._shutdown_seconds = app.handler, shutdown_seconds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Waits for the answers under way, then ends them."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._shutdown_seconds, self._handler.end_streams)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def create_app(
    settings: GatewaySettings, context: GatewayContext, project: ProjectFunctions
) -> GatewayApp:
    """The app; its providers are asked for their models when it starts.

    Args:
        project: what the pages show and change of the project.

    Raises:
        InputError: a setting, the policy or the database cannot be used.
    """
    check_bind(settings)
    keep_back = {"keep_back": settings.keep_back}
    policy = load_policy(settings.policy, keep_back, context.home, settings.servers)
    registry = ProviderRegistry(
        settings, context.ollama_host, context.ollama_store, context.threads
    )
    costs = CostStore(context.costs_url, settings.daily_dollars, settings.monthly_dollars)
    answers = AnswerLog(context.costs_url, context.signing_key, settings.keep_answers_days)
    metrics = _metrics(registry, costs)
    holds_ledger = _ledger_questions(registry, settings, context)
    ledger_answers = LedgerAnswers(
        context.costs_url,
        context.signing_key,
        lambda question: has_ledger(question) or holds_ledger(question),
    )
    cloud_filter = CloudFilter(
        settings.ledger_to_cloud,
        holds_ledger,
        context.redact if settings.cloud_redaction else str,
        ledger_answers,
    )
    router = FallbackRouter(
        _with_tools(registry, settings, context, cloud_filter),
        policy=policy,
        costs=costs,
        prices=load_prices(),
        max_tokens=settings.max_tokens,
        timeout=settings.timeout,
        attempt_failed=metrics.attempt_failed,
        cloud_filter=cloud_filter,
    )
    grounder = Grounder(context.numbers, settings.grounding, settings.repair)
    handler = RequestHandler(
        router,
        answers,
        metrics,
        ResponseCache(int(settings.cache_megabytes * 2**20), settings.cache_minutes * 60),
        grounder,
        context.owner_names,
        ledger_answers,
    )

    feedback = FeedbackReceiver(answers, context, settings.trust_user_header)
    conversations = ConversationStore(context.costs_url, settings.keep_answers_days)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        has_cloud = not all(provider.local for provider in registry.providers)
        if context.numbers and (settings.grounding == "auto" or has_cloud):
            context.numbers.refresh()
        await registry.refresh()
        watching = asyncio.create_task(registry.watch(handler.clear_cache))
        if has_cloud:
            # what finds identities takes seconds to import: now, and not while somebody waits
            asyncio.get_running_loop().run_in_executor(None, _prepare, cloud_filter)
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await site.close()
            await registry.close()
            if context.numbers:
                await context.numbers.close()
            await answers.close()
            await ledger_answers.close()
            await asyncio.to_thread(costs.close)

    app = FastAPI(
        title="stock-llm gateway",
        description=_DESCRIPTION,
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    pulling = registry_routes(settings, context)
    without_token = (PREFIX,) if pulling else ()
    protected = GatewayApp(app, settings, context.signing_key, handler, without_token)
    site = Site(
        settings=settings,
        context=context,
        handler=handler,
        sessions=protected.sessions,
        feedback=feedback,
        conversations=conversations,
        project=project,
        models=lambda: [name for name, _ in registry.models()],
    )
    app.include_router(pages_routes(site))
    app.include_router(docs_routes())
    app.include_router(ollama_routes(handler, registry, settings.manage_models, settings.timeout))
    app.include_router(service_routes(handler, feedback))  # before /v1/models/{name}
    app.include_router(openai_routes(handler, registry))
    app.include_router(anthropic_routes(handler))
    app.router.routes.extend(pulling)
    _add_state(app, registry, router, metrics)
    add_error_handlers(app)
    return protected


def serve(settings: GatewaySettings, context: GatewayContext, project: ProjectFunctions) -> None:
    """Runs the gateway until a signal stops it; answers under way are finished first.

    Raises:
        InputError: a setting cannot be used, or the address is taken.
    """
    _raise_open_files()
    app = create_app(settings, context, project)
    with suppress(KeyboardInterrupt), _listen(settings) as listening:
        host, port = listening.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        print(f"stock-llm gateway on {url}, with pages for the browser; APIs: /docs", flush=True)
        off = [name for name in ("claude_cli", "claude_api") if not getattr(settings, name)]
        if off:
            advice = "STOCK_LLM_GATEWAY__CLAUDE_CLI=true switches one on"
            print(f"off: {', '.join(off)} ({advice})", flush=True)
        GatewayServer(app).run([listening])


def _listen(settings: GatewaySettings) -> socket.socket:
    """
    Raises:
        InputError: the address cannot be listened on.
    """
    address = (settings.host, settings.port)
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server(address, family=family, backlog=2048)
    except OSError as error:
        raise InputError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}",
            remedy="Choose another --host or --port",
        ) from None


def _raise_open_files() -> None:
    """Allows as many open files, and so connections, as the system lets this process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _prepare(cloud_filter: CloudFilter) -> None:
    """Lets the filter import what it needs, and says at once where that is missing."""
    try:
        cloud_filter.text("nobody@example.org")
    except StockLLMError as error:
        _log.warning("nothing will leave this machine: %s", error)


def _ledger_questions(
    registry: ProviderRegistry, settings: GatewaySettings, context: GatewayContext
) -> Callable[[str], bool]:
    """Whether the answer to a question may hold something of the ledger. Where a local model may
    call tools, every answer may."""
    local = {provider.name for provider in registry.providers if provider.local}
    if context.tools and local.intersection(settings.tools):
        return lambda _: True
    return context.numbers.holds_ledger if context.numbers else lambda _: False


def _with_tools(
    registry: ProviderRegistry,
    settings: GatewaySettings,
    context: GatewayContext,
    cloud_filter: CloudFilter,
) -> list[Provider]:
    """The providers, with tools for the models that the settings name.

    Raises:
        InputError: they name a provider that is not switched on, or one that cannot call tools.
    """
    names = {provider.name for provider in registry.providers}
    for name in settings.tools:
        if name not in names:
            raise InputError(
                f"gateway.tools names the provider {name!r}",
                remedy=f"Name one that is switched on: {', '.join(sorted(names))}",
            )
    limits = ToolLimits(settings.tool_rounds, settings.tool_seconds, settings.tool_bytes)

    async def unchanged(text: str) -> str:
        return text

    async def for_cloud(text: str) -> str:
        return await asyncio.to_thread(cloud_filter.text, text)

    providers: list[Provider] = []
    for provider in registry.providers:
        patterns = settings.tools.get(provider.name)
        if not patterns or context.tools is None:
            providers.append(provider)
            continue
        if "tools" not in provider.capabilities:
            raise InputError(
                f"gateway.tools names {provider.name}, which cannot call tools",
                remedy=f"Remove {provider.name} from [gateway.tools]",
            )
        sharing = "everything" if provider.local else settings.ledger_to_cloud
        prepare = unchanged if provider.local else for_cloud
        providers.append(
            ToolCallingProvider(provider, patterns, context.tools, limits, sharing, prepare)
        )
    return providers


def _metrics(registry: ProviderRegistry, costs: CostStore) -> GatewayMetrics:
    metrics, limit = GatewayMetrics(), registry.local_limit
    gauges = {
        "stock_llm_machine_running": ("Requests that local models work on.", lambda: limit.running),
        "stock_llm_machine_waiting": (
            "Requests that wait for local models.",
            lambda: limit.waiting,
        ),
        "stock_llm_budget_left_today_dollars": (
            "Left of the daily budget.",
            lambda: float(costs.left().today),
        ),
        "stock_llm_budget_left_month_dollars": (
            "Left of the monthly budget.",
            lambda: float(costs.left().month),
        ),
    }
    for name, (text, value) in gauges.items():
        metrics.watch(name, text, value)
    return metrics


def _add_state(
    app: FastAPI, registry: ProviderRegistry, router: FallbackRouter, metrics: GatewayMetrics
) -> None:
    """Health, readiness, metrics."""

    @app.get("/healthz", tags=["State"])
    async def alive() -> dict[str, str]:
        """Whether the gateway runs."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["State"], responses={503: {"description": "No provider answers"}})
    async def ready(request: Request) -> Response:
        """Whether a question could be answered, and the state of each provider; details only with
        the token."""
        resting = router.resting()
        providers: dict[str, dict[str, Any]] = {}
        for name, health in registry.health.items():
            providers[name] = {
                "ok": health.ok,
                "models": len(health.models),
                "resting_seconds": resting.get(name, 0.0),
            }
            if request.state.trusted:
                providers[name]["detail"] = health.detail
        ok = any(health.ok for health in registry.health.values())
        state = {"status": "ok" if ok else "no provider answers", "providers": providers}
        status = 200 if ok else 503
        return Response(orjson.dumps(state), status, media_type="application/json")

    @app.get("/metrics", tags=["State"], response_class=PlainTextResponse)
    async def numbers() -> Response:
        """Prometheus metrics, named as OpenTelemetry names them."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
