"""The gateway's manners: who may come in, who waits, who is told what, and that nothing goes on for
a caller who has gone."""

import json
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
from factories.running_gateway import gateway
from fakes.scripted_ollama import ScriptedOllama

from stock_llm.errors import InputError
from stock_llm.gateway.api import connection

ASK = {
    "model": "mistral:7b",
    "messages": [{"role": "user", "content": "one two three four five"}],
    "stream": False,
}


def wait_for(what, seconds=30.0):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def metric(running, name):
    lines = [
        line for line in running.http.get("/metrics").text.splitlines() if line.startswith(name)
    ]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def test_a_caller_who_hangs_up_stops_a_stream(running, backend):
    backend.says, backend.pause = "word " * 500, 0.01
    with httpx.stream("POST", f"{running.url}/api/chat", json=ASK | {"stream": True}) as answer:
        next(answer.iter_lines())
    wait_for(lambda: backend.hung_up == 1)
    assert backend.said < 100
    wait_for(lambda: metric(running, "stock_llm_requests_in_flight") == 0)


def test_a_caller_who_hangs_up_before_the_first_word_stops_it_too(running, backend):
    backend.says, backend.pause = "word " * 20, 3.0
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{running.url}/api/chat", json=ASK | {"stream": False}, timeout=1.0)
    wait_for(lambda: metric(running, "stock_llm_requests_in_flight") == 0)
    wait_for(lambda: metric(running, "stock_llm_machine_running") == 0)


def test_a_slow_reader_slows_the_model_down(running, backend, monkeypatch):
    monkeypatch.setattr(connection, "UNREAD_SECONDS", 200.0)  # the reader may get no CPU for long
    backend.says = " ".join(["x" * 2000] * 20000)  # 40 MB
    with httpx.stream(
        "POST", f"{running.url}/api/chat", json=ASK | {"stream": True}, timeout=60
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        before = -1
        while before != backend.said:  # until buffers are full and it waits
            before = backend.said
            time.sleep(0.5)
        assert 0 < before < 15000
        for _ in range(before):
            next(lines)
        wait_for(lambda: backend.said > before)


def test_two_local_models_never_work_at_once_and_one_does_with_itself(tmp_path, backend):
    backend.pause = 0.05
    with gateway(tmp_path, backend.host, parallel=2) as running, ThreadPoolExecutor(8) as many:

        def ask(model):
            return running.http.post("/api/chat", json=ASK | {"model": model}).status_code

        assert list(many.map(ask, ["mistral:7b"] * 4)) == [200] * 4
        assert backend.busy == 2
        backend.busy = 0
        assert list(many.map(ask, ["mistral:7b", "codellama:7b", "stock-llm:latest"])) == [200] * 3
        assert backend.busy == 1


def test_a_full_queue_is_told_when_to_come_back(tmp_path, backend):
    backend.pause = 0.2
    with (
        gateway(tmp_path, backend.host, parallel=1, queue=1) as running,
        ThreadPoolExecutor(6) as many,
    ):
        answers = list(many.map(lambda _: running.http.post("/api/chat", json=ASK), range(6)))
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) == 4
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert "waiting already" in refused[0].json()["error"]


def test_a_deterministic_question_is_answered_from_memory_the_second_time(running, backend):
    cold = ASK | {"options": {"temperature": 0}}
    first, second = (running.http.post("/api/chat", json=cold) for _ in range(2))
    assert len(backend.generations()) == 1
    assert first.content == second.content
    assert "x-stock-llm-cache" not in first.headers
    assert second.headers["x-stock-llm-cache"] == "hit"
    assert first.headers["x-stock-llm-response-id"] != second.headers["x-stock-llm-response-id"]
    streamed = [
        running.http.post("/api/chat", json=cold | {"stream": True}).text.splitlines()
        for _ in range(2)
    ]
    assert len(backend.generations()) == 2
    texts = [
        "".join(json.loads(line)["message"]["content"] for line in lines) for lines in streamed
    ]
    assert texts == ["one two three four five"] * 2
    assert json.loads(streamed[1][-1])["stock_llm"]["cached"]
    for other in ({"seed": 1}, {"temperature": 0, "num_predict": 2}, {}, {}):
        running.http.post("/api/chat", json=ASK | {"options": other})
    assert len(backend.generations()) == 6


def test_a_model_that_was_published_anew_is_asked_again(running, backend, monkeypatch):
    from stock_llm.gateway.providers import registry

    monkeypatch.setattr(registry, "_REFRESH_SECONDS", 0.05)
    cold = ASK | {"options": {"seed": 5}}
    running.http.post("/api/chat", json=cold)
    backend.digests["mistral:7b"] = "f" * 64

    def asked_again():
        running.http.post("/api/chat", json=cold)
        return len(backend.generations()) == 2

    wait_for(asked_again)


def test_an_answer_that_ollama_broke_off_is_no_answer(running, backend):
    backend.unfinished = True
    refused = running.http.post("/api/chat", json=ASK)
    assert (refused.status_code, "done: false" in refused.json()["error"]) == (503, True)


def test_a_stream_that_ollama_broke_off_ends_with_an_error(running, backend):
    backend.unfinished = True
    lines = running.http.post("/api/chat", json=ASK | {"stream": True}).text.splitlines()
    assert "done: false" in json.loads(lines[-1])["error"]
    body = {"model": "mistral:7b", "messages": ASK["messages"], "stream": True}
    events = running.http.post("/v1/chat/completions", json=body).text.split("\n\n")
    assert "done: false" in json.loads(events[-2].removeprefix("data: "))["error"]["message"]
    assert "[DONE]" not in events[-1]


def test_a_connection_that_breaks_halfway_ends_with_an_error(running, backend):
    backend.breaks_after = 2
    lines = running.http.post("/api/chat", json=ASK | {"stream": True}).text.splitlines()
    assert [json.loads(line)["message"]["content"] for line in lines[:-1]] in (
        ["one"],
        ["one", " two"],
    )
    assert "error" in json.loads(lines[-1])


def test_a_prompt_that_was_cut_is_told(running, backend):
    backend.context = 3
    response = running.http.post("/api/chat", json=ASK)
    assert response.status_code == 200
    assert response.headers["x-stock-llm-note"].startswith(
        "the prompt has 5 tokens and the model's context only 3"
    )
    assert [body["truncate"] for body in backend.generations()] == [False, True]
    metadata = json.loads(
        running.http.post("/api/chat", json=ASK | {"stream": True}).text.splitlines()[-1]
    )["stock_llm"]
    assert any("left a part of it out" in note for note in metadata["notes"])
    assert running.http.post("/api/chat", json=ASK | {"truncate": False}).status_code == 400


@pytest.mark.parametrize(
    "trouble", [{"refuses": (503, "server busy")}, {"refuses": (500, "boom")}, {"garbage": True}]
)
def test_when_nobody_answers_the_reason_of_each_is_told(running, backend, trouble):
    for name, value in trouble.items():
        setattr(backend, name, value)
    refused = running.http.post("/api/chat", json=ASK)
    assert refused.status_code == 503
    assert "no provider could answer." in refused.json()["error"]
    assert "claude-api (left out): is switched off" in refused.json()["error"]
    assert "ollama (" in refused.json()["error"]


@pytest.mark.parametrize("streamed", [True, False])
def test_an_ollama_without_models_is_told_as_such(tmp_path, backend, streamed):
    backend.models = ()
    with gateway(tmp_path, backend.host) as running:
        refused = running.http.post("/api/chat", json=ASK | {"model": "auto", "stream": streamed})
    assert (refused.status_code, "has no model; run: ollama pull" in refused.json()["error"]) == (
        503,
        True,
    )


def test_the_page_for_people_loads_nothing_from_elsewhere(running):
    page = running.http.get("/docs")
    assert page.headers["content-security-policy"].startswith(
        "default-src 'none'; connect-src 'self'"
    )
    assert "http" not in page.text.replace("http-equiv", "")
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert f"/docs/{name}" in page.text
        assert len(running.http.get(f"/docs/{name}").content) > 10_000
    assert running.http.get("/docs/other.js").status_code == 404
    described = running.http.get("/openapi.json").json()
    assert {"/api/chat", "/v1/chat/completions", "/analyze", "/feedback", "/v1/route"} <= set(
        described["paths"]
    )
    for operations in described["paths"].values():
        for operation in operations.values():
            assert operation["description"]
            assert {"200", "503"} & set(operation["responses"])
            for parameter in operation.get("parameters", ()):
                assert parameter["in"] == "path" or parameter.get("description")


def test_the_token_is_asked_of_everyone_but_the_health_check(tmp_path, backend):
    with gateway(tmp_path, backend.host, token="secret") as running:
        for path in ("/api/tags", "/v1/models", "/metrics", "/docs"):
            assert running.http.get(path).status_code == 401
        assert running.http.get("/v1/models").json()["error"]["type"] == "authentication_error"
        for wrong in ("Bearer secre", "Bearer secret2", "Basic secret", "secret", "Bearer ไม่ใช่"):
            assert (
                running.http.get("/api/tags", headers={"Authorization": wrong.encode()}).status_code
                == 401
            )
        for elsewhere in ({}, {"Origin": "https://our.example"}):
            assert (
                running.http.get(
                    "/api/tags", headers={"Authorization": "Bearer secret"} | elsewhere
                ).status_code
                == 200
            )
        assert (
            running.http.get("/healthz").status_code
            == running.http.get("/readyz").status_code
            == 200
        )


def test_it_does_not_listen_to_others_without_a_token(tmp_path):
    with pytest.raises(InputError, match="there is no token"):
        gateway(tmp_path, host="0.0.0.0")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Host": "localhost:11435"}, 200),
        ({"Host": "127.0.0.1"}, 200),
    ],
)
def test_pages_from_elsewhere_may_not_ask(running, headers, status):
    assert running.http.get("/api/tags", headers=headers).status_code == status


def test_a_request_that_is_too_large_is_refused(tmp_path, backend):
    with gateway(tmp_path, backend.host, request_megabytes=0.01) as running:
        large = json.dumps(ASK | {"messages": [{"role": "user", "content": "x" * 20000}]}).encode()
        assert running.http.post("/api/chat", content=large).status_code == 413
        pieces = (large[start : start + 1000] for start in range(0, len(large), 1000))
        assert running.http.post("/api/chat", content=pieces).status_code == 413  # without a length
        assert running.http.post("/api/chat", json=ASK).status_code == 200


def test_a_graceful_end_finishes_streams(tmp_path, backend):
    backend.says, backend.pause = "word " * 30, 0.03
    with gateway(tmp_path, backend.host) as running:
        with httpx.stream("POST", f"{running.url}/api/chat", json=ASK | {"stream": True}) as answer:
            lines = answer.iter_lines()
            next(lines)
            running.stop()
            rest = [json.loads(line) for line in lines]
        assert rest[-1]["done"]


def test_where_the_settings_say_so_models_are_managed_through_the_gateway(backend, tmp_path):
    with gateway(tmp_path, backend.host, manage_models=True) as running:
        copy = {"source": "nope", "destination": "b"}
        assert running.http.post("/api/copy", json=copy).status_code == 404  # Ollama's own words
    assert backend.asked[-1][0] == "/api/copy"


def test_a_stream_that_outlives_the_shutdown_ends_with_an_error_line(tmp_path, backend):
    backend.says, backend.pause = "word " * 1000, 0.05
    lines = {}
    with gateway(tmp_path, backend.host, shutdown_seconds=0.5) as running:
        bodies = {
            "/api/chat": ASK,
            "/v1/chat/completions": ASK,
            "/v1/responses": ASK | {"input": "x"},
        }
        with ExitStack() as streams:
            open_streams = {}
            for path, body in bodies.items():
                stream = httpx.stream(
                    "POST", running.url + path, json=body | {"stream": True}, timeout=30
                )
                open_streams[path] = streams.enter_context(stream).iter_lines()
                next(open_streams[path])
            running.stop()
            lines = {path: [line for line in each if line] for path, each in open_streams.items()}
    assert json.loads(lines["/api/chat"][-1]) == {"error": "the gateway is shutting down"}
    for path in ("/v1/chat/completions", "/v1/responses"):
        assert "the gateway is shutting down" in lines[path][-1]


def test_what_is_no_unicode_becomes_the_replacement_character(running):
    for raw in (b'"one \\ud800 two"', b'"one \xff two"', b'"one \\udc00 two"'):
        turn = b'{"role": "user", "content": %b}'
        body = b'{"model": "mistral:7b", "stream": false, "messages": [' + turn + b"]}"
        answer = running.http.post("/api/chat", content=body % raw)
        assert answer.json()["message"]["content"] == "one \ufffd two"
    pair = running.http.post("/api/chat", content=body % b'"\\ud83d\\ude00"')
    assert pair.json()["message"]["content"] == "\U0001f600"


def test_metrics_have_opentelemetrys_names(running):
    running.http.post("/api/chat", json=ASK)
    running.http.post("/api/chat", json=ASK | {"stream": True})
    running.http.post("/api/chat", json=ASK | {"model": "nope"})
    text = running.http.get("/metrics").text
    who = 'gen_ai_operation_name="chat",gen_ai_provider_name="ollama",'
    who += 'gen_ai_response_model="mistral:7b"'
    assert f"gen_ai_client_operation_duration_seconds_count{{{who}}} 2.0" in text
    assert f"gen_ai_server_time_to_first_token_seconds_count{{{who}}} 1.0" in text
    assert f'gen_ai_client_token_usage_sum{{{who},gen_ai_token_type="output"}} 10.0' in text
    assert 'stock_llm_failures_total{error_type="UnknownModel"} 1.0' in text


@pytest.mark.parametrize("streamed", [True, False])
def test_tries_are_counted_although_everybody_failed(running, backend, streamed):
    backend.refuses = (500, "boom")
    assert running.http.post("/api/chat", json=ASK | {"stream": streamed}).status_code == 503
    tries = len(backend.generations())
    assert tries >= 3
    assert metric(running, "stock_llm_attempts_failed_total") == tries
    backend.refuses = None
    running.http.post("/api/chat", json=ASK | {"stream": streamed})
    assert metric(running, "stock_llm_attempts_failed_total") == tries


def test_a_hundred_streams_at_once_lose_nothing(tmp_path, backend):
    backend.pause = 0.005
    with gateway(tmp_path, backend.host, parallel=100, queue=200) as running, httpx.Client(
        base_url=running.url, timeout=60, limits=httpx.Limits(max_connections=100)
    ) as many, ThreadPoolExecutor(100) as threads:  # fmt: skip

        def ask(number):
            text = f"stream {number} one two three"
            asked = ASK | {"stream": True, "messages": [{"role": "user", "content": text}]}
            lines = many.post("/api/chat", json=asked).text.splitlines()
            return "".join(json.loads(line)["message"]["content"] for line in lines) == text

        assert all(threads.map(ask, range(100)))
    assert threading.active_count() < 60


def nested(levels):
    inner = {}
    for _ in range(levels):
        inner = {"properties": inner}
    return inner


@pytest.mark.parametrize("options", [{}, {"temperature": 0}])
@pytest.mark.parametrize("levels", [101, 300, 900])
def test_json_that_nobody_could_pass_on_is_refused(running, backend, options, levels):
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "f", "arguments": json.dumps(nested(levels))},
    }
    turns = [*ASK["messages"], {"role": "assistant", "tool_calls": [call]}]
    schema = {"type": "json_schema", "json_schema": {"schema": nested(levels)}}
    for path, body in (
        ("/api/chat", ASK | {"options": options, "format": nested(levels)}),
        ("/api/chat", ASK | {"options": options, "tools": [nested(levels)], "messages": []}),
        ("/v1/chat/completions", ASK | options | {"response_format": schema}),
        ("/v1/chat/completions", ASK | options | {"messages": turns}),
    ):
        refused = running.http.post(path, json=body)
        assert (refused.status_code, "nested" in refused.text) == (400, True), refused.text
    assert backend.asked == []
    for _ in range(2):
        assert (
            running.http.post(
                "/api/chat", json=ASK | {"options": options, "format": nested(95)}
            ).status_code
            == 200
        )


def test_a_chat_without_messages_loads_a_model_whatever_else_it_says(running):
    response = running.http.post(
        "/api/chat", json={"model": "auto", "messages": [], "prompt": "x", "stream": False}
    )
    assert (response.status_code, response.json()["done_reason"]) == (200, "load")
    response = running.http.post(
        "/api/generate", json={"model": "auto", "messages": ASK["messages"], "stream": False}
    )
    assert (response.status_code, response.json()["done_reason"]) == (200, "load")


EMBED = {"model": "nomic-embed-text", "input": ["a b c", "d"]}


@pytest.fixture
def embedder():
    with ScriptedOllama("mistral:7b", "nomic-embed-text:latest") as running:
        yield running


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/embed", EMBED),
        ("/v1/embeddings", EMBED),
        ("/api/embeddings", {"model": "nomic-embed-text", "prompt": "a"}),
    ],
)
def test_vectors_are_recorded_limited_and_told_as_any_answer(embedder, tmp_path, path, body):
    with gateway(tmp_path, embedder.host) as running:
        response = running.http.post(path, json=body)
        assert response.status_code == 200, response.text
        assert response.headers["x-stock-llm-provider"] == "ollama"
        assert "asked for" in response.headers["x-stock-llm-rule"]
        assert metric(running, "gen_ai_client_operation_duration_seconds_count") == 1
    calls = (
        sqlite3.connect(tmp_path / "data" / "costs.db")
        .execute("SELECT feature, provider, status FROM call")
        .fetchall()
    )
    assert calls == [("embed", "ollama", "ok")]


def test_a_text_that_was_cut_for_its_vector_is_told(embedder, tmp_path):
    embedder.context = 2
    with gateway(tmp_path, embedder.host) as running:
        assert (
            "left a part of it out"
            in running.http.post("/api/embed", json=EMBED).headers["x-stock-llm-note"]
        )
        refused = running.http.post("/api/embed", json=EMBED | {"truncate": False})
        assert (refused.status_code, refused.json()) == (
            400,
            {"error": "the input length exceeds the context length"},
        )
        assert (
            "x-stock-llm-note"
            not in running.http.post("/api/embed", json=EMBED | {"input": "a"}).headers
        )


def test_vectors_that_hang_give_their_turn_back(embedder, tmp_path):
    embedder.pause = 3.0
    with gateway(tmp_path, embedder.host, timeout=0.3, parallel=1) as running:
        late = running.http.post("/api/embed", json=EMBED)
        assert (late.status_code, "no answer within 0.3 s" in late.json()["error"]) == (503, True)
        embedder.pause = 0.0
        assert running.http.post("/api/chat", json=ASK).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/embed", EMBED),
        ("/api/embeddings", {"model": "nomic-embed-text", "prompt": "a"}),
        ("/v1/embeddings", EMBED),
        ("/api/chat", ASK),
        ("/api/chat", ASK | {"_debug_render_only": True}),
    ],
)
def test_nothing_private_goes_to_an_ollama_elsewhere(tmp_path, path, body):
    with gateway(tmp_path, "http://192.0.2.1:9", embedded=False) as running:
        refused = running.http.post(path, json=body, headers={"x-stock-llm-privacy": "local"})
    assert (refused.status_code, "must stay there" in refused.text) == (503, True), refused.text


def test_models_of_ollamas_cloud_are_not_this_machines(tmp_path):
    with (
        ScriptedOllama("gpt-oss:120b-cloud", "mistral:7b") as backend,
        gateway(tmp_path, backend.host) as running,
    ):
        for path, body in (("/api/chat", ASK), ("/api/embed", EMBED)):
            refused = running.http.post(path, json=body | {"model": "gpt-oss:120b-cloud"})
            assert (refused.status_code, "ollama.com" in refused.json()["error"]) == (400, True), (
                refused.text
            )
        assert (
            running.http.post("/api/chat", json=ASK | {"model": "auto"}).json()["model"]
            == "mistral:7b"
        )
        assert [body["model"] for body in backend.generations()] == ["mistral:7b"]


@pytest.mark.parametrize("lists", ["<html>", '{"models": null}', '{"models": [{"size": 1}]}', "[]"])
def test_a_list_of_models_that_is_none_is_ollamas_fault_and_not_ours(tmp_path, lists):
    with ScriptedOllama() as backend, gateway(tmp_path, backend.host) as running:
        backend.lists = lists
        response = running.http.get("/api/tags")
    assert (response.status_code, "no list of models" in response.json()["error"]) == (502, True), (
        response.text
    )


def test_a_prompt_that_was_cut_because_the_caller_allowed_it_is_told_too(running, backend):
    backend.context = 3
    assert (
        "left a part of it out"
        in running.http.post("/api/chat", json=ASK | {"truncate": True}).headers["x-stock-llm-note"]
    )
