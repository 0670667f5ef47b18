"""Ollama's answers, whatever stands in them."""

import json

from stock_llm.gateway.chat import ChatMessage, ChatRequest
from stock_llm.gateway.providers.ollama_codec import AnswerDecoder, encode_request

REQUEST = ChatRequest((ChatMessage("user", "hi"),), "m")
CHANCE = {"token": "ra", "logprob": -7.2, "bytes": [114, 97], "top_logprobs": []}


def decoded(*bodies: dict):
    decoder = AnswerDecoder("ollama", REQUEST, 0.0)
    chunks = [decoder.read(json.dumps(body).encode()) for body in bodies]
    return chunks, chunks[-1].answer


def piece(text: str, done: bool = False, **beside) -> dict:
    return {"model": "m", "message": {"role": "assistant", "content": text}, "done": done} | beside


def test_logprobs_that_stand_beside_the_message_come_back():
    chunks, answer = decoded(piece("ra", logprobs=[CHANCE]), piece("", True, logprobs=[CHANCE]))
    assert [chunk.message["logprobs"] for chunk in chunks] == [[CHANCE], [CHANCE]]
    assert answer.message["logprobs"] == [CHANCE, CHANCE]


def test_counts_and_times_that_cannot_be_are_none_at_all():
    counts = {
        "prompt_eval_count": -3,
        "eval_count": "9",
        "eval_duration": -5,
        "load_duration": None,
    }
    _, answer = decoded(piece("ra", True, **counts))
    assert (answer.usage.tokens_in, answer.usage.tokens_out) == (0, 0)
    assert (answer.timings.generate, answer.timings.load) == (0, None)


def test_a_field_that_changes_its_kind_breaks_no_answer():
    first = piece("r") | {"message": {"content": "r", "thinking": "a"}}
    second = piece("a") | {"message": {"content": "a", "thinking": ["b"]}}
    _, answer = decoded(first, second, piece("", True))
    assert (answer.text, answer.message["thinking"]) == ("ra", ["b"])


def test_tool_names_and_thoughts_reach_ollama_under_its_names():
    tool = ChatMessage("tool", "12C", {"tool_name": "get_weather"})
    thought = ChatMessage("assistant", "", {"thinking": "ask"})
    body = encode_request(ChatRequest((thought, tool), "m", extra={"think": False}), stream=False)
    assert body["messages"][0]["thinking"] == "ask"
    assert body["messages"][1]["tool_name"] == "get_weather"
    assert body["think"] is False
