"""Ports of this machine that nothing listens at."""

import socket


def free_ports(count: int) -> list[int]:
    """Different ones; another program may take one before it is used."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
