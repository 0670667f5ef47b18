"""Pulling from the gateway as an unmodified Ollama does it, with its own key, and every way in which somebody else is refused."""

import base64
import json
import time
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from factories.parrot_gguf import write_parrot
from factories.running_gateway import RunningGateway
from fakes.pulling import Puller, PullFailed

from stock_llm.network import own_addresses
from stock_llm.ollama.distribution.consumer_keys import ConsumerKeys
from stock_llm.ollama.distribution.pull_log import FILE as PULLS
from stock_llm.ollama.distribution.pull_log import PullLog
from stock_llm.ollama.manifest import parse_manifest
from stock_llm.ollama.modelfile import Modelfile
from stock_llm.ollama.store import OllamaStore
from stock_llm.settings import load_settings

PROXY = {"X-Forwarded-For": "192.0.2.7"}
"""What makes a caller on this machine one from elsewhere."""


def start(home, **publish):
    return RunningGateway(
        load_settings(
            home=home,
            ollama_host="",
            threads=1,
            publish={"serve": True, **publish},
            gateway={"token": "secret", "hosts": ["models.example"]},
        )
    )


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOCK_LLM_SECRETS", str(tmp_path_factory.mktemp("secrets")))
        home = tmp_path_factory.mktemp("home")
        store = OllamaStore(home / "models" / "ollama")
        gguf = write_parrot(home / "v1.gguf", "one", name="x" * 300_000)
        store.write_model(
            "stock-llm:v1", gguf, Modelfile("x", template="{{ .Prompt }}"), annotations={"a": "b"}
        )
        store.tag("stock-llm:v1", "stock-llm:latest")
        with start(home) as running:
            yield running, store


@pytest.fixture
def keys(gateway):
    keys = ConsumerKeys(gateway[0].settings.secrets / "consumers")
    for consumer in keys.all():
        keys.remove(consumer.name)
    return keys


class RemotePuller(Puller):
    """An Ollama that reaches the gateway through something that says where it comes from, as from another machine."""

    def _send(self, http, method, url, headers):
        headers.update(PROXY)
        http.headers.update(PROXY)
        return super()._send(http, method, url, headers)


@pytest.fixture
def puller(tmp_path):
    store = OllamaStore(tmp_path / "other machine")
    (store.root / "blobs").mkdir(parents=True)
    return RemotePuller(store)


def model(gateway, tag="v1", host=""):
    address = host or gateway[0].url.removeprefix("http://")
    return f"{address}/library/stock-llm:{tag}"


def manifest_url(gateway):
    return f"{gateway[0].url}/v2/library/stock-llm/manifests/v1"


def challenge(gateway, path="library/stock-llm/manifests/v1", **headers):
    answer = gateway[0].http.get(f"/v2/{path}", headers=PROXY | headers)
    assert answer.status_code == 401
    return answer.headers["www-authenticate"]


def test_on_this_machine_everybody_pulls_and_no_token_of_the_gateway_is_asked_for(
    gateway, tmp_path
):
    _, store = gateway
    other = OllamaStore(tmp_path / "other")
    (other.root / "blobs").mkdir(parents=True)
    assert [*Puller(other).pull(model(gateway), insecure=True)][-1] == {"status": "success"}
    name = model(gateway)
    assert other.read_manifest(name) == store.read_manifest("stock-llm:v1")
    assert other.verify() == []
    assert gateway[0].http.get("/api/tags").status_code == 401


def test_from_elsewhere_a_key_that_was_added_pulls_and_is_listed(gateway, keys, puller):
    running, store = gateway
    keys.add("office", puller.public_key)
    assert [*puller.pull(model(gateway, "latest"), insecure=True)][-1] == {"status": "success"}
    assert puller.store.read_manifest(model(gateway, "latest")) == store.read_manifest(
        "stock-llm:v1"
    )
    (pull,) = PullLog(running.settings.path(PULLS)).all()["office"]
    assert (pull.tag, pull.digest) == ("latest", store.digest("stock-llm:v1"))
    assert pull.since == pull.last or pull.since < pull.last


def test_an_unknown_or_removed_key_is_told_what_to_do(gateway, keys, puller):
    with pytest.raises(PullFailed, match=r"401: .*may not pull here.*stock-llm consumers add"):
        [*puller.pull(model(gateway), insecure=True)]
    keys.add("office", puller.public_key)
    header = {
        "Authorization": f"Bearer {puller.token(httpx.Client(headers=PROXY), manifest_url(gateway), challenge(gateway))}"
    }
    assert gateway[0].http.get(manifest_url(gateway), headers=PROXY | header).status_code == 200
    layer = parse_manifest(gateway[1].read_manifest("stock-llm:v1")).layers[0]
    blob = f"/v2/library/stock-llm/blobs/{layer.digest}"
    location = gateway[0].http.get(blob, headers=PROXY | header).headers["location"]
    assert gateway[0].http.get(location, headers=PROXY).status_code == 200
    keys.remove("office")  # ends tokens and signed URLs that are under way too
    assert gateway[0].http.get(manifest_url(gateway), headers=PROXY | header).status_code == 401
    assert gateway[0].http.get(location, headers=PROXY).status_code == 403


def token_answer(gateway, puller, **changes):
    """The answer to a request for a token, with parts of the query or header changed after (`signed=False`) or before signing."""
    http = httpx.Client(headers=PROXY, trust_env=False)
    url, headers = puller.signed(manifest_url(gateway), challenge(gateway))
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | {
        name: value
        for name, value in changes.items()
        if name in ("ts", "nonce", "scope", "service")
    }
    asked = f"{parts.scheme}://{parts.netloc}{parts.path}?{urlencode(query)}"
    if changes.get("sign", True):
        headers = {"Authorization": puller.signature(changes.get("signed_url", asked))}
    return http.get(asked, headers=headers)


def test_a_nonce_counts_once(gateway, keys, puller):
    keys.add("office", puller.public_key)
    assert token_answer(gateway, puller, nonce="same").status_code == 200
    again = token_answer(gateway, puller, nonce="same")
    assert again.status_code == 401
    assert "was used before" in again.text


@pytest.mark.parametrize(("off", "status"), [(-110, 200), (110, 200), (-130, 401), (130, 401)])
def test_clocks_may_be_two_minutes_apart(gateway, keys, puller, off, status):
    keys.add("office", puller.public_key)
    answer = token_answer(gateway, puller, ts=str(int(time.time()) + off))
    assert answer.status_code == status
    assert status == 200 or "clocks" in answer.text


@pytest.mark.parametrize("ts", ["", "now", "-1", "9" * 400])
def test_a_time_that_is_none_is_refused(gateway, keys, puller, ts):
    keys.add("office", puller.public_key)
    assert token_answer(gateway, puller, ts=ts).status_code == 401


def test_a_signature_over_another_url_or_realm_or_by_another_key_is_refused(gateway, keys, puller):
    keys.add("office", puller.public_key)
    tampered = token_answer(gateway, puller, scope="repository:library/other:pull", sign=False)
    assert (tampered.status_code, "does not fit this URL" in tampered.text) == (401, True)
    elsewhere = "http://evil.example/v2/token?nonce=1&scope=repository%3Alibrary%2Fstock-llm%3Apull&service=evil.example&ts=1"
    assert token_answer(gateway, puller, signed_url=elsewhere).status_code == 401
    assert token_answer(gateway, puller, service="evil.example").status_code == 401
    stranger = Puller(puller.store)
    url, headers = puller.signed(manifest_url(gateway), challenge(gateway))
    blob = headers["Authorization"].partition(":")[0]
    forged = f"{blob}:{stranger.signature(url).partition(':')[2]}"
    assert httpx.get(url, headers=PROXY | {"Authorization": forged}).status_code == 401
    assert httpx.get(url, headers=PROXY | {"Authorization": f"{blob}:!"}).status_code == 401


def test_a_host_that_is_not_the_gateways_gets_no_challenge_to_pass_on(gateway, keys, puller):
    """Else a server in between could let a consumer sign for it and hand the signature on."""
    keys.add("office", puller.public_key)
    for path in ("library/stock-llm/manifests/v1", "token"):
        answer = gateway[0].http.get(f"/v2/{path}", headers=PROXY | {"Host": "8.8.8.8"})
        assert answer.status_code in (403, 421)
    known = challenge(gateway, Host="localhost:80")
    assert 'realm="http://localhost:80/v2/token",service="localhost:80"' in known


@pytest.mark.parametrize(
    "scope", ["repository:library/stock-llm:push", "registry:catalog:*", "", "x"]
)
def test_a_token_is_for_pulling_alone(gateway, keys, puller, scope):
    keys.add("office", puller.public_key)
    assert token_answer(gateway, puller, scope=scope).status_code == 403


def test_a_token_of_another_repository_is_refused(gateway, keys, puller):
    keys.add("office", puller.public_key)
    token = token_answer(gateway, puller, scope="repository:library/other:pull").json()["token"]
    header = PROXY | {"Authorization": f"Bearer {token}"}
    assert gateway[0].http.get(manifest_url(gateway), headers=header).status_code == 401


@pytest.mark.parametrize("token", ["x", "a.b.c", "a.9999999999.AAAA", "secret"])
def test_a_made_up_token_is_refused(gateway, keys, puller, token):
    keys.add("office", puller.public_key)
    header = PROXY | {"Authorization": f"Bearer {token}"}
    assert gateway[0].http.get(manifest_url(gateway), headers=header).status_code == 401


def test_tokens_and_urls_end(gateway, keys, puller):
    keys.add("office", puller.public_key)
    token = token_answer(gateway, puller).json()["token"]
    fingerprint, expires, proof = token.split(".")
    assert 0 < int(expires) - time.time() <= 600
    later = PROXY | {"Authorization": f"Bearer {fingerprint}.{int(expires) + 9999}.{proof}"}
    assert gateway[0].http.get(manifest_url(gateway), headers=later).status_code == 401
    layer = parse_manifest(gateway[1].read_manifest("stock-llm:v1")).layers[0]
    path = f"/v2/library/stock-llm/blobs/{layer.digest}"
    location = (
        gateway[0]
        .http.get(path, headers=PROXY | {"Authorization": f"Bearer {token}"})
        .headers["location"]
    )
    query = dict(parse_qsl(urlsplit(location).query))
    for change in (
        {"expires": str(int(query["expires"]) + 1)},
        {"key": "other"},
        {"signature": "x"},
    ):
        assert (
            gateway[0].http.get(f"{path}?{urlencode(query | change)}", headers=PROXY).status_code
            == 403
        )
    other = parse_manifest(gateway[1].read_manifest("stock-llm:v1")).layers[1].digest
    moved = f"/v2/library/stock-llm/blobs/{other}?{urlsplit(location).query}"
    assert gateway[0].http.get(moved, headers=PROXY).status_code == 403


def test_the_realm_follows_forwarded_headers_of_trusted_proxies_alone(gateway, monkeypatch):
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "models.example"}
    untrusted = challenge(gateway, **forwarded)
    assert "models.example" not in untrusted and "https" not in untrusted
    challenge(gateway, **{"X-Forwarded-For": "127.0.0.1"})  # does not make anybody local
    monkeypatch.setenv("STOCK_LLM_SECRETS", str(gateway[0].settings.secrets))
    with start(gateway[0].settings.home, proxies=["127.0.0.1"]) as behind:
        path, through = "/v2/library/stock-llm/manifests/v1", PROXY | forwarded
        answer = behind.http.get(path, headers=through)
        assert answer.headers["www-authenticate"].startswith(
            'Bearer realm="https://models.example/v2/token",service="models.example"'
        )
        assert (
            behind.http.get("/v2/library/stock-llm/manifests/v1").status_code == 401
        )  # through it, nobody is local


def test_without_the_setting_nothing_is_served(tmp_path):
    with start(tmp_path, serve=False) as closed:
        headers = {"Authorization": "Bearer secret"}
        assert closed.http.get("/v2/", headers=headers).status_code == 404
        assert closed.http.get("/v2/").status_code == 401


def test_names_of_this_machine():
    assert {"localhost", "127.0.0.1"} <= own_addresses()


def test_what_is_sent_as_a_key_need_not_be_one(gateway):
    for sent in ("", ":", "AAAA:BBBB", base64.b64encode(b"x" * 2000).decode()):
        answer = gateway[0].http.get(
            "/v2/token?ts=1&nonce=1", headers=PROXY | {"Authorization": sent}
        )
        assert answer.status_code == 401
        assert json.loads(answer.text)["errors"][0]["code"] == "UNAUTHORIZED"


def test_what_is_handed_over_to_a_server_of_this_project_is_no_pull_of_a_consumer(
    gateway, keys, puller
):
    """Else that server would hold every version for ever."""
    running, _ = gateway
    keys.add("gpu", puller.public_key)
    name = model(gateway).replace("/library/", "/handover/")
    assert [*puller.pull(name, insecure=True)][-1] == {"status": "success"}
    assert "gpu" not in PullLog(running.settings.path(PULLS)).all()


def test_callers_are_not_told_what_is_wrong_with_the_file_of_keys(gateway, keys, puller):
    keys.add("office", puller.public_key)
    keys.file.write_text(keys.file.read_text() + "canary\n")
    answer = token_answer(gateway, puller)
    assert answer.status_code == 503
    assert "canary" not in answer.text and str(keys.file) not in answer.text
    keys.file.unlink()


@pytest.mark.parametrize("host", ["[::1]@evil.example", "[::1]:80@evil.example", "[::1"])
def test_a_host_in_brackets_ends_with_them(gateway, host):
    headers = PROXY | {"Host": host}
    answer = gateway[0].http.get("/v2/library/stock-llm/manifests/v1", headers=headers)
    assert answer.status_code in (400, 403, 421)
