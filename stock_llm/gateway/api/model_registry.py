"""Published versions for others: `ollama pull HOST:PORT/library/stock-llm`."""

from starlette.routing import BaseRoute

from stock_llm.gateway.config import GatewayContext, GatewaySettings
from stock_llm.ollama.distribution.consumer_keys import ConsumerKeys
from stock_llm.ollama.distribution.handshake import KeyAccess
from stock_llm.ollama.distribution.listener import HANDOVER
from stock_llm.ollama.distribution.published_models import PublishedModels
from stock_llm.ollama.distribution.pull_log import PullLog
from stock_llm.ollama.distribution.routes import LIBRARY, distribution_routes
from stock_llm.ollama.store import OllamaStore

PREFIX = "/v2/"
"""Paths that ask for a key of their own, and for no token of the gateway."""


def registry_routes(settings: GatewaySettings, context: GatewayContext) -> list[BaseRoute]:
    """The routes of a registry with the published versions; none unless `publish.serve` is set."""
    if not context.publish.serve:
        return []
    access = KeyAccess(
        ConsumerKeys(context.consumers),
        context.signing_key,
        PullLog(context.pulls),
        (*settings.hosts, context.publish.address),
        context.publish.proxies,
    )
    models = PublishedModels(OllamaStore(context.ollama_store))
    return [*access.routes(), *distribution_routes(models, access, (LIBRARY, HANDOVER))]
