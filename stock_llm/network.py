"""Tells whether a host is this machine, and where its servers are reached.

A request with `privacy: local` goes to hosts of this machine only, so a name counts only where its
addresses do: a public name such as 127.0.0.1.nip.io may mean this machine today and another one
tomorrow, whoever owns it.
"""

import ipaddress
import socket
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: a loopback address, or `localhost` where it resolves to
    nothing else.

    Args:
        host: an address, with or without the brackets of IPv6, or a name.
    """
    host = host.removeprefix("[").removesuffix("]").rstrip(".").lower()
    if _is_loopback_address(host):
        return True
    if host != "localhost" and not host.endswith(".localhost"):
        return False
    addresses = _addresses(host)
    return bool(addresses) and all(map(_is_loopback_address, addresses))


def is_loopback_url(url: str) -> bool:
    """Whether a URL's host is this machine."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:  # an address in brackets that is none
        return False


def is_same_endpoint(url: str, host: str, port: int) -> bool:
    """Whether a URL leads to the server of this machine that listens at `host` and `port`."""
    parts = urlsplit(url)
    if (parts.port or (443 if parts.scheme == "https" else 80)) != port:
        return False
    targets = {parts.hostname or "", *_addresses(parts.hostname or "")}
    if host in ("", "0.0.0.0", "::"):
        own = {"localhost", *_addresses(socket.gethostname()), *_interface_addresses()}
        return any(
            target in own or is_loopback(target) or target in ("0.0.0.0", "::")
            for target in targets
        )
    return bool(targets & {host, *_addresses(host)})


def local_url(host: str, port: int) -> str:
    """Where this machine reaches its server that listens at an address or name, without brackets,
    and a port.
    """
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def own_addresses() -> frozenset[str]:
    """The addresses and names of this machine, in lower case."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    names = {"localhost", name, short, f"{short}.local"}
    return frozenset({*names, *map(str.lower, _interface_addresses())})


def _is_loopback_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _addresses(host: str) -> list[str]:
    """The addresses of a name; none where it has none."""
    try:
        return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(host, None)})
    except (OSError, UnicodeError):
        return []


def _interface_addresses() -> list[str]:
    """The addresses of this machine's network interfaces."""
    import psutil

    return [
        address.address.partition("%")[0]
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
    ]
