"""Every kind of program that is installed asks the gateway, which answers from the published model's folder or an Ollama."""

import shutil

import pytest
from factories.running_gateway import gateway
from fakes.scripted_ollama import ScriptedOllama

from stock_llm.errors import PublishError
from stock_llm.pipeline.publication import consumer_checks
from stock_llm.settings import load_settings


def test_the_programs_that_are_installed_are_asked(tmp_path, monkeypatch):
    with ScriptedOllama() as backend, gateway(tmp_path, backend.host) as running:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        settings = load_settings(home=tmp_path, ollama_host=running.url)
        checks = {check.program: check for check in consumer_checks.run_checks(settings)}
        for program in ("ollama (Python)", "openai (Python)", "LangChain"):
            assert checks[program].outcome == "answered", checks[program].detail
        shown = consumer_checks.table(list(checks.values()))
        assert shown.row_count == 6


def test_a_node_package_is_looked_for_where_the_check_is_run(tmp_path, monkeypatch):
    """A package that says whom it would ask, in place of the real one."""
    if not shutil.which("node"):
        pytest.skip("Node.js is not installed")
    monkeypatch.chdir(tmp_path)
    assert not consumer_checks._has_node_package("ollama")
    package = tmp_path / "node_modules" / "ollama"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"name": "ollama", "main": "index.js"}')
    (package / "index.js").write_text(
        "exports.Ollama = class { constructor({ host }) { this.host = host } "
        "async chat({ model, messages }) { "
        "return { message: { content: `${this.host} ${model} ${messages[0].content}` } } } }"
    )
    assert consumer_checks._has_node_package("ollama")
    said = consumer_checks._javascript("http://127.0.0.1:9")
    assert said.strip() == f"http://127.0.0.1:9 stock-llm:latest {consumer_checks.QUESTION}"


def test_where_nobody_answers_that_is_said(tmp_path):
    settings = load_settings(home=tmp_path, ollama_host="")
    with pytest.raises(PublishError, match="nobody answers at http"):
        list(consumer_checks.run_checks(settings, "127.0.0.1:9"))
