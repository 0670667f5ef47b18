"""Handing over, rolling back, pulling with a key, prompts, tools and answers, against a real Ollama: OLLAMA_BIN names its
program.

    OLLAMA_BIN=/usr/local/bin/ollama pytest tests/ollama/test_real_ollama.py

Where nothing is asked to answer, the model is a few kilobytes that say nothing; else it is stock-tiny, untrained or with a
random adapter. Passed with 0.33.0-rc2.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from factories.ports import free_port
from factories.published_versions import published
from factories.rows import rows_of_all_skills
from factories.running_gateway import RunningGateway
from fakes.champion_file import install

from stock_llm.llm.gguf.adapter import LORA_KIND, write_adapter_gguf
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.merging.lora import read_adapter
from stock_llm.llm.profiles import ServingConfig, load_profile
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.llm.prompts import SYSTEM
from stock_llm.llm.quantization import quantize_gguf
from stock_llm.ollama.client import connect
from stock_llm.ollama.distribution.consumer_keys import ConsumerKeys
from stock_llm.ollama.handover import hand_over
from stock_llm.ollama.manifest import parse_manifest
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.profile_modelfile import modelfile_of
from stock_llm.ollama.publish_target import StoreTarget
from stock_llm.ollama.store import OllamaStore
from stock_llm.parity.prompts import conversations, questions
from stock_llm.pipeline.judging.contestants import as_published
from stock_llm.pipeline.judging.ollama_judge import OllamaJudge
from stock_llm.pipeline.publication.places import folder_of
from stock_llm.pipeline.publication.restoring import (
    MANIFEST,
    MODELFILE,
    publish_again,
    roll_back,
)
from stock_llm.settings import load_settings
from stock_llm.storage.links import link_or_copy

PROGRAM = os.environ.get("OLLAMA_BIN", "")
PROJECT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not PROGRAM, reason="OLLAMA_BIN names no Ollama")


@dataclass(frozen=True)
class RealOllama:
    """A server with a home of its own."""

    host: str
    home: Path

    @property
    def public_key(self) -> str:
        return (self.home / ".ollama" / "id_ed25519.pub").read_text()

    def digests(self) -> dict[str, str]:
        return dict(connect(self.host).listed)

    def post(self, path: str, **body: object) -> httpx.Response:
        return httpx.post(f"{self.host}{path}", json=body, timeout=120, trust_env=False)

    def command(self, *arguments: str) -> str:
        """What a person at the server's command line gets."""
        asked = subprocess.run(
            [PROGRAM, *arguments],
            env=os.environ | {"HOME": str(self.home), "OLLAMA_HOST": self.host},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert asked.returncode == 0, asked.stderr
        return asked.stdout


@contextmanager
def running(home: Path, **variables: str) -> Iterator[RealOllama]:
    """A server with its files in `home`."""
    home.mkdir()
    port = free_port()
    whole = os.environ | {
        "HOME": str(home),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(home / "models"),
    }
    log = home / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [PROGRAM, "serve"], env=whole | variables, stdout=out, stderr=out
        ) as process,
    ):
        server = RealOllama(f"http://127.0.0.1:{port}", home)
        until = time.monotonic() + 120
        while connect(server.host) is None:
            assert time.monotonic() < until and process.poll() is None, log.read_text()
            time.sleep(0.2)
        try:
            yield server
        finally:
            process.terminate()


@pytest.fixture
def ollama(tmp_path):
    with running(tmp_path / "ollama") as server:
        yield server


@pytest.fixture
def registry(monkeypatch, tmp_path):
    return install(monkeypatch, tmp_path / "champion")


@pytest.fixture
def project(tmp_path, ollama, registry):
    """Settings and folder of a project with two versions, the second of them champion."""
    settings = load_settings(home=tmp_path / "project", ollama_host=ollama.host, threads=1)
    for number in (1, 2):
        published(settings, registry, number, size=400_000)
        registry.promote(settings, number)
    return settings, OllamaStore(settings.path(settings.ollama_store))


def test_it_pulls_what_it_lacks_bit_for_bit_and_follows_the_champion(project, ollama):
    settings, folder = project
    publish_again(settings)
    assert ollama.digests() == {name: folder.digest(name) for name in folder.list_models()}
    assert publish_again(settings) == []
    httpx.request(
        "DELETE", f"{ollama.host}/api/delete", json={"model": "stock-llm:v1"}, trust_env=False
    )
    roll_back(settings, 1)
    assert ollama.digests() == {name: folder.digest(name) for name in folder.list_models()}
    assert ollama.digests()["stock-llm:latest"] == folder.digest("stock-llm:v1")
    assert folder.annotations("stock-llm:v1") == OllamaStore(ollama.home / "models").annotations(
        "stock-llm:v1"
    )


def test_it_pulls_from_the_gateway_with_its_own_key_alone(project, ollama):
    settings, folder = project
    gateway = load_settings(
        home=settings.home,
        ollama_host="",
        threads=1,
        publish={"serve": True, "proxies": ["127.0.0.1"]},
    )
    with RunningGateway(gateway) as running:
        name = f"{running.url.removeprefix('http://')}/library/stock-llm:v2"
        refused = ollama.post("/api/pull", model=name, insecure=True, stream=False)
        assert "may not pull here" in refused.text
        ConsumerKeys(gateway.secrets / "consumers").add("office", ollama.public_key)
        assert ollama.post("/api/pull", model=name, insecure=True, stream=False).json() == {
            "status": "success"
        }
        assert ollama.digests()[name] == folder.digest("stock-llm:v2")
        ConsumerKeys(gateway.secrets / "consumers").remove("office")
        assert (
            "may not pull here"
            in ollama.post("/api/pull", model=name, insecure=True, stream=False).text
        )


QUESTION = [{"role": "user", "content": "Write a Python function that returns the mean of a list."}]


@pytest.fixture
def adapter_versions(tmp_path, ollama, registry):
    """A function: publishes version `number`, a random adapter over stock-tiny, into the folder."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import MistralForCausalLM

    settings = load_settings(home=tmp_path / "project", ollama_host=ollama.host, threads=1)
    weights = PROJECT / "models" / "stock-tiny"
    base = tmp_path / "base.gguf"
    write_gguf(weights, tmp_path / "f16.gguf", "stock-tiny", MISTRAL_V3.jinja)
    quantize_gguf(tmp_path / "f16.gguf", base, "Q4_K_M", 1)

    def publish(number: int) -> None:
        folder = settings.artifacts / "candidate" / f"candidate{number}"
        folder.mkdir(parents=True)
        link_or_copy(base, folder / "base.gguf")
        torch.manual_seed(number)
        config = LoraConfig(
            r=16, lora_alpha=4, target_modules="all-linear", init_lora_weights=False
        )
        adapted = get_peft_model(MistralForCausalLM.from_pretrained(weights), config)
        adapted.save_pretrained(tmp_path / f"lora{number}")
        lora = folder / "lora.gguf"
        write_adapter_gguf(weights, read_adapter(tmp_path / f"lora{number}"), lora, "x", LORA_KIND)
        modelfile = Modelfile(
            from_="./base.gguf",
            adapter="./lora.gguf",
            template=MISTRAL_V3.go,
            system=SYSTEM,
            parameters={
                "temperature": 0.0,
                "num_ctx": 512,
                "num_predict": 40,
                "stop": MISTRAL_V3.stop,
            },
        )
        (folder / MODELFILE).write_text(modelfile.write())
        target = folder_of(settings)
        target.put(f"stock-llm:v{number}", folder / "base.gguf", modelfile, {})
        (folder / MANIFEST).write_bytes(target.store.read_manifest(f"stock-llm:v{number}"))
        registry.promote(settings, number)

    return settings, publish


def test_versions_with_an_adapter_answer_as_here_and_an_update_moves_the_adapter_alone(
    adapter_versions, ollama
):
    settings, publish = adapter_versions
    folder, blobs = folder_of(settings), ollama.home / "models" / "blobs"
    publish(1)
    publish_again(settings)
    before = set(blobs.iterdir())
    publish(2)
    publish_again(settings)
    lora = folder.store.read_model("stock-llm:v2").lora
    assert {path.name for path in set(blobs.iterdir()) - before} == {lora.name}
    assert lora.stat().st_size < 0.2 * folder.store.read_model("stock-llm:v2").size
    assert ollama.digests() == {name: folder.digest(name) for name in folder.store.list_models()}
    server = connect(ollama.host)
    for number in (1, 2):
        layers = parse_manifest(folder.store.read_manifest(f"stock-llm:v{number}")).layers
        wanted = {layer.digest for layer in layers if layer.kind in ("model", "adapter")}
        assert server.files(f"stock-llm:v{number}") == wanted
    assert server.loaded() == []
    answers = []
    for name in ("stock-llm:v1", "stock-llm:v2", "stock-llm:v1", "stock-llm:latest"):
        here, there = folder.ask(name, QUESTION), server.ask(name, QUESTION, None)
        assert (there.prompt, there.text) == (here.prompt, here.text)
        assert server.loaded() == [name], "two versions over one base are in memory"
        answers.append(there.text)
    assert answers[0] == answers[2] != answers[1] == answers[3]


def test_a_judge_pulls_a_contestant_with_an_adapter(adapter_versions, ollama):
    settings, publish = adapter_versions
    publish(1)
    gguf = settings.artifacts / "candidate" / "candidate1" / "base.gguf"
    contestant = as_published("challenger", gguf, "0")
    here = folder_of(settings).ask("stock-llm:v1", QUESTION).text
    serving = ServingConfig(temperature=0, num_ctx=512, num_predict=40)
    with OllamaJudge(connect(ollama.host), serving) as judge:
        ((_, answer),) = judge.generate(contestant, [QUESTION])
    assert answer.text == here
    assert ollama.digests() == {}
    assert not (settings.artifacts / "candidate" / ".judged").exists()


def test_what_a_person_removes_there_is_put_back_under_the_same_id(project, ollama):
    settings, folder = project
    publish_again(settings)
    for name in ("stock-llm:v1", "stock-llm"):
        assert "deleted" in ollama.command("rm", name)
    done = publish_again(settings)
    assert len(done) == 2
    listed = dict(line.split()[:2] for line in ollama.command("list").splitlines()[1:])
    assert listed == {name: folder.digest(name)[:12] for name in folder.list_models()}


@pytest.fixture(scope="module")
def stock_tiny(tmp_path_factory):
    """The untrained base as a GGUF, and the Modelfile of its profile."""
    gguf = tmp_path_factory.mktemp("stock-tiny") / "stock-llm.gguf"
    profile = load_profile(PROJECT, "stock-tiny")
    write_gguf(PROJECT / "models" / "stock-tiny", gguf, "stock-tiny", profile.format.jinja)
    return profile, gguf, modelfile_of(profile, gguf, PROJECT)


@pytest.mark.parametrize("go_template", ["", "0", "1"])
def test_prompts_are_training_s_whichever_template_the_server_takes(
    stock_tiny, tmp_path, go_template
):
    """Every conversation, by the Go template and by the GGUF's Jinja."""
    profile, gguf, modelfile = stock_tiny
    folder = OllamaStore(tmp_path / "folder")
    folder.write_model("stock-llm:v1", gguf, modelfile)
    asked = [*questions(rows_of_all_skills(2)), *conversations(0, 120)]
    with running(tmp_path / "ollama", OLLAMA_GO_TEMPLATE=go_template) as ollama:
        server = connect(ollama.host)
        hand_over(folder, server, "stock-llm:v1")
        for question in asked:
            rendered = server.render("stock-llm:v1", question.served)
            assert rendered == profile.format.prompt(question.turns), question.id


def test_it_takes_tools_and_answers_as_our_own_runtime(stock_tiny, ollama, tmp_path):
    _, gguf, modelfile = stock_tiny
    folder = StoreTarget(OllamaStore(tmp_path / "folder"), threads=1)
    folder.put("stock-llm:v1", gguf, modelfile, {})
    server = connect(ollama.host)
    hand_over(folder.store, server, "stock-llm:v1")
    shown = ollama.post("/api/show", model="stock-llm:v1").json()
    assert shown["capabilities"] == ["completion", "tools"]
    question = [{"role": "user", "content": "What does RSI14 mean?"}]
    tool = {
        "name": "current_time",
        "description": "The time.",
        "parameters": {"type": "object", "properties": {}},
    }
    body = {"model": "stock-llm:v1", "messages": question, "stream": False}
    tools = [{"type": "function", "function": tool}]
    plain = ollama.post("/api/chat", **body).json()
    equipped = ollama.post("/api/chat", **body, tools=tools).json()
    prompt = ollama.post("/api/chat", **body, tools=tools, _debug_render_only=True).json()
    ours = folder.ask("stock-llm:v1", question)
    assert plain["message"]["content"].strip() == ours.text != ""
    assert equipped["message"]["content"].strip() == ours.text
    assert prompt["_debug_info"]["rendered_template"] == ours.prompt
    compatible = {**body, "temperature": 0}
    said = ollama.post("/v1/chat/completions", **compatible).json()
    assert said["choices"][0]["message"]["content"].strip() == ours.text
