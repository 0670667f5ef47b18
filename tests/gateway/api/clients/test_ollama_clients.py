"""Clients of Ollama are clients of the gateway: the official one, LangChain's, curl."""

import json
import subprocess

import ollama
import pytest

WORDS = "Close 104.20 is above SMA50 99.10 today"


@pytest.fixture
def client(running):
    return ollama.Client(running.url)


def test_the_official_client_chats(client):
    answer = client.chat("stock-llm", [{"role": "user", "content": WORDS}])
    assert answer.message.content == WORDS
    assert (answer.done, answer.done_reason, answer.eval_count) == (True, "stop", 7)


def test_the_official_client_streams_and_the_last_piece_says_that_it_is(client):
    pieces = list(client.chat("auto", [{"role": "user", "content": WORDS}], stream=True))
    assert "".join(piece.message.content for piece in pieces) == WORDS
    assert [piece.done for piece in pieces] == [False] * 7 + [True]


def test_the_official_client_generates_with_options_and_streams(client, backend):
    answer = client.generate(
        "mistral:7b",
        WORDS,
        system="Be short.",
        options={"num_predict": 3, "temperature": 0.5, "stop": ["x"]},
    )
    assert (answer.response, answer.done_reason) == ("Close 104.20 is", "length")
    path, asked = backend.asked[-1]
    assert (path, asked["system"], asked["options"]) == (
        "/api/generate", "Be short.", {"num_predict": 3, "temperature": 0.5, "stop": ["x"]},
    )  # fmt: skip
    assert (
        "".join(piece.response for piece in client.generate("mistral:7b", WORDS, stream=True))
        == WORDS
    )


def test_the_official_client_embeds(client):
    assert client.embed("nomic-embed-text", ["a", "b"]).embeddings == [[0.6, 0.8], [0.6, 0.8]]
    with pytest.raises(ollama.ResponseError, match="does not support embeddings") as refused:
        client.embed("mistral:7b", "a")
    assert refused.value.status_code == 501


def test_the_official_client_lists_and_shows(client):
    names = [model.model for model in client.list().models]
    assert names == [
        "stock-llm:latest",
        "mistral:7b",
        "codellama:7b",
        "nomic-embed-text:latest",
        "auto",
    ]
    assert client.show("mistral:7b").template == "{{ .Prompt }}"
    assert client.show("auto").capabilities == ["completion"]
    assert client.ps().models == []


def test_a_model_that_is_not_there_is_an_error_in_ollamas_words(client):
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as refused:
        client.chat("nope", [{"role": "user", "content": "hi"}])
    assert refused.value.status_code == 404


def test_langchain_invokes_and_streams(running):
    from langchain_ollama import ChatOllama

    chat = ChatOllama(
        model="stock-llm", base_url=running.url, temperature=0, validate_model_on_init=True
    )
    answer = chat.invoke(WORDS)
    assert answer.content == WORDS
    assert answer.usage_metadata["output_tokens"] == 7
    assert "".join(piece.content for piece in chat.stream(WORDS)) == WORDS


def test_curl_gets_an_answer_and_its_metadata_in_the_headers(running):
    asked = json.dumps(
        {"model": "auto", "messages": [{"role": "user", "content": WORDS}], "stream": False}
    )
    output = subprocess.run(
        [
            "curl",
            "-sSi",
            f"{running.url}/api/chat",
            "-d",
            asked,
            "-H",
            "x-stock-llm-type: analysis",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    head, _, body = output.partition("\n\n")
    assert "200 OK" in head.splitlines()[0]
    headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    assert headers["x-stock-llm-provider"] == "ollama"
    assert headers["x-stock-llm-model"] == "stock-llm:latest"
    assert headers["x-stock-llm-rule"].endswith("-> local")
    assert headers["x-stock-llm-cost"] == "0"
    assert {"route", "queue", "provider", "total"} <= {
        part.split("=")[0] for part in headers["x-stock-llm-time"].split(", ")
    }
    assert json.loads(body)["message"]["content"] == WORDS


def test_the_final_event_of_a_stream_has_all_of_the_metadata(running):
    asked = {"model": "auto", "messages": [{"role": "user", "content": WORDS}]}
    with running.http.stream(
        "POST", "/api/chat", json=asked, headers={"x-stock-llm-type": "analysis"}
    ) as answer:
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert answer.headers["x-stock-llm-provider"] == "ollama"
    assert "x-stock-llm-cost" not in answer.headers  # nobody knows it yet
    metadata = lines[-1]["stock_llm"]
    assert (metadata["provider"], metadata["model"], metadata["cost_usd"]) == (
        "ollama",
        "stock-llm:latest",
        0,
    )
    assert metadata["response_id"] == answer.headers["x-stock-llm-response-id"]
    assert metadata["milliseconds"]["total"] >= metadata["milliseconds"]["provider"] > 0
    assert not any("stock_llm" in line for line in lines[:-1])


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("type", "poem"),
        ("complexity", "eleven"),
        ("complexity", "11"),
        ("urgency", "0"),
        ("privacy", "no"),
    ],
)
def test_a_score_that_cannot_be_is_refused(running, header, value):
    asked = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
    refused = running.http.post("/api/chat", json=asked, headers={f"x-stock-llm-{header}": value})
    assert refused.status_code == 400
    assert value in refused.json()["error"]


def test_loading_a_model_is_not_a_question(running):
    answer = running.http.post("/api/chat", json={"model": "stock-llm", "messages": []}).json()
    assert (answer["done"], answer["done_reason"], answer["message"]["content"]) == (
        True,
        "load",
        "",
    )
    answer = running.http.post("/api/generate", json={"model": "stock-llm", "keep_alive": 0})
    assert answer.json()["done_reason"] == "unload"
    assert "x-stock-llm-response-id" not in answer.headers
