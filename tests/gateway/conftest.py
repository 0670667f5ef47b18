"""A gateway of each test's own, before an Ollama that repeats what it is asked."""

from pathlib import Path

import pytest
from factories.further_samples import SHARED
from factories.running_gateway import gateway
from fakes.scripted_ollama import ScriptedOllama


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder for the tests of a file, with secrets of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOCK_LLM_SECRETS", str(tmp_path_factory.mktemp("secrets")))
        yield tmp_path_factory.mktemp("home")


CHATS = [
    folder / "gateway" / "open_webui_chat.json"
    for folder in (Path(__file__).parents[1] / "cases", SHARED.parent / "cases")
]


@pytest.fixture(
    params=[file for file in CHATS if file.is_file()], ids=lambda file: file.parents[2].name
)
def open_webui_chat(request) -> bytes:
    """What Open WebUI sends for a person's question: a stream, with its tools."""
    return request.param.read_bytes()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def backend():
    with ScriptedOllama() as running:
        yield running


@pytest.fixture
def running(backend, tmp_path):
    with gateway(tmp_path, backend.host) as started:
        yield started
