"""Composes what the gateway and its pages need from the settings of the project."""

from functools import partial
from typing import Any

from stock_llm.feedback.event import prefect_api_url
from stock_llm.gateway.config import GatewayContext
from stock_llm.gateway.pages.project import ProjectFunctions
from stock_llm.ollama.distribution import consumer_keys
from stock_llm.ollama.distribution.pull_log import FILE as PULLS
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
        publish=settings.publish,
        consumers=settings.secrets / consumer_keys.FILE,
        pulls=settings.path(PULLS),
    )


def project_functions(settings: Settings) -> ProjectFunctions:
    """What the pages may ask of the project."""
    names = (
        "find_chart",
        "suggest",
        "read_portfolio",
        "preview_import",
        "keep_import",
        "read_versions",
    )
    functions: dict[str, Any] = {name: partial(_call, name, settings) for name in names}
    return ProjectFunctions(
        **functions,
        roll_back=partial(_roll_back, settings),
    )


def _call(name: str, settings: Settings, *arguments: Any) -> Any:
    """A function of `operations.page_data`, which is imported where it runs: the gateway stays
    small."""
    from stock_llm.operations import page_data

    return getattr(page_data, name)(settings, *arguments)


def _roll_back(settings: Settings, number: int, reason: str) -> None:
    from stock_llm.pipeline import registry
    from stock_llm.pipeline.publication.restoring import move_champion

    move_champion(settings, number, registry.ROLLBACK_REASON, reason)
