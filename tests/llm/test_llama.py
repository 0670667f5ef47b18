import pytest

from stock_llm.errors import StockLLMError
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.prompt_formats import MISTRAL_V3


@pytest.fixture(scope="module")
def model(tiny_base, tmp_path_factory):
    out = tmp_path_factory.mktemp("llama") / "f16.gguf"
    write_gguf(tiny_base / "models" / "tiny", out, "tiny", MISTRAL_V3.jinja)
    with LlamaModel(out, threads=1, context=128) as loaded:
        yield loaded


PROMPT = "[INST] Analyze ORCA.[/INST]"


def test_the_same_prompt_has_the_same_answer_whatever_was_asked_before(model):
    first = model.generate(PROMPT, max_tokens=20)
    model.generate("[INST] Analyze", max_tokens=5)
    again = model.generate(PROMPT, max_tokens=20)
    assert (first.text, first.tokens_in, first.tokens_out) == (
        again.text,
        again.tokens_in,
        again.tokens_out,
    )


def test_an_answer_ends_at_the_limit_and_at_a_stop_sequence(model):
    long = model.generate(PROMPT, max_tokens=20)
    assert (long.finish, long.tokens_out) == ("length", 20)
    mark = long.text[4:6]
    stopped = model.generate(PROMPT, max_tokens=20, stop=[mark])
    assert stopped.finish == "stop"
    assert mark not in stopped.text
    assert long.text.startswith(stopped.text)


def test_a_prompt_is_never_cut(model):
    with pytest.raises(StockLLMError, match="the context only 128"):
        model.generate("1 " * 200, max_tokens=5)


def test_the_context_bounds_the_answer(model):
    tokens = len(model.tokenize("1" * 100))
    assert model.generate("1" * 100, max_tokens=999).tokens_out <= 128 - tokens


def test_loss_is_measured_on_the_answer_alone(model):
    prompt, answer = model.tokenize(PROMPT), model.tokenize(" up", bos=False)
    whole, count = model.answer_loss(prompt, answer)
    first, _ = model.answer_loss(prompt, answer[:1])
    rest, _ = model.answer_loss([*prompt, answer[0]], answer[1:])
    assert count == len(answer)
    assert whole == pytest.approx(first + rest, rel=1e-3)


def test_a_file_that_is_no_model_is_an_error(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF nonsense")
    with pytest.raises(StockLLMError, match=r"cannot load .*x\.gguf"):
        LlamaModel(tmp_path / "x.gguf", threads=1, context=64)
