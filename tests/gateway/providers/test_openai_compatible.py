"""Servers with reasoning models: what they think is passed on and counts as life; nothing leads a local one elsewhere."""

import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stock_llm.gateway.chat import ChatMessage, ChatRequest
from stock_llm.gateway.errors import RateLimited, Unavailable
from stock_llm.gateway.providers.concurrency import ConcurrencyLimit
from stock_llm.gateway.providers.openai_compatible import OpenAICompatibleProvider

USAGE = {"prompt_tokens": 5, "completion_tokens": -9, "total_tokens": 14}


class Server(ThreadingHTTPServer):
    """A loopback server that speaks OpenAI's API as vLLM does with a reasoning model."""

    def __init__(self, field="reasoning", pause=0.0, redirect="", headers=()):
        super().__init__(("127.0.0.1", 0), Handler)
        self.field, self.pause, self.redirect, self.headers = field, pause, redirect, headers
        self.bodies: list[dict] = []

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        if self.server.redirect:
            self.send_response(307)
            self.send_header("Location", self.server.redirect)
            self.end_headers()
        elif self.server.headers:
            self.reply({"error": {"message": "slow down"}}, 429, self.server.headers)
        elif body.get("stream"):
            self.stream()
        else:
            message = {"role": "assistant", "content": "42", self.server.field: "six times seven"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            self.reply({"id": "c", "created": 1, "model": "q", "choices": [choice], "usage": USAGE})

    def reply(self, value, status=200, headers=()):
        raw = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (
            ("Content-Type", "application/json"),
            ("Content-Length", len(raw)),
            *headers,
        ):
            self.send_header(name, str(text))
        self.end_headers()
        self.wfile.write(raw)

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        deltas = [{"role": "assistant", "content": None}]
        deltas += [{self.server.field: f"thought {number}. "} for number in range(4)]
        for delta, finish in [
            *((delta, None) for delta in deltas),
            ({"content": "42"}, None),
            ({}, "stop"),
        ]:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "q"}
            self.wfile.write(
                b"data: " + json.dumps(chunk | {"choices": [choice]}).encode() + b"\n\n"
            )
            self.wfile.flush()
            time.sleep(self.server.pause)
        self.wfile.write(b"data: [DONE]\n\n")


def request(**extra) -> ChatRequest:
    return ChatRequest((ChatMessage("user", "6 x 7?"),), "q", extra=extra)


def provider(url: str) -> OpenAICompatibleProvider:
    return OpenAICompatibleProvider("vllm", url, ("q",), "", ConcurrencyLimit(1, 1))


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_what_a_model_thinks_is_passed_on(field):
    with Server(field) as server:
        answer = asyncio.run(provider(server.url).answer(request()))
    assert (answer.text, answer.message["thinking"]) == ("42", "six times seven")
    assert (answer.usage.tokens_in, answer.usage.tokens_out) == (5, 0)  # never less than none


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_each_thought_of_a_stream_is_a_piece_that_shows_life(field):
    async def pieces(url):
        gaps, last, chunks = [], time.perf_counter(), []
        async for chunk in provider(url).stream(request()):
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()
            chunks.append(chunk)
        return gaps, chunks

    with Server(field, pause=0.3) as server:
        gaps, chunks = asyncio.run(pieces(server.url))
    assert [chunk.message.get("thinking") for chunk in chunks[:4]] == [
        f"thought {n}. " for n in range(4)
    ]
    assert max(gaps[1:4]) < 0.9
    assert chunks[-1].answer.message["thinking"] == "thought 0. thought 1. thought 2. thought 3. "
    assert chunks[-1].answer.text == "42"


def test_a_wait_that_is_given_as_a_date_is_read():
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))
    with Server(headers=[("Retry-After", date)]) as server, pytest.raises(RateLimited) as failed:
        asyncio.run(provider(server.url).answer(request()))
    assert 50 < failed.value.retry_after <= 60


def test_neither_a_redirect_nor_a_proxy_leads_a_local_request_elsewhere(monkeypatch):
    with Server() as elsewhere, Server() as direct:
        with (
            Server(redirect=f"{elsewhere.url}/chat/completions") as server,
            pytest.raises(Unavailable),
        ):
            asyncio.run(provider(server.url).answer(request()))
        monkeypatch.setenv("HTTP_PROXY", elsewhere.url)
        monkeypatch.setenv("NO_PROXY", "")
        assert asyncio.run(provider(direct.url).answer(request())).text == "42"
        assert elsewhere.bodies == []


def test_tool_names_and_thoughts_of_earlier_turns_and_the_effort_reach_the_server():
    turns = (
        ChatMessage(
            "assistant",
            "",
            {"thinking": "ask", "tool_calls": [{"id": "c1", "function": {"name": "f"}}]},
        ),
        ChatMessage("tool", "12C", {"tool_call_id": "c1", "tool_name": "f"}),
    )
    with Server() as server:
        asyncio.run(provider(server.url).answer(ChatRequest(turns, "q", extra={"think": False})))
        asyncio.run(provider(server.url).answer(ChatRequest(turns, "q", extra={"think": "high"})))
    first, second = server.bodies
    assert first["messages"][0]["reasoning_content"] == "ask"
    assert (first["messages"][1]["name"], first["messages"][1]["tool_call_id"]) == ("f", "c1")
    assert (first["reasoning_effort"], second["reasoning_effort"]) == ("none", "high")
