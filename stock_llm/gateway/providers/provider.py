"""The interface of a provider.

A provider tries once, without retries of its own. It raises nothing but `errors.GatewayError`,
checks what it returns by content, and lets `asyncio.CancelledError` through after it has stopped
the generation. The fallback sets the deadline.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

from stock_llm.gateway.chat import AnswerChunk, ChatAnswer, ChatRequest

Billing = Literal["free", "fixed", "usage"]
"""Costs nothing per call; a subscription; dollars per token."""


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """Whether a provider answers now, and what it says."""

    ok: bool
    detail: str = ""
    models: tuple[str, ...] = ()
    """Names of its models, as it calls them."""


class Embedder(Protocol):
    """A provider with the capability "embed"."""

    async def embed(self, request: ChatRequest) -> ChatAnswer:
        """The embeddings of the texts that are the request's messages.

        `ChatAnswer.raw` is JSON as Ollama's /api/embed writes it.

        Raises:
            GatewayError: it did not answer; the class says what to do.
        """


class Provider(Protocol):
    """One backend."""

    @property
    def name(self) -> str:
        """Unique: "ollama", "embedded", "claude-cli", "claude-api", or a server's name in the
        settings."""

    @property
    def kind(self) -> Billing:
        """How calls are paid."""

    @property
    def local(self) -> bool:
        """Whether what is sent stays on this machine."""

    @property
    def capabilities(self) -> frozenset[str]:
        """Of "stream", "json-schema", "tools", "images", "thinking", "embed"."""

    @property
    def models(self) -> tuple[str, ...]:
        """Its known models, the default first; may be out of date for a server that others
        manage."""

    async def answer(self, request: ChatRequest) -> ChatAnswer:
        """The whole answer.

        Raises:
            GatewayError: it did not answer; the class says what to do.
        """

    def stream(self, request: ChatRequest) -> AsyncIterator[AnswerChunk]:
        """The answer in pieces; the last has `.answer`. Closing the iterator stops the generation.

        Raises:
            GatewayError: while iterating; after the first piece it is always `Cut`.
        """

    async def health(self) -> ProviderHealth:
        """Asks the backend, cheaply; never raises a failure."""
