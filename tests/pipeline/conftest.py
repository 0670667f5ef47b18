"""Where versions are published to in these tests: a registry in a file, and an Ollama on loopback."""

import pytest
from fakes.champion_file import install
from fakes.loopback_ollama import LoopbackOllama


@pytest.fixture
def registry(monkeypatch, tmp_path):
    return install(monkeypatch, tmp_path / "champion")


@pytest.fixture
def ollama(tmp_path):
    with LoopbackOllama(tmp_path / "served") as running:
        yield running
