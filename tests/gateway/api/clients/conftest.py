"""One gateway for all tests of a file, which ask it as clients do."""

import pytest
from factories.running_gateway import gateway
from fakes.scripted_ollama import ScriptedOllama


@pytest.fixture(scope="module")
def backend():
    models = ("stock-llm:latest", "mistral:7b", "codellama:7b", "nomic-embed-text:latest")
    with ScriptedOllama(*models) as running:
        yield running


@pytest.fixture(scope="module")
def running(home, backend):
    with gateway(home, backend.host) as started:
        yield started
