"""A small random model of each architecture and tokenizer of the catalogue: fine-tuned, merged, written, quantized and asked."""

import dataclasses
import re

import pytest
from conftest import TINY_PROFILE
from factories import small_bases
from factories.rows import rows_of_all_skills

from stock_llm.artifacts import Dataset
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.prompts import messages
from stock_llm.settings import load_settings
from stock_llm.skills.row import write_rows
from tasks import finetune, quantize

# a letter that is an added token of DeepSeek Coder's, as the tokens of its prompt format are
LETTER = "ü"
ROWS = [
    dataclasses.replace(row, input=row.input[:160], output=f"{LETTER} {row.output[:80]}")
    for row in rows_of_all_skills(16)
    if row.skill != "code"
]


@pytest.mark.parametrize("name", small_bases.BASES)
def test_a_base_becomes_a_quantized_file_that_answers(name, tmp_path):
    prompt_format = small_bases.BASES[name]
    small_bases.write_base(name, tmp_path / "models" / "tiny")
    (tmp_path / "models" / "profiles").mkdir()
    profile = TINY_PROFILE.replace(
        'revision = ""', f'revision = ""\nprompt_format = "{prompt_format.name}"'
    )
    profile = re.sub(r"(max_tokens|num_ctx) = \d+", r"\1 = 2048", profile)
    (tmp_path / "models" / "profiles" / "tiny.toml").write_text(profile)
    settings = load_settings(home=tmp_path, profile="tiny", threads=1)
    for part, rows in (("train", ROWS[:8]), ("holdout", ROWS[8:12]), ("corrections", [])):
        write_rows(rows, tmp_path / f"{part}.jsonl")
    dataset = Dataset(
        digest="rows", folder=tmp_path, train=tmp_path / "train.jsonl", holdout=tmp_path / "holdout.jsonl",
        corrections=tmp_path / "corrections.jsonl", card=tmp_path, holdout_from="2024-06-01", train_until="2024-05-20",
        horizon_days=5, prompt_version=1, train_rows=8, holdout_rows=4, correction_rows=0, counts={}, purged=0,
        holdout_digest="h", feedback_ids=[],
    )  # fmt: skip

    adapter = finetune.finetune.fn(settings, dataset)
    assert adapter.steps == 2
    candidate = quantize.quantize.fn(settings, dataset, adapter)
    losses = candidate.losses
    assert candidate.prompts_checked == 4
    assert losses["adapter"] < losses["base"], "the adapter has learnt nothing"
    assert losses["f16"] == pytest.approx(losses["merged"], rel=2e-3)
    row = ROWS[0]
    with LlamaModel(candidate.gguf, threads=1, context=2048) as model:
        answer = model.generate(
            prompt_format.render(messages(row.instruction, row.input)),
            max_tokens=8,
            stop=prompt_format.stop,
        )
    assert answer.tokens_out > 0
