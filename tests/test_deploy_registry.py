"""deploy/registry as its one command starts it: what is pushed there has the digest that it has here, and Ollama pulls it."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from factories.ports import free_port
from factories.published_versions import published
from fakes.champion_file import install
from fakes.pulling import Puller

from stock_llm.errors import PublishError
from stock_llm.ollama.store import OllamaStore
from stock_llm.pipeline.publication.restoring import publish_again, roll_back
from stock_llm.settings import load_settings

UP = Path(__file__).parents[1] / "deploy" / "registry" / "up.sh"
MISSING = [name for name in ("docker-registry", "nginx") if not shutil.which(name)]


@pytest.fixture
def registry(monkeypatch, tmp_path):
    return install(monkeypatch, tmp_path / "champion")


@pytest.fixture
def address(tmp_path):
    """HOST:PORT of a registry that was started for the test."""
    if MISSING:
        pytest.skip(
            f"{' and '.join(MISSING)} not installed: apt install docker-registry nginx-light"
        )
    address = f"127.0.0.1:{free_port()}"
    log = (tmp_path / "log").open("wb")
    with subprocess.Popen([UP, address, tmp_path / "data"], stdout=log, stderr=log) as process:
        until = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"http://{address}/v2/", trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            assert time.monotonic() < until and process.poll() is None, (
                tmp_path / "log"
            ).read_text()
            time.sleep(0.1)
        try:
            yield address
        finally:
            process.terminate()


def test_push_pull_and_a_second_push_that_moves_nothing(address, registry, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    url = f"http://{address}/library"
    settings = load_settings(home=tmp_path / "home", ollama_host="", publish={"registry": url})
    for number in (1, 2):
        published(settings, registry, number)
        registry.promote(settings, number)
    done = publish_again(settings, to=["registry"])
    assert done[1:] == [
        f"stock-llm:v1 is at {url}",
        f"stock-llm:v2 is at {url}",
        f"stock-llm:latest is v2 at {url}",
    ]
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "data" / "registry").rglob("*")}
    assert publish_again(settings, to=["registry"]) == []
    assert {
        path: path.stat().st_mtime_ns for path in (tmp_path / "data" / "registry").rglob("*")
    } == files
    folder, other = (
        OllamaStore(settings.path(settings.ollama_store)),
        OllamaStore(tmp_path / "other"),
    )
    (other.root / "blobs").mkdir(parents=True)
    pulled = f"{address}/library/stock-llm:latest"
    assert [*Puller(other).pull(pulled, insecure=True)][-1] == {"status": "success"}
    assert other.read_manifest(pulled) == folder.read_manifest("stock-llm:v2")
    roll_back(settings, 1)
    assert [*Puller(other).pull(pulled, insecure=True)][-1] == {"status": "success"}
    assert other.read_manifest(pulled) == folder.read_manifest("stock-llm:v1")


def test_a_registry_that_does_not_answer_or_is_not_set_is_named(registry, tmp_path):
    settings = load_settings(home=tmp_path / "home", ollama_host="")
    published(settings, registry, 1)
    with pytest.raises(PublishError, match=r"publish\.registry is not set"):
        publish_again(settings, to=["registry"])
    gone = load_settings(
        home=tmp_path / "home", ollama_host="", publish={"registry": "http://127.0.0.1:9/models"}
    )
    with pytest.raises(PublishError, match="models went away while it was to look up stock-llm:v1"):
        publish_again(gone, to=["registry"])
    assert os.access(UP, os.X_OK)
