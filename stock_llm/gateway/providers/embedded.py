"""The published model as a provider without any server: read from a folder in Ollama's format, run
by llama.cpp.

The prompt is the one that Ollama would render, so the same model gives the same answer. The model
runs in a process of its own (`embedded_worker`), which the first question starts and an idle time
ends. A caller who is gone stops it at the next token. A prompt is never cut. Tools are accepted
where the model's template takes them, as Ollama does it: published models are not trained to call
any.
"""

import asyncio
import json
import re
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
from stock_llm.gateway.providers.provider import Billing, ProviderHealth
from stock_llm.ollama.rendering import takes_tools
from stock_llm.ollama.store import OllamaStore, StoredModel

_DEFAULT_TOKENS = 128
"""Tokens of an answer where neither the request nor the model says."""

_DEFAULT_CONTEXT = 4096
"""Tokens of context where the model does not say; Ollama's default without a GPU."""

_MAX_CONTEXT = 2**20
MAX_STOPS, MAX_STOP_CHARACTERS = 64, 1000
"""Stop texts of a request, and their length: each is looked for after every token."""

_CANCEL_SECONDS = 10.0
"""Time that the process has to stop at a token before it is killed."""

_WORKER = "stock_llm.gateway.providers.embedded_worker"
_NUMBERS = (
    "temperature", "top_k", "top_p", "min_p", "repeat_last_n", "repeat_penalty",
    "frequency_penalty", "presence_penalty", "seed",
)  # fmt: skip
_REFUSED = ("logprobs", "top_logprobs")
_REFUSED_OF_GENERATE = ("suffix", "context")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class EmbeddedProvider:
    """The models of a folder.

    Args:
        threads: CPU threads for an answer.
        megabytes: largest model, context included.
        minutes: how long an idle model stays in memory where the request does not say
            (`keep_alive`).
        true_sentences: whether an answer about numbers that are known may only say what is true of
            them.
        limit: shared by everything that generates on this machine.
    """

    name = "embedded"
    kind: Billing = "free"
    local = True
    capabilities = frozenset({"stream", "json-schema", "tools", GENERATE})

    def __init__(
        self,
        store: OllamaStore,
        threads: int,
        megabytes: int,
        minutes: float,
        limit: ConcurrencyLimit,
        true_sentences: bool = True,
    ):
        self.store = store
        self.models: tuple[str, ...] = ()
        self._arguments = (str(threads), str(megabytes))
        self._idle_seconds, self._limit = minutes * 60, limit
        self._true_sentences = true_sentences
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._list()

    async def answer(self, request: ChatRequest) -> ChatAnswer:
        """The whole answer; see `provider.Provider`."""
        async for chunk in (stream := self.stream(request)):
            if chunk.answer:
                await stream.aclose()
                return chunk.answer
        raise Unavailable(self.name, "the answer has no end")

    async def stream(self, request: ChatRequest) -> AsyncGenerator[AnswerChunk, None]:
        """The answer in pieces; see `provider.Provider`. Closing stops the model at its next
        token."""
        question, model = self._question(request)
        idle_seconds = keep_alive_seconds(request.extra.get("keep_alive"), self._idle_seconds)
        async with self._limit.slot(self.name, model.name) as queued, self._lock:
            process = await self._running()
            text: list[str] = []
            is_over = False
            try:
                await _send(process, question)
                while True:
                    line = await self._line(process, bool(text))
                    if "text" in line:
                        text.append(line["text"])
                        yield AnswerChunk(line["text"])
                        continue
                    is_over = True
                    if "error" in line:
                        raise self._failure(line, bool(text))
                    break
            finally:
                if not is_over:
                    await self._cancel(process)
                self._schedule_end(idle_seconds)
            finish: FinishReason = "length" if line["done"] == "length" else "stop"
            first = line["first"]
            timings = ProviderTimings(
                queued, line["load"], first, max(0.0, line["seconds"] - first)
            )
            usage = TokenUsage(line["tokens_in"], line["tokens_out"])
            name = request.model or model.name
            answer = ChatAnswer("".join(text), name, usage, finish, timings=timings)
            yield AnswerChunk("", answer)

    async def health(self) -> ProviderHealth:
        """Whether the folder has a model."""
        self._list()
        detail = f"{self.store.root} has {len(self.models)} models"
        return ProviderHealth(bool(self.models), detail, self.models)

    async def close(self) -> None:
        """Ends the process."""
        if self._idle_timer:
            self._idle_timer.cancel()
        if self._process:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    def find(self, name: str) -> StoredModel:
        """A model of the folder.

        Raises:
            UnknownModel: it has none of this name.
        """
        try:
            return self.store.read_model(name or (self.models[0] if self.models else "stock-llm"))
        except (StockLLMError, OSError, ValueError, KeyError):  # not there, or not whole
            raise UnknownModel(self.name, f"model '{name}' not found") from None

    def _list(self) -> None:
        names = self.store.list_models()
        self.models = tuple(sorted(names, key=lambda name: (not name.endswith(":latest"), name)))

    def _question(self, request: ChatRequest) -> tuple[dict[str, Any], StoredModel]:
        """The question for the process, which renders the prompt and makes the grammar.

        Raises:
            BadRequest: the request asks for what the process cannot do, or goes beyond a limit.
        """
        model = self.find(request.model)
        generate = request.extra.get(GENERATE) or {}
        self._check_fields(request, generate, model)
        options = dict(model.modelfile.parameters) | _options(request)
        self._check_options(options)
        longest = options.get("num_predict", _DEFAULT_TOKENS)
        turns = [{"role": turn.role, "content": turn.content} for turn in request.messages]
        raw = (turns.pop()["content"] if turns else "") if generate.get("raw") else None
        # A schema has its own end; the model's stop texts could cut a string in the middle.
        stops = options.get("stop", ()) if request.format is None else request.options.stop
        question = {
            "gguf": str(model.gguf),
            "lora": str(model.lora or ""),
            "prompt": raw,
            "template": generate.get("template") or model.modelfile.template,
            "system": model.modelfile.system,
            "turns": turns,
            "max_tokens": longest if longest >= 0 else 2**31,
            "stop": [stop for stop in stops if stop],
            "context": options.get("num_ctx", _DEFAULT_CONTEXT),
            "asked_context": "num_ctx" in request.options.extra,
            "options": {name: value for name, value in options.items() if name != "stop"},
            "schema": {} if request.format == "json" else request.format,
            "grammar": self._grammar(turns),
        }
        return question, model

    def _grammar(self, turns: list[dict[str, str]]) -> str:
        """Of the true answers to the last turn; empty where any words may come."""
        asked = bool(turns) and turns[-1]["role"] == "user"
        if not (asked and self._true_sentences):
            return ""
        from stock_llm.truth.answer_grammar import true_answers  # brings NumPy

        return true_answers(turns[-1]["content"])

    def _check_fields(
        self, request: ChatRequest, generate: Mapping[str, Any], model: StoredModel
    ) -> None:
        name = request.model or model.name
        refused = [field for field in _REFUSED if request.extra.get(field)]
        refused += [field for field in _REFUSED_OF_GENERATE if generate.get(field)]
        if refused:
            raise BadRequest(self.name, f"{name} does not support {refused[0]} without an Ollama")
        has_tools = bool(request.extra.get("tools"))
        if has_tools and not _template_takes_tools(model.modelfile.template):
            raise BadRequest(self.name, f"{name} does not support tools")

    def _check_options(self, options: Mapping[str, Any]) -> None:
        for name in _NUMBERS:
            if not isinstance(options.get(name, 0), int | float):
                raise BadRequest(self.name, f'option "{name}" must be a number')
        for name, least, most in (("num_ctx", 1, _MAX_CONTEXT), ("num_predict", -(2**31), 2**31)):
            if name in options and not (
                type(options[name]) is int and least <= options[name] <= most
            ):
                raise BadRequest(self.name, f"{name} must be from {least} to {most}")
        stops = options.get("stop", ())
        if len(stops) > MAX_STOPS or any(len(stop) > MAX_STOP_CHARACTERS for stop in stops):
            limits = f"at most {MAX_STOPS} stop texts of {MAX_STOP_CHARACTERS:,} characters each"
            raise BadRequest(self.name, f"{limits} are taken")

    def _failure(self, line: Mapping[str, Any], begun: bool) -> GatewayError:
        if begun:
            return Cut(self.name, line["error"])
        return (BadRequest if line.get("callers_fault") else Unavailable)(self.name, line["error"])

    async def _running(self) -> asyncio.subprocess.Process:
        if self._idle_timer:
            self._idle_timer.cancel()
        if self._process is None or _has_ended(self._process):
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", _WORKER, *self._arguments, start_new_session=True,
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
        decoded: dict[str, Any] = json.loads(line)
        return decoded

    async def _cancel(self, process: asyncio.subprocess.Process) -> None:
        """Stops an answer, so that the next caller does not read what was meant for this one."""
        stopping = asyncio.ensure_future(self._stop(process))
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.kill()
            self._process = None
            raise

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        """Lets the process stop at its next token and reads the rest; kills it where it does
        not."""
        try:
            async with asyncio.timeout(_CANCEL_SECONDS):
                await _send(process, {"cancel": True})
                while not {"done", "error"} & set(await self._line(process, False)):
                    pass
        except (TimeoutError, Unavailable):
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _schedule_end(self, seconds: float | None) -> None:
        """Ends the process after an idle time; None: never."""
        if self._idle_timer:
            self._idle_timer.cancel()
        if seconds is not None:
            self._idle_timer = asyncio.get_running_loop().call_later(seconds, self._end)

    def _end(self) -> None:
        if self._process and self._process.stdin and not self._lock.locked():
            self._process.stdin.close()  # it ends with its input
            self._process = None


def keep_alive_seconds(value: Any, default: float) -> float | None:
    """Seconds that an idle model stays in memory by `keep_alive`; None: for ever.

    Args:
        value: seconds, or a duration as Go writes it ("5m", "1h30m"); negative: for ever; None: not
            given.

    Raises:
        BadRequest: it is neither.
    """
    if value is None:
        return default
    text = str(value).strip()
    parts = _DURATION.findall(text.removeprefix("-"))
    if parts and "".join(number + unit for number, unit in parts) == text.removeprefix("-"):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        return None if text.startswith("-") else seconds
    try:
        seconds = float(text)
    except ValueError:
        raise BadRequest("embedded", f"keep_alive {text[:40]!r} is no duration") from None
    return min(seconds, 1e9) if seconds >= 0 else None


def _template_takes_tools(template: str) -> bool:
    try:
        return takes_tools(template)
    except StockLLMError:  # told when it is rendered
        return True


def _has_ended(process: asyncio.subprocess.Process) -> bool:
    """Whether nobody listens any more; the pipe may tell before the exit code does."""
    assert process.stdin
    return process.returncode is not None or process.stdin.is_closing()


async def _send(process: asyncio.subprocess.Process, line: Mapping[str, Any]) -> None:
    assert process.stdin
    if _has_ended(process):
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
    named = {name: value for name, value in given.items() if value is not None}
    return dict(options.extra) | named
