"""The official OpenAI client is a client of the gateway, before Ollama and before any server that speaks OpenAI's API."""

import json

import openai
import pytest
from pydantic import BaseModel
from running_gateway import gateway
from scripted_ollama import ScriptedOllama

WORDS = "Close 104.20 is above SMA50 99.10 today"
ASK = [{"role": "user", "content": WORDS}]


@pytest.fixture(scope="module")
def backend():
    with ScriptedOllama("stock-llm:latest", "mistral:7b", "nomic-embed-text:latest") as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOCK_LLM_SECRETS", str(tmp_path_factory.mktemp("secrets")))
        yield tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def inner(home, backend):
    with gateway(home / "inner", backend.host) as started:
        yield started


@pytest.fixture(scope="module")
def outer(home, inner):
    """A gateway whose only provider is an OpenAI-compatible server: the other gateway."""
    server = {"url": f"{inner.url}/v1", "models": ["mistral:7b", "nomic-embed-text:latest"]}
    with gateway(home / "outer", embedded=False, servers={"vllm": server}) as started:
        yield started


@pytest.fixture(params=["inner", "outer"])
def client(request):
    url = request.getfixturevalue(request.param).url
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as one:
        yield one


def test_it_chats(client):
    said = client.chat.completions.create(model="mistral:7b", messages=ASK)
    assert said.choices[0].message.content == WORDS
    assert said.choices[0].finish_reason == "stop"
    assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (7, 7)


def test_it_streams_with_usage(client):
    pieces = list(client.chat.completions.create(model="auto", messages=ASK, stream=True, stream_options={"include_usage": True}))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == WORDS
    assert pieces[0].choices[0].delta.role == "assistant"
    assert [piece.choices[0].finish_reason for piece in pieces if piece.choices][-1] == "stop"
    assert pieces[-1].usage.total_tokens == 14
    assert pieces[-1].stock_llm["rule"]


def test_a_stream_without_usage_ends_with_the_story(client):
    pieces = list(client.chat.completions.create(model="auto", messages=ASK, stream=True))
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert pieces[-1].stock_llm["response_id"]
    assert pieces[-1].usage is None


def test_structured_output_reaches_the_model_as_a_schema_and_is_parsed(client, backend):
    class Signal(BaseModel):
        signal: str
        confidence: int

    backend.says = json.dumps({"signal": "BUY", "confidence": 55})
    try:
        said = client.chat.completions.parse(model="mistral:7b", messages=ASK, response_format=Signal)
    finally:
        backend.says = ""
    assert said.choices[0].message.parsed == Signal(signal="BUY", confidence=55)
    assert backend.asked[-1][1]["format"]["properties"]["signal"] == {"title": "Signal", "type": "string"}


def test_without_a_temperature_the_models_own_holds(client, backend):
    client.chat.completions.create(model="mistral:7b", messages=ASK)
    assert "options" not in backend.asked[-1][1]
    new = [{"role": "user", "content": f"not asked before, at {client.base_url}"}]
    client.chat.completions.create(model="mistral:7b", messages=new, temperature=0.3, max_tokens=2, seed=7, stop="x", top_p=0.5)
    assert backend.asked[-1][1]["options"] == {"temperature": 0.3, "num_predict": 2, "seed": 7, "stop": ["x"], "top_p": 0.5}


def test_completions_models_and_embeddings(client):
    said = client.completions.create(model="mistral:7b", prompt=WORDS, max_tokens=2)
    assert (said.choices[0].text, said.choices[0].finish_reason) == ("Close 104.20", "length")
    assert (
        "".join(piece.choices[0].text for piece in client.completions.create(model="mistral:7b", prompt=WORDS, stream=True))
        == WORDS
    )
    assert {"mistral:7b", "auto"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("auto").owned_by == "router"
    for how in ({}, {"encoding_format": "float"}):  # left to itself, the client asks for base64 and unpacks it
        vectors = client.embeddings.create(model="nomic-embed-text:latest", input=["a", "b"], **how).data
        assert [vector.embedding for vector in vectors] == [pytest.approx([0.6, 0.8])] * 2


def test_a_model_that_is_not_there_is_openais_error(client):
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="nope", messages=ASK)
    assert refused.value.body["type"] == "not_found_error"
    assert "nope" in refused.value.body["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 2}, {"messages": []}, {"messages": [{"role": "poet", "content": "x"}]}, {"temperature": "hot"}, {"max_tokens": 0},
        {"stop": 3}, {"response_format": {"type": "xml"}}, {"stream": "yes"}, {"tools": "f"},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://elsewhere/x.png"}}]}]},
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_a_sentence(inner, wrong):
    refused = inner.http.post("/v1/chat/completions", json={"model": "mistral:7b", "messages": ASK} | wrong)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert len(error["message"]) > 10


def test_parts_of_a_content_become_text_and_images(inner, backend):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]
    said = inner.http.post("/v1/chat/completions", json={"model": "mistral:7b", "messages": [{"role": "user", "content": parts}]})
    assert said.status_code == 200
    assert backend.asked[-1][1]["messages"] == [{"role": "user", "content": "What is this?", "images": ["iVBORw0KGgo="]}]


def test_tool_calls_keep_their_arguments_in_both_languages(inner, backend):
    call = {"id": "call_1", "type": "function", "function": {"name": "price", "arguments": '{"symbol": "ORCA"}'}}
    tool = {"type": "function", "function": {"name": "price", "parameters": {"type": "object", "properties": {}}}}
    turns = [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "9"},
    ]
    said = inner.http.post("/v1/chat/completions", json={"model": "mistral:7b", "messages": turns, "tools": [tool]})
    assert said.json()["choices"][0]["message"]["content"] == "9"
    asked = backend.asked[-1][1]
    assert asked["tools"] == [tool]
    assert asked["messages"][1]["tool_calls"] == [
        {"id": "call_1", "function": {"name": "price", "arguments": {"symbol": "ORCA"}}}
    ]
