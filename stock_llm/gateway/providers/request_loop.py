"""Detects requests that come back to the gateway that sent them.

A gateway adds its id to a header of every request that it sends to a server, after the ids of those
that the request has passed already. One that finds its own id there would ask itself for ever.
"""

from contextvars import ContextVar

HEADER = "x-stock-llm-gateways"
MAX_GATEWAYS = 8
"""Gateways that a request may pass."""

_passed: ContextVar[tuple[str, ...]] = ContextVar("passed", default=())


def is_loop(header: str, own_id: str) -> bool:
    """Whether a request that came in has been here before; remembers the ids for what is sent on.

    Args:
        header: value of `HEADER`; empty where the request has none.
        own_id: of the gateway that asks.
    """
    ids = tuple(part.strip()[:64] for part in header.split(",", MAX_GATEWAYS) if part.strip())
    _passed.set((*ids, own_id))
    return own_id in ids or len(ids) > MAX_GATEWAYS


def loop_headers() -> dict[str, str]:
    """The header for a request to a server; none outside of a request."""
    ids = _passed.get()
    return {HEADER: ",".join(ids)} if ids else {}
