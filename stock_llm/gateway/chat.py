"""What is asked of a provider and what comes back, in no provider's own dialect.

In: nothing; these are the nouns that the HTTP app, the providers and the fallback hand to each other. Does not know how a request
was routed (`query.py`) nor what it costs (`prices.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "refusal"]


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn. `extra` carries what only some backends understand, in Ollama's field names (images, tool_calls, tool_name)."""

    role: Role
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """How to generate. None means: the model's own default, not ours."""

    temperature: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_p: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other options in Ollama's names (num_ctx, repeat_penalty …); a provider that does not know one leaves it out."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A conversation to go on with."""

    messages: tuple[ChatMessage, ...]
    model: str
    """The model's own name at the provider that is asked; "auto" before the router has chosen."""
    options: GenerationOptions = GenerationOptions()
    format: Mapping[str, Any] | Literal["json"] | None = None
    """A JSON schema that the answer must fit, or "json"."""
    stream: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else came with the request, in Ollama's names (tools, think, keep_alive …); in OpenAI's where Ollama has none."""
    adapt: Callable[[str], "ChatRequest"] | None = None
    """The name of a model → the same question as that model is to be asked it; None: all are asked alike."""

    def for_model(self, model: str) -> "ChatRequest":
        """What the model of this name is asked."""
        return replace(self.adapt(model) if self.adapt else self, model=model)

    @property
    def question(self) -> str:
        """What the user said last: what is wanted now."""
        return next(
            (message.content for message in reversed(self.messages) if message.role == "user"), ""
        )

    @property
    def text(self) -> str:
        """Everything that was said, as one text."""
        return "\n".join(message.content for message in self.messages)


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one call. `tokens_in` are those neither read from nor written to a prompt cache, as Anthropic counts."""

    tokens_in: int = 0
    tokens_out: int = 0
    cached_read: int = 0
    cached_write: int = 0
    """Written to the cache for five minutes."""
    cached_write_hour: int = 0
    """Written to the cache for an hour."""

    @property
    def prompt(self) -> int:
        """Length of the whole prompt in tokens, cached or not: what price tiers go by."""
        return self.tokens_in + self.cached_read + self.cached_write + self.cached_write_hour


@dataclass(frozen=True, slots=True)
class ProviderTimings:
    """How long each part took at the provider, in seconds; None where it does not say."""

    queue: float | None = None
    load: float | None = None
    prompt: float | None = None
    first_token: float | None = None
    generate: float | None = None


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """A whole answer, checked by its provider: never empty by failure, never cut."""

    text: str
    model: str
    """As the provider calls the model that answered."""
    usage: TokenUsage
    finish: FinishReason = "stop"
    dollars: Decimal | None = None
    """What the provider itself says that it cost; None: to be computed from the usage."""
    timings: ProviderTimings = ProviderTimings()
    message: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the answer's message in Ollama's names (thinking, tool_calls)."""
    notes: tuple[str, ...] = ()
    """What the person should know, e.g. that the prompt was cut."""
    raw: bytes = b""
    """The answer in the provider's own words, where it can be passed through unchanged."""


@dataclass(frozen=True, slots=True)
class AnswerChunk:
    """A piece of a streamed answer; the last one, and only it, carries the whole `Answer`."""

    text: str = ""
    answer: ChatAnswer | None = None
    message: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of this piece's message in Ollama's names (thinking, tool_calls)."""
    raw: bytes = b""
    """The piece in the provider's own words, where it can be passed through unchanged."""
