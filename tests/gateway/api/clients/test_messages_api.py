"""The official Anthropic client against the gateway."""

import anthropic
import pytest
from factories.running_gateway import gateway

WORDS = "Close 104.20 is above SMA50"
ASK = [{"role": "user", "content": WORDS}]
TOOL = {"name": "price", "input_schema": {"type": "object", "properties": {}}}


@pytest.fixture(scope="module")
def running(home, backend):
    with gateway(home, backend.host, token="secret") as started:
        yield started


@pytest.fixture
def client(running):
    with anthropic.Anthropic(base_url=running.url, api_key="secret", max_retries=0) as made:
        yield made


def test_it_answers(client):
    answer = client.messages.create(model="auto", max_tokens=100, messages=ASK, system="Be short.")
    assert (answer.content[0].text, answer.stop_reason) == (WORDS, "end_turn")
    assert (answer.usage.output_tokens, answer.role) == (5, "assistant")
    cut = client.messages.create(model="auto", max_tokens=2, messages=ASK)
    assert (cut.content[0].text, cut.stop_reason) == ("Close 104.20", "max_tokens")


def test_it_streams(client):
    with client.messages.stream(model="auto", max_tokens=100, messages=ASK) as stream:
        assert "".join(stream.text_stream) == WORDS
        answer = stream.get_final_message()
    assert (answer.content[0].text, answer.stop_reason) == (WORDS, "end_turn")
    assert answer.usage.output_tokens == 5


def test_a_conversation_with_tools_goes_both_ways(client, backend):
    backend.calls = [{"name": "price", "arguments": {"symbol": name}} for name in ("ORCA", "ZED")]
    try:
        with client.messages.stream(
            model="mistral:7b", max_tokens=100, messages=ASK, tools=[TOOL]
        ) as stream:
            answer = stream.get_final_message()
    finally:
        backend.calls = []
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert [block.input for block in calls] == [{"symbol": "ORCA"}, {"symbol": "ZED"}]
    assert (len({block.id for block in calls}), answer.stop_reason) == (2, "tool_use")
    turns = [
        *ASK,
        {"role": "assistant", "content": answer.content},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": calls[0].id, "content": "9"},
                {
                    "type": "tool_result",
                    "tool_use_id": calls[1].id,
                    "content": [{"type": "text", "text": "8"}],
                },
                {"type": "text", "text": "And now?"},
            ],
        },
    ]
    again = client.messages.create(model="mistral:7b", max_tokens=100, messages=turns, tools=[TOOL])
    assert again.content[0].text == "And now?"
    asked = backend.asked[-1][1]["messages"]
    assert [turn["role"] for turn in asked] == ["user", "assistant", "tool", "tool", "user"]
    assert [turn.get("tool_name") for turn in asked[2:4]] == ["price", "price"]


def test_errors_are_anthropics(client, running):
    with pytest.raises(anthropic.NotFoundError) as refused:
        client.messages.create(model="nope", max_tokens=1, messages=ASK)
    assert refused.value.body["error"]["type"] == "not_found_error"
    wrong = anthropic.Anthropic(base_url=running.url, api_key="wrong", max_retries=0)
    with wrong, pytest.raises(anthropic.AuthenticationError):
        wrong.messages.create(model="auto", max_tokens=1, messages=ASK)
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.messages.create(model="auto", max_tokens=0, messages=ASK)


def test_a_stream_that_breaks_off_is_an_error(client, backend):
    backend.unfinished = True
    try:
        with (
            client.messages.stream(model="mistral:7b", max_tokens=100, messages=ASK) as stream,
            pytest.raises(anthropic.APIStatusError, match="done: false"),
        ):
            stream.get_final_message()
    finally:
        backend.unfinished = False
