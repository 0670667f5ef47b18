"""POST /v1/responses: its bodies as pydantic models, and answers and streams in its format.

Nothing is stored: a request that refers to an earlier response is refused, and the client sends the
whole conversation, as with Ollama. Format: platform.openai.com/docs/api-reference/responses.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from stock_llm.gateway.api.json_body import RequestBody
from stock_llm.gateway.api.ollama.requests import (
    GroundingField,
    ModelName,
    PrivacyField,
    Stream,
)
from stock_llm.gateway.api.openai import responses
from stock_llm.gateway.api.openai.requests import (
    Limit,
    Number,
    Reasoning,
    image_data,
    thinking,
    tool_call,
)
from stock_llm.gateway.chat import (
    AnswerChunk,
    ChatAnswer,
    ChatMessage,
    ChatRequest,
    GenerationOptions,
    Role,
)
from stock_llm.gateway.errors import GatewayError


class InputText(RequestBody):
    """A text among the parts of a turn."""

    type: Literal["input_text", "output_text", "text", "summary_text"]
    text: str


class InputImage(RequestBody):
    """An image among the parts of a turn."""

    type: Literal["input_image"]
    image_url: str


InputPart = Annotated[InputText | InputImage, Field(discriminator="type")]


class MessageItem(RequestBody):
    """A turn of the conversation."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[InputPart] = ""


class FunctionCallItem(RequestBody):
    """A tool call of an earlier answer."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str = "{}"


class FunctionOutputItem(RequestBody):
    """The result of a tool call."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[InputPart]


class ReasoningItem(RequestBody):
    """The reasoning of an earlier answer."""

    type: Literal["reasoning"]
    summary: list[InputText] = Field(default_factory=list)


InputItem = FunctionCallItem | FunctionOutputItem | ReasoningItem | MessageItem


class TextFormat(RequestBody):
    """What the answer must look like."""

    type: Literal["text", "json_object", "json_schema"]
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")


class TextSettings(RequestBody):
    """How the text of the answer is written."""

    format: TextFormat | None = None


class FunctionTool(RequestBody):
    """A function that the model may call."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ResponsesBody(RequestBody):
    """The body of POST /v1/responses."""

    model: ModelName
    input: str | list[InputItem]
    instructions: str | None = None
    stream: Stream = None
    max_output_tokens: Limit | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    text: TextSettings | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    background: bool | None = None
    privacy: PrivacyField = None
    grounding: GroundingField = None

    def to_request(self) -> ChatRequest:
        """The question as ours.

        Raises:
            ValueError: a field does not fit, or asks for what is stored nowhere.
        """
        for name in ("previous_response_id", "conversation", "background"):
            if getattr(self, name):
                raise ValueError(f"{name} is not supported: send the whole conversation as input")
        messages = [ChatMessage("system", self.instructions)] if self.instructions else []
        if isinstance(self.input, str):
            messages.append(ChatMessage("user", self.input))
        else:
            messages += _messages(self.input)
        if not messages:
            raise ValueError("input must have at least one item")
        extra = {
            "tools": [_tool(tool) for tool in self.tools or ()] or None,
            "tool_choice": _tool_choice(self.tool_choice),
            "parallel_tool_calls": self.parallel_tool_calls,
        }
        return ChatRequest(
            messages=tuple(messages),
            model=self.model,
            options=GenerationOptions(self.temperature, self.max_output_tokens, top_p=self.top_p),
            format=_format(self.text.format if self.text else None),
            stream=self.stream is True,
            extra={name: value for name, value in extra.items() if value is not None}
            | thinking(self.reasoning.effort if self.reasoning else None),
        )


class ResponsesWriter:
    """The answer to one request as a response object, or as the events of its making."""

    stream_type = "text/event-stream"
    end = b""

    def __init__(self, id: str, model: str):
        self._id, self._model, self._created = (
            f"{responses.RESPONSE_ID}{id}",
            model,
            int(time.time()),
        )
        self._sequence = 0
        self._text: list[str] | None = None
        self._reasoning: list[str] | None = None
        self._items: list[dict[str, Any]] = []

    def body(self, answer: ChatAnswer, metadata: Mapping[str, Any]) -> bytes:
        """A whole answer."""
        items = [self._reasoning_item(answer.message.get("thinking", ""), 0)]
        items += [self._text_item(answer.text, 0)] if answer.text or not answer.message else []
        items += self._call_items(answer.message)
        output = [item for item in items if item]
        return orjson.dumps(self._response(output, answer) | {"stock_llm": metadata})

    def piece(self, chunk: AnswerChunk, metadata: Mapping[str, Any] | None) -> bytes:
        """The events of a piece."""
        sent = b""
        if self._sequence == 0:
            started = self._response([], None)
            sent += self._event("response.created", response=started)
            sent += self._event("response.in_progress", response=started)
        if piece := chunk.message.get("thinking"):
            sent += self._add_reasoning(piece)
        if chunk.text:
            sent += self._end_reasoning() + self._add_text(chunk.text)
        if "tool_calls" in chunk.message:
            sent += self._end_reasoning() + self._end_text() + self._add_calls(chunk.message)
        if chunk.answer:
            if self._text is None and not self._items and self._reasoning is None:
                sent += self._add_text("")
            sent += self._end_reasoning() + self._end_text()
            whole = self._response(self._items, chunk.answer) | {"stock_llm": metadata}
            sent += self._event(f"response.{whole['status']}", response=whole)
        return sent

    def error(self, failure: GatewayError) -> bytes:
        """The event of a stream that breaks off."""
        error = {"code": "server_error", "message": failure.reason}
        failed = self._response(self._items, None) | {"status": "failed", "error": error}
        return self._event("response.failed", response=failed)

    def _response(self, output: list[dict[str, Any]], answer: ChatAnswer | None) -> dict[str, Any]:
        cut = answer is not None and answer.finish == "length"
        status = "in_progress" if answer is None else "incomplete" if cut else "completed"
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "model": self._model,
            "output": output,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": _usage(answer) if answer else None,
        }

    def _add_text(self, text: str) -> bytes:
        sent, index = b"", len(self._items)
        if self._text is None:
            self._text = []
            item = self._text_item("", index) | {"content": [], "status": "in_progress"}
            sent += self._event("response.output_item.added", output_index=index, item=item)
            sent += self._part_event("response.content_part.added", index, part=_text_part(""))
        self._text.append(text)
        if not text:
            return sent
        return sent + self._part_event("response.output_text.delta", index, delta=text, logprobs=[])

    def _end_text(self) -> bytes:
        if self._text is None:
            return b""
        text, index, self._text = "".join(self._text), len(self._items), None
        item = self._text_item(text, index)
        self._items.append(item)
        return (
            self._part_event("response.output_text.done", index, text=text, logprobs=[])
            + self._part_event("response.content_part.done", index, part=_text_part(text))
            + self._event("response.output_item.done", output_index=index, item=item)
        )

    def _add_reasoning(self, text: str) -> bytes:
        sent, index = b"", len(self._items)
        place = {"item_id": self._item_id("rs", index), "output_index": index, "summary_index": 0}
        if self._reasoning is None:
            self._reasoning = []
            item = {"id": place["item_id"], "type": "reasoning", "summary": []}
            part = {"type": "summary_text", "text": ""}
            sent += self._event("response.output_item.added", output_index=index, item=item)
            sent += self._event("response.reasoning_summary_part.added", **place, part=part)
        self._reasoning.append(text)
        return sent + self._event("response.reasoning_summary_text.delta", **place, delta=text)

    def _end_reasoning(self) -> bytes:
        if self._reasoning is None:
            return b""
        text, index, self._reasoning = "".join(self._reasoning), len(self._items), None
        item = self._reasoning_item(text, index)
        self._items.append(item)
        place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
        part = {"type": "summary_text", "text": text}
        return (
            self._event("response.reasoning_summary_text.done", **place, text=text)
            + self._event("response.reasoning_summary_part.done", **place, part=part)
            + self._event("response.output_item.done", output_index=index, item=item)
        )

    def _add_calls(self, message: Mapping[str, Any]) -> bytes:
        sent = b""
        for item in self._call_items(message):
            index = len(self._items)
            place = {"item_id": item["id"], "output_index": index}
            begun = item | {"arguments": "", "status": "in_progress"}
            sent += self._event("response.output_item.added", output_index=index, item=begun)
            delta = "response.function_call_arguments.delta"
            sent += self._event(delta, **place, delta=item["arguments"])
            done = {"name": item["name"], "arguments": item["arguments"]}
            sent += self._event("response.function_call_arguments.done", **place, **done)
            sent += self._event("response.output_item.done", output_index=index, item=item)
            self._items.append(item)
        return sent

    def _part_event(self, kind: str, index: int, **values: Any) -> bytes:
        place = {"item_id": self._item_id("msg", index), "output_index": index, "content_index": 0}
        return self._event(kind, **place, **values)

    def _event(self, kind: str, **values: Any) -> bytes:
        data = orjson.dumps({"type": kind, "sequence_number": self._sequence} | values)
        self._sequence += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    def _item_id(self, kind: str, index: int) -> str:
        return f"{kind}_{self._id.removeprefix(responses.RESPONSE_ID)}_{index}"

    def _text_item(self, text: str, index: int) -> dict[str, Any]:
        return {
            "id": self._item_id("msg", index),
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [_text_part(text)],
        }

    def _reasoning_item(self, text: str, index: int) -> dict[str, Any]:
        if not text:
            return {}
        summary = [{"type": "summary_text", "text": text}]
        return {"id": self._item_id("rs", index), "type": "reasoning", "summary": summary}

    def _call_items(self, message: Mapping[str, Any]) -> list[dict[str, Any]]:
        first = sum(item["type"] == "function_call" for item in self._items)
        return [
            {
                "id": self._item_id("fc", number),
                "type": "function_call",
                "call_id": call.get("id") or f"call_{number}",
                "name": call["function"]["name"],
                "arguments": responses.arguments_text(call["function"]),
                "status": "completed",
            }
            for number, call in enumerate(message.get("tool_calls", ()), start=first)
        ]


def _messages(items: list[Any]) -> list[ChatMessage]:
    """The turns of a conversation: calls and reasoning belong to the turn of the assistant beside
    them."""
    names = {item.call_id: item.name for item in items if isinstance(item, FunctionCallItem)}
    messages: list[ChatMessage] = []
    reasoning = ""
    for item in items:
        if isinstance(item, ReasoningItem):
            reasoning = "\n".join(part.text for part in item.summary)
            continue
        if isinstance(item, FunctionOutputItem):
            text, extra = _content(item.output)
            extra |= {"tool_call_id": item.call_id}
            extra |= {"tool_name": names[item.call_id]} if item.call_id in names else {}
            messages.append(ChatMessage("tool", text, extra))
            continue
        if isinstance(item, FunctionCallItem):
            call = tool_call(item.call_id, item.name, item.arguments)
            if not messages or messages[-1].role != "assistant":
                messages.append(ChatMessage("assistant", ""))
            calls = [*messages[-1].extra.get("tool_calls", ()), call]
            messages[-1] = replace(messages[-1], extra={**messages[-1].extra, "tool_calls": calls})
        else:
            text, extra = _content(item.content)
            role: Role = "system" if item.role == "developer" else item.role
            messages.append(ChatMessage(role, text, extra))
        if reasoning and messages[-1].role == "assistant":
            extra = {**messages[-1].extra, "thinking": reasoning}
            messages[-1], reasoning = replace(messages[-1], extra=extra), ""
    return messages


def _content(content: str | list[Any]) -> tuple[str, dict[str, Any]]:
    """The text of a turn, and its images as an extra field."""
    if isinstance(content, str):
        return content, {}
    text = "\n".join(part.text for part in content if isinstance(part, InputText))
    images = [image_data(part.image_url) for part in content if isinstance(part, InputImage)]
    return text, {"images": images} if images else {}


def _tool(tool: FunctionTool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, dict) and "name" in choice:
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice


def _format(wanted: TextFormat | None) -> Any:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_schema" and wanted.schema_ is None:
        raise ValueError("text.format json_schema needs schema")
    return wanted.schema_ if wanted.type == "json_schema" else "json"


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(answer: ChatAnswer) -> dict[str, Any]:
    usage = answer.usage
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached_read},
        "output_tokens": usage.tokens_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt + usage.tokens_out,
    }
