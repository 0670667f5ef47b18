"""Handing over, rolling back and pulling with a key, against a real Ollama: OLLAMA_BIN names its program.

    OLLAMA_BIN=/usr/local/bin/ollama pytest tests/ollama/test_real_ollama.py

The model is a few kilobytes that say nothing: nothing here is asked to answer.
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

from stock_llm.ollama.client import connect
from stock_llm.ollama.distribution.consumer_keys import ConsumerKeys
from stock_llm.ollama.store import OllamaStore
from stock_llm.pipeline.publication.restoring import publish_again, roll_back
from stock_llm.settings import load_settings

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
