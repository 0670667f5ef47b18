"""Callers who send slowly, too much, or never read hold up nobody else and are told why they are
refused."""

import json
import logging
import time
from contextlib import ExitStack

import httpx
import psutil
import pytest
from factories.running_gateway import answer_of, gateway, post

from stock_llm.gateway.api import connection, middleware

ASK = {"model": "mistral:7b", "messages": [{"role": "user", "content": "one two"}], "stream": False}
HEAD = b"POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture
def impatient(monkeypatch):
    for name in ("HEAD_SECONDS", "BODY_IDLE_SECONDS", "UNREAD_SECONDS"):
        monkeypatch.setattr(connection, name, 0.4)
    monkeypatch.setattr(connection, "BODY_TOTAL_SECONDS", 1.5)


def test_a_head_without_end_is_refused_before_the_token_is_checked(backend, tmp_path):
    with gateway(tmp_path, backend.host, token="secret") as running, running.connect() as caller:
        caller.sendall(HEAD + b"X-Long: ")
        with pytest.raises(OSError):
            for _ in range(1000):
                caller.sendall(b"x" * 8192)
                time.sleep(0.001)
        assert running.http.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "fields",
    [b"X-Long: " + b"x" * 40_000, b"".join(b"X-%d: x\r\n" % number for number in range(120))],
    ids=["long", "many"],
)
def test_a_head_that_is_too_large_is_431(running, fields):
    with running.connect() as caller:
        caller.sendall(HEAD + fields.rstrip() + b"\r\n\r\n")
        status, text = answer_of(caller)
    assert (status, "the request head" in text) == (431, True)


def test_a_trailer_without_end_is_refused(running):
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    with running.connect() as caller, pytest.raises(OSError):
        caller.sendall(chunked)
        for number in range(200_000):
            caller.sendall(b"X-%d: x\r\n" % number)


def test_what_is_no_http_is_400_and_no_line_in_the_log(running, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            with running.connect() as caller:
                caller.sendall(b"\x16\x03\x01 hello\r\n\r\n")
                assert answer_of(caller)[0] == 400
    assert caplog.records == []


@pytest.mark.usefixtures("impatient")
def test_a_head_or_a_body_that_stops_halfway_is_408(running):
    begun = HEAD + b"Content-Length: 100\r\n\r\n{"
    for sent in (HEAD, begun):
        with running.connect() as caller:
            caller.sendall(sent)
            status, text = answer_of(caller)
        assert (status, "error" in json.loads(text)) == (408, True)
    with running.connect() as caller:  # nothing at all: closed without a word
        assert answer_of(caller) == (0, "")


@pytest.mark.usefixtures("impatient")
def test_a_body_that_trickles_is_408(running):
    with running.connect() as caller:
        caller.sendall(HEAD + b"Content-Length: 100\r\n\r\n")
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < 10:
                caller.sendall(b" ")
                time.sleep(0.1)
        assert time.monotonic() - began < 5


@pytest.mark.usefixtures("impatient")
def test_a_caller_who_never_reads_gives_its_turn_back(backend, tmp_path):
    backend.says = " ".join(["x" * 2000] * 20000)  # 40 MB
    with gateway(tmp_path, backend.host, parallel=1, queue=1) as running, ExitStack() as callers:
        body = json.dumps(ASK | {"stream": True}).encode()
        for _ in range(2):
            caller = callers.enter_context(running.connect())
            caller.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.3)
        busy = running.http.post("/api/chat", json=ASK)
        assert (busy.status_code, int(busy.headers["retry-after"]) >= 1) == (503, True)
        until = time.monotonic() + 20
        while running.http.get("/metrics").text.count("stock_llm_machine_running 0.0") == 0:
            assert time.monotonic() < until
            time.sleep(0.1)
        backend.says = "done"
        assert running.http.post("/api/chat", json=ASK).status_code == 200


def test_many_half_open_requests_leave_it_answering(running):
    def attack(callers):
        for number in range(400):
            caller = callers.enter_context(running.connect())
            caller.sendall((HEAD, HEAD + b"Content-Length: 1000\r\n\r\n{", b"")[number % 3])
        assert running.http.post("/api/chat", json=ASK).status_code == 200

    assert running.stall(attack) < 0.1


def test_the_oldest_unfinished_connection_makes_room_for_a_new_one(running, monkeypatch):
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 20)
    with ExitStack() as callers:
        for _ in range(60):
            callers.enter_context(running.connect()).sendall(HEAD)
        assert httpx.get(f"{running.url}/healthz", timeout=5).status_code == 200


def test_the_head_that_began_first_makes_room(running, monkeypatch):
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 2)
    with running.connect() as first, running.connect() as second:
        first.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"ok" in first.recv(65536)
        second.sendall(HEAD)
        time.sleep(0.1)
        first.sendall(HEAD)  # opened first, but its head is the newer one
        time.sleep(0.1)
        with running.connect() as third:
            third.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"ok" in third.recv(65536)
        assert answer_of(second) == (0, "")
        first.sendall(b"Content-Length: 2\r\n\r\n{}")
        assert first.recv(65536).startswith(b"HTTP/1.1 400")


def test_where_no_connection_can_be_closed_a_new_one_is_refused(running, monkeypatch):
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 3)
    with ExitStack() as callers:
        for _ in range(3):
            caller = callers.enter_context(running.connect())
            caller.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        time.sleep(0.2)
        status, text = answer_of(callers.enter_context(running.connect()))
        assert (status, "too many connections" in text) == (503, True)
    time.sleep(0.2)
    assert httpx.get(f"{running.url}/healthz", timeout=5).status_code == 200


def test_an_empty_line_after_an_answer_does_not_keep_the_connection_open(running):
    running.keep_connections_open_for(0.5)
    with running.connect() as caller:
        caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"ok" in caller.recv(65536)
        caller.sendall(b"\r\n")
        caller.settimeout(5)
        assert caller.recv(65536) == b""


def test_an_idle_connection_is_not_closed_while_its_next_request_is_answered(running, backend):
    running.keep_connections_open_for(0.3)
    backend.pause = 0.6
    body = json.dumps(ASK).encode()
    with running.connect() as caller:
        caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + HEAD)
        assert b"ok" in caller.recv(65536)  # this answer ended within the next request's head
        caller.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert caller.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.usefixtures("impatient")
def test_no_second_answer_follows_one_that_came_before_the_body(backend, tmp_path):
    with gateway(tmp_path, backend.host, token="secret") as running, running.connect() as caller:
        caller.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        received = b""
        while piece := caller.recv(65536):
            received += piece
    assert (received.count(b"HTTP/1.1"), received[9:12]) == (1, b"401")


def test_large_bodies_at_once_are_limited_together(monkeypatch, backend, tmp_path):
    monkeypatch.setattr(middleware, "BODIES_AT_ONCE", 2)
    with gateway(tmp_path, backend.host, request_megabytes=0.5) as running, ExitStack() as callers:
        for _ in range(4):
            caller = callers.enter_context(running.connect())
            caller.sendall(HEAD + b"Content-Length: 500000\r\n\r\n" + b" " * 400_000)
        time.sleep(0.5)
        large = json.dumps(ASK | {"messages": [{"role": "user", "content": "x" * 300_000}]})
        refused = httpx.post(f"{running.url}/api/chat", content=large, timeout=20)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    # what was held is given back
    with gateway(tmp_path, backend.host, request_megabytes=0.5) as running:
        assert running.http.post("/api/chat", content=large).status_code == 200


def test_uploads_that_are_aborted_write_no_line_into_the_log(running, caplog):
    with caplog.at_level(logging.WARNING):
        for path in (b"/api/chat", b"/v1/chat/completions", b"/analyze", b"/v1/messages"):
            for _ in range(10):
                with running.connect() as caller:
                    begun = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{"
                    caller.sendall(begun % path)
        time.sleep(0.5)
        assert running.http.get("/healthz").status_code == 200
    assert caplog.records == []


def test_a_blob_upload_that_is_aborted_writes_no_line_either(backend, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    path = b"/api/blobs/sha256:" + b"0" * 64
    with gateway(tmp_path, backend.host, manage_models=True) as running:
        for _ in range(10):
            with running.connect() as caller:
                begun = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{"
                caller.sendall(begun % path)
        time.sleep(0.5)
        assert running.http.get("/healthz").status_code == 200
    assert caplog.records == []


def nested(levels, inner):
    return "".join("{" + f'"a{n}":' for n in range(levels)) + inner + "}" * levels


ATTACKS = {
    "nested objects": ("/api/chat", nested(200, "1")),
    "nested lists": ("/api/chat", "[" * 2000),
    "a number without end": (
        "/api/generate",
        '{"model": "auto", "prompt": "x", "a": ' + "1" * 1900 + "}",
    ),
    "surrogates": (
        "/api/chat",
        json.dumps(ASK | {"messages": [{"role": "user", "content": "\ud800" * 250}]}),
    ),
    "many stops": ("/api/chat", json.dumps(ASK | {"options": {"stop": ["x"] * 300}})),
    "many turns": (
        "/v1/chat/completions",
        json.dumps({"model": "auto", "messages": [{"role": "user"}] * 80}),
    ),
    "spaces": (
        "/api/chat",
        json.dumps(ASK | {"messages": [{"role": "user", "content": " " * 1900}]}),
    ),
    "task": (
        "/api/chat",
        json.dumps(
            ASK
            | {
                "messages": [
                    {
                        "role": "user",
                        "content": "### Task:" + "<chat_history>" * 130 + "</chat_history>",
                    }
                ]
            }
        ),
    ),
    "brackets": ("/v1/responses", '{"model": "auto", "input": ' + "[" * 1900 + "}"),
    "unions": ("/v1/responses", json.dumps({"model": "auto", "input": [{"type": "x"}] * 120})),
    "blocks": (
        "/v1/messages",
        json.dumps(
            {
                "model": "auto",
                "max_tokens": 1,
                "messages": [{"role": "user", "content": [{"type": "x"}] * 110}],
            }
        ),
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_small_request_stalls_the_others(running, attack):
    path, body = ATTACKS[attack]
    assert len(body) <= 2048

    def attack(callers):
        asked = [callers.enter_context(running.connect()) for _ in range(3)]
        for caller in asked:
            caller.sendall(post(path, body))
        return asked

    assert running.stall(attack) < 0.1


@pytest.mark.soak
def test_a_minute_of_bad_callers_leaves_memory_and_answers_as_they_were(running):
    process = psutil.Process()
    before, waits = process.memory_info().rss, []
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with ExitStack() as callers:
            for number in range(300):
                caller = callers.enter_context(running.connect())
                body = (b"", b"{", b" " * 60_000)[number % 3]
                length = b"Content-Length: 100000\r\n\r\n"
                caller.sendall(HEAD + (length + body if number % 4 else b"X-Long: " + b"x" * 9000))
            waits.append(running.longest_wait(0.5))
    assert sorted(waits)[len(waits) // 2] < 0.1, waits
    assert process.memory_info().rss - before < 100e6
    assert running.http.post("/api/chat", json=ASK).status_code == 200
