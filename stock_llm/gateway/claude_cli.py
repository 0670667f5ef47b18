"""The `claude` command as a provider: one process for each question, its answer judged by content and not by exit code.

In: requests in our nouns. Out: answers with the dollars that the command reports. The process gets a group of its own, an empty
working folder, no user settings, tools, sessions or MCP servers, and the question on standard input; when time is up or
the caller is gone, the whole group is killed. Format: the command's `--output-format json`, as the Agent SDK's ResultMessage
has it. It may exit with 0 and have failed: `is_error`, an empty result, no JSON at all. Does not know prices or budgets.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from stock_llm.gateway.chat import Answer, ChatRequest, Chunk, Timings, Usage
from stock_llm.gateway.failures import BadRequest, GatewayFailure, Overloaded, RateLimited, Refused, Unavailable, UnknownModel
from stock_llm.gateway.limit import Limit
from stock_llm.gateway.provider import Health, Kind, Latency

_FLAGS = ("-p", "--output-format", "json", "--max-turns", "1", "--tools", "", "--strict-mcp-config", "--no-session-persistence")
_SETTINGS = ("--setting-sources", "project")
"""Of an empty folder: none. With the user's own hooks and plugins a question took minutes."""

_LONGEST = 8 * 2**20
"""Bytes of output that are read."""

_STATUS: dict[int, type[GatewayFailure]] = {
    400: BadRequest, 404: UnknownModel, 413: BadRequest, 429: RateLimited, 503: Overloaded, 529: Overloaded,
}  # fmt: skip


class ClaudeCli:
    """The command `command`.

    Args:
        models: names for `--model`, the default first.
        limit: processes at once.
    """

    name = "claude-cli"
    kind: Kind = "fixed"
    local = False
    latency: Latency = "slow"
    capabilities = frozenset({"json-schema"})

    def __init__(self, command: str, models: tuple[str, ...], limit: Limit):
        self.models = models
        self._command, self._limit = command, limit

    async def answer(self, request: ChatRequest) -> Answer:
        """The whole answer; see `provider.Provider`."""
        async with self._limit.turn(self.name) as queued:
            with tempfile.TemporaryDirectory(prefix="stock-llm-claude-") as folder:
                output = await self._run(_arguments(request), _prompt(request), folder)
        return _answer(self.name, request, output, queued)

    async def stream(self, request: ChatRequest) -> AsyncIterator[Chunk]:
        """The whole answer in one piece: the command tells nothing before."""
        answer = await self.answer(request)
        yield Chunk(answer.text, answer)

    async def health(self) -> Health:
        """Whether the command is there; it is not run, that would cost a question."""
        found = shutil.which(self._command)
        return Health(found is not None, found or f"there is no command {self._command}", self.models)

    async def _run(self, arguments: list[str], prompt: str, folder: str) -> bytes:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STOCK_LLM_")}
        try:
            process = await asyncio.create_subprocess_exec(
                self._command, *arguments, cwd=folder, env=environment, start_new_session=True,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(self.name, f"cannot run {self._command}: {error.strerror}") from None
        assert process.stdin and process.stdout and process.stderr
        try:
            _, output, complaint = await asyncio.gather(
                _write(process.stdin, prompt), _read(process.stdout), _read(process.stderr)
            )
            await process.wait()
        finally:
            _kill(process.pid)  # also what it left behind
            await asyncio.shield(process.wait())
        if not output.strip():
            said = complaint.decode(errors="replace").strip()[-300:]
            reason = f"printed nothing (exit {process.returncode}){': ' + said if said else ''}"
            raise Unavailable(self.name, reason, charged=True)
        return output


async def _write(stream: asyncio.StreamWriter, text: str) -> None:
    with suppress(ConnectionError):  # it ended without reading: its output tells why
        stream.write(text.encode())
        await stream.drain()
        stream.close()


async def _read(stream: asyncio.StreamReader) -> bytes:
    """All of it, as far as it is of a size that an answer can have: what is cut is no JSON."""
    read = bytearray()
    while piece := await stream.read(65536):
        read += piece[: _LONGEST - len(read)]
    return bytes(read)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):  # all of it has ended
        os.killpg(group, signal.SIGKILL)


def _arguments(request: ChatRequest) -> list[str]:
    arguments = [*_FLAGS, *_SETTINGS]
    if request.model:
        arguments += ["--model", request.model]
    if system := system_of(request):
        arguments += ["--system-prompt", system]
    if isinstance(request.format, dict):
        arguments += ["--json-schema", orjson.dumps(request.format).decode()]
    return arguments


def system_of(request: ChatRequest) -> str:
    """The system text; free JSON is asked for in words, there is no switch for it."""
    texts = [message.content for message in request.messages if message.role == "system"]
    return "\n\n".join([*texts, "Answer with JSON alone."] if request.format == "json" else texts)


def _prompt(request: ChatRequest) -> str:
    """The question; a longer conversation as it would be written down."""
    turns = [message for message in request.messages if message.role != "system"]
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in turns)


def _answer(provider: str, request: ChatRequest, output: bytes, queued: float) -> Answer:
    """The answer in the command's output.

    Raises:
        GatewayFailure: it is none, whatever the exit code was.
    """
    try:
        said = orjson.loads(output)
    except orjson.JSONDecodeError:
        shown = output.decode(errors="replace").strip()[:200]
        raise Unavailable(provider, f"printed something that is not JSON: {shown!r}", charged=True) from None
    if not isinstance(said, dict) or said.get("type") != "result":
        raise Unavailable(provider, "printed JSON that is no result", charged=True)
    text = said.get("result")
    if said.get("is_error") or said.get("subtype") != "success":
        status = said.get("api_error_status")
        kind = _STATUS.get(status, Unavailable) if isinstance(status, int) else Unavailable
        reason = text if isinstance(text, str) and text else str(said.get("errors") or said.get("subtype"))
        raise kind(provider, f"{reason[:300]}{f' (status {status})' if status else ''}", charged=True)
    if said.get("stop_reason") == "refusal":
        raise Refused(provider, text if isinstance(text, str) and text else "the model declined to answer", charged=True)
    if isinstance(request.format, dict) and (structured := said.get("structured_output")) is not None:
        text = orjson.dumps(structured).decode()
    if not isinstance(text, str) or not text.strip():
        raise Unavailable(provider, "the result is empty", charged=True)
    return Answer(
        text=text,
        model=request.model or next(iter(said.get("modelUsage") or ()), ""),
        usage=_usage(said.get("usage")),
        finish="length" if said.get("stop_reason") == "max_tokens" else "stop",
        dollars=_dollars(said.get("total_cost_usd")),
        timings=Timings(queued, generate=said["duration_ms"] / 1000 if isinstance(said.get("duration_ms"), int) else None),
    )


def _usage(said: Any) -> Usage:
    counts = said if isinstance(said, dict) else {}

    def count(name: str, values: Any = counts) -> int:
        value = values.get(name) if isinstance(values, dict) else None
        return value if isinstance(value, int) else 0

    hour = count("ephemeral_1h_input_tokens", counts.get("cache_creation"))
    written = count("cache_creation_input_tokens")
    return Usage(count("input_tokens"), count("output_tokens"), count("cache_read_input_tokens"), max(0, written - hour), hour)


def _dollars(said: Any) -> Decimal | None:
    try:
        return Decimal(str(said)) if isinstance(said, int | float) and not isinstance(said, bool) else None
    except InvalidOperation:
        return None
