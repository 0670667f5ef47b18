"""The prompt that Ollama would make: equal to training's, and to what a real Ollama was seen to make."""

import json

import pytest
from conftest import RECORDED
from hypothesis import given
from hypothesis import strategies as st

from stock_llm.llm import prompts
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.ollama.go_template import TemplateError
from stock_llm.ollama.rendering import render


def turns(*spoken):
    return [{"role": role, "content": content} for role, content in spoken]


CHATS = st.tuples(st.booleans(), st.lists(st.text(), min_size=1, max_size=6)).map(
    lambda drawn: (
        ([{"role": "system", "content": prompts.SYSTEM}] if drawn[0] else [])
        + [
            {"role": ("user", "assistant")[at % 2], "content": text}
            for at, text in enumerate(drawn[1])
        ]
    )
)


@given(CHATS)
def test_the_published_template_renders_as_training_does(chat):
    assert render(MISTRAL_V3.go, chat) == MISTRAL_V3.prompt(chat)


@given(CHATS)
def test_system_of_the_model_stands_in_for_a_missing_one(chat):
    spoken = [turn for turn in chat if turn["role"] != "system"]
    whole = [{"role": "system", "content": prompts.SYSTEM}, *spoken]
    assert render(MISTRAL_V3.go, spoken, prompts.SYSTEM) == MISTRAL_V3.prompt(whole)
    other = turns(("system", "Own."), ("user", "Hi"))
    assert render(MISTRAL_V3.go, other, prompts.SYSTEM) == MISTRAL_V3.render(other)


def test_adjacent_turns_are_merged_and_system_texts_joined():
    chat = turns(
        ("system", "A"),
        ("system", "B"),
        ("user", "1"),
        ("user", "2"),
        ("assistant", "3"),
        ("system", "C"),
        ("user", "4"),
    )
    merged = turns(
        ("system", "A\n\nB"), ("user", "1\n\n2"), ("assistant", "3"), ("system", "C"), ("user", "4")
    )
    assert render(MISTRAL_V3.go, chat) == MISTRAL_V3.render(merged) == MISTRAL_V3.render(chat)
    assert render("{{ .System }}|{{ len .Messages }}", chat) == "A\n\nB\n\nC|5"


def test_a_template_of_one_exchange_is_executed_turn_by_turn():
    template = "<{{ .System }}|{{ .Prompt }}>{{ .Response }};"
    chat = turns(("system", "S"), ("user", "1"), ("assistant", "2"), ("user", "3"))
    assert render(template, chat) == "<S|1>2;<|3>"
    with pytest.raises(TemplateError, match="inside a branch"):
        render("{{ if .Response }}{{ .Response }}{{ end }}", chat)


def recorded():
    """(title, template, system, messages, rendered) of every recorded request that asked for the rendered prompt."""
    created: dict[str, dict] = {}
    requests = []
    for exchange in json.loads(RECORDED.read_text()):
        body = exchange["body"]
        if exchange["request"] == "POST /api/create":
            created[body["model"]] = body
        elif isinstance(body, dict) and body.get("_debug_render_only"):
            model = created[body["model"]]
            template = body.get("template") or model.get("template")
            if not template or "tools" in body["model"]:
                continue  # ChatML or the GGUF's own Jinja: no Go template took part
            messages = body.get("messages") or [{"role": "user", "content": body["prompt"]}]
            system = body.get("system") or model.get("system", "")
            expected = json.loads(exchange["response"])["_debug_info"]["rendered_template"]
            requests.append((exchange["title"], template, system, messages, expected))
    return requests


def test_equals_what_a_real_ollama_rendered():
    exchanges = recorded()
    assert len(exchanges) >= 7
    for title, template, system, messages, expected in exchanges:
        assert render(template, messages, system) == expected, title
