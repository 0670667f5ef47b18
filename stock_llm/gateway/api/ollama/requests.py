"""The bodies of Ollama's requests as pydantic models, and as our `ChatRequest`.

Where a client's mistake makes Ollama answer 500, the text is Ollama's and the status 400. Fields
and options that are not listed here are passed on. Format: ollama/ollama docs/api.md, api/types.go.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, create_model
from pydantic_core import PydanticCustomError

from stock_llm.gateway.api.json_body import RequestBody
from stock_llm.gateway.chat import ChatMessage, ChatRequest, GenerationOptions, Role
from stock_llm.gateway.config import GroundingMode
from stock_llm.gateway.providers.embeddings import LEGACY
from stock_llm.gateway.providers.ollama_codec import GENERATE
from stock_llm.gateway.query import Privacy
from stock_llm.ollama.modelfile import PARAMETERS

BLOBS_PATH = "/api/blobs/"
"""Where models are uploaded, of any size; they are passed on and not kept."""

_TYPE_NAMES = {int: "integer", float: "float32", bool: "boolean", tuple: "array"}


def _check_model(name: str) -> str:
    if not name:
        raise PydanticCustomError("value_error", "model is required")
    if not name.isprintable():
        raise PydanticCustomError("value_error", "invalid model name")
    return name


def _check_format(value: Any) -> Any:
    """Ollama's own words for a format that is none."""
    if value is None or value == "":
        return None
    if value == "json" or isinstance(value, dict):
        return value
    quoted = json.dumps(json.dumps(value, ensure_ascii=False), ensure_ascii=False)
    raise ValueError(f'invalid format: {quoted}; expected "json" or a valid JSON Schema object')


def _check_option(name: str, kind: type) -> BeforeValidator:
    """Ollama's own words for an option of a wrong type."""

    def check(value: Any) -> Any:
        fits = {
            int: isinstance(value, int) or (isinstance(value, float) and value.is_integer()),
            float: isinstance(value, int | float),
            bool: isinstance(value, bool),
            tuple: isinstance(value, list) and all(isinstance(text, str) for text in value),
        }[kind]
        if value is None or (fits and (kind is bool or not isinstance(value, bool))):
            return int(value) if kind is int and isinstance(value, float) else value
        raise ValueError(f'option "{name}" must be of type {_TYPE_NAMES[kind]}')

    return BeforeValidator(check)


ModelName = Annotated[
    str,
    Field(max_length=500, description="A model's name, or auto to ask the router"),
    AfterValidator(_check_model),
]
StopTexts = Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=64)]
Format = Annotated[
    dict[str, Any] | Literal["json"] | None,
    BeforeValidator(_check_format),
    Field(description="A JSON schema that the answer must fit, or json"),
]
PrivacyField = Annotated[
    Privacy | None, Field(description="local: the request never leaves the machine")
]
GroundingField = Annotated[
    GroundingMode | None,
    Field(description="off: no computed numbers are added to the question; auto: they are"),
]
Stream = Annotated[bool | None, Field(description="Whether the answer comes in pieces")]

_OPTION_TYPES: dict[type, Any] = {
    int: Annotated[int, Field(ge=-(2**63), lt=2**63)],
    float: int | float,
    bool: bool,
    tuple: StopTexts,
}
_OPTION_FIELDS: dict[str, Any] = {
    name: (Annotated[_OPTION_TYPES[kind] | None, _check_option(name, kind)], None)
    for name, kind in PARAMETERS.items()
}
OllamaOptions: Any = create_model(
    "OllamaOptions",
    __base__=RequestBody,
    __doc__="Ollama's options; others are passed on.",
    **_OPTION_FIELDS,
)


class ToolFunction(RequestBody):
    """The function of a tool call."""

    name: str


class ToolCall(RequestBody):
    """A tool call of an earlier answer."""

    function: ToolFunction


class OllamaMessage(RequestBody):
    """One turn of a conversation."""

    role: Role
    content: str | None = ""
    images: list[str] | None = None
    tool_calls: list[ToolCall] | None = None

    def to_message(self) -> ChatMessage:
        """The turn as ours."""
        extra = {
            name: value for name, value in (self.model_extra or {}).items() if value is not None
        }
        if self.images is not None:
            extra["images"] = self.images
        if self.tool_calls is not None:
            extra["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        return ChatMessage(self.role, self.content or "", extra)


class _Generation(RequestBody):
    """What /api/chat and /api/generate have in common."""

    model: ModelName
    stream: Stream = True
    format: Format = None
    options: OllamaOptions | None = None
    think: bool | str | None = None
    keep_alive: str | int | float | None = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    privacy: PrivacyField = None
    grounding: GroundingField = None

    def parts(self) -> dict[str, Any]:
        """The arguments of a `ChatRequest` that both share."""
        names = ("think", "keep_alive", "truncate", "shift", "logprobs", "top_logprobs")
        passed = {name: value for name in names if (value := getattr(self, name)) is not None}
        return {
            "model": self.model,
            "options": build_options(self.options),
            "format": self.format,
            "stream": self.stream is not False,
            "extra": passed,
        }

    @property
    def renders_only(self) -> bool:
        """Whether nothing is to be generated: the caller wants to see the rendered prompt."""
        return bool((self.model_extra or {}).get("_debug_render_only"))


class OllamaChatBody(_Generation):
    """The body of POST /api/chat."""

    messages: list[OllamaMessage] | None = None
    tools: list[Any] | None = None

    @property
    def generates(self) -> bool:
        """Whether there is a question; without one a model is only loaded or unloaded."""
        return bool(self.messages) and not self.renders_only

    def to_request(self) -> ChatRequest:
        """The question as ours."""
        parts = self.parts()
        if self.tools is not None:
            parts["extra"]["tools"] = self.tools
        return ChatRequest(tuple(turn.to_message() for turn in self.messages or ()), **parts)


class OllamaGenerateBody(_Generation):
    """The body of POST /api/generate."""

    prompt: str | None = ""
    system: str | None = None
    images: list[str] | None = None
    raw: bool | None = None
    template: str | None = None
    suffix: str | None = None
    context: list[int] | None = None

    @property
    def generates(self) -> bool:
        """Whether there is a question; without one a model is only loaded or unloaded."""
        return bool(self.prompt or self.suffix or self.images) and not self.renders_only

    def to_request(self) -> ChatRequest:
        """The question as ours."""
        parts = self.parts()
        own = {
            name: value
            for name in ("raw", "template", "suffix", "context")
            if (value := getattr(self, name))
        }
        parts["extra"][GENERATE] = own
        system = (ChatMessage("system", self.system),) if self.system else ()
        prompt = ChatMessage(
            "user", self.prompt or "", {"images": self.images} if self.images else {}
        )
        return ChatRequest((*system, prompt), **parts)


class OllamaEmbedBody(RequestBody):
    """The body of POST /api/embed."""

    model: ModelName
    input: str | list[str] = ""
    truncate: bool | None = None
    dimensions: int | None = None
    options: OllamaOptions | None = None
    keep_alive: str | int | float | None = None
    privacy: PrivacyField = None

    def to_request(self) -> ChatRequest:
        """The texts as ours."""
        texts = [self.input] if isinstance(self.input, str) else self.input
        return embedding_request(self.model, texts, self._passed("truncate", "dimensions"))

    def _passed(self, *names: str) -> dict[str, Any]:
        names = (*names, "keep_alive")
        passed = {name: value for name in names if (value := getattr(self, name)) is not None}
        options = self.options.model_dump(exclude_unset=True) if self.options else {}
        return passed | ({"options": options} if options else {})


class OllamaLegacyEmbedBody(OllamaEmbedBody):
    """The body of POST /api/embeddings."""

    prompt: str = ""

    def to_request(self) -> ChatRequest:
        """The text as ours."""
        return embedding_request(self.model, [self.prompt], {LEGACY: True} | self._passed())


class OllamaShowBody(RequestBody):
    """The body of POST /api/show."""

    model: str = ""
    name: str = ""


def embedding_request(model: str, texts: list[str], extra: dict[str, Any]) -> ChatRequest:
    """A request for embeddings: the texts are its messages."""
    return ChatRequest(tuple(ChatMessage("user", text) for text in texts), model, extra=extra)


def build_options(options: Any) -> GenerationOptions:
    """Ollama's options as ours; those that we have no name for are passed on."""
    known = options.model_dump(exclude_unset=True, exclude_none=True) if options else {}
    limit = known.get("num_predict")
    if limit is not None and limit >= 1:  # -1: without end, -2: fill the context
        known["max_tokens"] = known.pop("num_predict")
    names = ("temperature", "max_tokens", "seed", "top_p")
    given = {name: known.pop(name) for name in names if name in known}
    return GenerationOptions(stop=tuple(known.pop("stop", ())), extra=known, **given)
