"""Mistral's real vocabularies, from the package mistral-common: our prompts have the tokens that Mistral's own code gives, in
training and in llama.cpp.
"""

import json

import pytest
from factories import small_bases
from factories.rows import rows_of_all_skills
from mistral_common.protocol.instruct.messages import SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from stock_llm.llm.gguf import tokenizer
from stock_llm.llm.gguf.tokenizer import load_tokenizer
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.prompt_formats import MISTRAL_V1, MISTRAL_V3, MISTRAL_V7_TEKKEN
from stock_llm.llm.prompts import messages
from stock_llm.parity.prompts import check_tokens, questions

FORMATS = {"v1": MISTRAL_V1, "v3": MISTRAL_V3, "tekken": MISTRAL_V7_TEKKEN}
ROWS = list(rows_of_all_skills(40, seed=8))


@pytest.fixture(scope="module", params=FORMATS)
def base(request, tmp_path_factory):
    """A random model with the whole of a real vocabulary."""
    folder = tmp_path_factory.mktemp("real") / request.param
    more: dict[str, object]
    if request.param == "tekken":
        size, kind = small_bases.write_tekken(folder), "ministral3"
        more = {"rope_parameters": small_bases.YARN, "tie_word_embeddings": True}
    else:
        size, kind = small_bases.write_sentencepiece(folder, request.param), "mistral"
        more = {"sliding_window": None, "tie_word_embeddings": True}
    small_bases.write_model(folder, kind, size, num_hidden_layers=1, **more)
    return folder


def mistrals_tokenizer(version: str, folder) -> MistralTokenizer:
    if version != "tekken":
        return MistralTokenizer.from_file(
            str(small_bases.mistral_file(small_bases.SENTENCEPIECE[version]))
        )
    # the vocabulary in the package is v3's; of v7 on, the system text has tokens of its own
    tekken = json.loads(small_bases.mistral_file(small_bases.TEKKEN).read_text(encoding="utf-8"))
    tekken["config"]["version"] = "v7"
    file = folder / "tekken.json"
    file.write_text(json.dumps(tekken), encoding="utf-8")
    return MistralTokenizer.from_file(str(file))


def test_a_prompt_has_the_tokens_that_mistral_gives_it(base, tmp_path, monkeypatch):
    """With Tekken's own pattern, which llama.cpp does not have."""
    monkeypatch.setattr(tokenizer, "CUT_BY_LLAMA_CPP", tokenizer.PRE_TOKENIZERS)
    ours, theirs = load_tokenizer(base), mistrals_tokenizer(base.name, tmp_path)
    kinds = {"system": SystemMessage, "user": UserMessage}
    for row in ROWS:
        turns = messages(row.instruction, row.input)
        asked = [kinds[turn["role"]](content=turn["content"]) for turn in turns]
        expected = theirs.encode_chat_completion(ChatCompletionRequest(messages=asked)).tokens
        assert ours(FORMATS[base.name].render(turns)).input_ids == expected, row.id


def test_llama_cpp_gives_the_tokens_of_training(base):
    write_gguf(base, base / "f16.gguf", base.name, FORMATS[base.name].jinja)
    tokens = load_tokenizer(base)
    with LlamaModel(base / "f16.gguf", threads=1, context=2048) as served:
        check_tokens(
            questions(ROWS),
            FORMATS[base.name],
            lambda text: tokens(text).input_ids,
            served,
            context=2048,
        )


@pytest.mark.parametrize("prefix", ["first", "always"])
def test_a_space_before_a_text_is_the_same_in_llama_cpp(tmp_path, prefix):
    """Of old, transformers put one after every special token; then only at the beginning; ours puts none there."""
    folder = tmp_path / "v1"
    size = small_bases.write_sentencepiece(folder, "v1", prefix)
    small_bases.write_model(folder, "mistral", size, num_hidden_layers=1, tie_word_embeddings=True)
    write_gguf(folder, tmp_path / "m.gguf", "m", MISTRAL_V1.jinja)
    tokens = load_tokenizer(folder)
    with LlamaModel(tmp_path / "m.gguf", threads=1, context=64) as served:
        for text in ("[INST] hi [/INST]", " [INST] hi", "hi</s> [INST]", "hi</s>[INST]"):
            assert served.tokenize(text) == tokens(text).input_ids, text
