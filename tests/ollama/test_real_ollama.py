"""Handing over, rolling back and pulling with a key, against a real Ollama: OLLAMA_BIN names its program.

    OLLAMA_BIN=/usr/local/bin/ollama pytest tests/ollama/test_real_ollama.py

The model is a few kilobytes that say nothing; where answers count it is stock-tiny.
"""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from factories.ports import free_port
from factories.published_versions import published
from factories.running_gateway import RunningGateway
from fakes.champion_file import install

from stock_llm.llm.gguf.adapter import LORA_KIND, write_adapter_gguf
from stock_llm.llm.gguf.writer import write_gguf
from stock_llm.llm.merging.lora import read_adapter
from stock_llm.llm.profiles import ServingConfig
from stock_llm.llm.prompt_formats import MISTRAL_V3
from stock_llm.llm.prompts import SYSTEM
from stock_llm.llm.quantization import quantize_gguf
from stock_llm.ollama.client import connect
from stock_llm.ollama.distribution.consumer_keys import ConsumerKeys
from stock_llm.ollama.manifest import parse_manifest
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.store import OllamaStore
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

PROJECT = Path(__file__).parents[2]

PROGRAM = os.environ.get("OLLAMA_BIN", "")
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


@pytest.fixture
def ollama(tmp_path):
    home = tmp_path / "ollama"
    home.mkdir()
    port = free_port()
    variables = os.environ | {
        "HOME": str(home),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(home / "models"),
    }
    log = (tmp_path / "log").open("wb")
    with subprocess.Popen([PROGRAM, "serve"], env=variables, stdout=log, stderr=log) as process:
        server = RealOllama(f"http://127.0.0.1:{port}", home)
        until = time.monotonic() + 120
        while connect(server.host) is None:
            assert time.monotonic() < until and process.poll() is None, (
                tmp_path / "log"
            ).read_text()
            time.sleep(0.2)
        try:
            yield server
        finally:
            process.terminate()


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


QUESTION = [{"role": "user", "content": "What does RSI14 mean?"}]


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
            r=16, lora_alpha=2, target_modules="all-linear", init_lora_weights=False
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
