"""Who may call: tokens, host names, origins of web pages, privacy."""

import pytest
from factories.running_gateway import gateway

from stock_llm.gateway.providers.request_loop import HEADER

ASK = {"model": "auto", "messages": [{"role": "user", "content": "one two"}], "stream": False}
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


@pytest.fixture(scope="module")
def guarded(home, backend):
    settings = {"token": "secret", "origins": ["https://chat.example"], "users": {"ann": "anns"}}
    with gateway(home / "guarded", backend.host, hosts=["gpu.example"], **settings) as started:
        yield started


def test_a_page_of_this_machine_may_read_answers(running):
    origin = {"Origin": "http://localhost:3000"}
    preflight = running.http.options("/api/chat", headers=origin | PREFLIGHT)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == origin["Origin"]
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == "authorization,content-type"
    for answer in (
        running.http.post("/api/chat", json=ASK, headers=origin),
        running.http.post("/v1/chat/completions", json=ASK, headers=origin),
        running.http.post("/api/chat", json={"model": 1}, headers=origin),
    ):
        assert answer.headers["access-control-allow-origin"] == origin["Origin"]
        assert answer.headers["vary"] == "Origin"


def test_other_pages_get_nothing(running):
    for origin in ("https://evil.example", "null", "http://localhost.evil.example", "http://[x"):
        headers = {"Origin": origin}
        preflight = running.http.options("/api/chat", headers=headers | PREFLIGHT)
        answer = running.http.post("/api/chat", json=ASK, headers=headers)
        assert (preflight.status_code, answer.status_code) == (403, 403)
        assert not any(
            "access-control-allow-origin" in each.headers for each in (preflight, answer)
        )


def test_the_preflight_is_answered_before_the_token_is_asked_for(guarded):
    origin = {"Origin": "https://chat.example"}
    assert guarded.http.options("/api/chat", headers=origin | PREFLIGHT).status_code == 204
    refused = guarded.http.post("/api/chat", json=ASK, headers=origin)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == origin["Origin"]  # the page sees why
    foreign = {"Origin": "https://evil.example", "Authorization": "Bearer secret"}
    answer = guarded.http.post("/api/chat", json=ASK, headers=foreign)
    assert answer.status_code == 200  # no page, or one that may not read it
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer secret"},
        {"authorization": "bearer anns"},
        {"x-api-key": "secret"},
    ],
)
def test_a_token_comes_as_openais_or_anthropics_clients_send_it(guarded, headers):
    assert guarded.http.get("/api/tags", headers=headers).status_code == 200
    wrong = {name: value + "x" for name, value in headers.items()}
    assert guarded.http.get("/api/tags", headers=wrong).status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("0.0.0.0:11435", 200),
        ("[::1]:1", 200),
        ("host.docker.internal:11435", 200),
        ("mybox.local", 200),
        ("192.168.1.5", 200),
        ("evil.example", 403),
        ("127.0.0.1.nip.io", 403),
        ("local", 403),
        ("8.8.8.8", 403),
    ],
)
def test_names_that_no_stranger_can_own_are_admitted_as_ollama_does(running, host, status):
    assert running.http.get("/healthz", headers={"Host": host}).status_code == status


def test_a_name_in_the_settings_is_admitted(guarded):
    assert guarded.http.get("/healthz", headers={"Host": "gpu.example"}).status_code == 200


@pytest.mark.parametrize(
    "values",
    [["any", "local"], ["local", "any"], ["any, local"], ["local"]],
)
def test_of_several_privacies_the_strictest_counts(running, values):
    headers = [("x-stock-llm-privacy", value) for value in values]
    decision = running.http.post("/v1/route", json={"text": "hi"}, headers=headers).json()
    assert decision["query"]["privacy"] == "local"
    decision = running.http.post("/v1/route", json={"text": "hi", "privacy": "local"}, headers=[])
    assert decision.json()["query"]["privacy"] == "local"


def test_a_privacy_that_is_none_is_refused_wherever_it_stands(running):
    headers = [("x-stock-llm-privacy", "local"), ("x-stock-llm-privacy", "none")]
    for path in ("/api/chat", "/v1/chat/completions", "/v1/route", "/api/embed"):
        refused = running.http.post(path, json=ASK | {"text": "x", "input": "x"}, headers=headers)
        assert (refused.status_code, "none" in refused.text) == (400, True), path


def test_readiness_tells_details_to_those_with_a_token_alone(guarded, running):
    for http in (guarded.http, running.http):
        response = http.get("/readyz")
        assert response.status_code == 200
        assert response.json()["providers"]["ollama"]["models"] == 4
        assert "/" not in response.text
    trusted = guarded.http.get("/readyz", headers={"Authorization": "Bearer secret"}).json()
    assert trusted["providers"]["ollama"]["detail"].endswith("has 4 models")


def test_models_are_not_managed_through_the_gateway_unless_the_settings_say_so(running):
    for method, path in (
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("DELETE", "/api/delete"),
        ("POST", "/api/pull"),
        ("POST", "/api/push"),
        ("POST", "/api/blobs/sha256:" + "0" * 64),
    ):
        refused = running.http.request(method, path, json={"model": "stock-llm"})
        assert refused.status_code == 403
        assert "gateway.manage_models" in refused.json()["error"]


def test_every_model_has_a_digest_that_clients_can_cut(running):
    for model in running.http.get("/api/tags").json()["models"]:
        assert len(bytes.fromhex(model["digest"])) == 32


def test_a_request_that_came_from_this_gateway_is_508(running, backend):
    assert running.http.post("/api/chat", json=ASK).status_code == 200
    ids = backend.headers[-1][HEADER]
    for path in ("/api/chat", "/v1/chat/completions", "/v1/messages"):
        refused = running.http.post(path, json=ASK, headers={HEADER: ids})
        assert refused.status_code == 508
        assert "itself" in refused.text
    others = {HEADER: "another, and another"}
    assert running.http.post("/api/chat", json=ASK, headers=others).status_code == 200
