"""Without an Ollama the published model answers from the gateway's own process, as Ollama would; and stops when told."""

import json
import queue
import socket
import sqlite3
import time
from pathlib import Path

import httpx
import ollama
import psutil
import pytest
from factories.parrot_gguf import write_parrot, write_parrot_lora
from factories.rows import rows_of_all_skills
from factories.running_gateway import answer_of, gateway, post

from stock_llm.errors import StockLLMError
from stock_llm.evaluation.answers import AnswerError, parse_answer
from stock_llm.gateway.providers import embedded
from stock_llm.gateway.providers.concurrency import ConcurrencyLimit
from stock_llm.gateway.providers.embedded import EmbeddedProvider, keep_alive_seconds
from stock_llm.gateway.providers.embedded_worker import _Memory
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.llm.prompts import SYSTEM, user_text
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.publish_target import StoreTarget
from stock_llm.ollama.store import OllamaStore
from stock_llm.truth.verdicts import false_sentences

ASK = [{"role": "user", "content": "Analyze ORCA."}]
PARAMETERS = {"temperature": 0.0, "num_ctx": 512, "num_predict": 24, "stop": MISTRAL_V3.stop}


@pytest.fixture(scope="module")
def home(home, tiny_base) -> Path:
    gguf = home / "tiny.gguf"
    write_gguf(tiny_base / "models" / "tiny", gguf, "tiny", MISTRAL_V3.jinja)
    modelfile = Modelfile(
        from_=str(gguf), template=MISTRAL_V3.go, system=SYSTEM, parameters=PARAMETERS
    )
    store = OllamaStore(home / "models" / "ollama")
    store.write_model("stock-llm:v1", gguf, modelfile)
    store.tag("stock-llm:v1", "stock-llm:latest")
    return home


@pytest.fixture(scope="module")
def running(home):
    with gateway(home, embedded_megabytes=128) as started:
        yield started


def workers():
    return [
        child
        for child in psutil.Process().children()
        if "stock_llm.gateway.providers.embedded_worker" in child.cmdline()
    ]


def test_it_answers_with_the_words_of_the_published_model(running, home):
    expected = (
        StoreTarget(OllamaStore(home / "models" / "ollama"), threads=1)
        .ask("stock-llm:latest", ASK)
        .text
    )
    client = ollama.Client(running.url)
    whole = client.chat("stock-llm", ASK)
    assert whole.message.content == expected
    pieces = list(client.chat("auto", ASK, stream=True))
    assert len(pieces) > 5
    assert "".join(piece.message.content for piece in pieces) == expected
    assert pieces[-1].eval_count == whole.eval_count > 5
    assert pieces[-1].prompt_eval_count > 10
    assert len(workers()) == 1


def test_generate_renders_as_ollama_does_and_raw_does_not(running):
    def tokens(**asked):
        response = running.http.post(
            "/api/generate",
            json={"model": "stock-llm", "stream": False, "options": {"num_predict": 1}} | asked,
        )
        return response.json()["prompt_eval_count"]

    rendered = f"[INST] {SYSTEM}\n\nAnalyze ORCA.[/INST]"
    assert tokens(prompt="Analyze ORCA.") == tokens(prompt=rendered, raw=True)
    assert tokens(prompt="Analyze ORCA.", system="Other.") < tokens(prompt="Analyze ORCA.")


def test_an_answer_obeys_a_schema(running):
    schema = {
        "type": "object",
        "properties": {"signal": {"enum": ["BUY", "SELL", "HOLD"]}},
        "required": ["signal"],
        "additionalProperties": False,  # a random model would write others without end
    }
    body = {
        "model": "stock-llm",
        "messages": ASK,
        "format": schema,
        "stream": False,
        "options": {"num_predict": 60},
    }
    answer = running.http.post("/api/chat", json=body).json()
    assert json.loads(answer["message"]["content"])["signal"] in ("BUY", "SELL", "HOLD")


def test_about_known_numbers_only_true_sentences_are_written(running):
    """The model is a random one; what it may write is all that keeps it from nonsense."""
    (row,) = rows_of_all_skills(1)
    asked = [{"role": "user", "content": user_text(row.instruction, row.input)}]
    options = {"num_predict": 400, "num_ctx": 1024, "temperature": 1.0, "seed": 1}

    def said(messages):
        body = {"model": "stock-llm", "messages": messages, "options": options, "stream": False}
        return running.http.post("/api/chat", json=body).json()["message"]["content"]

    answer = parse_answer(said(asked))
    assert answer.bullets
    assert false_sentences(row, answer.text()) == []
    for free in ([*asked, {"role": "assistant", "content": "?"}, *ASK], ASK):
        with pytest.raises(AnswerError):
            parse_answer(said(free))


def test_the_grammar_of_true_sentences_can_be_turned_off(home):
    (row,) = rows_of_all_skills(1)
    turns = [{"role": "user", "content": user_text(row.instruction, row.input)}]
    store = OllamaStore(home / "models" / "ollama")
    free = EmbeddedProvider(store, 1, 128, 1, ConcurrencyLimit(1, 1), true_sentences=False)
    assert free._grammar(turns) == ""
    assert EmbeddedProvider(store, 1, 128, 1, ConcurrencyLimit(1, 1))._grammar(turns)


def test_a_seed_repeats_an_answer_and_temperature_changes_it(running):
    def text_of_answer(**options):
        asked = {"model": "stock-llm", "messages": ASK, "stream": False, "options": options}
        return running.http.post("/api/chat", json=asked).json()["message"]["content"]

    warm = {"temperature": 1.5, "top_k": 100, "top_p": 1.0}
    assert text_of_answer(**warm, seed=3) == text_of_answer(
        **warm, seed=3, stop=["never"]
    )  # not the same to the cache
    assert len({text_of_answer(**warm, seed=seed) for seed in range(4)}) > 1


@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        ({"messages": [{"role": "user", "content": "1 " * 600}]}, 400, "the context only 512"),
        ({"messages": ASK, "format": {"type": "nonsense"}}, 400, "JSON schema"),
        ({"messages": ASK, "options": {"num_ctx": 2**19}}, 400, "a context of 524288 tokens"),
        ({"messages": ASK, "options": {"num_ctx": 2**40}}, 400, "num_ctx must be from 1 to"),
        ({"messages": ASK, "options": {"num_ctx": 0}}, 400, "num_ctx must be from 1 to"),
        ({"messages": ASK, "options": {"num_ctx": 1}}, 400, "the context only 1"),
        ({"messages": ASK, "model": "nope"}, 404, "model 'nope' not found"),
        ({"messages": ASK, "think": True}, 400, "'stock-llm' does not support thinking"),
        ({"messages": ASK, "logprobs": True}, 400, "does not support logprobs without an Ollama"),
        ({"messages": ASK, "keep_alive": "soon"}, 400, "keep_alive 'soon' is no duration"),
        ({"messages": ASK, "options": {"stop": ["x" * 1001]}}, 400, "options.stop"),
        ({"messages": ASK, "options": {"stop": ["x"] * 65}}, 400, "options.stop"),
        ({"messages": [{"role": "user", "content": "x" * 200_000}]}, 400, "the context only 512"),
    ],
)
def test_what_it_cannot_do_it_says(running, asked, status, text):
    refused = running.http.post("/api/chat", json={"model": "stock-llm", "stream": False} | asked)
    assert (refused.status_code, text in refused.json()["error"]) == (status, True), refused.text


def nested(word: str, count: int, inner: str = "x") -> str:
    """A template of blocks inside each other."""
    return f"{{{{ {word} .Messages }}}}" * count + inner + "{{ end }}" * count


ATTACKS = {
    "forty ranges inside each other": nested("range $.", 40).replace("$. .", "$."),
    "a megabyte of numbers": "{{0}}" * 200_000,
    "two thousand ifs inside each other": nested("if", 2000),
    "two thousand else ifs": "{{ if .System }}" + "{{ else if .System }}" * 2000 + "{{ end }}",
    "two thousand brackets": "{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}",
    "a number of 5,000 digits": "{{ " + "9" * 5000 + " }}",
    "half a surrogate pair": '{{ "\\ud800" }}',
    "a loop over long text": "{{ range .Messages }}{{ len .Content }}{{ end }}" * 1500,
    "spaces before an assignment": "{{ range" + " " * 60_000 + "}}{{ end }}",
    "an open comment": "{{/* " * 12_000,
    "as many ifs as 2 KB hold": "{{ if .System }}" * 125,
    "as many brackets as 2 KB hold": "{{ " + "(" * 900 + "1" + ")" * 900 + " }}",
    "as many numbers as 2 KB hold": "{{0}}" * 350 + "{{",
    "as many comments as 2 KB hold": "{{/* " * 380,
}


@pytest.mark.parametrize("template", ATTACKS.values(), ids=ATTACKS)
def test_a_template_of_a_request_holds_nobody_up_and_is_the_callers_fault(running, template):
    """The gateway answers others meanwhile, the model is not counted as failed, and the 400 comes at once."""
    failures = running.http.get("/metrics").text.count("stock_llm_attempts_failed_total{")
    body = {"model": "stock-llm", "prompt": "x" * 100_000, "template": template, "stream": False}
    if len(template) < 2048:
        body["prompt"] = "x"
    answers = []

    def attack(callers):
        caller = callers.enter_context(running.connect())
        caller.sendall(post("/api/generate", json.dumps(body)))
        callers.callback(lambda: answers.append(answer_of(caller)))
        return [caller]

    began = time.monotonic()
    assert running.stall(attack) < 0.1
    for status, text in answers:
        assert (status, "template, line" in json.loads(text)["error"]) == (400, True)
    assert time.monotonic() - began < 5 * len(answers)
    assert running.http.get("/metrics").text.count("stock_llm_attempts_failed_total{") == failures
    answer = running.http.post(
        "/api/chat", json={"model": "stock-llm", "messages": ASK, "stream": False}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize("field", ["prompt", "system", "template"])
def test_half_a_surrogate_pair_is_no_failure_of_the_model(running, field):
    text = json.dumps({"model": "stock-llm", "prompt": "x", "stream": False} | {field: "a\ud800b"})
    answer = running.http.post("/api/generate", content=text)
    assert answer.status_code in (200, 400), answer.text
    assert running.http.get("/readyz").json()["providers"]["embedded"]["resting_seconds"] == 0


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"suffix": "b"}, "does not support suffix"),
        ({"context": [1, 2]}, "does not support context"),
    ],
)
def test_what_generate_has_and_the_model_cannot_is_refused(running, body, text):
    asked = {"model": "stock-llm", "prompt": "a", "stream": False} | body
    refused = running.http.post("/api/generate", json=asked)
    assert (refused.status_code, text in refused.json()["error"]) == (400, True), refused.text


def test_a_message_of_open_webui_with_its_tools_is_answered(running, open_webui_chat):
    streamed = running.http.post("/api/chat", content=open_webui_chat)
    assert streamed.status_code == 200, streamed.text
    *pieces, last = (json.loads(line) for line in streamed.text.splitlines())
    assert "".join(piece["message"]["content"] for piece in pieces)
    assert (last["done"], last["done_reason"]) in ((True, "stop"), (True, "length"))


def test_tools_that_come_with_every_message_leave_the_answer_as_it_is(running):
    plain = {"model": "stock-llm", "messages": ASK, "stream": False}
    tool = {
        "type": "function",
        "function": {"name": "current_time", "parameters": {"type": "object"}},
    }
    turns = [*ASK, {"role": "assistant", "content": ""}, {"role": "tool", "content": "12:00"}, *ASK]
    answers = [
        running.http.post("/api/chat", json=plain | extra).json()
        for extra in ({}, {"tools": [tool] * 36})
    ]
    assert answers[0]["message"] == answers[1]["message"]
    assert answers[0]["prompt_eval_count"] == answers[1]["prompt_eval_count"]
    later = running.http.post("/api/chat", json=plain | {"messages": turns, "tools": [tool]})
    assert later.status_code == 200, later.text


def test_tools_are_refused_where_the_template_does_not_take_them(running, home):
    store = OllamaStore(home / "models" / "ollama")
    template = MISTRAL_V3.go.replace("{{ if .Tools }}{{ end }}", "")
    modelfile = Modelfile(from_="tiny.gguf", template=template, parameters=PARAMETERS)
    store.write_model("older:v1", home / "tiny.gguf", modelfile)
    running.http.get("/api/tags")
    body = {"model": "older:v1", "messages": ASK, "stream": False, "tools": [{"type": "function"}]}
    refused = running.http.post("/api/chat", json=body)
    assert (refused.status_code, refused.json()["error"]) == (
        400,
        "older:v1 does not support tools",
    )


SCHEMA = {
    "type": "object",
    "properties": {
        "code": {"type": "string"},
        "confidence": {"type": "integer", "minimum": 0, "maximum": 100},
    },
    "required": ["code", "confidence"],
    "additionalProperties": False,
}


def test_every_answer_under_a_schema_that_ends_with_stop_is_json_that_fits(running):
    """At temperature 1, as many clients ask: no line breaks inside strings, no number beyond its limits."""
    ended = 0
    for seed in range(25):
        body = {
            "model": "stock-llm",
            "seed": seed,
            "temperature": 1.5,
            "max_tokens": 200,
            "messages": ASK,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": SCHEMA},
            },
        }
        choice = running.http.post("/v1/chat/completions", json=body).json()["choices"][0]
        if choice["finish_reason"] == "stop":
            ended += 1
            answer = json.loads(choice["message"]["content"])
            assert set(answer) == {"code", "confidence"}
            assert 0 <= answer["confidence"] <= 100
    assert ended


@pytest.mark.parametrize("keyword", ["not", "uniqueItems", "contains"])
def test_a_constraint_that_cannot_be_kept_is_refused_by_its_name(running, keyword):
    value = {"not": {}, "uniqueItems": True, "contains": {}}[keyword]
    schema = {"properties": {"a": {"type": "array", "items": {}, keyword: value}}}
    body = {"model": "stock-llm", "messages": ASK, "format": schema, "stream": False}
    refused = running.http.post("/api/chat", json=body)
    assert (refused.status_code, refused.json()["error"]) == (
        400,
        f"JSON schema: {keyword} cannot be kept",
    )


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *((None, 300), (0, 0), ("0", 0), (90, 90), ("10m", 600), ("1h30m", 5400), ("500ms", 0.5)),
        *((-1, None), ("-1", None), ("-5m", None)),
    ],
)
def test_keep_alive_is_read_as_ollama_reads_it(value, seconds):
    assert keep_alive_seconds(value, 300) == seconds


def test_wild_options_change_an_answer_and_break_nothing(running):
    options = {
        "top_k": -5,
        "temperature": 1e30,
        "seed": 2**62,
        "repeat_last_n": -(2**40),
        "repeat_penalty": 0,
        "num_predict": 5,
    }
    for name, value in options.items():
        body = {
            "model": "stock-llm",
            "stream": False,
            "messages": ASK,
            "options": {"num_predict": 5, name: value},
        }
        assert running.http.post("/api/chat", json=body).status_code == 200, (name, value)
    response = running.http.post(
        "/api/chat", json={"model": "stock-llm", "messages": ASK, "stream": False}
    )
    assert response.status_code == 200


def test_models_are_listed_and_shown_from_the_folder(running):
    client = ollama.Client(running.url)
    assert [model.model for model in client.list().models] == [
        "stock-llm:latest",
        "stock-llm:v1",
        "auto",
    ]
    shown = client.show("stock-llm:v1")
    assert shown.template == MISTRAL_V3.go
    assert "num_ctx                        512" in shown.parameters
    assert client.chat("stock-llm", []).done_reason == "load"
    assert running.http.get("/api/version").json() == {"version": "0.32.15"}
    assert running.http.get("/readyz").json()["providers"]["embedded"]["ok"]


def test_a_model_that_is_not_whole_is_not_listed(running, home):
    manifests = home / "models" / "ollama" / "manifests" / "registry.ollama.ai" / "library" / "half"
    manifests.mkdir()
    (manifests / "latest").write_text('{"config": {"digest": "sha256:0"}, "layers": [')
    try:
        assert "half:latest" not in [
            model["name"] for model in running.http.get("/api/tags").json()["models"]
        ]
        assert running.http.post("/api/show", json={"model": "half"}).status_code == 404
    finally:
        (manifests / "latest").unlink()
        manifests.rmdir()


def test_a_caller_who_hangs_up_stops_the_model_at_its_next_token(running, monkeypatch):
    short = {"model": "stock-llm", "messages": ASK, "stream": False}
    running.http.post("/api/chat", json=short)  # the model is loaded
    (worker,) = workers()
    sent = queue.SimpleQueue()
    send = embedded._send

    async def spy(process, line):
        await send(process, line)
        sent.put(line)

    monkeypatch.setattr(embedded, "_send", spy)
    options = {"num_predict": 400, "temperature": 2.0, "stop": ["\0"]}
    body = json.dumps(short | {"stream": True, "options": options}).encode()
    worker.suspend()  # whatever its speed, it has not answered when the caller hangs up
    try:
        with socket.create_connection(httpx.URL(running.url).netloc.decode().split(":")) as caller:
            head = (
                f"POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            caller.sendall(head.encode() + body)
            assert "prompt" in sent.get(timeout=30)
        assert "cancel" in sent.get(timeout=30)
    finally:
        worker.resume()
    assert running.http.post("/api/chat", json=short).status_code == 200
    assert workers() == [worker]  # it was stopped, not killed
    with sqlite3.connect(running.settings.home / "data" / "costs.db") as database:
        until = time.monotonic() + 30
        while not database.execute("SELECT 1 FROM call WHERE status = 'cancelled'").fetchall():
            assert time.monotonic() < until, "the answer was not recorded as cancelled"
            time.sleep(0.05)


def test_a_killed_worker_is_an_unanswered_question_and_the_next_one_gets_a_new_one(running):
    running.http.post("/api/chat", json={"model": "stock-llm", "messages": ASK, "stream": False})
    (worker,) = workers()
    worker.kill()
    until = time.monotonic() + 30
    while (
        worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE
    ):  # its exit code is the gateway's to read
        assert time.monotonic() < until
        time.sleep(0.01)
    response = running.http.post(
        "/api/chat", json={"model": "stock-llm", "messages": ASK, "stream": False}
    )
    assert response.status_code == 200
    assert worker not in workers()


def test_the_worker_ends_with_the_gateway(home, tmp_path, monkeypatch):
    monkeypatch.setenv("STOCK_LLM_SECRETS", str(tmp_path / "secrets"))
    before = workers()
    with gateway(home) as started:
        assert (
            started.http.post(
                "/api/chat", json={"model": "stock-llm", "messages": ASK, "stream": False}
            ).status_code
            == 200
        )
        (ours,) = set(workers()) - set(before)
    assert not ours.is_running()


def test_an_idle_model_leaves_memory_and_comes_back(home, tmp_path, monkeypatch):
    monkeypatch.setenv("STOCK_LLM_SECRETS", str(tmp_path / "secrets"))
    before = workers()
    with gateway(home, embedded_minutes=0.005) as started:
        for _ in range(2):
            asked = started.http.post(
                "/api/chat", json={"model": "stock-llm", "messages": ASK, "stream": False}
            )
            assert asked.status_code == 200
            (ours,) = set(workers()) - set(before)
            ours.wait(10)


def test_a_model_larger_than_allowed_is_refused(home):
    with pytest.raises(StockLLMError, match="larger than the 0 MB"):
        _Memory(threads=1, megabytes=0).model(home / "tiny.gguf", "", 512)


def test_the_length_of_the_context_is_told(running):
    shown = running.http.post("/api/show", json={"model": "stock-llm:v1"}).json()
    lengths = {name: value for name, value in shown["model_info"].items() if "context" in name}
    assert list(lengths.values()) == [512]
    assert list(lengths) == [shown["model_info"]["general.architecture"] + ".context_length"]


def test_a_version_with_an_adapter_answers_with_it(tmp_path):
    store = OllamaStore(tmp_path / "models" / "ollama")
    gguf = write_parrot(tmp_path / "parrot.gguf", "I am the base", others=["with the adapter"])
    write_parrot_lora(tmp_path / "lora.gguf", 1, 1)
    for name, adapter in (("stock-llm:v1", "lora.gguf"), ("stock-llm:v2", "")):
        modelfile = Modelfile(
            from_="parrot.gguf",
            adapter=adapter,
            template="{{ range .Messages }}{{ .Content }}{{ end }}",
            parameters={**PARAMETERS, "stop": ("</s>",)},
        )
        store.write_model(name, gguf, modelfile)
    with gateway(tmp_path, embedded_megabytes=128, grounding="off") as started:
        client = ollama.Client(started.url)
        for name, says in (("v1", "with the adapter"), ("v2", "I am the base")) * 2:
            assert client.chat(f"stock-llm:{name}", ASK).message.content == says
