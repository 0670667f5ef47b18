"""`kill -9` at every step of handing over, rolling back and removing: what stays is whole, and the next command finishes it."""

import itertools
import os
from pathlib import Path

import pytest
from factories.published_versions import published
from fakes.champion_file import ChampionFile

from stock_llm.ollama.client import OllamaServer, connect
from stock_llm.ollama.distribution.published_models import PublishedModels
from stock_llm.ollama.handover import hand_over
from stock_llm.ollama.store import OllamaStore
from stock_llm.pipeline.publication.restoring import publish_again, roll_back
from stock_llm.settings import load_settings

STEPS = (
    (Path, "replace"),
    (Path, "unlink"),
    (OllamaServer, "pull"),
    (OllamaServer, "create"),
    (OllamaServer, "refresh"),
    (OllamaServer, "tag"),
    (OllamaServer, "delete"),
    (OllamaStore, "tag"),
    (ChampionFile, "promote"),
    (PublishedModels, "manifest"),
    (PublishedModels, "blob"),
)
"""Functions before each call of which a process may die; the last two are called while the server pulls."""


def dies_at(step: int, work) -> bool:
    """Runs `work` in a process that ends without any clean-up at its nth step; whether it got so far."""
    child = os.fork()
    if child == 0:
        calls = itertools.count()

        def counted(real):
            def call(*args, **kwargs):
                if next(calls) == step:
                    os._exit(9)
                return real(*args, **kwargs)

            return call

        for owner, name in STEPS:
            setattr(owner, name, counted(getattr(owner, name)))
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.fixture(params=["merged", "adapter"])
def settings(request, tmp_path, ollama, registry):
    settings = load_settings(home=tmp_path / "home", ollama_host=ollama.host, threads=1)
    for number in (1, 2, 3):
        published(settings, registry, number, has_lora=request.param == "adapter")
    registry.promote(settings, 1)
    publish_again(settings)
    return settings


def forget(store, *names):
    for name in names:
        if store.digest(name):
            store.delete(name)


def check(settings, ollama, registry, allowed):
    """Every name in both places is a whole model, and `:latest` one of those that it may be."""
    for store in (OllamaStore(settings.path(settings.ollama_store)), ollama.store):
        assert store.verify() == []
        latest = store.digest("stock-llm:latest")
        assert latest in {store.digest(f"stock-llm:v{number}") for number in allowed}
    assert registry.champion(settings).number in allowed


def check_finished(settings, ollama, registry, tags):
    folder = OllamaStore(settings.path(settings.ollama_store))
    names = sorted(f"stock-llm:{tag}" for tag in ("latest", *tags))
    assert folder.list_models() == ollama.store.list_models() == names  # no staging name either
    champion = f"stock-llm:v{registry.champion(settings).number}"
    for store in (folder, ollama.store):
        assert store.digest("stock-llm:latest") == store.digest(champion)


@pytest.mark.parametrize("way", ["pull", "create", "folder"])
def test_a_version_that_becomes_champion(settings, ollama, registry, way):
    if way == "create":
        ollama.cannot_pull = "connect: connection refused"
    steps = 0
    for step in itertools.count():
        roll_back(settings, 1)
        forget(ollama.store, "stock-llm:v2")
        if way == "folder":
            forget(OllamaStore(settings.path(settings.ollama_store)), "stock-llm:v2")
        if not dies_at(step, lambda: roll_back(settings, 2)):
            break
        steps += 1
        forget(ollama.store, "stock-llm:v0")
        check(settings, ollama, registry, allowed=(1, 2))
        roll_back(settings, 2)
        check_finished(settings, ollama, registry, ("v1", "v2", "v3"))
    print(f"{way}: killed at {steps} steps")
    assert steps >= 9


def test_versions_that_are_removed(settings, ollama, registry):
    fewer = settings.model_copy(update={"publish": settings.publish.model_copy(update={"keep": 1})})
    steps = 0
    for step in itertools.count():
        publish_again(settings, 2)
        if not dies_at(step, lambda: publish_again(fewer)):
            break
        steps += 1
        check(settings, ollama, registry, allowed=(1,))
        publish_again(fewer)
        check_finished(settings, ollama, registry, ("v1", "v3"))
    print(f"removal: killed at {steps} steps")
    assert steps >= 3


def test_a_server_that_lost_everything(settings, ollama, registry):
    folder = OllamaStore(settings.path(settings.ollama_store))
    for step in (0, 3, 6, 9):
        forget(ollama.store, *ollama.store.list_models())
        assert dies_at(step, lambda: publish_again(settings))
        assert ollama.store.verify() == []
        publish_again(settings)
        check_finished(settings, ollama, registry, ("v1", "v2", "v3"))
        assert hand_over(folder, connect(ollama.host), "stock-llm:v3") == folder.digest(
            "stock-llm:v3"
        )
