"""What Open WebUI sends unasked: its tools with every message, and tasks of its own after every
answer."""

import json
import sqlite3
from pathlib import Path

import pytest
from factories.running_gateway import gateway

RECORDED = Path(__file__).parents[2] / "recorded" / "open_webui_title.json"
"""What Open WebUI asks for the title of a conversation."""
HISTORY = (
    "### Chat History:\n<chat_history>\nUSER: Analyze KESTRO.\n"
    "ASSISTANT: Recommendation: SELL KESTRO, not ORCA\n</chat_history>"
)


def task(wanted, model="auto", **more):
    text = f"### Task:\nDo it.\n### Output:\nJSON format: {{ {wanted} }}\n{HISTORY}"
    return {
        "model": model,
        "stream": False,
        "messages": [{"role": "user", "content": text}],
        **more,
    }


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ('"title": "concise"', {"title": "Analyze KESTRO"}),
        ('"tags": ["a", "b"]', {"tags": ["KESTRO", "ORCA"]}),
        ('"follow_ups": ["Question 1?"]', {"follow_ups": []}),
        ('"queries": ["q"]', {"queries": []}),
    ],
)
@pytest.mark.parametrize("model", ["auto", "mistral:7b"])
def test_its_tasks_are_answered_by_rule(running, backend, wanted, expected, model):
    answer = running.http.post("/api/chat", json=task(wanted, model))
    assert json.loads(answer.json()["message"]["content"]) == expected
    assert answer.headers["x-stock-llm-provider"] == "gateway"
    openai = running.http.post("/v1/chat/completions", json=task(wanted, model)).json()
    assert json.loads(openai["choices"][0]["message"]["content"]) == expected
    streamed = running.http.post("/api/chat", json=task(wanted, model) | {"stream": True}).text
    texts = [json.loads(line)["message"]["content"] for line in streamed.splitlines()]
    assert json.loads("".join(texts)) == expected
    assert backend.generations() == []
    assert "gen_ai_client_operation_duration_seconds_count" not in running.http.get("/metrics").text


def test_neither_they_nor_their_answers_are_recorded(backend, tmp_path):
    with gateway(tmp_path, backend.host) as running:
        id = running.http.post("/api/chat", json=task('"title": "x"')).headers
        refused = running.http.post(
            "/feedback", json={"response_id": id["x-stock-llm-response-id"], "thumb": "up"}
        )
        assert refused.status_code == 404
        running.http.post("/api/chat", json=task('"emoji": "x"'))  # no rule: a local model
        assert len(backend.generations()) == 1
    with sqlite3.connect(tmp_path / "data" / "costs.db") as database:
        assert database.execute("SELECT count(*) FROM answer").fetchone() == (0,)
        assert database.execute("SELECT feature FROM call").fetchall() == [("chat-task",)]


def test_a_task_without_a_rule_never_costs_money(tmp_path):
    settings = {"embedded": False, "claude_api": True, "claude_api_url": "http://127.0.0.1:9"}
    with gateway(tmp_path, **settings) as running:
        for model in ("auto", "claude-haiku-5-5"):
            refused = running.http.post("/api/chat", json=task('"emoji": "x"', model))
            assert refused.status_code == 503
            assert "must stay there" in refused.json()["error"]


@pytest.mark.parametrize(
    "text",
    [
        "### Task:\nWrite a function.",
        "Explain <chat_history> in Open WebUI: </chat_history>",
        "### Task: answer this <chat_history>x</chat_history> question about KESTRO",
    ],
)
def test_a_persons_question_is_no_task(running, backend, text):
    body = {"model": "auto", "stream": False, "messages": [{"role": "user", "content": text}]}
    assert running.http.post("/api/chat", json=body).json()["message"]["content"] == text
    assert len(backend.generations()) == 1


def test_a_persons_question_comes_with_tools(running, backend, open_webui_chat):
    backend.says = "Recommendation: HOLD"
    streamed = running.http.post("/api/chat", content=open_webui_chat)
    pieces = [json.loads(line) for line in streamed.text.splitlines()]
    assert "".join(piece["message"]["content"] for piece in pieces) == backend.says
    assert [piece["done"] for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    (asked,) = backend.generations()
    assert asked["tools"] == json.loads(open_webui_chat)["tools"]


def test_the_recorded_task_is_answered(running, backend):
    answer = running.http.post("/api/chat", content=RECORDED.read_bytes())
    assert json.loads(answer.json()["message"]["content"]) == {"title": "Analyze KESTRO"}
    assert backend.generations() == []


def test_a_title_is_asked_for_before_there_is_an_answer(running, backend):
    """Open WebUI 0.12 asks as soon as the question is sent."""
    begun = HISTORY.partition("ASSISTANT:")[0] + "ASSISTANT: \n</chat_history>"
    body = task('"title": "concise"', options={"num_predict": 1000})
    body["messages"][0]["content"] = body["messages"][0]["content"].replace(HISTORY, begun)
    answer = running.http.post("/api/chat", json=body)
    assert json.loads(answer.json()["message"]["content"]) == {"title": "Analyze KESTRO"}
    assert backend.generations() == []
