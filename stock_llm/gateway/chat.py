"""What providers are asked and what they answer, in the format of no particular provider."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:  # brings NumPy
    from stock_llm.truth.answer_check import AnswerCheck
    from stock_llm.truth.blocks import ComputedBlock

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "refusal"]


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn; `extra` holds its other fields in Ollama's names (images, tool_calls, tool_name,
    thinking)."""

    role: Role
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """How to generate; None means the model's own default."""

    temperature: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_p: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other options in Ollama's names (num_ctx, repeat_penalty …); providers leave out unknown
    ones."""


@dataclass(frozen=True, slots=True)
class Grounding:
    """What was added to a question, or why nothing was.

    Attributes:
        added: numbers of the user's own that stand below the question.
        notes: for the caller, e.g. that candles are old.
    """

    added: "ComputedBlock | None" = None
    notes: tuple[str, ...] = ()


NOTHING_ADDED = Grounding()


class StreamRepair(Protocol):
    """Replaces the false sentences of an answer that comes in pieces."""

    def feed(self, text: str) -> str:
        """What is complete after this piece."""

    def finish(self) -> str:
        """What is left at the end."""


class AnswerReviewer(Protocol):
    """Judges the answers to one question against its numbers."""

    def review(self, text: str) -> "tuple[str, AnswerCheck]":
        """The answer as it is to be shown, and what is known of the answer as it was generated."""

    def repair(self) -> StreamRepair | None:
        """What replaces false sentences in a stream; None where the text stays as generated."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A conversation to continue."""

    messages: tuple[ChatMessage, ...]
    model: str
    """The model's own name at the provider that is asked; "auto" before the router has chosen."""
    options: GenerationOptions = GenerationOptions()
    format: Mapping[str, Any] | Literal["json"] | None = None
    """A JSON schema that the answer must fit, or "json"."""
    stream: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the request, in Ollama's names (tools, think, keep_alive …); in OpenAI's
    where Ollama has none."""
    adapt: Callable[[str], "ChatRequest"] | None = None
    """Model name → the question in the words for that model; None: all models get the same
    words."""
    grounding: Grounding = NOTHING_ADDED
    owner: bool = False
    """Whether the ledger of this machine is the caller's; what nobody checked is a stranger's."""
    reviewer: AnswerReviewer | None = None
    """Judges the answers; None where the question shows no numbers."""

    def for_model(self, model: str) -> "ChatRequest":
        """The request for the model of this name."""
        adapted = self.adapt(model) if self.adapt else self
        return replace(adapted, model=model, owner=self.owner)

    @property
    def question(self) -> str:
        """The user's last message."""
        return next(
            (message.content for message in reversed(self.messages) if message.role == "user"), ""
        )

    @property
    def text(self) -> str:
        """All messages as one text."""
        return "\n".join(message.content for message in self.messages)


MAX_TOKENS = 2**53
"""The largest count of tokens that is believed; every JSON reader keeps it exactly."""


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one call; what is no count (negative, missing, a text) is taken as 0.

    `tokens_in` are neither read from nor written to a prompt cache, as Anthropic counts.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    cached_read: int = 0
    cached_write: int = 0
    """Written to the cache for five minutes."""
    cached_write_hour: int = 0
    """Written to the cache for an hour."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            is_count = isinstance(value, int) and not isinstance(value, bool)
            object.__setattr__(self, item.name, min(max(value, 0), MAX_TOKENS) if is_count else 0)

    @property
    def prompt(self) -> int:
        """Length of the whole prompt in tokens, cached or not: what price tiers go by."""
        return self.tokens_in + self.cached_read + self.cached_write + self.cached_write_hour


@dataclass(frozen=True, slots=True)
class ProviderTimings:
    """Seconds that each part took at the provider; None where it does not say."""

    queue: float | None = None
    load: float | None = None
    prompt: float | None = None
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
    """What it cost by the provider's own account; None: computed from the usage."""
    timings: ProviderTimings = ProviderTimings()
    message: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the message in Ollama's names (thinking, tool_calls, logprobs)."""
    notes: tuple[str, ...] = ()
    """Notes for the caller, e.g. that the prompt was cut."""
    raw: bytes = b""
    """The provider's own bytes, where they can be passed through unchanged."""


@dataclass(frozen=True, slots=True)
class AnswerChunk:
    """A piece of a streamed answer; the last one, and only it, carries the whole `Answer`."""

    text: str = ""
    answer: ChatAnswer | None = None
    message: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of this piece in Ollama's names (thinking, tool_calls, logprobs)."""
    raw: bytes = b""
    """The provider's own bytes, where they can be passed through unchanged."""
