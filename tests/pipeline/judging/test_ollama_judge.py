"""Judging through an Ollama: a loopback server that answers as a real one was seen to, with a tiny random model."""

import itertools
import json
from dataclasses import replace

import pytest
from factories.parrot_gguf import write_parrot, write_parrot_lora
from factories.rows import rows_of_all_skills
from fakes.loopback_ollama import LoopbackOllama

from stock_llm.errors import PublishError
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.profiles import load_profile
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.llm.prompts import messages
from stock_llm.ollama.client import OllamaServer, connect
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.pipeline.judging import asking, ollama_judge
from stock_llm.pipeline.judging.contestants import of_profile
from stock_llm.pipeline.judging.ollama_judge import OllamaJudge
from stock_llm.settings import load_settings
from stock_llm.storage.checksums import file_sha256, model_sha256
from stock_llm.storage.record_log import RecordLog

ROWS = list(itertools.islice(rows_of_all_skills(12), 6))


@pytest.fixture
def settings(tiny_base, tmp_path):
    (tmp_path / "models").symlink_to(tiny_base / "models")
    return load_settings(home=tmp_path, profile="tiny", ollama_host="", threads=1)


@pytest.fixture
def profile(settings):
    return load_profile(settings.home, "tiny")


@pytest.fixture
def challenger(tiny_base, tmp_path, profile):
    gguf = tmp_path / "f16.gguf"
    write_gguf(tiny_base / "models" / "tiny", gguf, "tiny", MISTRAL_V3.jinja)
    return of_profile("challenger", gguf, file_sha256(gguf), profile, tmp_path)


@pytest.fixture
def ollama(tmp_path):
    with LoopbackOllama(tmp_path / "ollama") as server:
        yield server


def test_the_published_template_is_asked_and_its_answers_are_those_of_this_process(
    settings, profile, challenger, ollama
):
    with OllamaJudge(connect(ollama.host), profile.serving) as judge:
        theirs = asking.ask(settings, profile, challenger, ROWS, judge)
        assert judge.equal_prompts(challenger, ROWS) == len(ROWS)
        assert sum(request == "POST /api/create" for request in ollama.requests) == 1
    here = asking.ask(settings, profile, challenger, ROWS)
    assert theirs.answers == here.answers and all(here.answers)
    assert len(list(asking.answers_folder(settings).glob("*.jsonl"))) == 2, "kept apart"
    assert ollama.store.list_models() == [], "nothing of judging is left there"


def test_a_template_that_the_server_ignores_is_counted(profile, challenger, ollama):
    ollama.ignores = "{{ range .Messages }}{{ .Content }}{{ end }}"
    with OllamaJudge(connect(ollama.host), profile.serving) as judge:
        assert judge.equal_prompts(challenger, ROWS) == 0


def test_it_asks_at_temperature_0_and_with_the_profiles_limits_whatever_the_model_is_published_with(
    profile, challenger, ollama
):
    own = challenger.modelfile.parameters
    warm = {**own, "temperature": 0.9, "num_ctx": 512, "num_predict": 16, "seed": 3}
    published = replace(challenger, modelfile=replace(challenger.modelfile, parameters=warm))
    with OllamaJudge(connect(ollama.host), profile.serving) as judge:
        judge.equal_prompts(published, ROWS[:1])
        (name,) = ollama.store.list_models()
        made = ollama.store.read_model(name).modelfile
    assert made.parameters == {**own, "temperature": 0.0, "seed": 3}
    assert (made.parameters["num_ctx"], made.parameters["num_predict"]) == (1024, 160)
    assert made.template == MISTRAL_V3.go


def test_a_server_that_goes_away_loses_no_answer_that_it_gave(
    settings, profile, challenger, ollama, monkeypatch
):
    answered = []
    generate = OllamaServer.generate

    def then_gone(server, name, turns):
        if len(answered) == 2:
            raise PublishError("it went away")
        answered.append(turns)
        return generate(server, name, turns)

    judge = OllamaJudge(connect(ollama.host), profile.serving)
    monkeypatch.setattr(ollama_judge, "AT_ONCE", 1)
    with monkeypatch.context() as patch:
        patch.setattr(OllamaServer, "generate", then_gone)
        with pytest.raises(PublishError, match="went away"):
            asking.ask(settings, profile, challenger, ROWS, judge)
    (file,) = asking.answers_folder(settings).glob("*.jsonl")
    assert len(RecordLog(file).records) == 2
    before = sum(request == "POST /api/chat" for request in ollama.requests)
    assert len(asking.ask(settings, profile, challenger, ROWS, judge).answers) == len(ROWS)
    after = sum(request == "POST /api/chat" for request in ollama.requests)
    assert after - before == len(ROWS) - 2


def test_an_answer_that_the_server_broke_off_is_an_answer(profile, challenger, ollama):
    ollama.unfinished = True
    turns = messages(ROWS[0].instruction, ROWS[0].input)
    with OllamaJudge(connect(ollama.host), profile.serving) as judge:
        ((place, answer),) = judge.generate(challenger, [turns])
    assert (place, answer.finish) == (0, "length")
    assert answer.tokens_out > 0 and json.dumps(answer.text)


def test_a_contestant_with_an_adapter_is_pulled_and_leaves_nothing(
    settings, profile, ollama, tmp_path
):
    folder = tmp_path / "candidate" / "one"
    folder.mkdir(parents=True)
    gguf = write_parrot(folder / "base.gguf", "I am the base", others=["with the adapter"])
    lora = write_parrot_lora(folder / "lora.gguf", 1, 1)
    asked = of_profile("challenger", gguf, model_sha256(gguf, lora), profile, tmp_path, lora)
    left = folder.with_name(".judged")
    (left / "blobs").mkdir(parents=True)  # by a run that was killed, there and here
    ollama.store.write_model("stock-llm:judged-challenger", gguf, Modelfile(from_="base.gguf"))
    with OllamaJudge(connect(ollama.host), profile.serving) as judge:
        theirs = asking.ask(settings, profile, asked, ROWS, judge)
        assert judge.equal_prompts(asked, ROWS) == len(ROWS)
    here = asking.ask(settings, profile, asked, ROWS)
    assert set(theirs.answers) == set(here.answers) == {"with the adapter"}
    assert "POST /api/create" not in ollama.requests
    assert ollama.store.list_models() == [] and not left.exists()
