"""Where a model's own chat template could be had, our format renders the same text for 240 conversations."""

import random
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stock_llm.llm.prompt_formats import (
    CHATML,
    DEEPSEEK_CODER,
    LLAMA_2,
    MISTRAL_V1,
    MISTRAL_V3,
    MISTRAL_V7_TEKKEN,
    PHI_2,
    SMOLLM2,
    ZEPHYR,
)
from stock_llm.llm.prompts import SYSTEM

TEMPLATES = Path(__file__).parents[1] / "recorded" / "chat_templates"
COUNT = 240

TEXTS = [
    "Analyze ORCA.",
    "Close: 104.20\nRSI(14): 61.3\n\nTrend: UP",
    "ราคาปิดของ KSTR คือ 9.50 บาท",
    "ควรซื้อ ขาย หรือถือ?",
    "def mean(values):\n    return sum(values) / len(values)",
    "<b>&amp;</b> {{ not a template }} 'quoted' \"twice\" \\n",
    "📈 +3.4 %",
]


def own(name: str):
    """The model's own template, in the environment that transformers gives it; BOS is left to the tokenizer."""

    def raise_exception(problem):
        raise ValueError(problem)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = raise_exception
    source = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    template = environment.from_string(source)

    def render(turns, bos, eos):
        asks = turns[-1]["role"] == "user"
        text = template.render(
            messages=turns, bos_token=bos, eos_token=eos, add_generation_prompt=asks
        )
        return text.removeprefix(bos)

    return render


def conversations(systems=(None, SYSTEM, "ตอบเป็นภาษาไทยเท่านั้น"), empty_questions=True):
    """Prompts and whole conversations of one to four questions, the same on every run."""
    chance = random.Random(7)
    drawn = []
    for _ in range(COUNT):
        turns = []
        if system := chance.choice(systems):
            turns.append({"role": "system", "content": system})
        questions = chance.randint(1, 4)
        for number in range(questions):
            empty = empty_questions and chance.random() < 0.05
            turns.append({"role": "user", "content": "" if empty else chance.choice(TEXTS)})
            if number < questions - 1 or chance.random() < 0.3:
                turns.append({"role": "assistant", "content": chance.choice(TEXTS)})
        drawn.append(turns)
    assert sum(len(turns) > 3 for turns in drawn) > COUNT / 3
    return drawn


SYSTEM_ALWAYS = (SYSTEM, "ตอบเป็นภาษาไทยเท่านั้น")


@pytest.mark.parametrize(
    ("name", "written", "given"),
    [
        ("mistral-7b-v0.2", MISTRAL_V1, {}),
        ("mistral-v13-tekken", MISTRAL_V7_TEKKEN, {}),
        # without a system text it has a long one of its own, on how to think
        ("ministral-3", MISTRAL_V7_TEKKEN, {"systems": SYSTEM_ALWAYS}),
        ("openhermes", CHATML, {}),
        ("smollm2", SMOLLM2, {}),
        ("zephyr", ZEPHYR, {}),
        ("deepseek-coder", DEEPSEEK_CODER, {}),
        # it opens no first turn where the system text is missing
        ("fusionnet", LLAMA_2, {"systems": SYSTEM_ALWAYS}),
    ],
)
def test_renders_as_the_models_own_template(name, written, given):
    render = own(name)
    for turns in conversations(**given):
        ours, theirs = written.render(turns), render(turns, written.bos, "</s>")
        if turns[-1]["role"] == "assistant":  # theirs may close the turn with a line break
            assert theirs in (ours, ours + written.between), turns
        else:
            assert theirs == ours, turns


def test_mistrals_v3_differs_only_in_where_the_system_text_stands():
    """Theirs stands in the last question, ours in the first; with one question it is the same text."""
    render, equal = own("mistral-v3-spm"), 0
    for turns in conversations():
        theirs = render(turns, "<s>", "</s>")
        asked = [turn for turn in turns if turn["role"] != "system"]
        moved = [dict(turn) for turn in asked]
        if turns[0]["role"] == "system":
            last = next(turn for turn in reversed(moved) if turn["role"] == "user")
            last["content"] = f"{turns[0]['content']}\n\n{last['content']}"
        assert theirs == MISTRAL_V3.render(moved)
        if turns[0]["role"] != "system" or sum(turn["role"] == "user" for turn in turns) == 1:
            assert theirs == MISTRAL_V3.render(turns)
            equal += 1
    assert equal > COUNT / 3


def test_phi_2s_question_is_that_of_its_card():
    """Phi-2 brings no template; the class `Phi2` of LitGPT 0.5.13 (PyPI) writes its card's question as this."""
    for turns in conversations():
        question = [{"role": "user", "content": turns[-1]["content"]}]
        assert PHI_2.render(question) == f"Instruct: {turns[-1]['content']}\nOutput:"
