"""The three writings of the prompt format say the same; test_go_template.py holds the Go one against `render`."""

from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stock_llm.llm.prompts import CHAT_TEMPLATE, GO_TEMPLATE, SYSTEM, messages, render
from stock_llm.ollama.rendering import render as render_with_go

TEXT = st.text(min_size=1, max_size=40)
TURNS = st.lists(st.tuples(TEXT, TEXT), max_size=3)


@settings(deadline=None)
@given(system=st.none() | TEXT, past=TURNS, question=TEXT)
def test_jinja_equals_render(system, past, question):
    turns = [{"role": "system", "content": system}] if system else []
    for asked, answered in past:
        turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    turns.append({"role": "user", "content": question})
    jinja = ImmutableSandboxedEnvironment().from_string(CHAT_TEMPLATE).render(messages=turns)
    assert jinja == render(turns)


def test_a_row_is_prompt_and_answer_in_one_text():
    prompt = render(messages("Analyze ORCA.", "Close: 104.20"))
    whole = render(messages("Analyze ORCA.", "Close: 104.20", "Trend: UP"))
    assert prompt == f"[INST] {SYSTEM}\n\nAnalyze ORCA.\n\nClose: 104.20[/INST]"
    assert whole == prompt + " Trend: UP</s>"


def test_tools_are_taken_and_leave_the_prompt_as_it_was_trained():
    """Both templates mention them: were it one, Ollama would prefer that one or refuse the request."""
    turns = messages("Analyze ORCA.")
    tools = [{"type": "function", "function": {"name": "current_time"}}]
    assert ".Tools" in GO_TEMPLATE
    assert "tools" in CHAT_TEMPLATE
    jinja = ImmutableSandboxedEnvironment().from_string(CHAT_TEMPLATE)
    assert jinja.render(messages=turns, tools=tools) == render(turns)
    assert render_with_go(GO_TEMPLATE, turns, tools=tools) == render(turns)
