"""Stops the work for a caller who has hung up."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

T = TypeVar("T")


class ClientDisconnect(Exception):
    """The caller hung up; the work for them has been stopped."""


async def cancel_on_disconnect(receive: Receive, work: Awaitable[T]) -> T:
    """The result of the work, which is cancelled, once, as soon as the caller hangs up.

    Args:
        receive: of the request, whose body must have been read.

    Raises:
        ClientDisconnect: the caller hung up.
    """
    task = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(wait_for_disconnect(receive))
    try:
        await asyncio.wait((task, disconnect), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        disconnect.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))


async def wait_for_disconnect(receive: Receive) -> None:
    """Waits until the caller has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass
