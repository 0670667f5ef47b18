"""The commands about published versions as a person types them: what they print, and one line when they cannot."""

import shutil

import pytest
from factories.published_versions import published
from fakes.champion_file import install
from typer.testing import CliRunner

from stock_llm.cli.main import _message, app
from stock_llm.errors import InputError, PublishError
from stock_llm.ollama.store import OllamaStore
from stock_llm.settings import load_settings

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@gpu"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("STOCK_LLM_HOME", str(tmp_path))
    monkeypatch.setenv("STOCK_LLM_OLLAMA_HOST", "")
    registry = install(monkeypatch, tmp_path / "champion")
    settings = load_settings()
    for number in (1, 2):
        published(settings, registry, number)
        registry.promote(settings, number)
    return settings


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_publish_puts_back_and_says_when_nothing_is_missing(settings):
    store = OllamaStore(settings.path(settings.ollama_store))
    assert said("publish").startswith("stock-llm:latest is v2 at")
    assert said("publish") == "nothing is missing where versions are published\n"
    shutil.rmtree(store.root)
    said("publish", "v1")
    assert store.list_models() == ["stock-llm:v1"]
    said("publish")
    assert store.list_models() == ["stock-llm:latest", "stock-llm:v1", "stock-llm:v2"]


@pytest.mark.usefixtures("settings")
def test_versions_are_7_or_v7():
    assert said("rollback", "1") == "stock-llm:latest and the champion are v1\n"
    assert said("rollback", "v2") == "stock-llm:latest and the champion are v2\n"
    assert said("rollback") == "stock-llm:latest and the champion are v1\n"
    for wrong in ("0", "latest", "v", "٣"):
        with pytest.raises(InputError, match="is no version"):
            said("publish", wrong)


def test_a_server_that_is_named_and_absent_is_one_line(settings):
    with pytest.raises(PublishError) as raised:
        said("publish", "--to", "http://127.0.0.1:9")
    assert "nobody answers at http://127.0.0.1:9" in _message(raised.value)
    assert settings.publish.keep == 5


def test_lineage_tells_a_version_from_its_id(settings):
    digest = OllamaStore(settings.path(settings.ollama_store)).digest("stock-llm:v1")
    assert "stock-llm:v1" in said("lineage", digest[:12])


def test_consumers_are_let_in_listed_and_removed(settings):
    assert "pull" in said("consumers", "add", "office", KEY)
    assert "never pulled" in said("consumers", "list")
    assert "serves nobody yet" in said("consumers", "add", "office", KEY)
    assert said("consumers", "remove", "office") == "office may pull no more\n"
    assert "office" not in said("consumers", "list")
    assert not (settings.secrets / "consumers").read_text()
