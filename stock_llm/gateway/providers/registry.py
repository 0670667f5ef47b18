"""The providers that are switched on, made of the settings, and what is known of them.

In: settings. Out: providers in order of preference, their health as of a few seconds ago, and who has which model. Does not know
routing, nor any API.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from stock_llm.errors import InputError
from stock_llm.gateway.config import GatewayContext, GatewaySettings
from stock_llm.gateway.providers.claude_api import ClaudeApiProvider
from stock_llm.gateway.providers.claude_cli import ClaudeCliProvider
from stock_llm.gateway.providers.concurrency import ConcurrencyLimit
from stock_llm.gateway.providers.embedded import EmbeddedProvider
from stock_llm.gateway.providers.ollama import OllamaProvider, is_loopback
from stock_llm.gateway.providers.openai_compatible import OpenAICompatibleProvider
from stock_llm.gateway.providers.provider import Provider, ProviderHealth
from stock_llm.gateway.routing.router import same_model
from stock_llm.ollama.store import OllamaStore

_EVERY = 10.0
"""Seconds between two looks at the providers."""

_CLOUD = (8, 64)
"""Calls at once to the Claude API or a server elsewhere, and how many may wait."""

_COMMANDS = (2, 16)
"""Processes of the Claude command at once, and how many questions may wait."""

_log = logging.getLogger(__name__)


class ProviderRegistry:
    """Everything that can answer.

    Attributes:
        providers: in order of preference; local ones first.
        machine: the limit that everything on this machine shares.
        health: provider → what it said when it was last asked.
    """

    def __init__(self, dials: GatewaySettings, context: GatewayContext):
        self.local_limit = ConcurrencyLimit(dials.parallel, dials.queue)
        self.ollama: OllamaProvider | None = None
        self.embedded: EmbeddedProvider | None = None
        self.health: dict[str, ProviderHealth] = {}
        if context.ollama_host:
            self.ollama = OllamaProvider(context.ollama_host, tuple(dials.models), self.local_limit)
        if dials.embedded:
            store = OllamaStore(context.ollama_store)
            self.embedded = EmbeddedProvider(
                store,
                context.threads,
                dials.embedded_megabytes,
                dials.embedded_minutes,
                self.local_limit,
            )
        servers = [
            OpenAICompatibleProvider(
                name,
                server.url,
                tuple(server.models),
                server.key.get_secret_value(),
                self.local_limit if is_loopback(server.url) else ConcurrencyLimit(*_CLOUD),
            )
            for name, server in dials.servers.items()
        ]
        cloud: list[Provider] = []
        if dials.claude_cli:
            models = tuple(dials.claude_cli_models)
            cloud.append(
                ClaudeCliProvider(
                    dials.claude_command,
                    models,
                    ConcurrencyLimit(*_COMMANDS),
                    dials.claude_cli_uses_api_key,
                )
            )
        if dials.claude_api:
            models = tuple(dials.claude_api_models)
            cloud.append(
                ClaudeApiProvider(
                    dials.claude_api_url, models, dials.max_tokens, ConcurrencyLimit(*_CLOUD)
                )
            )
        own = [one for one in (self.ollama, self.embedded) if one]
        self.providers: tuple[Provider, ...] = (*own, *servers, *cloud)
        names = [provider.name for provider in self.providers]
        if twice := {
            name
            for name in (*names, "local", "auto")
            if names.count(name) > (name not in ("local", "auto"))
        }:
            raise InputError(
                f"two providers cannot both be called '{min(twice)}'",
                remedy="Give the server another name in [gateway.servers]",
            )
        if not self.providers:
            raise InputError(
                "no provider is switched on", remedy="Set ollama_host, or gateway.embedded = true"
            )
        self._known: dict[str, str] = {}

    async def refresh(self) -> bool:
        """Asks every provider for its health; whether a model's name means another model since the last time."""
        found = await asyncio.gather(*(provider.health() for provider in self.providers))
        self.health = {
            provider.name: health for provider, health in zip(self.providers, found, strict=True)
        }
        known = self._known
        self._known = self._digests()
        return any(self._known.get(name, digest) != digest for name, digest in known.items())

    async def watch(self, moved: Callable[[], None]) -> None:
        """Refreshes for ever; calls `moved` when a model's name means another model."""
        while True:
            await asyncio.sleep(_EVERY)
            try:
                if await self.refresh():
                    moved()
            except Exception:
                _log.exception(
                    "the providers could not be looked at; they will be again in %g s", _EVERY
                )

    def provider_for(self, model: str) -> Provider | None:
        """The provider that has a model; None where nobody is known to."""
        for provider in self.providers:
            if model == provider.name or any(same_model(model, known) for known in provider.models):
                return provider
        return None

    def models(self) -> list[tuple[str, Provider]]:
        """Every model with its provider, each name once."""
        found: dict[str, Provider] = {}
        for provider in self.providers:
            for name in provider.models:
                found.setdefault(name, provider)
        return list(found.items())

    async def close(self) -> None:
        """Ends every connection and process."""
        for provider in self.providers:
            if close := getattr(provider, "close", None):
                await close()

    def _digests(self) -> dict[str, str]:
        digests = dict(self.ollama.digests) if self.ollama else {}
        if self.embedded:
            for name in self.embedded.models:
                with suppress(OSError):
                    digests[f"embedded {name}"] = self.embedded.store.digest(name) or ""
        return digests
