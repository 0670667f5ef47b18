"""The body of POST /v1/messages as pydantic models, and as our `ChatRequest`.

Format: platform.claude.com/docs/en/api/messages; fields are mapped as Ollama's own layer does it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from stock_llm.gateway.api.json_body import RequestBody
from stock_llm.gateway.api.ollama.requests import (
    GroundingField,
    ModelName,
    PrivacyField,
    StopTexts,
    Stream,
)
from stock_llm.gateway.chat import ChatMessage, ChatRequest, GenerationOptions


class TextBlock(RequestBody):
    """A text."""

    type: Literal["text"]
    text: str


class ImageSource(RequestBody):
    """An image as base64."""

    type: Literal["base64"]
    data: str


class ImageBlock(RequestBody):
    """An image."""

    type: Literal["image"]
    source: ImageSource


class ToolUseBlock(RequestBody):
    """A tool call of an earlier answer."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any] = Field(default_factory=dict)


class ToolResultBlock(RequestBody):
    """The result of a tool call."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[Annotated[TextBlock | ImageBlock, Field(discriminator="type")]] = ""


class ThinkingBlock(RequestBody):
    """The reasoning of an earlier answer."""

    type: Literal["thinking"]
    thinking: str


class RedactedBlock(RequestBody):
    """Reasoning that only its own provider can read; left out."""

    type: Literal["redacted_thinking"]


Block = Annotated[
    TextBlock | ImageBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | RedactedBlock,
    Field(discriminator="type"),
]


class AnthropicMessage(RequestBody):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str | list[Block]


class AnthropicTool(RequestBody):
    """A function that the model may call."""

    name: str
    description: str = ""
    input_schema: dict[str, Any]


class ToolChoice(RequestBody):
    """Whether and which tool the model must call."""

    type: Literal["auto", "any", "tool", "none"]
    name: str = ""


class Thinking(RequestBody):
    """Whether the model thinks before it answers."""

    type: Literal["enabled", "disabled", "adaptive"]


class AnthropicBody(RequestBody):
    """The body of POST /v1/messages."""

    model: ModelName
    max_tokens: Annotated[int, Field(ge=1)]
    messages: list[AnthropicMessage] = Field(min_length=1)
    system: str | list[TextBlock] | None = None
    stream: Stream = None
    temperature: int | float | None = None
    top_p: int | float | None = None
    top_k: int | None = None
    stop_sequences: StopTexts | None = None
    tools: list[AnthropicTool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    privacy: PrivacyField = None
    grounding: GroundingField = None

    def to_request(self) -> ChatRequest:
        """The question as ours.

        Raises:
            ValueError: a field does not fit.
        """
        system = self.system or ""
        text = system if isinstance(system, str) else _text(system)
        messages = [ChatMessage("system", text)] if text else []
        names: dict[str, str] = {}
        for turn in self.messages:
            messages += _messages(turn, names)
        if not messages or messages[-1].role == "system":
            raise ValueError("messages must have a content")
        return ChatRequest(
            messages=tuple(messages),
            model=self.model,
            options=GenerationOptions(
                temperature=self.temperature,
                max_tokens=self.max_tokens,
                stop=tuple(stop for stop in self.stop_sequences or () if stop),
                top_p=self.top_p,
                extra={"top_k": self.top_k} if self.top_k is not None else {},
            ),
            stream=self.stream is True,
            extra=self._extra(),
        )

    def _extra(self) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        if self.thinking and self.thinking.type != "adaptive":
            extra["think"] = self.thinking.type == "enabled"
        if not self.tools or (self.tool_choice and self.tool_choice.type == "none"):
            return extra
        extra["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.input_schema,
                },
            }
            for tool in self.tools
        ]
        if self.tool_choice and self.tool_choice.type == "any":
            extra["tool_choice"] = "required"
        elif self.tool_choice and self.tool_choice.type == "tool":
            function = {"name": self.tool_choice.name}
            extra["tool_choice"] = {"type": "function", "function": function}
        return extra


def _messages(turn: AnthropicMessage, names: dict[str, str]) -> list[ChatMessage]:
    """A turn as ours: results of tools are turns of their own; `names` collects the tools' names by
    the id of the call."""
    if isinstance(turn.content, str):
        return [ChatMessage(turn.role, turn.content)]
    results = []
    calls = []
    for block in turn.content:
        if isinstance(block, ToolUseBlock):
            names[block.id] = block.name
            calls.append(
                {"id": block.id, "function": {"name": block.name, "arguments": block.input}}
            )
        elif isinstance(block, ToolResultBlock):
            results.append(_result(block, names))
    extra: dict[str, Any] = {"tool_calls": calls} if calls else {}
    if images := _images(turn.content):
        extra["images"] = images
    if thinking := "\n".join(b.thinking for b in turn.content if isinstance(b, ThinkingBlock)):
        extra["thinking"] = thinking
    text = _text(turn.content)
    return [*results, *([ChatMessage(turn.role, text, extra)] if text or extra else [])]


def _result(block: ToolResultBlock, names: dict[str, str]) -> ChatMessage:
    content = block.content
    extra: dict[str, Any] = {"tool_call_id": block.tool_use_id}
    if block.tool_use_id in names:
        extra["tool_name"] = names[block.tool_use_id]
    if isinstance(content, str):
        return ChatMessage("tool", content, extra)
    images = _images(content)
    return ChatMessage("tool", _text(content), extra | ({"images": images} if images else {}))


def _text(blocks: Sequence[Any]) -> str:
    return "\n".join(block.text for block in blocks if isinstance(block, TextBlock))


def _images(blocks: Sequence[Any]) -> list[str]:
    return [block.source.data for block in blocks if isinstance(block, ImageBlock)]
