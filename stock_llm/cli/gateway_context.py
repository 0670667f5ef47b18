"""Composes what the gateway needs from the settings of the project."""

from stock_llm.feedback.event import prefect_api_url
from stock_llm.gateway.config import GatewayContext
from stock_llm.secrets import signing_key
from stock_llm.settings import Settings


def gateway_context(settings: Settings) -> GatewayContext:
    """The gateway's view of the project."""
    return GatewayContext(
        home=settings.home,
        ollama_host=settings.ollama_host,
        ollama_store=settings.path(settings.ollama_store),
        threads=settings.threads,
        costs_url=settings.url(settings.gateway.costs_url),
        feedback_url=settings.url(settings.feedback_url),
        signing_key=signing_key(settings.secrets),
        uses_sample=settings.uses_sample,
        daily_limit=settings.feedback.daily_limit,
        owner_names=settings.feedback.owner_names,
        retrain_after=settings.retrain_after,
        prefect_api_url=prefect_api_url(),
    )
