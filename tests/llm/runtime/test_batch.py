"""Several rows at once, with stock-tiny as a GGUF: each is answered as if it were alone."""

import itertools
from collections import deque
from pathlib import Path

import pytest
from factories.rows import rows_of_all_skills

from stock_llm.errors import StockLLMError
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.llm.prompts import messages
from stock_llm.llm.runtime.batch import Prompt, RowBatch, common_beginning
from stock_llm.llm.runtime.weights import Weights

PROJECT = Path(__file__).parents[3]
PROMPTS = [
    MISTRAL_V3.render(messages(row.instruction, row.input))
    for row in itertools.islice(rows_of_all_skills(16), 11)
]


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    """stock-tiny: its answers differ from row to row and depend on all that it read."""
    out = tmp_path_factory.mktemp("batch") / "f16.gguf"
    write_gguf(PROJECT / "models" / "stock-tiny", out, "stock-tiny", MISTRAL_V3.jinja)
    return out


@pytest.fixture(scope="module")
def weights(gguf):
    loaded = Weights(gguf)
    yield loaded
    loaded.close()


def answered(weights, rows, prompts=PROMPTS, limit=24, stop=(), shared=True, context=1024):
    tokens = [weights.tokenize(prompt) for prompt in prompts]
    with RowBatch(weights, rows, context, threads=1) as batch:
        batch.share(tokens[0][: common_beginning(tokens)] if shared else [])
        waiting = deque(Prompt(place, row) for place, row in enumerate(tokens))
        ended = list(batch.answers(waiting, limit, stop))
    assert sorted(place for place, _ in ended) == list(range(len(prompts)))
    return [answer for _, answer in sorted(ended, key=lambda pair: pair[0])]


def facts(answers):
    return [(answer.text, answer.tokens_in, answer.tokens_out, answer.finish) for answer in answers]


def test_rows_are_answered_as_if_each_were_alone(gguf, weights):
    with LlamaModel(gguf, threads=1, context=1024) as model:
        alone = [model.generate(prompt, max_tokens=24) for prompt in PROMPTS]
    assert len({answer.text for answer in alone}) > 5
    assert facts(answered(weights, rows=1)) == facts(alone)
    assert facts(answered(weights, rows=4)) == facts(alone)


def test_an_answer_does_not_depend_on_what_else_is_asked(weights):
    """Neither on how many rows there are, nor on their order, nor on which of them end early."""
    mark = answered(weights, rows=4)[3].text[9:11]
    one = facts(answered(weights, rows=4, stop=[mark]))
    assert {finish for *_, finish in one} == {"stop", "length"}
    assert facts(answered(weights, rows=8, stop=[mark])) == one
    assert facts(answered(weights, rows=5, prompts=PROMPTS[::-1], stop=[mark])) == one[::-1]
    assert facts(answered(weights, rows=4, prompts=PROMPTS[5:6], stop=[mark])) == one[5:6]


def test_the_common_beginning_is_computed_once_and_changes_nothing(weights):
    tokens = [weights.tokenize(prompt) for prompt in PROMPTS]
    assert common_beginning(tokens) > 10
    assert facts(answered(weights, rows=4, shared=False)) == facts(answered(weights, rows=4))


def test_every_prompt_keeps_a_token_of_its_own():
    assert common_beginning([[1, 2, 3], [1, 2, 4]]) == 2
    assert common_beginning([[1, 2, 3], [1, 2]]) == 1
    assert common_beginning([[1, 2, 3], [1, 2, 3]]) == 2
    assert common_beginning([[1, 2, 3]]) == 2
    assert common_beginning([]) == 0


def test_the_context_bounds_an_answer_and_a_prompt_is_never_cut(weights):
    size = len(weights.tokenize(PROMPTS[0])) + 5
    (answer,) = answered(weights, rows=4, prompts=PROMPTS[:1], limit=999, context=size)
    assert (answer.tokens_out, answer.finish) == (5, "length")
    with pytest.raises(StockLLMError, match=f"the context only {size - 5}"):
        answered(weights, rows=4, prompts=PROMPTS[:1], context=size - 5)


def test_what_the_watcher_raises_ends_the_answers(weights):
    calls = iter([None, None])

    def watch():
        if next(calls, "enough") == "enough":
            raise KeyboardInterrupt

    with RowBatch(weights, 4, 1024, threads=1) as batch:
        batch.share([])
        waiting = deque(Prompt(0, weights.tokenize(prompt)) for prompt in PROMPTS)
        with pytest.raises(KeyboardInterrupt):
            list(batch.answers(waiting, 24, watch=watch))
