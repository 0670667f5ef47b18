"""The general questions: fixed, in two languages, asked as served, and of the embedded base mostly known."""

from pathlib import Path

import pytest

from stock_llm.dataset.leakage.overlap import OverlapIndex
from stock_llm.dataset.sources import general_questions, general_rows
from stock_llm.evaluation.gate_policy import load_policy
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.profiles import load_profile
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.llm.prompts import messages
from stock_llm.llm.quantization import quantize_gguf
from stock_llm.pipeline.judging.asking import general_losses
from stock_llm.pipeline.judging.contestants import of_profile
from stock_llm.settings import load_settings

PROJECT = Path(__file__).parents[2]
QUESTIONS = general_questions.rows()


def test_they_are_many_and_differ():
    assert len(QUESTIONS) >= 60
    assert len({row.instruction for row in QUESTIONS}) == len(QUESTIONS)
    assert sum(row.language == "th" for row in QUESTIONS) >= 20
    assert not any(row.input or row.symbol or row.as_of for row in QUESTIONS)


def test_few_of_the_rows_against_forgetting_are_too_near():
    """The rest keeps what they ask for in mind without teaching the answer's words; `build_dataset` drops the few."""
    index = OverlapIndex(QUESTIONS)
    replayed = list(general_rows.rows(7, 300))
    near = [row for row in replayed if index.asks(row) or index.says(row)]
    assert len(near) < 10


def test_the_embedded_base_knows_most_of_the_answers(tmp_path):
    write_gguf(PROJECT / "models/stock-tiny", tmp_path / "f16.gguf", "stock-tiny", MISTRAL_V3.jinja)
    quantize_gguf(tmp_path / "f16.gguf", tmp_path / "q.gguf", "Q4_K_M", threads=1)
    settings = load_settings(home=tmp_path, threads=1)
    profile = load_profile(PROJECT, "stock-tiny")
    base = of_profile("base", tmp_path / "q.gguf", "", profile, tmp_path)
    losses = general_losses(settings, profile, base)
    known = load_policy().forgetting.known
    assert sum(loss < known for loss in losses) >= 35
    with LlamaModel(base.gguf, threads=1, context=profile.serving.num_ctx) as model:
        row = QUESTIONS[0]
        prompt = model.tokenize(MISTRAL_V3.render(messages(row.instruction)))
        answer = model.tokenize(MISTRAL_V3.render(messages(row.instruction, "", row.output)))[
            len(prompt) :
        ]
        total, count = model.answer_loss(prompt, answer)
    assert losses[0] == pytest.approx(total / count, rel=1e-4)
