"""The Claude API as a provider, through the official client.

The client's own retries are off: the fallback is the only retry loop. Sampling parameters are left
out; current models refuse them, and the client has had no such arguments since 1.0. An answer's
blocks are picked by type; `stop_reason: refusal` is a refusal, not an answer. The key is
ANTHROPIC_API_KEY.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from stock_llm.gateway.chat import (
    AnswerChunk,
    ChatAnswer,
    ChatMessage,
    ChatRequest,
    FinishReason,
    ProviderTimings,
    TokenUsage,
)
from stock_llm.gateway.errors import Cut, GatewayError, Refused, TimedOut, Unavailable
from stock_llm.gateway.providers.claude_cli import system_text
from stock_llm.gateway.providers.concurrency import ConcurrencyLimit
from stock_llm.gateway.providers.http_errors import http_error
from stock_llm.gateway.providers.provider import Billing, ProviderHealth
from stock_llm.network import is_loopback_url

KEY = "ANTHROPIC_API_KEY"

_TIMEOUT = 3600.0
"""Seconds. The fallback's limit is shorter, but without this one the client refuses long answers
that are not streamed."""

_FINISH: dict[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}


class ClaudeApiProvider:
    """The API at `url`.

    Args:
        models: the default first; each must have a price.
        max_tokens: longest answer where the caller sets no limit; the API requires one.
        limit: calls at once.
    """

    name = "claude-api"
    kind: Billing = "usage"
    local = False
    capabilities = frozenset({"stream", "json-schema", "tools"})

    def __init__(self, url: str, models: tuple[str, ...], max_tokens: int, limit: ConcurrencyLimit):
        self.models = models
        self._url, self._max_tokens, self._limit = url, max_tokens, limit

    async def answer(self, request: ChatRequest) -> ChatAnswer:
        """The whole answer; see `provider.Provider`."""
        async with self._limit.slot(self.name) as queued:
            with self._translated():
                return self._answer(
                    await self._client.messages.create(**self._body(request)), queued
                )

    async def stream(self, request: ChatRequest) -> AsyncIterator[AnswerChunk]:
        """The answer in pieces; see `provider.Provider`."""
        pieces: list[str] = []
        async with self._limit.slot(self.name) as queued:
            with self._translated(pieces):
                async with self._client.messages.stream(**self._body(request)) as stream:
                    async for text in stream.text_stream:
                        pieces.append(text)
                        yield AnswerChunk(text)
                    answer = self._answer(await stream.get_final_message(), queued)
            yield AnswerChunk("", answer, answer.message)

    async def health(self) -> ProviderHealth:
        """Whether there is a key; the API is not called."""
        has_key = bool(os.environ.get(KEY))
        if has_key:  # a second of imports: now, and not while others wait for answers
            await asyncio.to_thread(lambda: self._client.messages)
        detail = f"{KEY} is set" if has_key else f"{KEY} is not set"
        return ProviderHealth(has_key, detail, self.models)

    async def close(self) -> None:
        """Closes every connection."""
        if "_client" in self.__dict__:
            await self._client.close()

    @cached_property
    def _client(self) -> Any:
        import anthropic

        if not os.environ.get(KEY):
            raise Unavailable(self.name, f"{KEY} is not set")
        try:
            http = anthropic.DefaultAsyncHttpxClient(trust_env=not is_loopback_url(self._url))
        except ImportError as error:  # a SOCKS proxy without socksio
            raise Unavailable(self.name, f"the proxy of the environment: {error}") from None
        return anthropic.AsyncAnthropic(
            api_key=os.environ[KEY],
            base_url=self._url,
            max_retries=0,
            timeout=_TIMEOUT,
            http_client=http,
        )

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": request.model or self.models[0],
            "max_tokens": request.options.max_tokens or self._max_tokens,
            "messages": _turns(request.messages),
        }
        if tools := request.extra.get("tools"):
            body["tools"] = [_tool(tool) for tool in tools]
            if choice := _tool_choice(request.extra.get("tool_choice")):
                body["tool_choice"] = choice
        if system := system_text(request):
            body["system"] = system
        if request.options.stop:
            body["stop_sequences"] = list(request.options.stop)
        if isinstance(request.format, dict):
            body["output_config"] = {"format": {"type": "json_schema", "schema": request.format}}
        return body

    def _answer(self, message: Any, queued: float) -> ChatAnswer:
        text = "".join(block.text for block in message.content if block.type == "text")
        if message.stop_reason == "refusal":
            raise Refused(self.name, text or "the model declined to answer", charged=True)
        if message.stop_reason is None:
            raise Unavailable(self.name, "the answer has no end", charged=True)
        calls = [
            {"id": block.id, "function": {"name": block.name, "arguments": dict(block.input)}}
            for block in message.content
            if block.type == "tool_use"
        ]
        if not text.strip() and not calls:
            reason = f"answered without a text (stop_reason {message.stop_reason})"
            raise Unavailable(self.name, reason, charged=True)
        return ChatAnswer(
            text=text,
            model=message.model,
            usage=_usage(message.usage),
            finish=_FINISH.get(message.stop_reason, "stop"),
            timings=ProviderTimings(queued),
            message={"tool_calls": calls} if calls else {},
        )

    @contextmanager
    def _translated(self, begun: Sequence[str] = ()) -> Iterator[None]:
        """Translates the client's errors; all of them are `Cut` once there is a piece in
        `begun`."""
        import anthropic
        import httpx2

        try:
            yield
        except GatewayError as ours:
            failure = ours
        except anthropic.APIStatusError as error:
            after = error.response.headers.get("retry-after")
            failure = http_error(self.name, error.status_code, _reason(error), after)
        except anthropic.APITimeoutError:
            failure = TimedOut(self.name, "no answer in time", charged=True)
        except anthropic.APIConnectionError as error:
            unsent = isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
            reason = f"the connection broke: {error.__cause__ or error}"
            failure = Unavailable(self.name, reason, charged=not unsent)
        except (
            anthropic.AnthropicError,
            httpx2.HTTPError,
            ValueError,
            AttributeError,
            TypeError,
            AssertionError,
        ) as error:
            reason = f"answered with something that is no answer: {error}"
            failure = Unavailable(self.name, reason, charged=True)
        else:
            return
        raise (Cut(self.name, failure.reason, charged=True) if begun else failure) from None


def _turns(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """The conversation in the API's blocks: results of tools are the user's turns, those of one
    round in one."""
    turns: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        if message.role == "tool":
            id = message.extra.get("tool_call_id") or _call_id(messages, number)
            block = {"type": "tool_result", "tool_use_id": id, "content": message.content}
            if turns and turns[-1]["role"] == "user" and isinstance(turns[-1]["content"], list):
                turns[-1]["content"].append(block)
            else:
                turns.append({"role": "user", "content": [block]})
            continue
        if message.role == "system":
            continue
        calls = message.extra.get("tool_calls") if message.role == "assistant" else None
        if calls:
            content: list[dict[str, Any]] = []
            content += (
                [{"type": "text", "text": message.content}] if message.content.strip() else []
            )
            content += [
                {
                    "type": "tool_use",
                    "id": call.get("id") or f"call_{number}_{place}",
                    "name": call["function"]["name"],
                    "input": call["function"].get("arguments") or {},
                }
                for place, call in enumerate(calls)
            ]
            turns.append({"role": "assistant", "content": content})
        elif message.content:
            turns.append({"role": message.role, "content": message.content})
    return turns


def _call_id(messages: Sequence[ChatMessage], number: int) -> str:
    """The id that `_turns` gives to the call that a result without an id belongs to: results come
    in the order of the calls."""
    first = number
    while first and messages[first - 1].role == "tool":
        first -= 1
    return f"call_{first - 1}_{number - first}"


def _tool(tool: Any) -> dict[str, Any]:
    """A tool as the API has it."""
    function = tool.get("function", tool)
    return {
        "name": function["name"],
        "description": function.get("description") or "",
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }


def _tool_choice(choice: Any) -> dict[str, Any] | None:
    """What was asked for in OpenAI's words, in the API's."""
    if isinstance(choice, dict):
        name = choice.get("function", choice).get("name")
        return {"type": "tool", "name": name} if name else None
    types = {"none": "none", "required": "any", "auto": "auto"}
    return {"type": types[choice]} if choice in types else None


def _reason(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    inner = body.get("error")
    text = inner.get("message") if isinstance(inner, dict) else None
    return f"{text or error.message} (status {error.status_code})"


def _usage(usage: Any) -> TokenUsage:
    split = usage.cache_creation
    hour = split.ephemeral_1h_input_tokens if split else 0
    written = (usage.cache_creation_input_tokens or 0) - hour
    read = usage.cache_read_input_tokens or 0
    return TokenUsage(usage.input_tokens, usage.output_tokens, read, written, hour)
