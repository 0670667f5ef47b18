"""A company's registry: a version of somebody else is not overwritten, and a password reaches that host and no message."""

import httpx
import pytest
from factories.published_versions import published
from fakes.champion_file import install

from stock_llm.errors import PublishError
from stock_llm.ollama.distribution.registry_client import RegistryClient, open_registry
from stock_llm.pipeline.publication.places import folder_of
from stock_llm.settings import load_settings


class Registry:
    """What answers the requests of an httpx client: manifests by path, all blobs are there."""

    def __init__(self):
        self.manifests = {}

    def __call__(self, request):
        path = request.url.path
        if "/blobs/" in path:
            return httpx.Response(200)
        if request.method == "PUT":
            self.manifests[path] = request.read()
            return httpx.Response(201)
        known = self.manifests.get(path)
        return httpx.Response(404) if known is None else httpx.Response(200, content=known)


def test_a_version_that_is_another_model_there_stays_as_it_is(monkeypatch, tmp_path):
    versions = install(monkeypatch, tmp_path / "champion")
    settings = load_settings(home=tmp_path / "home", ollama_host="")
    for number in (1, 2):
        published(settings, versions, number)
    store, registry = folder_of(settings).store, Registry()
    with httpx.Client(transport=httpx.MockTransport(registry)) as http:
        client = RegistryClient(http, "http://models.example/library")
        assert client.push(store, "stock-llm:v1")
        assert not client.push(store, "stock-llm:v1")
        path = "/v2/library/stock-llm/manifests/v1"
        registry.manifests[path] = registry.manifests[path].rstrip()  # as `ollama push` leaves it
        assert client.push(store, "stock-llm:v1")
        assert registry.manifests[path] == store.read_manifest("stock-llm:v1")
        registry.manifests[path] = other = store.read_manifest("stock-llm:v2")
        with pytest.raises(PublishError, match="is another model; a version is never overwritten"):
            client.push(store, "stock-llm:v1")
        assert registry.manifests[path] == other


def test_a_password_is_in_no_message():
    with open_registry("http://me:se%40cret@127.0.0.1:9/models") as client:
        assert client.where == "http://127.0.0.1:9/models"
        header = next(client.http.auth.auth_flow(httpx.Request("GET", "http://x"))).headers
        assert header["authorization"] == "Basic bWU6c2VAY3JldA=="
        with pytest.raises(PublishError) as raised:
            client.digest("stock-llm:v1")
    assert "cret" not in str(raised.value)
