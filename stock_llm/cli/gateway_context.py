"""Composes what the gateway and its pages need from the settings of the project."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stock_llm.errors import MissingExtra
from stock_llm.feedback.event import prefect_api_url
from stock_llm.gateway.config import GatewayContext
from stock_llm.gateway.pages.project import ProjectFunctions
from stock_llm.grounding.current_data import CurrentData
from stock_llm.ollama.distribution import consumer_keys
from stock_llm.ollama.distribution.pull_log import FILE as PULLS
from stock_llm.pipeline.inputs import InputState
from stock_llm.secrets import account_hash, signing_key
from stock_llm.settings import Settings

if TYPE_CHECKING:
    from stock_llm.dataset.privacy.redaction import Redactor
    from stock_llm.grounding.own_data import OwnData


def gateway_context(settings: Settings) -> GatewayContext:
    """The gateway's view of the project."""
    numbers = own_numbers(settings)
    tools = None
    if settings.gateway.tools:
        from stock_llm.grounding.tools import OwnToolBox  # brings NumPy and Arrow

        tools = OwnToolBox(numbers)
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
        numbers=numbers,
        tools=tools,
        redact=Redaction(numbers, settings.secrets),
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


def own_numbers(settings: Settings) -> CurrentData:
    """The user's own numbers, read when they are needed first."""
    return CurrentData(lambda: _own_data(settings), InputState(settings))


class Redaction:
    """Takes identities out of texts, the accounts of the ledger among them."""

    def __init__(self, numbers: CurrentData, secrets: Path):
        self._numbers, self._secrets = numbers, secrets
        self._known: tuple[frozenset[str], Redactor] | None = None

    def __call__(self, text: str) -> str:
        """The text with a mark in place of each identity.

        Raises:
            MissingExtra: what finds identities is not installed.
        """
        try:
            return self._redactor().text(text)
        except ModuleNotFoundError as error:
            raise MissingExtra(str(error.name), "flows") from None

    def _redactor(self) -> "Redactor":
        from stock_llm.dataset.privacy.redaction import Redactor  # brings its rules

        accounts = data.accounts if (data := self._numbers.data) else frozenset()
        if self._known is None or self._known[0] != accounts:
            hashed = partial(account_hash, folder=self._secrets)
            self._known = accounts, Redactor(accounts, hashed)
        return self._known[1]


def _own_data(settings: Settings) -> "OwnData":
    from stock_llm.pipeline.ask import own_data  # brings NumPy and Arrow, which few gateways need

    return own_data(settings)
