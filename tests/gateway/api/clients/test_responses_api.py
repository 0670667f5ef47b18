"""The official OpenAI client's `responses`, with and without a stream, against the gateway."""

import json

import openai
import pytest
from pydantic import BaseModel

WORDS = "Close 104.20 is above SMA50"
TOOL = {
    "type": "function",
    "name": "price",
    "parameters": {"type": "object", "properties": {"symbol": {"type": "string"}}},
    "strict": False,
}


@pytest.fixture
def client(running):
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_it_answers(client, running):
    answer = client.responses.create(model="auto", input=WORDS, instructions="Be short.")
    assert (answer.output_text, answer.status) == (WORDS, "completed")
    assert answer.usage.output_tokens == 5
    assert answer.stock_llm["provider"] == "ollama"
    response = running.http.post("/feedback", json={"response_id": answer.id, "thumb": "up"})
    assert response.status_code == 200, response.text


def test_it_streams_the_events_in_their_order(client):
    events = list(client.responses.create(model="auto", input=WORDS, stream=True))
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == WORDS
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output_text == WORDS
    with client.responses.stream(model="auto", input=WORDS) as stream:
        assert stream.get_final_response().output_text == WORDS


def test_what_is_cut_is_incomplete(client):
    answer = client.responses.create(model="mistral:7b", input=WORDS, max_output_tokens=2)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.output_text == "Close 104.20"


def test_a_conversation_with_tools_goes_both_ways(client, backend):
    call = {"name": "price", "arguments": {"symbol": "ORCA"}}
    backend.calls = [call]
    try:
        with client.responses.stream(model="mistral:7b", input=WORDS, tools=[TOOL]) as stream:
            answer = stream.get_final_response()
    finally:
        backend.calls = []
    called = answer.output[-1]
    assert (called.type, json.loads(called.arguments)) == ("function_call", {"symbol": "ORCA"})
    turns = [
        {"role": "user", "content": [{"type": "input_text", "text": "Price?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        called.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": called.call_id, "output": "9"},
    ]
    again = client.responses.create(model="mistral:7b", input=turns, tools=[TOOL])
    assert again.output_text == "9"
    asked = backend.asked[-1][1]
    assert asked["messages"][1]["tool_calls"][0]["function"] == call
    assert asked["messages"][1]["thinking"] == "hm"
    assert asked["messages"][2]["tool_name"] == "price"
    assert asked["tools"][0]["function"]["name"] == "price"


def test_structured_output_reaches_the_model_as_a_schema(client, backend):
    class Signal(BaseModel):
        signal: str

    backend.says = json.dumps({"signal": "BUY"})
    try:
        answer = client.responses.parse(model="mistral:7b", input=WORDS, text_format=Signal)
    finally:
        backend.says = ""
    assert answer.output_parsed == Signal(signal="BUY")
    assert backend.asked[-1][1]["format"]["properties"]["signal"]["type"] == "string"


@pytest.mark.parametrize(
    "wrong",
    [
        {"previous_response_id": "resp_1"},
        {"background": True},
        {"input": []},
        {"input": [{"type": "poem"}]},
        {"reasoning": {"effort": "gigantic"}},
        {"text": {"format": {"type": "json_schema", "name": "x"}}},
    ],
)
def test_what_cannot_be_is_refused(running, wrong):
    body = {"model": "mistral:7b", "input": WORDS} | wrong
    refused = running.http.post("/v1/responses", json=body)
    assert refused.status_code == 400
    assert len(refused.json()["error"]["message"]) > 10


def test_a_stream_that_breaks_off_ends_with_response_failed(client, backend):
    backend.unfinished = True
    try:
        events = list(client.responses.create(model="mistral:7b", input=WORDS, stream=True))
    finally:
        backend.unfinished = False
    assert events[-1].type == "response.failed"
    assert "done: false" in events[-1].response.error.message
