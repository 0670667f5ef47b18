"""A gateway that is its own provider is refused at its start; one that is reached in a circle refuses the request."""

import contextvars

import pytest

from stock_llm.errors import InputError
from stock_llm.gateway.config import GatewaySettings
from stock_llm.gateway.providers.ollama import OllamaProvider
from stock_llm.gateway.providers.registry import ProviderRegistry
from stock_llm.gateway.providers.request_loop import HEADER, MAX_GATEWAYS, is_loop, loop_headers


@pytest.mark.parametrize(
    ("host", "settings"),
    [
        ("127.0.0.1:31737", {"port": 31737}),
        ("localhost:31737", {"port": 31737}),
        ("http://127.0.0.1:31737/", {"port": 31737}),
        ("0.0.0.0:31737", {"port": 31737, "host": "0.0.0.0"}),
        ("", {"port": 31737, "servers": {"mine": {"url": "http://127.0.0.1:31737/v1"}}}),
    ],
)
def test_a_provider_that_is_the_gateway_itself_is_refused_at_the_start(tmp_path, host, settings):
    with pytest.raises(InputError, match=r"this gateway itself listens.*\n?.*Ollama"):
        ProviderRegistry(GatewaySettings(embedded=False, **settings), host, tmp_path, 1)


def test_the_real_ollama_is_not(tmp_path):
    settings = GatewaySettings(port=31737, embedded=False)
    registry = ProviderRegistry(settings, "127.0.0.1:11434", tmp_path, 1)
    assert [provider.name for provider in registry.providers] == ["ollama"]


def in_a_request(header: str):
    """What a request with this header is to the gateway "a": whether it is a loop, and what is sent on."""

    def receive():
        return is_loop(header, "a"), loop_headers()[HEADER]

    return contextvars.copy_context().run(receive)


def test_a_request_that_was_sent_from_here_comes_back_as_a_loop():
    assert in_a_request("") == (False, "a")
    assert in_a_request("b, c") == (False, "b,c,a")
    assert in_a_request("b,a,c")[0]
    assert in_a_request(",".join(f"g{number}" for number in range(MAX_GATEWAYS + 1)))[0]


@pytest.mark.parametrize("host", ["[::1", "127.0.0.1:port", "127.0.0.1:99999"])
def test_a_host_that_is_no_address_names_the_setting(host):
    with pytest.raises(InputError, match="ollama_host"):
        OllamaProvider(host, (), None)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("http://127.0.0.1.nip.io:11434", False),
        ("127.0.0.1", True),
        ("0.0.0.0", True),
        ("gpu", False),
    ],
)
def test_an_ollama_under_a_name_is_not_this_machine(host, local):
    assert OllamaProvider(host, (), None).local is local
