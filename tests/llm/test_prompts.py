"""What a row asks, and the text that Mistral's format makes of it."""

from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.llm.prompts import SYSTEM, messages


def test_a_row_is_prompt_and_answer_in_one_text():
    prompt = MISTRAL_V3.render(messages("Analyze ORCA.", "Close: 104.20"))
    whole = MISTRAL_V3.render(messages("Analyze ORCA.", "Close: 104.20", "Trend: UP"))
    assert prompt == f"[INST] {SYSTEM}\n\nAnalyze ORCA.\n\nClose: 104.20[/INST]"
    assert whole == prompt + " Trend: UP</s>"
