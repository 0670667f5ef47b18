"""The address of an Ollama as OLLAMA_HOST has it, and whether a proxy stands before it."""

from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from stock_llm.errors import InputError
from stock_llm.network import is_loopback_url

PORT = 11434
"""Ollama's own."""


def url_of(host: str) -> str:
    """The base URL of a host as OLLAMA_HOST has it: `127.0.0.1`, `gpu:11434`,
    `https://ollama.example`.

    Raises:
        InputError: it is no address.
    """
    try:
        parts = urlsplit(host if "://" in host else f"http://{host}")
        name, given = parts.hostname or "127.0.0.1", parts.port
    except ValueError:
        raise InputError(
            f"ollama_host {host!r} is no address", remedy="Write it as in 127.0.0.1:11434"
        ) from None
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    port = given or (443 if parts.scheme == "https" else 80 if "://" in host else PORT)
    return f"{parts.scheme}://{f'[{name}]' if ':' in name else name}:{port}{parts.path.rstrip('/')}"


def bypasses_proxies(url: str) -> bool:
    """Whether a URL is asked directly whatever HTTP_PROXY and ALL_PROXY say: this machine, and what
    NO_PROXY names.
    """
    return is_loopback_url(url) or bool(proxy_bypass(urlsplit(url).hostname or ""))
