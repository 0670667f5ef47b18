"""A server that speaks OpenAI's API (vLLM, LM Studio, text-generation-webui, llama.cpp's) as a
provider.

A server on a loopback address is this machine: it shares the limit of everything that generates
here, and neither redirects nor a proxy lead its requests away. The client's own retries are off.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import orjson

from stock_llm.gateway.chat import (
    AnswerChunk,
    ChatAnswer,
    ChatMessage,
    ChatRequest,
    FinishReason,
    ProviderTimings,
    TokenUsage,
)
from stock_llm.gateway.errors import BadRequest, Cut, GatewayError, Refused, TimedOut, Unavailable
from stock_llm.gateway.providers.concurrency import ConcurrencyLimit
from stock_llm.gateway.providers.embeddings import LEGACY
from stock_llm.gateway.providers.http_errors import http_error
from stock_llm.gateway.providers.ollama import HEALTH_TIMEOUT
from stock_llm.gateway.providers.provider import Billing, ProviderHealth
from stock_llm.gateway.providers.request_loop import loop_headers
from stock_llm.network import is_loopback_url

_FINISH: dict[str, FinishReason] = {"length": "length", "tool_calls": "tool_calls"}
_OPTIONS = ("frequency_penalty", "presence_penalty")
_EXTRAS = (
    "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort", "logprobs", "top_logprobs",
)  # fmt: skip
_REASONING = ("reasoning", "reasoning_content")
"""Names that servers give to what a model thinks before it answers."""


class OpenAICompatibleProvider:
    """The server at `url`, as in http://127.0.0.1:8000/v1.

    Args:
        name: what the settings call it.
        models: the default first; empty: what it lists.
        key: bearer token; empty: none.
    """

    kind: Billing = "free"
    capabilities = frozenset({"stream", "json-schema", "tools", "thinking", "embed"})

    def __init__(
        self, name: str, url: str, models: tuple[str, ...], key: str, limit: ConcurrencyLimit
    ):
        self.name, self.models, self.local = name, models, is_loopback_url(url)
        self._url, self._key, self._limit, self._fixed = url, key, limit, bool(models)

    async def answer(self, request: ChatRequest) -> ChatAnswer:
        """The whole answer; see `provider.Provider`."""
        async with self._limit.slot(self.name, request.model) as queued:
            with self._translated():
                completion = await self._client.chat.completions.create(**self._body(request))
                choice = completion.choices[0]
                text, calls = choice.message.content or "", _tool_calls(choice.message.tool_calls)
                message = calls | _thinking(choice.message) | _logprobs(choice)
        self._check(text, message, choice.message.refusal, choice.finish_reason)
        model, usage = completion.model or request.model, _usage(completion.usage)
        timings = ProviderTimings(queued)
        return ChatAnswer(text, model, usage, _finish(choice), None, timings, message)

    async def stream(self, request: ChatRequest) -> AsyncIterator[AnswerChunk]:
        """The answer in pieces; see `provider.Provider`. Closing the iterator closes the
        connection."""
        async with self._limit.slot(self.name, request.model) as queued:
            with self._translated():
                stream = await self._client.chat.completions.create(
                    **self._body(request), stream=True, stream_options={"include_usage": True}
                )
            pieces: list[AnswerChunk] = []
            usage, ended, model, calls = TokenUsage(), None, request.model, _ToolCalls()
            try:
                with self._translated(pieces):
                    async for event in stream:
                        model = event.model or model
                        usage = _usage(event.usage) if event.usage else usage
                        for choice in event.choices[:1]:
                            ended = choice if choice.finish_reason else ended
                            calls.add(choice.delta.tool_calls)
                            message = _thinking(choice.delta) | _logprobs(choice)
                            if choice.delta.content or message:
                                pieces.append(
                                    AnswerChunk(choice.delta.content or "", None, message)
                                )
                                yield pieces[-1]
            finally:
                await stream.close()
            if ended is None:
                kind = Cut if pieces else Unavailable
                raise kind(self.name, "the stream ended without a finish_reason", charged=True)
            text, made = "".join(piece.text for piece in pieces), calls.whole()
            whole = made | _joined(pieces)
            if not pieces:
                self._check(text, whole, None, ended.finish_reason)
            timings = ProviderTimings(queued)
            answer = ChatAnswer(text, model, usage, _finish(ended), None, timings, whole)
            yield AnswerChunk("", answer, made)

    async def health(self) -> ProviderHealth:
        """Asks for the list of models."""
        try:
            with self._translated():
                client = self._client.with_options(timeout=HEALTH_TIMEOUT)
                listed = tuple([model.id async for model in client.models.list()])
        except GatewayError as failure:
            return ProviderHealth(False, failure.reason, self.models)
        if not self._fixed:
            self.models = listed
        return ProviderHealth(True, f"{self._url} has {len(listed)} models", listed)

    async def embed(self, request: ChatRequest) -> ChatAnswer:
        """The embeddings of the texts; see `provider.Embedder`."""
        if LEGACY in request.extra:
            reason = "this provider answers /api/embed and /v1/embeddings, not /api/embeddings"
            raise BadRequest(self.name, reason)
        size = request.extra.get("dimensions")
        texts = [message.content for message in request.messages]
        async with self._limit.slot(self.name, request.model) as queued:
            with self._translated():
                response = await self._client.embeddings.create(
                    model=request.model,
                    input=texts,
                    encoding_format="float",
                    extra_headers=loop_headers(),
                    **({"dimensions": size} if size else {}),
                )
                vectors = [item.embedding for item in response.data]
                usage = TokenUsage(response.usage.prompt_tokens if response.usage else 0)
        body = {"model": request.model, "embeddings": vectors, "prompt_eval_count": usage.tokens_in}
        timings, raw = ProviderTimings(queued), orjson.dumps(body)
        return ChatAnswer("", request.model, usage, timings=timings, raw=raw)

    async def close(self) -> None:
        """Closes every connection."""
        if "_client" in self.__dict__:
            await self._client.close()

    @cached_property
    def _client(self) -> Any:
        import openai

        http = openai.DefaultAsyncHttpxClient(follow_redirects=False, trust_env=not self.local)
        key = self._key or "none"
        return openai.AsyncOpenAI(base_url=self._url, api_key=key, max_retries=0, http_client=http)

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        options, think = request.options, request.extra.get("think")
        body: dict[str, Any] = {
            "model": request.model or (self.models[0] if self.models else ""),
            "messages": [_encode_message(message) for message in request.messages],
            "temperature": options.temperature,
            "max_tokens": options.max_tokens,
            "seed": options.seed,
            "top_p": options.top_p,
            "stop": list(options.stop) or None,
            "reasoning_effort": "none"
            if think is False
            else think
            if isinstance(think, str)
            else None,
            **{name: options.extra.get(name) for name in _OPTIONS},
            **{name: request.extra[name] for name in _EXTRAS if name in request.extra},
        }
        if request.format == "json":
            body["response_format"] = {"type": "json_object"}
        elif request.format is not None:
            schema = {"name": "answer", "schema": request.format}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        given = {name: value for name, value in body.items() if value is not None}
        return given | {"extra_headers": loop_headers()}

    def _check(
        self, text: str, message: Mapping[str, Any], refusal: str | None, finish: str | None
    ) -> None:
        if refusal or finish == "content_filter":
            raise Refused(self.name, refusal or "the answer was filtered", charged=True)
        if not text.strip() and not message:
            reason = f"answered without a text (finish_reason {finish})"
            raise Unavailable(self.name, reason, charged=True)

    @contextmanager
    def _translated(self, begun: list[AnswerChunk] | None = None) -> Iterator[None]:
        """Translates the client's errors; all of them are `Cut` once there is a piece in
        `begun`."""
        import httpx2
        import openai

        try:
            yield
        except openai.APIStatusError as error:
            after = error.response.headers.get("retry-after")
            failure = http_error(self.name, error.status_code, error.message, after)
        except openai.APITimeoutError:
            failure = TimedOut(self.name, "no answer in time")
        except openai.APIConnectionError:
            failure = Unavailable(self.name, f"the connection to {self._url} broke or was refused")
        except httpx2.HTTPError as error:  # when a body breaks off, the client lets it through
            failure = Unavailable(self.name, f"the connection broke: {error}", charged=True)
        except (openai.OpenAIError, ValueError, AttributeError, TypeError, IndexError) as error:
            reason = f"answered with something that is no answer: {error}"
            failure = Unavailable(self.name, reason, charged=True)
        else:
            return
        raise (Cut(self.name, failure.reason, charged=True) if begun else failure) from None


def _encode_message(message: ChatMessage) -> dict[str, Any]:
    extra = message.extra
    encoded: dict[str, Any] = {"role": message.role, "content": message.content}
    if calls := extra.get("tool_calls"):
        encoded["tool_calls"] = [
            {
                "id": call.get("id") or f"call_{number}",
                "type": "function",
                "function": _encode_call(call["function"]),
            }
            for number, call in enumerate(calls)
        ]
    names = {"tool_call_id": "tool_call_id", "tool_name": "name", "thinking": "reasoning_content"}
    return encoded | {name: extra[own] for own, name in names.items() if extra.get(own)}


def _encode_call(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = orjson.dumps(function.get("arguments", {})).decode()
    return {"name": function["name"], "arguments": arguments}


class _ToolCalls:
    """Tool calls, whose arguments come in pieces."""

    def __init__(self) -> None:
        self._parts: dict[int, dict[str, str]] = {}

    def add(self, deltas: Any) -> None:
        for delta in deltas or ():
            call = self._parts.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
            call["id"] = delta.id or call["id"]
            if delta.function:
                call["name"] += delta.function.name or ""
                call["arguments"] += delta.function.arguments or ""

    def whole(self) -> dict[str, Any]:
        calls = [_decode_call(**call) for _, call in sorted(self._parts.items())]
        return {"tool_calls": calls} if calls else {}


def _tool_calls(calls: Any) -> dict[str, Any]:
    decoded = [
        _decode_call(call.id, call.function.name, call.function.arguments)
        for call in calls or ()
        if call.type == "function"
    ]
    return {"tool_calls": decoded} if decoded else {}


def _decode_call(id: str, name: str, arguments: str) -> dict[str, Any]:
    try:
        decoded = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        decoded = {
            "arguments": arguments
        }  # what the model wrote is no JSON; the caller should see it
    return {"id": id, "function": {"name": name, "arguments": decoded}}


def _thinking(message: Any) -> dict[str, str]:
    """What the model thinks, under Ollama's name."""
    texts = [getattr(message, name, None) for name in _REASONING]
    text = next((text for text in texts if isinstance(text, str) and text), "")
    return {"thinking": text} if text else {}


def _logprobs(choice: Any) -> dict[str, Any]:
    """In Ollama's format, a plain list; some servers send something else."""
    content = getattr(choice.logprobs, "content", None)
    return {"logprobs": [token.model_dump() for token in content]} if content else {}


def _joined(pieces: list[AnswerChunk]) -> dict[str, Any]:
    """Thinking and logprobs of all pieces."""
    thinking = "".join(piece.message.get("thinking", "") for piece in pieces)
    logprobs = [token for piece in pieces for token in piece.message.get("logprobs", ())]
    joined: dict[str, Any] = {"thinking": thinking, "logprobs": logprobs}
    return {name: value for name, value in joined.items() if value}


def _usage(usage: Any) -> TokenUsage:
    if usage is None:
        return TokenUsage()
    details = usage.prompt_tokens_details
    cached = TokenUsage(details.cached_tokens).tokens_in if details else 0
    return TokenUsage((usage.prompt_tokens or 0) - cached, usage.completion_tokens, cached)


def _finish(choice: Any) -> FinishReason:
    return _FINISH.get(choice.finish_reason, "stop")
