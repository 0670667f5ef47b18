"""Only addresses of this machine count as this machine, whatever a name looks like."""

import socket

import pytest

from stock_llm.network import is_loopback, is_loopback_url, is_same_endpoint, local_url


def resolver(addresses: dict[str, list[str]]):
    def getaddrinfo(host, *_, **__):
        if host not in addresses:
            raise socket.gaierror("unknown name")
        return [(None, None, None, "", (address, 0)) for address in addresses[host]]

    return getaddrinfo


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1", "localhost", "LOCALHOST."],
)
def test_addresses_of_this_machine(host, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", resolver({"localhost": ["127.0.0.1", "::1"]}))
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1.nip.io", "127.evil.example", "localhost.example", "notlocalhost", "gpu", ""),
        *("10.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "127.1.example", "2130706433"),
    ],
)
def test_a_name_that_looks_like_this_machine_is_not(host, monkeypatch):
    """Not even where it resolves to a loopback address today: others may change that."""
    monkeypatch.setattr(socket, "getaddrinfo", resolver({"127.0.0.1.nip.io": ["127.0.0.1"]}))
    assert not is_loopback(host)


def test_localhost_is_resolved_before_it_is_trusted(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", resolver({"localhost": ["127.0.0.1", "10.0.0.1"]}))
    assert not is_loopback("localhost")
    monkeypatch.setattr(socket, "getaddrinfo", resolver({}))
    assert not is_loopback("localhost")


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:11434", True),
        ("http://[::1]:11434/v1", True),
        ("http://127.0.0.1.nip.io:11434", False),
        ("http://127.0.0.1@evil.example:11434", False),
        ("http://[zz]/", False),
    ],
)
def test_the_host_of_a_url(url, local):
    assert is_loopback_url(url) is local


@pytest.mark.parametrize(
    ("url", "host", "port", "same"),
    [
        ("http://127.0.0.1:11435", "127.0.0.1", 11435, True),
        ("http://localhost:11435", "127.0.0.1", 11435, True),
        ("http://127.0.0.1:11435", "0.0.0.0", 11435, True),
        ("http://127.0.0.1:11435", "::", 11435, True),
        ("http://127.0.0.1:11434", "127.0.0.1", 11435, False),
        ("http://192.0.2.7:11435", "0.0.0.0", 11435, False),
        ("http://127.0.0.1", "127.0.0.1", 80, True),
    ],
)
def test_a_url_that_leads_back_to_the_server_itself(url, host, port, same):
    assert is_same_endpoint(url, host, port) is same


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("desk", "http://desk:80"),
    ],
)
def test_where_a_server_of_this_machine_is_reached(host, url):
    assert local_url(host, 80) == url
