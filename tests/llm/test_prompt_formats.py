"""The three writings of each prompt format say the same; test_go_template.py runs the Go ones through Go itself."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stock_llm.llm.prompt_formats import CHATML, FORMATS, MISTRAL_V3
from stock_llm.llm.prompts import messages
from stock_llm.ollama.modelfile import Modelfile, parse_modelfile
from stock_llm.ollama.rendering import render as render_with_go

TURN = st.tuples(
    st.sampled_from(["system", "user", "assistant"]),
    st.text(max_size=40) | st.sampled_from(["", "ราคาปิด 104.20", "  \n", "{{ x }}", "<|im_end|>"]),
)
CONVERSATIONS = st.lists(TURN, max_size=8).map(
    lambda turns: [{"role": role, "content": content} for role, content in turns]
)
each_format = pytest.mark.parametrize("name", FORMATS)


@each_format
@pytest.mark.parametrize("trimming", [False, True])
@settings(deadline=None)
@given(turns=CONVERSATIONS)
def test_jinja_equals_render(name, trimming, turns):
    """Transformers and llama.cpp trim around blocks, plain Jinja does not."""
    written = FORMATS[name]
    environment = ImmutableSandboxedEnvironment(trim_blocks=trimming, lstrip_blocks=trimming)
    assert environment.from_string(written.jinja).render(messages=turns) == written.render(turns)


@each_format
@settings(deadline=None)
@given(turns=CONVERSATIONS)
def test_go_equals_prompt(name, turns):
    written = FORMATS[name]
    assert render_with_go(written.go, turns) == written.prompt(turns)


@each_format
@settings(deadline=None)
@given(turns=CONVERSATIONS)
def test_an_answer_at_the_end_is_gone_on_with_where_its_own_prompt_ends(name, turns):
    """As llama.cpp's server writes it: the chat template over the turns before, then the text."""
    written = FORMATS[name]
    before = [*turns, {"role": "user", "content": "Is ORCA up?"}]
    whole = [*before, {"role": "assistant", "content": "Yes"}]
    jinja = ImmutableSandboxedEnvironment().from_string(written.jinja)
    assert jinja.render(messages=before) + "Yes" == written.prompt(whole)
    assert written.prompt(before) == written.render(before)


@each_format
def test_tools_are_taken_and_leave_the_prompt_as_it_was_trained(name):
    """Both templates mention them: were it one, Ollama would prefer that one or refuse the request."""
    written, turns = FORMATS[name], messages("Analyze ORCA.")
    tools = [{"type": "function", "function": {"name": "current_time"}}]
    assert ".Tools" in written.go
    assert "tools" in written.jinja
    jinja = ImmutableSandboxedEnvironment().from_string(written.jinja)
    assert jinja.render(messages=turns, tools=tools) == written.render(turns)
    assert render_with_go(written.go, turns, tools=tools) == written.render(turns)


@each_format
def test_an_answer_follows_its_prompt_and_ends_with_a_stop(name):
    written = FORMATS[name]
    prompt = written.render(messages("Analyze ORCA."))
    whole = written.render(messages("Analyze ORCA.", answer="Trend: UP"))
    assert whole == prompt + written.answer_text("Trend: UP")
    assert whole.endswith(written.stop[-1])
    assert not prompt.endswith(" "), "a blank at the end would be a token of its own"


@each_format
def test_a_modelfile_holds_template_and_stops(name):
    written = FORMATS[name]
    modelfile = Modelfile(from_="./m.gguf", template=written.go, parameters={"stop": written.stop})
    assert parse_modelfile(modelfile.write()) == modelfile


def test_known_conversations_are_written_as_they_always_were():
    turns = [
        *messages("Is ORCA up?", answer="Yes."),
        *messages("And KSTR?", "Close: 9.50")[1:],
    ]
    system = turns[0]["content"]
    assert MISTRAL_V3.render(turns) == (
        f"[INST] {system}\n\nIs ORCA up?[/INST] Yes.</s>[INST] And KSTR?\n\nClose: 9.50[/INST]"
    )
    assert MISTRAL_V3.render([*turns, {"role": "user", "content": "Or FIRN?"}]) == (
        f"[INST] {system}\n\nIs ORCA up?[/INST] Yes.</s>"
        "[INST] And KSTR?\n\nClose: 9.50\n\nOr FIRN?[/INST]"
    )
    assert CHATML.render(turns) == (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\nIs ORCA up?<|im_end|>\n"
        "<|im_start|>assistant\nYes.<|im_end|>\n"
        "<|im_start|>user\nAnd KSTR?\n\nClose: 9.50<|im_end|>\n<|im_start|>assistant\n"
    )
