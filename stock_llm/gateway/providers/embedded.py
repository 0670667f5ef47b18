"""The published model as a provider, without any server: read from the folder in Ollama's format, run by llama.cpp.

In: requests in our nouns. Out: answers with the prompt that Ollama would render, so that the same model says the same. The
model runs in a process of its own (`embedded_worker`), started by the first question and ended when nobody has asked for a
while; a caller who is gone stops it at the next token. A prompt is never cut. Does not know tools, images or thinking.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

from stock_llm.errors import StockLLMError
from stock_llm.gateway.chat import (
    AnswerChunk,
    ChatAnswer,
    ChatRequest,
    FinishReason,
    ProviderTimings,
    TokenUsage,
)
from stock_llm.gateway.errors import BadRequest, Cut, GatewayError, Unavailable, UnknownModel
from stock_llm.gateway.providers.concurrency import ConcurrencyLimit
from stock_llm.gateway.providers.ollama_codec import GENERATE
from stock_llm.gateway.providers.provider import Billing, LatencyClass, ProviderHealth
from stock_llm.ollama.store import OllamaStore, StoredModel

_LONGEST = 128
"""Tokens of an answer where neither the request nor the model says."""

_CONTEXT = 4096
"""Tokens of context where the model does not say; Ollama's default without a GPU."""

_LONGEST_CONTEXT = 2**20

_PATIENCE = 10.0
"""Seconds that the process has to stop at a token before it is killed."""


class EmbeddedProvider:
    """The models of a folder.

    Args:
        threads: CPU threads for an answer.
        megabytes: largest model, context included.
        minutes: how long an idle model stays in memory.
        limit: shared by everything that generates on this machine.
    """

    name = "embedded"
    kind: Billing = "free"
    local = True
    latency: LatencyClass = "medium"
    capabilities = frozenset({"stream", "json-schema", GENERATE})

    def __init__(
        self,
        store: OllamaStore,
        threads: int,
        megabytes: int,
        minutes: float,
        limit: ConcurrencyLimit,
    ):
        self.store = store
        self.models: tuple[str, ...] = ()
        self._arguments = (str(threads), str(megabytes))
        self._idle, self._limit = minutes * 60, limit
        self._process: asyncio.subprocess.Process | None = None
        self._one = asyncio.Lock()
        self._asked = 0
        self._later: asyncio.TimerHandle | None = None
        self._list()

    async def answer(self, request: ChatRequest) -> ChatAnswer:
        """The whole answer; see `provider.Provider`."""
        async for chunk in (stream := self.stream(request)):
            if chunk.answer:
                await stream.aclose()
                return chunk.answer
        raise Unavailable(self.name, "the answer has no end")

    async def stream(self, request: ChatRequest) -> AsyncGenerator[AnswerChunk, None]:
        """The answer in pieces; see `provider.Provider`. Closing the iterator stops the model at its next token."""
        question, model = self._question(request)
        async with self._limit.turn(self.name, model.name) as queued, self._one:
            process = await self._running()
            text: list[str] = []
            whole = False
            try:
                await _send(process, question)
                while True:
                    said = await self._line(process, bool(text))
                    if "text" in said:
                        text.append(said["text"])
                        yield AnswerChunk(said["text"])
                        continue
                    whole = True
                    if "error" in said:
                        raise (
                            Cut(self.name, said["error"])
                            if text
                            else _failure(said["error"], request)
                        )
                    break
            finally:
                if not whole:
                    await self._stopped(process)
                self._end_when_idle()
            finish: FinishReason = "length" if said["done"] == "length" else "stop"
            timings = ProviderTimings(
                queued,
                said["load"],
                said["first"],
                said["first"],
                max(0.0, said["seconds"] - said["first"]),
            )
            usage = TokenUsage(said["tokens_in"], said["tokens_out"])
            yield AnswerChunk(
                "",
                ChatAnswer(
                    "".join(text), request.model or model.name, usage, finish, timings=timings
                ),
            )

    async def health(self) -> ProviderHealth:
        """Whether the folder has a model."""
        self._list()
        where = self.store.root
        return ProviderHealth(
            bool(self.models), f"{where} has {len(self.models)} models", self.models
        )

    async def close(self) -> None:
        """Ends the process."""
        if self._later:
            self._later.cancel()
        if self._process:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    def _list(self) -> None:
        found = self.store.list_models()
        self.models = tuple(sorted(found, key=lambda name: (not name.endswith(":latest"), name)))

    def find(self, name: str) -> StoredModel:
        """A model of the folder.

        Raises:
            UnknownModel: it has none of this name.
        """
        try:
            return self.store.read_model(name or (self.models[0] if self.models else "stock-llm"))
        except (StockLLMError, OSError, ValueError, KeyError):  # not there, or not whole
            raise UnknownModel(self.name, f"model '{name}' not found") from None

    def _question(self, request: ChatRequest) -> tuple[dict[str, Any], StoredModel]:
        from stock_llm.ollama.template import TemplateError

        if request.extra.get("tools") or any(
            message.role == "tool" for message in request.messages
        ):
            raise BadRequest(self.name, f"{request.model} does not support tools")
        model = self.find(request.model)
        options = dict(model.modelfile.parameters) | _options(request)
        if not 1 <= options.get("num_ctx", _CONTEXT) <= _LONGEST_CONTEXT:
            raise BadRequest(self.name, f"num_ctx must be from 1 to {_LONGEST_CONTEXT}")
        try:
            prompt = _prompt(request, model)
        except TemplateError as error:
            raise BadRequest(self.name, f"template error: {error}") from None
        schema = {} if request.format == "json" else request.format
        longest = options.get("num_predict", _LONGEST)
        question = {
            "gguf": str(model.gguf),
            "prompt": prompt,
            "max_tokens": longest if isinstance(longest, int) and longest >= 0 else 2**31,
            "stop": list(options.get("stop", ())),
            "context": options.get("num_ctx", _CONTEXT),
            "options": {name: value for name, value in options.items() if name != "stop"},
            "schema": schema,
        }
        return question, model

    async def _running(self) -> asyncio.subprocess.Process:
        if self._later:
            self._later.cancel()
        if self._process is None or _ended(self._process):
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "stock_llm.gateway.providers.embedded_worker", *self._arguments, start_new_session=True,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**22,
            )  # fmt: skip
        return self._process

    async def _line(self, process: asyncio.subprocess.Process, begun: bool) -> dict[str, Any]:
        assert process.stdout
        line = await process.stdout.readline()
        if not line:
            code = await process.wait()
            reason = f"the process that runs the model ended ({code}); was there not enough memory?"
            raise (Cut if begun else Unavailable)(self.name, reason)
        return json.loads(line)

    async def _stopped(self, process: asyncio.subprocess.Process) -> None:
        """Whoever asks next must not read what was meant for this caller, even where this one will not wait."""
        stopping = asyncio.ensure_future(self._stop(process))
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.kill()
            self._process = None
            raise

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        """Lets it stop at the next token and reads what it still says; kills it where it does not."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await _send(process, {"cancel": True})
                while not {"done", "error"} & set(await self._line(process, False)):
                    pass
        except (TimeoutError, Unavailable):
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _end_when_idle(self) -> None:
        if self._later:
            self._later.cancel()
        self._later = asyncio.get_running_loop().call_later(self._idle, self._end)

    def _end(self) -> None:
        if self._process and self._process.stdin and not self._one.locked():
            self._process.stdin.close()  # it ends with its input
            self._process = None


def _ended(process: asyncio.subprocess.Process) -> bool:
    """Whether nobody listens any more; the pipe may tell before the exit code does."""
    assert process.stdin
    return process.returncode is not None or process.stdin.is_closing()


async def _send(process: asyncio.subprocess.Process, line: Mapping[str, Any]) -> None:
    assert process.stdin
    if _ended(process):
        return  # reading from it tells
    with suppress(ConnectionError):  # so here
        process.stdin.write(json.dumps(line).encode() + b"\n")
        await process.stdin.drain()


def _options(request: ChatRequest) -> dict[str, Any]:
    options = request.options
    given = {
        "temperature": options.temperature,
        "num_predict": options.max_tokens,
        "seed": options.seed,
        "top_p": options.top_p,
        "stop": options.stop or None,
    }
    return dict(options.extra) | {name: value for name, value in given.items() if value is not None}


def _prompt(request: ChatRequest, model: StoredModel) -> str:
    from stock_llm.ollama import rendering

    own = request.extra.get(GENERATE) or {}
    if own.get("raw"):
        return request.messages[-1].content if request.messages else ""
    turns = [{"role": message.role, "content": message.content} for message in request.messages]
    return rendering.render(
        own.get("template") or model.modelfile.template, turns, model.modelfile.system
    )


def _failure(text: str, request: ChatRequest) -> GatewayError:
    """Whose fault an error of the process is: one caller's wishes must not count against the model."""
    theirs = "the context only" in text or "JSON schema" in text
    theirs |= "a context of" in text and "num_ctx" in request.options.extra
    return (BadRequest if theirs else Unavailable)("embedded", text)
