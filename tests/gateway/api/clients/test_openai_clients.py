"""The official OpenAI client is a client of the gateway, before Ollama and before any server that
speaks OpenAI's API."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import openai
import pytest
from factories.running_gateway import gateway
from pydantic import BaseModel

WORDS = "Close 104.20 is above SMA50 99.10 today"
ASK = [{"role": "user", "content": WORDS}]


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
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_it_chats(client):
    answer = client.chat.completions.create(model="mistral:7b", messages=ASK)
    assert answer.choices[0].message.content == WORDS
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 7)


def test_it_streams_with_usage(client):
    pieces = list(
        client.chat.completions.create(
            model="auto", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
    )
    assert (
        "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == WORDS
    )
    assert pieces[0].choices[0].delta.role == "assistant"
    assert [piece.choices[0].finish_reason for piece in pieces if piece.choices][-1] == "stop"
    assert pieces[-1].usage.total_tokens == 14
    assert pieces[-1].stock_llm["rule"]


def test_a_stream_without_usage_ends_with_its_metadata(client):
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
        answer = client.chat.completions.parse(
            model="mistral:7b", messages=ASK, response_format=Signal
        )
    finally:
        backend.says = ""
    assert answer.choices[0].message.parsed == Signal(signal="BUY", confidence=55)
    assert backend.asked[-1][1]["format"]["properties"]["signal"] == {
        "title": "Signal",
        "type": "string",
    }


def test_without_a_temperature_the_models_own_holds(client, backend):
    client.chat.completions.create(model="mistral:7b", messages=ASK)
    assert "options" not in backend.asked[-1][1]
    new = [{"role": "user", "content": f"not asked before, at {client.base_url}"}]
    client.chat.completions.create(
        model="mistral:7b", messages=new, temperature=0.3, max_tokens=2, seed=7, stop="x", top_p=0.5
    )
    assert backend.asked[-1][1]["options"] == {
        "temperature": 0.3,
        "num_predict": 2,
        "seed": 7,
        "stop": ["x"],
        "top_p": 0.5,
    }


def test_completions_models_and_embeddings(client):
    answer = client.completions.create(model="mistral:7b", prompt=WORDS, max_tokens=2)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("Close 104.20", "length")
    assert (
        "".join(
            piece.choices[0].text
            for piece in client.completions.create(model="mistral:7b", prompt=WORDS, stream=True)
        )
        == WORDS
    )
    assert {"mistral:7b", "auto"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("auto").owned_by == "router"
    for how in (
        {},
        {"encoding_format": "float"},
    ):  # left to itself, the client asks for base64 and unpacks it
        vectors = client.embeddings.create(
            model="nomic-embed-text:latest", input=["a", "b"], **how
        ).data
        assert [vector.embedding for vector in vectors] == [pytest.approx([0.6, 0.8])] * 2


@pytest.mark.parametrize(
    ("field", "headers"), [({"privacy": "local"}, {}), ({}, {"x-stock-llm-privacy": "local"})]
)
def test_a_text_that_must_stay_here_is_embedded_here_alone(home, inner, field, headers):
    asked = {"model": "nomic-embed-text:latest", "input": "secret holdings"} | field
    paths = ("/v1/embeddings", "/api/embed")
    far = {"url": "http://vectors.invalid/v1", "models": ["nomic-embed-text:latest"]}
    with gateway(home / "far", embedded=False, servers={"far": far}) as started:
        for refused in [started.http.post(path, json=asked, headers=headers) for path in paths]:
            assert (
                refused.status_code,
                "far (left out): is not on this machine, and" in refused.text,
            ) == (503, True)
    assert [inner.http.post(path, json=asked, headers=headers).status_code for path in paths] == [
        200,
        200,
    ]


def test_a_model_that_is_not_there_is_openais_error(client):
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="nope", messages=ASK)
    assert refused.value.body["type"] == "not_found_error"
    assert "nope" in refused.value.body["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 2},
        {"messages": []},
        {"messages": [{"role": "poet", "content": "x"}]},
        {"temperature": "hot"},
        {"max_tokens": 0},
        {"stop": 3},
        {"response_format": {"type": "xml"}},
        {"stream": "yes"},
        {"tools": "f"},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "http://elsewhere/x.png"}}
                    ],
                }
            ]
        },
    ],
)
def test_what_does_not_fit_is_refused_with_a_sentence(inner, wrong):
    refused = inner.http.post(
        "/v1/chat/completions", json={"model": "mistral:7b", "messages": ASK} | wrong
    )
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert len(error["message"]) > 10


def test_parts_of_a_content_become_text_and_images(inner, backend):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]
    response = inner.http.post(
        "/v1/chat/completions",
        json={"model": "mistral:7b", "messages": [{"role": "user", "content": parts}]},
    )
    assert response.status_code == 200
    assert backend.asked[-1][1]["messages"] == [
        {"role": "user", "content": "What is this?", "images": ["iVBORw0KGgo="]}
    ]


def test_tool_calls_keep_their_arguments_in_both_languages(inner, backend):
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "price", "arguments": '{"symbol": "ORCA"}'},
    }
    tool = {
        "type": "function",
        "function": {"name": "price", "parameters": {"type": "object", "properties": {}}},
    }
    turns = [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "9"},
    ]
    response = inner.http.post(
        "/v1/chat/completions", json={"model": "mistral:7b", "messages": turns, "tools": [tool]}
    )
    assert response.json()["choices"][0]["message"]["content"] == "9"
    asked = backend.asked[-1][1]
    assert asked["tools"] == [tool]
    assert asked["messages"][1]["tool_calls"] == [
        {"id": "call_1", "function": {"name": "price", "arguments": {"symbol": "ORCA"}}}
    ]


def test_streamed_tool_calls_are_counted_through(client, backend):
    backend.calls = [
        {"name": "price", "arguments": {"symbol": name}} for name in ("ORCA", "KESTRO")
    ]
    tool = {
        "type": "function",
        "function": {"name": "price", "parameters": {"type": "object", "properties": {}}},
    }
    try:
        with client.chat.completions.stream(
            model="mistral:7b", messages=ASK, tools=[tool]
        ) as stream:
            answer = stream.get_final_completion().choices[0]
    finally:
        backend.calls = []
    calls = answer.message.tool_calls
    assert [json.loads(call.function.arguments)["symbol"] for call in calls] == ["ORCA", "KESTRO"]
    assert len({call.id for call in calls}) == 2
    assert answer.finish_reason == "tool_calls"


class _Server(BaseHTTPRequestHandler):
    """Speaks OpenAI's API as far as a chat with the chances of its tokens."""

    asked: dict
    CHANCE: ClassVar = {"token": "HOLD", "logprob": -0.5, "bytes": None, "top_logprobs": []}

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._send(
            {
                "object": "list",
                "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "us"}],
            }
        )

    def do_POST(self):
        type(self).asked = asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message, chances = (
            {"role": "assistant", "content": "HOLD"},
            {"content": [self.CHANCE], "refusal": None},
        )
        frame = {"id": "1", "created": 1, "model": "m"}
        if not asked.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": chances}
            return self._send(frame | {"object": "chat.completion", "choices": [choice]})
        pieces = [{"index": 0, "delta": message, "logprobs": chances, "finish_reason": None}]
        pieces.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        events = [
            json.dumps(frame | {"object": "chat.completion.chunk", "choices": [piece]})
            for piece in pieces
        ]
        return self._send(
            "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]), "text/event-stream"
        )

    def _send(self, body, kind="application/json"):
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server(home):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        servers = {"vllm": {"url": f"http://127.0.0.1:{http.server_port}/v1", "models": ["m"]}}
        with gateway(home / "server", embedded=False, servers=servers) as started:
            yield started
        http.shutdown()


def test_what_only_openais_api_has_reaches_a_server_that_speaks_it_and_comes_back(server):
    tool = {
        "type": "function",
        "function": {"name": "price", "parameters": {"type": "object", "properties": {}}},
    }
    choice = {"type": "function", "function": {"name": "price"}}
    own = {
        "tool_choice": choice,
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "logprobs": True,
        "top_logprobs": 2,
    }
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(model="m", messages=ASK, tools=[tool], **own)
        assert own.items() <= _Server.asked.items()
        assert answer.choices[0].logprobs.content[0].logprob == -0.5
        pieces = list(
            client.chat.completions.create(model="m", messages=ASK, stream=True, logprobs=True)
        )
        assert [
            piece.choices[0].logprobs.content[0].token
            for piece in pieces
            if piece.choices[0].logprobs
        ] == ["HOLD"]
        plain = client.chat.completions.create(model="m", messages=ASK)
        assert plain.choices[0].message.content == "HOLD"
        assert not own.keys() & _Server.asked.keys()
    ollamas = server.http.post(
        "/api/chat", json={"model": "m", "messages": ASK, "stream": False, "logprobs": True}
    ).json()
    assert ollamas["logprobs"][0]["token"] == "HOLD"
    assert ollamas["message"] == {"role": "assistant", "content": "HOLD"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"tool_choice": 3},
        {"reasoning_effort": 1},
        {"logprobs": "yes"},
        {"top_logprobs": True},
        {"parallel_tool_calls": 1},
    ],
)
def test_an_extra_of_a_wrong_type_is_refused(inner, wrong):
    refused = inner.http.post(
        "/v1/chat/completions", json={"model": "mistral:7b", "messages": ASK} | wrong
    )
    assert (refused.status_code, next(iter(wrong)) in refused.text) == (400, True)


@pytest.mark.parametrize(
    ("field", "think"),
    [
        ({"reasoning_effort": "none"}, False),
        ({"reasoning": {"effort": "none"}}, False),
        ({"reasoning_effort": "minimal"}, "low"),
        ({"reasoning_effort": "xhigh"}, "max"),
        ({"reasoning_effort": "medium"}, "medium"),
    ],
)
def test_reasoning_effort_reaches_ollama_as_think(inner, backend, field, think):
    body = {"model": "mistral:7b", "messages": ASK} | field
    assert inner.http.post("/v1/chat/completions", json=body).status_code == 200
    assert backend.asked[-1][1]["think"] == think
    wrong = inner.http.post(
        "/v1/chat/completions", json=body | {"reasoning_effort": "gigantic", "reasoning": None}
    )
    assert (wrong.status_code, "invalid reasoning value" in wrong.text) == (400, True)


@pytest.mark.parametrize("name", [{"name": "price"}, {}])
def test_a_tools_name_and_the_reasoning_of_a_turn_reach_ollama(inner, backend, name):
    call = {"id": "call_1", "type": "function", "function": {"name": "price", "arguments": "{}"}}
    turns = [
        *ASK,
        {"role": "assistant", "content": None, "reasoning": "ask for it", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "9"} | name,
    ]
    body = {"model": "mistral:7b", "messages": turns}
    assert inner.http.post("/v1/chat/completions", json=body).status_code == 200
    _, assistant, tool = backend.asked[-1][1]["messages"]
    assert assistant["thinking"] == "ask for it"
    assert (tool["tool_name"], tool["content"]) == ("price", "9")


def test_logprobs_of_ollama_come_back(inner, backend):
    backend.logprobs = [{"token": "ra", "logprob": -7.2, "bytes": [114, 97], "top_logprobs": []}]
    try:
        body = {"model": "mistral:7b", "messages": ASK, "logprobs": True}
        answer = inner.http.post("/v1/chat/completions", json=body).json()
    finally:
        backend.logprobs = []
    assert answer["choices"][0]["logprobs"]["content"][0]["token"] == "ra"
