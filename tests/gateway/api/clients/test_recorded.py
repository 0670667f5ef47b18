"""What a real Ollama was seen to answer, the gateway answers: 117 recorded exchanges, played again
behind it.

The backend is asked for each exchange what the client asked the gateway, and gives the recorded
answer; the client must get the recorded status and body. Three things are different on purpose, and
named below.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from conftest import RECORDED
from factories.running_gateway import gateway

EXCHANGES = json.loads(RECORDED.read_text().replace("[…]", "[]"))

CLIENTS_MISTAKE = {
    "generate bad option type",
    "generate stop as string",
    "chat format bad",
    "generate on model with bad parameters",
}
"""Ollama answers 500 to a request that is at fault; the gateway keeps the text and says 400."""

UNREADABLE = {"generate malformed json", "generate empty body"}
"""Refused before any backend is asked."""

OTHER_API = {"anthropic messages"}
"""An API whose answers are compared by their shape below."""

NOT_REPEATABLE = {"blob digest mismatch", "blob upload", "blob upload again"}
"""The recording has no body to send, or a connection that broke."""


class Recorded:
    """A backend that gives one recorded answer, and checks that it is asked the recorded
    question."""

    def __init__(self):
        self.exchange, self.strange = None, []
        self._http = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"backend": self})
        )
        self.host = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    backend: Recorded

    def log_message(self, *_):
        pass

    def do_GET(self):
        exchange = self.backend.exchange
        body = (
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Length")
            else self._chunked()
        )
        if exchange is None or (
            self.path == "/api/tags" and " /api/tags" not in exchange["request"]
        ):  # it looks around
            return self._send(200, "application/json", b'{"models":[]}')
        asked, wanted = json.loads(body or "null"), exchange["body"]
        if isinstance(asked, dict):
            asked = {
                name: value
                for name, value in asked.items()
                if name != "truncate" or name in (wanted or {})
            }
            wanted = (
                {"stream": asked.get("stream"), **(wanted or {})} if "stream" in asked else wanted
            )
        if (f"{self.command} {self.path}", asked) != (exchange["request"], wanted):
            self.backend.strange.append((self.path, asked))
        return self._send(
            exchange["status"],
            exchange["headers"].get("Content-Type"),
            exchange["response"].encode(),
        )

    do_HEAD = do_POST = do_DELETE = do_GET

    def _chunked(self):
        data = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return data

    def _send(self, status, kind, data):
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@pytest.fixture(scope="module")
def backend():
    return Recorded()


@pytest.fixture(scope="module")
def running(home, backend):
    with gateway(home, backend.host, manage_models=True) as started:
        yield started


def ollamas_own(exchange):
    return (
        exchange["title"] not in OTHER_API | NOT_REPEATABLE and " /v1/" not in exchange["request"]
    )


@pytest.mark.parametrize(
    "exchange", [each for each in EXCHANGES if ollamas_own(each)], ids=lambda each: each["title"]
)
def test_a_client_gets_what_ollama_answered(running, backend, exchange):
    method, path = exchange["request"].split()
    title, body = exchange["title"], exchange["body"]
    content = body if isinstance(body, str) else json.dumps(body) if body is not None else None
    backend.exchange = exchange
    try:
        response = httpx.request(method, running.url + path, content=content, timeout=30)
    finally:
        backend.exchange = None
    strange, backend.strange = backend.strange, []
    assert response.status_code == (400 if title in CLIENTS_MISTAKE else exchange["status"])
    if method == "HEAD":
        return
    kind = exchange["headers"].get("Content-Type")
    assert response.headers.get("content-type", "").split(";")[0] == (kind or "").split(";")[0]
    assert parts(response.text) == parts(exchange["response"])
    if (
        title not in UNREADABLE | CLIENTS_MISTAKE
        and path not in ("/", "/api/nope")
        and "wrong method" not in title
    ):
        assert strange == []


def parts(text):
    """What can be compared: the lines as JSON, without what the gateway adds."""
    read = []
    for line in text.splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            read.append(line)
            continue
        if "models" in answer:
            answer["models"] = [model for model in answer["models"] if model["name"] != "auto"]
        read.append({name: value for name, value in answer.items() if name != "stock_llm"})
    return read


CHAT = {
    "model": "stock-llm:v1",
    "created_at": "2026-11-23T04:43:32.530452914Z",
    "message": {"role": "assistant", "content": "eCTra"},
    "done": True,
    "done_reason": "length",
    "prompt_eval_count": 27,
    "eval_count": 3,
}


@pytest.mark.parametrize(
    ("title", "behind"),
    [
        ("openai chat", CHAT),
        ("openai completions", {**CHAT, "response": "eCTra"}),
        ("openai unknown model", {"error": "model 'nope' not found"}),
        (
            "openai embeddings",
            {"error": "This server does not support embeddings. Start it with `--embeddings`"},
        ),
    ],
)
def test_openais_answers_have_the_recorded_shape(running, backend, title, behind):
    exchange = next(each for each in EXCHANGES if each["title"] == title)
    status = {"openai unknown model": 404, "openai embeddings": 501}.get(title, 200)
    backend.exchange = {
        "request": "",
        "body": None,
        "status": status,
        "headers": {},
        "response": json.dumps(behind),
    }
    try:
        response = httpx.post(running.url + exchange["request"].split()[1], json=exchange["body"])
    finally:
        backend.exchange = None
    assert response.status_code == exchange["status"]
    assert shape(response.json()) == shape(json.loads(exchange["response"]))


@pytest.mark.skipif(not EXCHANGES, reason="the recorded exchanges are not here")
def test_anthropics_answer_has_all_that_was_recorded(running, backend):
    exchange = next(each for each in EXCHANGES if each["title"] == "anthropic messages")
    backend.exchange = {
        "request": "",
        "body": None,
        "status": 200,
        "headers": {},
        "response": json.dumps(CHAT),
    }
    try:
        answer = httpx.post(running.url + exchange["request"].split()[1], json=exchange["body"])
    finally:
        backend.exchange = None
    recorded, ours = json.loads(exchange["response"]), answer.json()
    assert recorded["usage"].keys() <= ours["usage"].keys()
    same = {"type", "role", "model", "stop_reason"}
    assert {name: ours[name] for name in same} == {name: recorded[name] for name in same}
    assert shape(ours["content"]) == shape(recorded["content"])
    assert recorded.keys() <= ours.keys()


def shape(value):
    """Names and types; numbers of tokens and ids differ."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items() if name != "stock_llm"}
    return [shape(inner) for inner in value] if isinstance(value, list) else type(value).__name__
