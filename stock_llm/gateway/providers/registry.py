"""Creates the providers that are switched on, and knows their health and their models."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from stock_llm.errors import InputError
from stock_llm.gateway.config import GatewaySettings
from stock_llm.gateway.providers.claude_api import ClaudeApiProvider
from stock_llm.gateway.providers.claude_cli import ClaudeCliProvider
from stock_llm.gateway.providers.concurrency import ConcurrencyLimit
from stock_llm.gateway.providers.embedded import EmbeddedProvider
from stock_llm.gateway.providers.ollama import OllamaProvider
from stock_llm.gateway.providers.openai_compatible import OpenAICompatibleProvider
from stock_llm.gateway.providers.provider import Provider, ProviderHealth
from stock_llm.gateway.query import same_model
from stock_llm.network import is_loopback_url, is_same_endpoint
from stock_llm.ollama.store import OllamaStore

_REFRESH_SECONDS = 10.0

_CLOUD = (8, 64)
"""Calls at once to the Claude API or a server elsewhere, and how many may wait."""

_COMMANDS = (2, 16)
"""Processes of the Claude command at once, and how many questions may wait."""

_RESERVED = ("local", "auto")

_log = logging.getLogger(__name__)


class ProviderRegistry:
    """All providers.

    Args:
        ollama_host: the Ollama behind the gateway; empty: none.
        ollama_store: folder in Ollama's format with the published models.
        threads: CPU threads for the embedded model.

    Attributes:
        providers: in order of preference; local ones first.
        local_limit: shared by everything that generates on this machine.
        health: provider → what it said when it was last asked.

    Raises:
        InputError: there is no provider, two of one name, or one that is this gateway itself.
    """

    def __init__(
        self, settings: GatewaySettings, ollama_host: str, ollama_store: Path, threads: int
    ):
        self.local_limit = ConcurrencyLimit(settings.parallel, settings.queue)
        self.ollama: OllamaProvider | None = None
        self.embedded: EmbeddedProvider | None = None
        self.health: dict[str, ProviderHealth] = {}
        self._known_digests: dict[str, str] = {}
        providers: list[Provider] = []
        if ollama_host:
            models = tuple(settings.models)
            self.ollama = OllamaProvider(ollama_host, models, self.local_limit)
            _check_endpoint("ollama_host (OLLAMA_HOST)", self.ollama.url, settings)
            providers.append(self.ollama)
        if settings.embedded:
            self.embedded = EmbeddedProvider(
                OllamaStore(ollama_store), threads, settings.embedded_megabytes,
                settings.embedded_minutes, self.local_limit, settings.true_sentences,
            )  # fmt: skip
            providers.append(self.embedded)
        for name, server in settings.servers.items():
            _check_endpoint(f"gateway.servers.{name}", server.url, settings)
            limit = self.local_limit if is_loopback_url(server.url) else ConcurrencyLimit(*_CLOUD)
            key = server.key.get_secret_value()
            providers.append(
                OpenAICompatibleProvider(name, server.url, tuple(server.models), key, limit)
            )
        providers += _cloud_providers(settings)
        self.providers = tuple(providers)
        self._check()

    async def refresh(self) -> bool:
        """Asks every provider for its health; True where a model's name means another model now."""
        answers = await asyncio.gather(*(provider.health() for provider in self.providers))
        self.health = {
            provider.name: health for provider, health in zip(self.providers, answers, strict=True)
        }
        known, self._known_digests = self._known_digests, self._digests()
        return any(
            self._known_digests.get(name, digest) != digest for name, digest in known.items()
        )

    async def watch(self, on_change: Callable[[], None]) -> None:
        """Refreshes for ever; calls `on_change` when a model's name means another model."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            try:
                if await self.refresh():
                    on_change()
            except Exception:
                _log.exception("providers not refreshed; next try in %g s", _REFRESH_SECONDS)

    def provider_for(self, model: str) -> Provider | None:
        """The provider that has a model; None where no known one has."""
        for provider in self.providers:
            if model == provider.name or any(same_model(model, name) for name in provider.models):
                return provider
        return None

    def models(self) -> list[tuple[str, Provider]]:
        """Every model with its provider, each name once."""
        by_name: dict[str, Provider] = {}
        for provider in self.providers:
            for name in provider.models:
                by_name.setdefault(name, provider)
        return list(by_name.items())

    async def close(self) -> None:
        """Ends every connection and process."""
        for provider in self.providers:
            if close := getattr(provider, "close", None):
                await close()

    def _check(self) -> None:
        names = [*_RESERVED, *(provider.name for provider in self.providers)]
        if duplicates := {name for name in names if names.count(name) > 1}:
            raise InputError(
                f"two providers cannot both be called '{min(duplicates)}'",
                remedy="Give the server another name in [gateway.servers]",
            )
        if not self.providers:
            raise InputError(
                "no provider is switched on", remedy="Set ollama_host, or gateway.embedded = true"
            )

    def _digests(self) -> dict[str, str]:
        digests = dict(self.ollama.digests) if self.ollama else {}
        if self.embedded:
            for name in self.embedded.models:
                with suppress(OSError):
                    digests[f"embedded {name}"] = self.embedded.store.digest(name) or ""
        return digests


def _cloud_providers(settings: GatewaySettings) -> list[Provider]:
    providers: list[Provider] = []
    if settings.claude_cli:
        models, limit = tuple(settings.claude_cli_models), ConcurrencyLimit(*_COMMANDS)
        uses_api_key = settings.claude_cli_uses_api_key
        providers.append(ClaudeCliProvider(settings.claude_command, models, limit, uses_api_key))
    if settings.claude_api:
        models, limit = tuple(settings.claude_api_models), ConcurrencyLimit(*_CLOUD)
        url, max_tokens = settings.claude_api_url, settings.max_tokens
        providers.append(ClaudeApiProvider(url, models, max_tokens, limit))
    return providers


def _check_endpoint(setting: str, url: str, settings: GatewaySettings) -> None:
    """Refuses the address of this gateway as that of a provider."""
    if settings.port and is_same_endpoint(url, settings.host, settings.port):
        raise InputError(
            f"{setting} is {url}, where this gateway itself listens: it would ask itself",
            remedy='Set STOCK_LLM_OLLAMA_HOST to the real Ollama, as in 127.0.0.1:11434, or to ""',
        )
