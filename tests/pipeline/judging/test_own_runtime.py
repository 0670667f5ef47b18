"""Answers of a model in this process: whatever the threads, and whatever interrupts them."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from factories.rows import rows_of_all_skills

from stock_llm.errors import StockLLMError
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.llama_cpp import LlamaModel
from stock_llm.llm.profiles import ServingConfig, load_profile
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.llm.prompts import messages
from stock_llm.llm.quantization import quantize_gguf
from stock_llm.pipeline.judging import asking, own_runtime, speed
from stock_llm.pipeline.judging.contestants import of_profile
from stock_llm.settings import load_settings
from stock_llm.storage.record_log import RecordLog

SERVING = ServingConfig(temperature=0.0, num_ctx=1024, num_predict=40)
ROWS = list(itertools.islice(rows_of_all_skills(12), 10))
PROMPTS = [MISTRAL_V3.render(messages(row.instruction, row.input)) for row in ROWS]


@pytest.fixture(scope="module")
def gguf(tiny_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_gguf(tiny_base / "models" / "tiny", folder / "f16.gguf", "tiny", MISTRAL_V3.jinja)
    quantize_gguf(folder / "f16.gguf", folder / "q.gguf", "Q8_0", threads=1)
    return folder / "q.gguf"


def answers(gguf, threads, rows=None):
    got = dict(own_runtime.generate(gguf, PROMPTS, SERVING, MISTRAL_V3.stop, threads, rows))
    return [(got[place].tokens_in, got[place].text) for place in range(len(PROMPTS))]


def test_contexts_and_rows_answer_what_one_row_after_the_other_answers(gguf):
    with LlamaModel(gguf, threads=1, context=SERVING.num_ctx) as model:
        alone = [model.generate(each, SERVING.num_predict, MISTRAL_V3.stop) for each in PROMPTS]
    expected = [(answer.tokens_in, answer.text) for answer in alone]
    assert len(set(expected)) > 5
    assert answers(gguf, threads=1) == expected
    assert answers(gguf, threads=3) == expected
    assert answers(gguf, threads=2, rows=4) == expected


def test_small_models_get_contexts_and_large_ones_rows(gguf, tmp_path, monkeypatch):
    assert own_runtime.plan(gguf, threads=3) == own_runtime.Plan(contexts=3, threads=1, rows=1)
    large = tmp_path / "large.gguf"
    with large.open("wb") as stream:
        stream.truncate(700 << 20)
    assert own_runtime.plan(large, threads=2) == own_runtime.Plan(1, 2, own_runtime.ROWS_AT_ONCE)
    monkeypatch.setattr(own_runtime, "available_memory", lambda: 1 << 30)
    assert own_runtime.plan(large, threads=2, row_bytes=100 << 20).rows == 4, (
        "there is room for 5, and a context would round them up to 8"
    )
    assert own_runtime.plan(large, threads=2, row_bytes=4 << 30).rows == 1


def test_a_prompt_that_does_not_fit_ends_all_contexts_with_an_error(gguf):
    short = SERVING.model_copy(update={"num_ctx": 256})
    with pytest.raises(StockLLMError, match="the context only 256"):
        dict(own_runtime.generate(gguf, ["1 " * 300, *PROMPTS], short, (), threads=2))


def test_answers_that_nobody_wants_any_more_stop(gguf):
    coming = own_runtime.generate(gguf, PROMPTS * 50, SERVING, (), threads=2)
    next(coming)
    started = time.monotonic()
    coming.close()
    assert time.monotonic() - started < 20


@pytest.fixture
def settings(tiny_base, tmp_path):
    (tmp_path / "models").symlink_to(tiny_base / "models")
    return load_settings(home=tmp_path, profile="tiny", ollama_host="", threads=1)


def test_a_kill_loses_the_answers_that_were_being_written_and_no_others(settings, gguf):
    """Killed in the middle, and run again: what was answered is not asked again."""
    program = f"""
        import itertools
        from pathlib import Path
        from factories.rows import rows_of_all_skills
        from stock_llm.llm.profiles import load_profile
        from stock_llm.pipeline.judging import asking
        from stock_llm.pipeline.judging.contestants import of_profile
        from stock_llm.settings import load_settings
        settings = load_settings(home=Path({str(settings.home)!r}), profile="tiny", ollama_host="", threads=1)
        profile = load_profile(settings.home, "tiny")
        challenger = of_profile("challenger", Path({str(gguf)!r}), "0", profile, settings.home)
        rows = list(itertools.islice(rows_of_all_skills(400), 400))
        asking.ask(settings, profile, challenger, rows)
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], env=environment)
    folder = asking.answers_folder(settings)
    deadline = time.monotonic() + 300
    while sum(file.stat().st_size for file in folder.glob("*.jsonl")) < 500:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    (file,) = folder.glob("*.jsonl")
    before = RecordLog(file).records
    assert 0 < len(before) < 400

    profile = load_profile(settings.home, "tiny")
    challenger = of_profile("challenger", gguf, "0", profile, settings.home)
    rows = list(itertools.islice(rows_of_all_skills(400), len(before) + 3))
    asked = asking.ask(settings, profile, challenger, rows)
    assert [record["text"] for record in before] == asked.answers[: len(before)]
    assert len(RecordLog(file).records) == len(
        {asking.question(profile, challenger, row).key for row in rows}
    )


def test_speed_is_that_of_one_question_at_a_time_and_answers_are_compared(settings, gguf):
    profile = load_profile(settings.home, "tiny")
    challenger = of_profile("challenger", gguf, "0", profile, settings.home)
    asked = asking.ask(settings, profile, challenger, ROWS)
    measured = speed.measure(settings, profile, challenger, ROWS, asked)
    assert (measured.asked, measured.same) == (speed.QUESTIONS, speed.QUESTIONS)
    assert 0 < measured.first_seconds < 60 and measured.tokens_per_second > 1
    assert 20 << 20 < measured.memory < 1 << 30
    other = asking.ModelAnswers("challenger", ["?"] * 10, asked.scores, asked.false)
    assert speed.measure(settings, profile, challenger, ROWS, other).same == 0


def test_a_file_that_cannot_be_loaded_is_named_where_speed_is_measured(settings, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF nonsense")
    challenger = of_profile(
        "challenger", broken, "0", load_profile(settings.home, "tiny"), tmp_path
    )
    nothing = asking.ModelAnswers("challenger", ["?"] * 10, [], [])
    with pytest.raises(StockLLMError, match=r"speed of .*broken\.gguf failed: .*cannot load"):
        speed.measure(settings, load_profile(settings.home, "tiny"), challenger, ROWS, nothing)
