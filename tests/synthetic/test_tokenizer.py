"""One text, one list of tokens: SentencePiece, transformers and (llm/gguf/test_writer.py) llama.cpp."""

import pytest
import sentencepiece
from factories.rows import rows_of_all_skills
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.llm.prompts import messages
from stock_llm.synthetic.stock_tiny.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def both(tiny_base):
    folder = tiny_base / "models" / "tiny"
    return AutoTokenizer.from_pretrained(folder), sentencepiece.SentencePieceProcessor(
        model_file=str(folder / "tokenizer.model")
    )


def test_rows_have_the_same_tokens_in_both(both):
    fast, pieces = both
    for row in rows_of_all_skills(200, seed=2):
        text = MISTRAL_V3.render(messages(row.instruction, row.input)) + " " + row.output
        ids = fast(text).input_ids
        assert ids == [pieces.bos_id(), *pieces.encode(text)]
        assert fast.decode(ids, skip_special_tokens=False) == "<s>" + text


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\u2581\0"), max_size=60
    )
)
def test_nothing_is_lost_or_changed(both, text):
    """Any characters, any spaces and line breaks survive. (U+2581 is SentencePiece's own sign for a space; what begins or ends
    a turn is a token to transformers alone, and `injections.harmless` takes it out of what people wrote.)"""
    fast, pieces = both
    assume(not any(token in text for token in fast.all_special_tokens))
    ids = fast(text, add_special_tokens=False).input_ids
    assert fast.decode(ids) == text
    assert ids == pieces.encode(text)


def test_special_tokens_are_one_token_each(both):
    fast, _ = both
    assert fast.convert_ids_to_tokens(fast("[INST] 1[/INST] 2</s>").input_ids) == [
        "<s>",
        "[INST]",
        "▁",
        "1",
        "[/INST]",
        "▁",
        "2",
        "</s>",
    ]


def test_digits_are_split(both):
    fast, _ = both
    assert fast.convert_ids_to_tokens(fast("104.20", add_special_tokens=False).input_ids) == list(
        "104.20"
    )


def test_the_same_lines_give_the_same_bytes(tmp_path):
    lines = [row.output.replace("\n", " ") for row in rows_of_all_skills(60)]
    for name in ("one", "two"):
        train_tokenizer(iter(lines), tmp_path / name, vocab_size=400)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
