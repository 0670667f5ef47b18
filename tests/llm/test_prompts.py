"""The three writings of the prompt format say the same; test_go_template.py holds the Go one against `render`."""

from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stock_llm.llm.prompts import CHAT_TEMPLATE, GO_TEMPLATE, SYSTEM, messages, render

TEXT = st.text(min_size=1, max_size=40)
TURNS = st.lists(st.tuples(TEXT, TEXT), max_size=3)


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


def test_no_template_mentions_tools():
    """With tools in either, Ollama would prefer the GGUF's Jinja template and ignore the Modelfile's."""
    assert "tool" not in (CHAT_TEMPLATE + GO_TEMPLATE).lower()
