"""The `claude` command as a provider: one process for each question.

The process gets a group of its own, an empty working folder, no user settings, tools, sessions, MCP
servers or API key, and the question on standard input. When it has ended, its time is up or the
caller is gone, the whole group is killed. The answer is judged by its content and not by the exit
code: the command may exit with 0 and have failed (`is_error`, an empty result, no JSON at all).
Source: the command's `--output-format json`, as the Agent SDK's ResultMessage has it.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from stock_llm.gateway.chat import AnswerChunk, ChatAnswer, ChatRequest, ProviderTimings, TokenUsage
from stock_llm.gateway.errors import BadRequest, Refused, Unavailable
from stock_llm.gateway.providers.concurrency import ConcurrencyLimit
from stock_llm.gateway.providers.http_errors import http_error
from stock_llm.gateway.providers.provider import Billing, ProviderHealth

_FLAGS = (
    "-p", "--output-format", "json", "--tools", "", "--strict-mcp-config",
    "--no-session-persistence",
)  # fmt: skip
_TURNS, _TURNS_WITH_SCHEMA = "1", "6"
"""Answers of the model in one call. With a schema it answers in words first, is asked again, and
calls a tool."""

_SETTINGS = ("--setting-sources", "project")
"""Of an empty folder: none. With the user's own hooks and plugins a question took minutes."""

_MAX_OUTPUT = 8 * 2**20
"""Bytes of output that are read."""

_MAX_ARGUMENT = 100_000
"""Bytes of one argument; Linux takes 128 KiB. A longer system text is handed over as a file."""

_MAX_DOLLARS = 10_000
"""For one answer; a larger figure is not believed."""

_POLL_SECONDS = 0.01
"""Seconds between two checks whether the process has ended."""

_DRAIN_SECONDS = 0.5
"""Seconds for what a process that has ended left in its pipes."""


class ClaudeCliProvider:
    """The command `command`.

    Args:
        models: names for `--model`, the default first.
        limit: processes at once.
        uses_api_key: whether the process gets the ANTHROPIC_* variables of this one; with a key it
            bills that key instead of the subscription.
    """

    name = "claude-cli"
    kind: Billing = "fixed"
    local = False
    capabilities = frozenset({"json-schema"})

    def __init__(
        self,
        command: str,
        models: tuple[str, ...],
        limit: ConcurrencyLimit,
        uses_api_key: bool = False,
    ):
        self.models = models
        self._command, self._limit = command, limit
        self._withheld = ("STOCK_LLM_",) if uses_api_key else ("STOCK_LLM_", "ANTHROPIC_")

    async def answer(self, request: ChatRequest) -> ChatAnswer:
        """The whole answer; see `provider.Provider`."""
        async with self._limit.slot(self.name) as queued:
            with tempfile.TemporaryDirectory(prefix="stock-llm-claude-") as folder:
                own = Path(folder)
                empty = own / "empty"
                empty.mkdir()
                output = await self._run(
                    self._arguments(request, own / "system.txt"), _prompt(request), empty
                )
        return _answer(self.name, request, output, queued)

    async def stream(self, request: ChatRequest) -> AsyncIterator[AnswerChunk]:
        """The whole answer in one piece; the command prints nothing before."""
        answer = await self.answer(request)
        yield AnswerChunk(answer.text, answer)

    async def health(self) -> ProviderHealth:
        """Whether the command is there; it is not run, which would cost a question."""
        path = shutil.which(self._command)
        return ProviderHealth(
            path is not None, path or f"there is no command {self._command}", self.models
        )

    def _arguments(self, request: ChatRequest, file: Path) -> list[str]:
        """
        Args:
            file: where a system text is written that is too long for an argument.

        Raises:
            BadRequest: a text cannot be handed to a command.
        """
        turns = _TURNS_WITH_SCHEMA if isinstance(request.format, dict) else _TURNS
        arguments = [*_FLAGS, "--max-turns", turns, *_SETTINGS]
        if request.model:
            arguments += ["--model", request.model]
        if system := system_text(request):
            if "\0" in system:
                raise BadRequest(
                    self.name, "the system text has a NUL in it, which no command takes"
                )
            if len(system.encode()) > _MAX_ARGUMENT:
                file.write_text(system, encoding="utf-8")
                arguments += ["--system-prompt-file", str(file)]
            else:
                arguments += ["--system-prompt", system]
        if isinstance(request.format, dict):
            schema = orjson.dumps(request.format)
            if len(schema) > _MAX_ARGUMENT:
                raise BadRequest(
                    self.name,
                    f"the schema has {len(schema):,} bytes; the command takes {_MAX_ARGUMENT:,}",
                )
            arguments += ["--json-schema", schema.decode()]
        return arguments

    async def _run(self, arguments: list[str], prompt: str, folder: Path) -> bytes:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(self._withheld)
        }
        try:
            process = await asyncio.create_subprocess_exec(
                self._command, *arguments, cwd=folder, env=environment, start_new_session=True,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(self.name, f"cannot run {self._command}: {error.strerror}") from None
        assert process.stdin and process.stdout and process.stderr
        output, complaint = bytearray(), bytearray()
        talk = asyncio.gather(
            _write(process.stdin, prompt),
            _read(process.stdout, output),
            _read(process.stderr, complaint),
        )
        try:
            await _ended(process)
            _kill(process.pid)  # what it left behind would hold its output open
            async with asyncio.timeout(_DRAIN_SECONDS):
                await talk
        except TimeoutError:
            pass  # somebody outside the group still holds it; what there is has been read
        finally:
            _kill(process.pid)
            await asyncio.shield(_ended(process))
            talk.cancel()
            process._transport.close()  # type: ignore[attr-defined]  # the pipes; asyncio has no other name for it
        if not output.strip():
            text = complaint.decode(errors="replace").strip()[-300:]
            reason = f"printed nothing (exit {process.returncode}){': ' + text if text else ''}"
            raise Unavailable(self.name, reason, charged=True)
        return bytes(output)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Waits until a process has ended, whoever still holds its output; `Process.wait` may wait for
    them too."""
    while process.returncode is None:
        await asyncio.sleep(_POLL_SECONDS)


async def _write(stream: asyncio.StreamWriter, text: str) -> None:
    with suppress(ConnectionError):  # it ended without reading: its output tells why
        stream.write(text.encode(errors="replace"))
        await stream.drain()
        stream.close()


async def _read(stream: asyncio.StreamReader, read: bytearray) -> None:
    """All of it, as far as it is of a size that an answer can have: what is cut is no JSON."""
    while piece := await stream.read(65536):
        read += piece[: _MAX_OUTPUT - len(read)]


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):  # all of it has ended
        os.killpg(group, signal.SIGKILL)


def system_text(request: ChatRequest) -> str:
    """The system text; free JSON has no switch and is asked for in words."""
    texts = [message.content for message in request.messages if message.role == "system"]
    return "\n\n".join([*texts, "Answer with JSON alone."] if request.format == "json" else texts)


def _prompt(request: ChatRequest) -> str:
    """The question; a longer conversation as a transcript."""
    turns = [message for message in request.messages if message.role != "system"]
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in turns)


def _answer(provider: str, request: ChatRequest, output: bytes, queued: float) -> ChatAnswer:
    """The answer in the command's output.

    Raises:
        GatewayError: it is none, whatever the exit code was.
    """
    try:
        result = orjson.loads(output)
    except orjson.JSONDecodeError:
        shown = output.decode(errors="replace").strip()[:200]
        reason = f"printed something that is not JSON: {shown!r}"
        raise Unavailable(provider, reason, charged=True) from None
    if not isinstance(result, dict) or result.get("type") != "result":
        raise Unavailable(provider, "printed JSON that is no result", charged=True)
    text = result["result"] if isinstance(result.get("result"), str) else ""
    if result.get("is_error") or result.get("subtype") != "success":
        status = result.get("api_error_status")
        reason = (text or str(result.get("errors") or result.get("subtype")))[:300]
        if not isinstance(status, int):
            raise http_error(provider, None, reason, charged=True)
        raise http_error(provider, status, f"{reason} (status {status})", charged=True)
    if result.get("stop_reason") == "refusal":
        raise Refused(provider, text or "the model declined to answer", charged=True)
    if isinstance(request.format, dict):
        text = _structured(provider, result, text)
    if not text.strip():
        raise Unavailable(provider, "the result is empty", charged=True)
    milliseconds = result.get("duration_ms")
    return ChatAnswer(
        text=text,
        model=request.model or next(iter(result.get("modelUsage") or ()), ""),
        usage=_usage(result.get("usage")),
        finish="length" if result.get("stop_reason") == "max_tokens" else "stop",
        dollars=_dollars(result.get("total_cost_usd")),
        timings=ProviderTimings(
            queued, generate=milliseconds / 1000 if isinstance(milliseconds, int) else None
        ),
    )


def _structured(provider: str, result: dict[str, Any], text: str) -> str:
    """The answer under a schema; older versions of the command print it as the text."""
    if (structured := result.get("structured_output")) is not None:
        return orjson.dumps(structured).decode()
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        reason = "answered in words although a schema was asked for"
        raise Unavailable(provider, reason, charged=True) from None
    return text


def _usage(usage: Any) -> TokenUsage:
    counts: dict[str, Any] = defaultdict(int, usage if isinstance(usage, dict) else {})
    split = counts["cache_creation"]
    hour = TokenUsage(split.get("ephemeral_1h_input_tokens", 0) if isinstance(split, dict) else 0)
    written = TokenUsage(counts["cache_creation_input_tokens"])
    return TokenUsage(
        counts["input_tokens"],
        counts["output_tokens"],
        counts["cache_read_input_tokens"],
        written.tokens_in - hour.tokens_in,
        hour.tokens_in,
    )


def _dollars(amount: Any) -> Decimal | None:
    is_amount = isinstance(amount, int | float) and not isinstance(amount, bool)
    return Decimal(str(amount)) if is_amount and 0 <= amount < _MAX_DOLLARS else None
