"""The bodies of OpenAI's chat, completion and embedding requests as pydantic models, and as our
`ChatRequest`.

Fields that Ollama knows under another name are mapped as Ollama's own OpenAI layer does it, so that
both answer alike; except that a request without a temperature gets the model's own, where Ollama
sets 1.0. Format: platform.openai.com/docs/api-reference.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from stock_llm.gateway.api.json_body import MAX_DEPTH, RequestBody, is_too_deep
from stock_llm.gateway.api.ollama.requests import (
    GroundingField,
    ModelName,
    PrivacyField,
    StopTexts,
    Stream,
    embedding_request,
)
from stock_llm.gateway.chat import ChatMessage, ChatRequest, GenerationOptions, Role
from stock_llm.gateway.providers.ollama_codec import GENERATE

Limit = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Number = int | float

_DATA_URL = re.compile(r"data:(?:image/[\w.+-]+)?;base64,(.+)", re.DOTALL)
_THINK: Mapping[str, bool | str] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
    "xhigh": "max",
    "ultra": "max",
}
"""OpenAI's reasoning effort → Ollama's `think`, as Ollama maps it."""


class FunctionCall(RequestBody):
    """The function of a tool call; its arguments are JSON in a text."""

    name: str
    arguments: str = "{}"


class OpenAIToolCall(RequestBody):
    """A tool call of an earlier answer."""

    id: str = ""
    function: FunctionCall

    def to_call(self) -> dict[str, Any]:
        """The call in Ollama's format."""
        return tool_call(self.id, self.function.name, self.function.arguments)


class ImageUrl(RequestBody):
    """An image as a data URL."""

    url: str


class TextPart(RequestBody):
    """A text among the parts of a content."""

    type: Literal["text"]
    text: str


class ImagePart(RequestBody):
    """An image among the parts of a content."""

    type: Literal["image_url"]
    image_url: ImageUrl | str

    @property
    def url(self) -> str:
        """The image's URL."""
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class OpenAIMessage(RequestBody):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[OpenAIToolCall] | None = None
    tool_call_id: str | None = None

    def to_message(self, names: Mapping[str, str]) -> ChatMessage:
        """The turn as ours; `names`: id of a tool call → the tool's name."""
        texts, images = [], []
        parts = self.content or ""
        for part in [TextPart(type="text", text=parts)] if isinstance(parts, str) else parts:
            if isinstance(part, TextPart):
                texts.append(part.text)
            else:
                images.append(image_data(part.url))
        extra: dict[str, Any] = {"images": images} if images else {}
        if self.tool_calls:
            extra["tool_calls"] = [call.to_call() for call in self.tool_calls]
        if thinking := self.reasoning or self.reasoning_content:
            extra["thinking"] = thinking
        if self.tool_call_id:
            extra["tool_call_id"] = self.tool_call_id
        if self.role == "tool" and (name := self.name or names.get(self.tool_call_id or "")):
            extra["tool_name"] = name
        role: Role = "system" if self.role == "developer" else self.role
        return ChatMessage(role, "\n".join(texts), extra)


class JsonSchema(RequestBody):
    """A schema with its name."""

    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(RequestBody):
    """What the answer must look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def to_format(self) -> Any:
        """The format as ours.

        Raises:
            ValueError: the schema is missing.
        """
        if self.type == "json_schema":
            if self.json_schema is None:
                raise ValueError("response_format json_schema needs json_schema.schema")
            return self.json_schema.schema_
        return "json" if self.type == "json_object" else None


class Reasoning(RequestBody):
    """How long the model may think."""

    effort: str | None = None


class StreamOptions(RequestBody):
    """What a stream tells besides the answer."""

    include_usage: bool | None = None


class _Sampling(RequestBody):
    """What chat and completion requests have in common."""

    model: ModelName
    stream: Stream = None
    stream_options: StreamOptions | None = None
    max_tokens: Limit | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    frequency_penalty: Number | None = None
    presence_penalty: Number | None = None
    seed: Seed | None = None
    stop: str | StopTexts | None = None
    n: Literal[1] | None = None
    privacy: PrivacyField = None
    grounding: GroundingField = None

    def options(self, limit: int | None) -> GenerationOptions:
        """The options as ours."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        names = ("frequency_penalty", "presence_penalty")
        return GenerationOptions(
            temperature=self.temperature,
            max_tokens=limit,
            stop=tuple(text for text in stops if text),
            seed=self.seed,
            top_p=self.top_p,
            extra={name: value for name in names if (value := getattr(self, name)) is not None},
        )

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


class OpenAIChatBody(_Sampling):
    """The body of POST /v1/chat/completions."""

    messages: list[OpenAIMessage] = Field(min_length=1)
    max_completion_tokens: Limit | None = None
    response_format: ResponseFormat | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    reasoning: Reasoning | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None

    def to_request(self) -> ChatRequest:
        """The question as ours.

        Raises:
            ValueError: a field does not fit.
        """
        effort = self.reasoning.effort if self.reasoning else self.reasoning_effort
        extra = {
            "tools": self.tools or None,
            "tool_choice": self.tool_choice,
            "parallel_tool_calls": self.parallel_tool_calls,
            "logprobs": self.logprobs,
            "top_logprobs": self.top_logprobs,
        }
        names = tool_names(call for turn in self.messages for call in turn.tool_calls or ())
        return ChatRequest(
            messages=tuple(turn.to_message(names) for turn in self.messages),
            model=self.model,
            options=self.options(self.max_completion_tokens or self.max_tokens),
            format=self.response_format.to_format() if self.response_format else None,
            stream=self.stream is True,
            extra={name: value for name, value in extra.items() if value is not None}
            | thinking(effort),
        )


class OpenAICompletionBody(_Sampling):
    """The body of POST /v1/completions."""

    prompt: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[str], Field(min_length=1, max_length=1)]
    )
    suffix: str | None = None

    def to_request(self) -> ChatRequest:
        """The question as ours."""
        prompt = self.prompt if isinstance(self.prompt, str) else self.prompt[0]
        if not prompt:
            raise ValueError("prompt must be a text")
        return ChatRequest(
            messages=(ChatMessage("user", prompt),),
            model=self.model,
            options=self.options(self.max_tokens),
            stream=self.stream is True,
            extra={GENERATE: {"suffix": self.suffix} if self.suffix else {}},
        )


class OpenAIEmbeddingBody(RequestBody):
    """The body of POST /v1/embeddings."""

    model: ModelName
    input: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1)]
    dimensions: Annotated[int, Field(ge=1, le=2**16)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    privacy: PrivacyField = None

    def to_request(self) -> ChatRequest:
        """The texts as ours."""
        texts = [self.input] if isinstance(self.input, str) else self.input
        extra = {"dimensions": self.dimensions} if self.dimensions else {}
        return embedding_request(self.model, texts, extra)


def thinking(effort: str | None) -> dict[str, Any]:
    """The extra fields of a request that says how long the model may think.

    Raises:
        ValueError: there is no such effort.
    """
    if not effort:
        return {}
    if effort not in _THINK:
        wanted = ", ".join(f'"{name}"' for name in _THINK)
        raise ValueError(f'invalid reasoning value: "{effort[:40]}" (must be one of {wanted})')
    return {"think": _THINK[effort], "reasoning_effort": effort}


def tool_call(id: str, name: str, arguments: str) -> dict[str, Any]:
    """A tool call in Ollama's format.

    Raises:
        ValueError: the arguments are not JSON, or nested too deeply.
    """
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        raise ValueError("a tool call's arguments must be JSON in a text") from None
    if is_too_deep(arguments, value):
        raise ValueError(f"a tool call's arguments are nested more than {MAX_DEPTH} levels deep")
    return {"id": id, "function": {"name": name, "arguments": value}}


def tool_names(calls: Any) -> dict[str, str]:
    """Id of a tool call → the tool's name; of equal ids the last counts."""
    return {call.id: call.function.name for call in calls if call.id}


def image_data(url: str) -> str:
    """The base64 of a data URL.

    Raises:
        ValueError: it is none.
    """
    data = _DATA_URL.fullmatch(url)
    if data is None:
        raise ValueError("an image must be a data URL: data:image/…;base64,…")
    return data[1]
