"""Any server that speaks OpenAI's API (vLLM, LM Studio, text-generation-webui, llama.cpp's) as a provider, through the `openai`
client.

In: requests in our nouns. Out: answers checked by content. The client's own retries are off. A server on a loopback address is
this machine and shares the limit of everything that generates on it. Does not know routing.
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
from stock_llm.gateway.errors import (
    BadRequest,
    Cut,
    GatewayError,
    Overloaded,
    RateLimited,
    Refused,
    TimedOut,
    Unavailable,
)
from stock_llm.gateway.errors import UnknownModel as Unknown
from stock_llm.gateway.providers.concurrency import ConcurrencyLimit
from stock_llm.gateway.providers.embeddings import LEGACY
from stock_llm.gateway.providers.ollama import HEALTH_TIMEOUT, is_loopback
from stock_llm.gateway.providers.provider import Billing, LatencyClass, ProviderHealth

_FINISH: dict[str, FinishReason] = {"length": "length", "tool_calls": "tool_calls"}
_STATUS: dict[int, type[GatewayError]] = {
    400: BadRequest,
    404: Unknown,
    413: BadRequest,
    422: BadRequest,
    429: RateLimited,
}
_STATUS |= {408: TimedOut, 503: Overloaded, 504: TimedOut, 529: Overloaded}
_KNOWN_OPTIONS = ("frequency_penalty", "presence_penalty")
_KNOWN_EXTRAS = (
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "logprobs",
    "top_logprobs",
)


class OpenAICompatibleProvider:
    """The server at `url`, as in http://127.0.0.1:8000/v1.

    Args:
        name: what the settings call it.
        models: the default first; empty: what it lists.
        key: bearer token; empty: none.
    """

    kind: Billing = "free"
    latency: LatencyClass = "fast"
    capabilities = frozenset({"stream", "json-schema", "tools", "thinking", "embed"})

    def __init__(
        self, name: str, url: str, models: tuple[str, ...], key: str, limit: ConcurrencyLimit
    ):
        self.name, self.models = name, models
        self._url, self._key, self._limit, self._fixed = url, key, limit, bool(models)

    @property
    def local(self) -> bool:
        """Whether the server is on this machine."""
        return is_loopback(self._url)

    async def answer(self, request: ChatRequest) -> ChatAnswer:
        """The whole answer; see `provider.Provider`."""
        async with self._limit.turn(self.name, request.model) as queued:
            with self._translated():
                said = await self._client.chat.completions.create(**self._asked(request))
                choice = said.choices[0]
                text, calls = choice.message.content or "", _calls(choice.message.tool_calls)
        self._check(text, calls, choice.message.refusal, choice.finish_reason)
        message = calls | _logprobs(choice)
        return ChatAnswer(
            text,
            said.model or request.model,
            _usage(said.usage),
            _finish(choice),
            None,
            ProviderTimings(queued),
            message,
        )

    async def stream(self, request: ChatRequest) -> AsyncIterator[AnswerChunk]:
        """The answer in pieces; see `provider.Provider`. Closing the iterator closes the connection."""
        async with self._limit.turn(self.name, request.model) as queued:
            with self._translated():
                stream = await self._client.chat.completions.create(
                    **self._asked(request), stream=True, stream_options={"include_usage": True}
                )
            pieces: list[str] = []
            chances: list[Any] = []
            usage, ended, model, calls = TokenUsage(), None, request.model, _Calls()
            try:
                with self._translated(pieces):
                    async for said in stream:
                        model = said.model or model
                        usage = _usage(said.usage) if said.usage else usage
                        for choice in said.choices[:1]:
                            ended = choice if choice.finish_reason else ended
                            calls.add(choice.delta.tool_calls)
                            if choice.delta.content:
                                pieces.append(choice.delta.content)
                                own = _logprobs(choice)
                                chances += own.get("logprobs", ())
                                yield AnswerChunk(choice.delta.content, message=own)
            finally:
                await stream.close()
            text, message = "".join(pieces), calls.whole()
            whole = message | ({"logprobs": chances} if chances else {})
            if ended is None:
                raise (Cut if pieces else Unavailable)(
                    self.name, "the stream ended without a finish_reason", charged=True
                )
            if not pieces:
                self._check(text, message, None, ended.finish_reason)
            yield AnswerChunk(
                "",
                ChatAnswer(
                    text, model, usage, _finish(ended), None, ProviderTimings(queued), whole
                ),
                message,
            )

    async def health(self) -> ProviderHealth:
        """Asks for the list of models."""
        try:
            with self._translated():
                listed = tuple(
                    [
                        model.id
                        async for model in self._client.with_options(
                            timeout=HEALTH_TIMEOUT
                        ).models.list()
                    ]
                )
        except GatewayError as failure:
            return ProviderHealth(False, failure.reason, self.models)
        if not self._fixed:
            self.models = listed
        return ProviderHealth(True, f"{self._url} has {len(listed)} models", listed)

    async def embed(self, request: ChatRequest) -> ChatAnswer:
        """The vectors of the texts; see `provider.Embedder`."""
        if LEGACY in request.extra:
            raise BadRequest(
                self.name,
                "this provider answers /api/embed and /v1/embeddings, not /api/embeddings",
            )
        kept = {name: request.extra[name] for name in ("dimensions",) if request.extra.get(name)}
        texts = [message.content for message in request.messages]
        async with self._limit.turn(self.name, request.model) as queued:
            with self._translated():
                said = await self._client.embeddings.create(
                    model=request.model, input=texts, encoding_format="float", **kept
                )
                vectors, tokens = (
                    [one.embedding for one in said.data],
                    said.usage.prompt_tokens if said.usage else 0,
                )
        raw = orjson.dumps(
            {"model": request.model, "embeddings": vectors, "prompt_eval_count": tokens}
        )
        return ChatAnswer(
            "", request.model, TokenUsage(tokens), timings=ProviderTimings(queued), raw=raw
        )

    async def close(self) -> None:
        """Closes every connection."""
        if "_client" in self.__dict__:
            await self._client.close()

    @cached_property
    def _client(self) -> Any:
        import openai

        return openai.AsyncOpenAI(base_url=self._url, api_key=self._key or "none", max_retries=0)

    def _asked(self, request: ChatRequest) -> dict[str, Any]:
        options = request.options
        asked: dict[str, Any] = {
            "model": request.model or (self.models[0] if self.models else ""),
            "messages": [_message(message) for message in request.messages],
            "temperature": options.temperature,
            "max_tokens": options.max_tokens,
            "seed": options.seed,
            "top_p": options.top_p,
            "stop": list(options.stop) or None,
            **{name: options.extra.get(name) for name in _KNOWN_OPTIONS},
            **{name: request.extra.get(name) for name in _KNOWN_EXTRAS},
        }
        if request.format == "json":
            asked["response_format"] = {"type": "json_object"}
        elif request.format is not None:
            asked["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": request.format},
            }
        return {name: value for name, value in asked.items() if value is not None}

    def _check(
        self, text: str, calls: Mapping[str, Any], refusal: str | None, finish: str | None
    ) -> None:
        if refusal or finish == "content_filter":
            raise Refused(self.name, refusal or "the answer was filtered", charged=True)
        if not text.strip() and not calls:
            raise Unavailable(
                self.name, f"answered without a text (finish_reason {finish})", charged=True
            )

    @contextmanager
    def _translated(self, begun: list[str] | None = None) -> Iterator[None]:
        """Foreign errors as ours; all of them `Cut` once there is a piece in `begun`."""
        import httpx2
        import openai

        try:
            yield
        except openai.APIStatusError as error:
            after = error.response.headers.get("retry-after", "")
            kind = _STATUS.get(error.status_code, Unavailable)
            failure = kind(
                self.name, error.message, retry_after=float(after) if after.isdigit() else None
            )
        except openai.APITimeoutError:
            failure = TimedOut(self.name, "no answer in time")
        except openai.APIConnectionError:
            failure = Unavailable(self.name, f"the connection to {self._url} broke or was refused")
        except httpx2.HTTPError as error:  # when a body breaks off, the client lets it through
            failure = Unavailable(self.name, f"the connection broke: {error}", charged=True)
        except (openai.OpenAIError, ValueError, AttributeError, TypeError, IndexError) as error:
            failure = Unavailable(
                self.name, f"answered with something that is no answer: {error}", charged=True
            )
        else:
            return
        raise (Cut(self.name, failure.reason, charged=True) if begun else failure) from None


def _message(message: ChatMessage) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role, "content": message.content}
    if calls := message.extra.get("tool_calls"):
        written["tool_calls"] = [
            {
                "id": call.get("id", f"call_{number}"),
                "type": "function",
                "function": _written_call(call["function"]),
            }
            for number, call in enumerate(calls)
        ]
    if "tool_call_id" in message.extra:
        written["tool_call_id"] = message.extra["tool_call_id"]
    return written


def _written_call(function: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": function["name"],
        "arguments": orjson.dumps(function.get("arguments", {})).decode(),
    }


class _Calls:
    """Tool calls, whose arguments come in pieces."""

    def __init__(self) -> None:
        self._parts: dict[int, dict[str, Any]] = {}

    def add(self, said: Any) -> None:
        for part in said or ():
            call = self._parts.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
            call["id"] = part.id or call["id"]
            if part.function:
                call["name"] += part.function.name or ""
                call["arguments"] += part.function.arguments or ""

    def whole(self) -> dict[str, Any]:
        calls = [
            _call(call["id"], call["name"], call["arguments"])
            for _, call in sorted(self._parts.items())
        ]
        return {"tool_calls": calls} if calls else {}


def _calls(said: Any) -> dict[str, Any]:
    calls = [
        _call(call.id, call.function.name, call.function.arguments)
        for call in said or ()
        if call.type == "function"
    ]
    return {"tool_calls": calls} if calls else {}


def _logprobs(choice: Any) -> dict[str, Any]:
    """In Ollama's shape, the list without a frame; some servers put something else there."""
    said = getattr(choice.logprobs, "content", None)
    return {"logprobs": [one.model_dump() for one in said]} if said else {}


def _call(name: str, function: str, arguments: str) -> dict[str, Any]:
    try:
        parsed = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        parsed = {
            "arguments": arguments
        }  # what the model wrote is no JSON; the caller should see it
    return {"id": name, "function": {"name": function, "arguments": parsed}}


def _usage(said: Any) -> TokenUsage:
    if said is None:
        return TokenUsage()
    details = said.prompt_tokens_details
    cached = (details.cached_tokens or 0) if details else 0
    return TokenUsage(
        max(0, (said.prompt_tokens or 0) - cached), said.completion_tokens or 0, cached
    )


def _finish(choice: Any) -> FinishReason:
    return _FINISH.get(choice.finish_reason, "stop")
