"""The Claude command as an executable that prints what the real one is documented to print, and the Claude API on loopback."""

import asyncio
import json
import os
import random
import signal
import stat
import sys
import threading
import time
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
import uvloop
from factories.rows import situation
from factories.running_gateway import gateway
from fakes.scripted_ollama import ScriptedOllama

from stock_llm.gateway.chat import ChatMessage, ChatRequest, GenerationOptions, TokenUsage
from stock_llm.gateway.config import GatewaySettings
from stock_llm.gateway.errors import (
    AccessDenied,
    BadRequest,
    Cut,
    Overloaded,
    RateLimited,
    Refused,
    TimedOut,
    Unavailable,
    UnknownModel,
)
from stock_llm.gateway.providers import claude_api
from stock_llm.gateway.providers.claude_api import ClaudeApiProvider
from stock_llm.gateway.providers.claude_cli import ClaudeCliProvider
from stock_llm.gateway.providers.concurrency import ConcurrencyLimit
from stock_llm.gateway.providers.registry import ProviderRegistry

RESULT = {
    "type": "result", "subtype": "success", "is_error": False, "duration_ms": 6010, "duration_api_ms": 4400, "num_turns": 1,
    "session_id": "5f0e", "stop_reason": "end_turn", "total_cost_usd": 0.0123, "result": "HOLD, RSI14 is 61.3.",
    "usage": {
        "input_tokens": 12, "output_tokens": 9, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 20,
        "cache_creation": {"ephemeral_1h_input_tokens": 5, "ephemeral_5m_input_tokens": 15},
    },
    "modelUsage": {"claude-sonnet-5-5": {}}, "permission_denials": [], "uuid": "1",
}  # fmt: skip
QUESTION = ChatRequest(
    (ChatMessage("system", "Be short."), ChatMessage("user", "Analyze KESTRO.")), "sonnet"
)


def command(folder: Path, body: str) -> str:
    """An executable `claude` that notes how it was called and then does what `body` says."""
    script = folder / "claude"
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, os, pathlib, subprocess, sys, time\n"
        f"home = pathlib.Path({str(folder)!r})\n"
        "def note(prompt):\n"
        "    told = {'arguments': sys.argv[1:], 'prompt': prompt, 'folder': os.getcwd(), 'files': os.listdir(),\n"
        "            'pid': os.getpid(), 'group': os.getpgid(0),\n"
        "            'secrets': [name for name in os.environ if name.startswith(('STOCK_LLM_', 'ANTHROPIC_'))]}\n"
        "    (home / 'called.json').write_text(json.dumps(told))\n" + body
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def prints(folder: Path, output: object, code: int = 0) -> str:
    text = output if isinstance(output, str) else json.dumps(output)
    return command(
        folder, f"note(sys.stdin.read())\nsys.stdout.write({text!r})\nsys.exit({code})\n"
    )


def cli(path: str) -> ClaudeCliProvider:
    return ClaudeCliProvider(path, ("sonnet",), ConcurrencyLimit(2, 2))


def test_the_command_is_called_in_an_empty_folder_without_the_users_settings(tmp_path):
    answer = asyncio.run(cli(prints(tmp_path, RESULT)).answer(QUESTION))
    assert (answer.text, answer.model, answer.dollars) == (
        "HOLD, RSI14 is 61.3.",
        "sonnet",
        Decimal("0.0123"),
    )
    assert answer.usage == TokenUsage(12, 9, 3, 15, 5)
    called = json.loads((tmp_path / "called.json").read_text())
    assert called["prompt"] == "Analyze KESTRO."
    assert called["files"] == []
    assert not Path(called["folder"]).exists()
    assert called["group"] == called["pid"] != os.getpgid(0)
    assert called["secrets"] == []
    arguments = called["arguments"]
    assert arguments[:3] == ["-p", "--output-format", "json"]
    for flag, value in (
        ("--setting-sources", "project"),
        ("--tools", ""),
        ("--model", "sonnet"),
        ("--system-prompt", "Be short."),
    ):
        assert arguments[arguments.index(flag) + 1] == value
    assert {"--strict-mcp-config", "--no-session-persistence"} <= set(arguments)


def test_the_command_gets_an_api_key_only_where_a_dial_says_so(tmp_path, monkeypatch):
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "STOCK_LLM_GATEWAY__TOKEN"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    path = prints(tmp_path, RESULT)

    def given(**dials):
        settings = GatewaySettings(claude_cli=True, claude_command=path, embedded=False, **dials)
        (command,) = ProviderRegistry(settings, "", tmp_path, 1).providers
        asyncio.run(command.answer(QUESTION))
        return set(json.loads((tmp_path / "called.json").read_text())["secrets"])

    assert given() == set()
    assert given(claude_cli_uses_api_key=True) == {"ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"}


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("own_session", [False, True])
def test_an_answer_does_not_wait_for_a_child_that_holds_the_output(tmp_path, runner, own_session):
    path = command(
        tmp_path,
        f"note(sys.stdin.read())\nsys.stdout.write({json.dumps(RESULT)!r})\nsys.stdout.flush()\n"
        f"child = subprocess.Popen(['sleep', '5'], start_new_session={own_session})\n"
        "(home / 'child').write_text(str(child.pid))\n",
    )
    began = time.monotonic()
    assert runner(cli(path).answer(QUESTION)).text == RESULT["result"]
    assert time.monotonic() - began < 3
    child = int((tmp_path / "child").read_text())
    if own_session:
        os.kill(child, signal.SIGKILL)
    else:
        assert (
            not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
        )


def test_a_long_system_text_is_handed_over_as_a_file(tmp_path):
    path = command(
        tmp_path,
        "text = pathlib.Path(sys.argv[sys.argv.index('--system-prompt-file') + 1]).read_text(encoding='utf-8')\n"
        f"note(text)\nsys.stdout.write({json.dumps(RESULT)!r})\n",
    )
    long = "ราคา " * 20_000
    asyncio.run(
        cli(path).answer(
            ChatRequest((ChatMessage("system", long), ChatMessage("user", "A?")), "sonnet")
        )
    )
    called = json.loads((tmp_path / "called.json").read_text())
    assert (called["prompt"], called["files"]) == (long, [])
    assert "--system-prompt" not in called["arguments"]


@pytest.mark.parametrize(
    "wrong",
    [
        ChatRequest((ChatMessage("system", "a\0b"), ChatMessage("user", "A?")), "sonnet"),
        ChatRequest((ChatMessage("user", "A?"),), "sonnet", format={"enum": ["x" * 200_000]}),
    ],
)
def test_what_no_command_takes_is_a_bad_request(tmp_path, wrong):
    with pytest.raises(BadRequest, match="command"):
        asyncio.run(cli(prints(tmp_path, RESULT)).answer(wrong))
    assert not (tmp_path / "called.json").exists()


def test_a_conversation_is_written_down_and_a_schema_is_asked_for(tmp_path):
    turns = (ChatMessage("user", "A?"), ChatMessage("assistant", "B."), ChatMessage("user", "C?"))
    request = ChatRequest(turns, "sonnet", format={"type": "object"})
    answer = asyncio.run(
        cli(prints(tmp_path, RESULT | {"result": "", "structured_output": {"a": 1}})).answer(
            request
        )
    )
    assert answer.text == '{"a":1}'
    called = json.loads((tmp_path / "called.json").read_text())
    assert called["prompt"] == "User: A?\n\nAssistant: B.\n\nUser: C?"
    assert json.loads(called["arguments"][called["arguments"].index("--json-schema") + 1]) == {
        "type": "object"
    }


def test_free_json_is_asked_for_in_words(tmp_path):
    asyncio.run(
        cli(prints(tmp_path, RESULT)).answer(
            ChatRequest((ChatMessage("user", "A?"),), "sonnet", format="json")
        )
    )
    arguments = json.loads((tmp_path / "called.json").read_text())["arguments"]
    assert arguments[arguments.index("--system-prompt") + 1] == "Answer with JSON alone."


@pytest.mark.parametrize(
    ("output", "code", "failure", "text"),
    [
        (
            RESULT | {"is_error": True, "result": "API Error: 529", "api_error_status": 529},
            0,
            Overloaded,
            "529",
        ),
        (
            RESULT | {"is_error": True, "result": "rate limit", "api_error_status": 429},
            1,
            RateLimited,
            "rate limit",
        ),
        (
            RESULT | {"is_error": True, "result": "Invalid API key", "api_error_status": 401},
            1,
            AccessDenied,
            "Invalid API key",
        ),
        (
            RESULT | {"is_error": True, "result": "no such model", "api_error_status": 404},
            1,
            UnknownModel,
            "no such model",
        ),
        (
            RESULT | {"is_error": True, "result": "too long", "api_error_status": 400},
            1,
            BadRequest,
            "too long",
        ),
        (
            RESULT | {"subtype": "error_max_turns", "result": None},
            0,
            Unavailable,
            "error_max_turns",
        ),
        (RESULT | {"stop_reason": "refusal", "result": "I cannot."}, 0, Refused, "I cannot."),
        (RESULT | {"result": "  "}, 0, Unavailable, "empty"),
        (RESULT | {"result": None}, 0, Unavailable, "empty"),
        ({"type": "system"}, 0, Unavailable, "no result"),
        ([RESULT], 0, Unavailable, "no result"),
        ("Welcome to Claude Code!", 0, Unavailable, "not JSON"),
        (json.dumps(RESULT)[:80], 0, Unavailable, "not JSON"),
        ("", 0, Unavailable, "printed nothing (exit 0)"),
        ("", 3, Unavailable, "printed nothing (exit 3)"),
    ],
)
def test_the_result_is_judged_by_content_and_not_by_the_exit_code(
    tmp_path, output, code, failure, text
):
    with pytest.raises(failure) as failed:
        asyncio.run(cli(prints(tmp_path, output, code)).answer(QUESTION))
    assert type(failed.value) is failure
    assert text in failed.value.reason


def test_its_complaint_is_told_when_it_says_nothing_else(tmp_path):
    path = command(tmp_path, "sys.stderr.write('please log in')\nsys.exit(1)\n")
    with pytest.raises(Unavailable, match="please log in"):
        asyncio.run(cli(path).answer(QUESTION))
    with pytest.raises(Unavailable, match="cannot run"):
        asyncio.run(cli(str(tmp_path / "nowhere")).answer(QUESTION))
    assert not asyncio.run(cli(str(tmp_path / "nowhere")).health()).ok


@pytest.mark.parametrize("how", ["time", "hang-up"])
def test_a_command_that_hangs_is_killed_with_everything_that_it_started(tmp_path, how):
    path = command(
        tmp_path,
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "(home / 'child').write_text(str(child.pid))\nnote('')\ntime.sleep(600)\n",
    )

    async def asked():
        if how == "time":
            async with asyncio.timeout(1.0):
                await cli(path).answer(QUESTION)
        asking = asyncio.create_task(cli(path).answer(QUESTION))
        while not (tmp_path / "called.json").exists():
            await asyncio.sleep(0.02)
        asking.cancel()
        await asking

    with pytest.raises((TimeoutError, asyncio.CancelledError)):
        asyncio.run(asked())
    for pid in (
        json.loads((tmp_path / "called.json").read_text())["pid"],
        int((tmp_path / "child").read_text()),
    ):
        until = time.monotonic() + 5
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until, f"{pid} still runs"
            time.sleep(0.01)


def test_a_slow_command_is_waited_for(tmp_path):
    path = command(
        tmp_path, f"time.sleep(1)\nnote(sys.stdin.read())\nprint({json.dumps(RESULT)!r})\n"
    )
    assert asyncio.run(cli(path).answer(QUESTION)).text


class LoopbackClaude:
    """The Messages API as far as the client asks for it; `says` is (status, headers, body) of the next answers."""

    def __init__(self):
        self.asked: list[dict] = []
        self.says: tuple[int, dict[str, str], object] = (200, {}, message())
        self.hangs = False
        self._http = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Claude,), {"server_state": self})
        )
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()


def message(**changes):
    usage = {
        "input_tokens": 12,
        "output_tokens": 9,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 20,
    }
    usage["cache_creation"] = {"ephemeral_1h_input_tokens": 5, "ephemeral_5m_input_tokens": 15}
    content = [
        {"type": "thinking", "thinking": "…", "signature": "s"},
        {"type": "text", "text": "HOLD, "},
        {"type": "text", "text": "I say."},
    ]
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "content": content,
        "stop_reason": "end_turn", "stop_sequence": None, "usage": usage,
    } | changes  # fmt: skip


def events(broken: bool = False, stop: str = "end_turn"):
    yield "message_start", {"message": message(content=[], stop_reason=None)}
    yield "content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}
    yield "content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "HOLD, "}}
    if broken:
        return
    yield "content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "I say."}}
    yield "content_block_stop", {"index": 0}
    yield (
        "message_delta",
        {"delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 9}},
    )
    yield "message_stop", {}


class _Claude(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: LoopbackClaude

    def log_message(self, *_):
        pass

    def do_POST(self):
        state = self.server_state
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        state.asked.append(asked | {"path": self.path, "key": self.headers.get("Authorization")})
        if state.hangs:
            time.sleep(3)
        status, headers, body = state.says
        if not isinstance(body, str | dict):
            body = "".join(
                f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n"
                for kind, data in body
            )
            headers = headers | {"Content-Type": "text/event-stream"}
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def claude(monkeypatch):
    monkeypatch.setenv(claude_api.KEY, "sk-test")
    with LoopbackClaude() as running:
        yield running


def ask(claude, request=QUESTION, streamed=False):
    async def asked():
        api = ClaudeApiProvider(claude.url, ("claude-sonnet-5-5",), 2048, ConcurrencyLimit(2, 2))
        try:
            return (
                [chunk async for chunk in api.stream(request)]
                if streamed
                else await api.answer(request)
            )
        finally:
            await api.close()

    return asyncio.run(asked())


def test_the_api_gets_no_sampling_parameters_and_its_usage_keeps_the_cache_apart(claude):
    options = GenerationOptions(temperature=0.2, top_p=0.9, seed=1, max_tokens=64, stop=("x",))
    turns = (ChatMessage("system", "Be short."), ChatMessage("user", "Analyze KESTRO."))
    answer = ask(claude, ChatRequest(turns, "claude-sonnet-5-5", options, {"type": "object"}))
    assert (answer.text, answer.finish, answer.dollars) == ("HOLD, I say.", "stop", None)
    assert answer.usage == TokenUsage(12, 9, 3, 15, 5)
    assert claude.asked == [
        {
            "path": "/v1/messages", "key": "Bearer sk-test", "model": "claude-sonnet-5-5", "max_tokens": 64,
            "system": "Be short.",
            "messages": [{"role": "user", "content": "Analyze KESTRO."}], "stop_sequences": ["x"],
            "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        }
    ]  # fmt: skip


def test_the_api_streams(claude):
    claude.says = (200, {}, list(events()))
    chunks = ask(claude, streamed=True)
    assert [chunk.text for chunk in chunks] == ["HOLD, ", "I say.", ""]
    assert chunks[-1].answer.text == "HOLD, I say."
    assert chunks[-1].answer.usage.tokens_out == 9


def error(kind, text):
    return {"type": "error", "error": {"type": kind, "message": text}}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (429, error("rate_limit_error", "slow down"), RateLimited),
        (529, error("overloaded_error", "Overloaded"), Overloaded),
        (503, "down", Overloaded),
        (500, error("api_error", "boom"), Unavailable),
        (400, error("invalid_request_error", "bad"), BadRequest),
        (404, error("not_found_error", "model: x"), UnknownModel),
        (401, error("authentication_error", "invalid x-api-key"), AccessDenied),
        (402, error("billing_error", "no money"), AccessDenied),
        (403, error("permission_error", "no"), AccessDenied),
        (504, "gateway timeout", TimedOut),
    ],
)
def test_every_error_of_the_api_has_its_kind_and_is_tried_once(
    claude, streamed, status, body, failure
):
    claude.says = (status, {"retry-after": "7"}, body)
    with pytest.raises(failure) as failed:
        ask(claude, streamed=streamed)
    assert type(failed.value) is failure
    assert failed.value.retry_after == 7
    assert len(claude.asked) == 1


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (message(content=[], stop_reason="refusal"), Refused),
        (message(content=[]), Unavailable),
        ("<html>", Unavailable),
        ({"type": "message"}, Unavailable),
    ],
)
def test_an_answer_of_the_api_is_judged_by_content(claude, body, failure):
    claude.says = (200, {}, body)
    with pytest.raises(failure) as failed:
        ask(claude)
    assert failed.value.charged


def test_a_stream_of_the_api_that_breaks_is_cut(claude):
    claude.says = (200, {}, list(events(broken=True)))
    with pytest.raises(Cut):
        ask(claude, streamed=True)
    claude.says = (
        200,
        {},
        [
            *list(events(broken=True)),
            ("error", {"error": {"type": "overloaded_error", "message": "Overloaded"}}),
        ],
    )
    with pytest.raises(Cut, match="Overloaded"):
        ask(claude, streamed=True)


def test_without_a_key_it_is_not_there(claude, monkeypatch):
    monkeypatch.delenv(claude_api.KEY)
    with pytest.raises(Unavailable, match=claude_api.KEY):
        ask(claude)


def test_the_router_sends_hard_questions_to_the_command_and_urgent_ones_to_the_api(
    tmp_path, claude
):
    (tmp_path / "bin").mkdir()
    path = prints(tmp_path / "bin", RESULT)
    with ScriptedOllama() as backend, gateway(
        tmp_path, backend.host, claude_cli=True, claude_command=path, claude_api=True, claude_api_url=claude.url
    ) as running:  # fmt: skip

        def asked(**scores):
            headers = {
                f"x-stock-llm-{name}": str(value)
                for name, value in ({"type": "chat"} | scores).items()
            }
            body = {
                "model": "auto",
                "messages": [{"role": "user", "content": "Why?"}],
                "stream": False,
            }
            return running.http.post("/api/chat", json=body, headers=headers)

        assert asked(complexity=3, urgency=3).headers["x-stock-llm-provider"] == "ollama"
        hard = asked(complexity=8, urgency=3)
        assert (hard.headers["x-stock-llm-provider"], hard.headers["x-stock-llm-cost"]) == (
            "claude-cli",
            "0",
        )
        assert hard.json()["message"]["content"] == RESULT["result"]
        urgent = asked(complexity=9, urgency=10)
        assert urgent.headers["x-stock-llm-provider"] == "claude-api"
        assert Decimal(urgent.headers["x-stock-llm-cost"]) > 0
        private = asked(complexity=9, urgency=10, privacy="local")
        assert private.headers["x-stock-llm-provider"] == "ollama"
        claude.says = (529, {}, error("overloaded_error", "Overloaded"))
        instead = asked(complexity=9, urgency=10)
        assert instead.headers["x-stock-llm-provider"] != "claude-api"
        assert "claude-api (Overloaded)" in instead.headers["x-stock-llm-fallback"]


SEEN = situation(random.Random(3))
NAMES = (
    "close",
    "sma20",
    "sma50",
    "rsi14",
    "macd",
    "macd_signal",
    "atr14",
    "band_low",
    "band_high",
    "volume",
    "support",
    "resistance",
)
INDICATORS = {"date": SEEN.as_of} | {name: getattr(SEEN, name) for name in NAMES}
TURNS = [{"role": "user", "content": "secret holdings"}]
SERVICE = {
    "/translate": {"text": "secret holdings", "to": "th"},
    "/generate-code": {"description": "secret holdings"},
    "/analyze": {"symbol": SEEN.symbol, "indicators": INDICATORS},
}
CHATS = {
    "/api/chat": {"model": "auto", "messages": TURNS, "stream": False},
    "/api/generate": {"model": "auto", "prompt": "secret holdings", "stream": False},
    "/v1/chat/completions": {"model": "auto", "messages": TURNS},
    "/v1/completions": {"model": "auto", "prompt": "secret holdings"},
}
URGENT = {"x-stock-llm-complexity": "10", "x-stock-llm-urgency": "10"}


@pytest.fixture
def clouded(tmp_path, claude, backend):
    with gateway(tmp_path, backend.host, claude_api=True, claude_api_url=claude.url) as running:
        yield running


@pytest.mark.parametrize("path", [*SERVICE, *CHATS])
def test_what_must_stay_here_stays_here_whichever_way_it_is_said(clouded, claude, path):
    body = (SERVICE | CHATS)[path]
    assert (
        clouded.http.post(path, json=body, headers=URGENT).headers["x-stock-llm-provider"]
        == "claude-api"
    )
    claude.asked.clear()
    private = {"x-stock-llm-privacy": "local"}
    for sent, headers in (
        (body, URGENT | private),
        (body | {"privacy": "any"}, URGENT | private),
        (body | {"privacy": "local"}, URGENT),
        (body | {"privacy": "local"}, URGENT | {"x-stock-llm-privacy": "any"}),
    ):
        answered = clouded.http.post(path, json=sent, headers=headers)
        assert (answered.status_code, answered.headers["x-stock-llm-provider"]) == (200, "ollama")
    assert claude.asked == []


@pytest.mark.parametrize("path", CHATS)
@pytest.mark.parametrize("privacy", ["Local", "", True, ["local"]])
def test_a_privacy_that_there_is_not_is_refused(clouded, backend, path, privacy):
    refused = clouded.http.post(path, json=CHATS[path] | {"privacy": privacy})
    assert (refused.status_code, "'any' or 'local'" in refused.text) == (400, True)
    assert backend.generations() == []


def test_an_analysis_is_put_to_each_model_in_the_words_that_suit_it(clouded, claude, backend):
    backend.refuses = (500, "boom")
    response = clouded.http.post("/analyze", json=SERVICE["/analyze"])
    assert response.headers["x-stock-llm-provider"] == "claude-api"
    assert "ollama (Unavailable)" in response.headers["x-stock-llm-fallback"]
    here, there = backend.generations()[0], claude.asked[-1]
    assert (here["model"], "format" in here, len(here["messages"])) == (
        "stock-llm:latest",
        False,
        1,
    )
    assert there["output_config"]["format"]["schema"]["required"][:2] == ["trend", "recommendation"]
    assert "Answer with a JSON object" in there["system"]
    assert there["messages"] == here["messages"]


def test_the_published_model_that_stands_in_for_the_cloud_is_asked_as_it_was_taught(
    clouded, backend, claude
):
    claude.says = (529, {}, error("overloaded_error", "Overloaded"))
    response = clouded.http.post("/analyze", json=SERVICE["/analyze"], headers=URGENT)
    assert response.headers["x-stock-llm-provider"] == "ollama"
    assert "output_config" in claude.asked[0]
    assert "format" not in backend.generations()[-1]
