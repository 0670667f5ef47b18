"""A streamed response that ends with its caller: who hangs up stops the generation, who reads slowly slows it down.

In: an `Opened` answer and how its pieces are written. Out: an ASGI response. The next piece is fetched only when the connection
has taken the last one. Does not know which API is spoken.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stock_llm.gateway.api.handler import StreamResult, wait_for_disconnect
from stock_llm.gateway.chat import AnswerChunk
from stock_llm.gateway.errors import GatewayError


class AnswerStreamResponse(Response):
    """The pieces of an answer as they come.

    Args:
        write: a piece → bytes to send; it may look at the story, which is whole at the last piece.
        broken: what to send when the answer breaks off.
    """

    def __init__(
        self,
        opened: StreamResult,
        kind: str,
        write: Callable[[AnswerChunk], bytes],
        broken: Callable[[GatewayError], bytes],
        end: bytes = b"",
    ):
        self.status_code, self.background = 200, None
        self._opened, self._write, self._broken, self._end = opened, write, broken, end
        self.init_headers(
            {"content-type": kind, "cache-control": "no-store", **opened.story.headers()}
        )
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's own signature
        sending = asyncio.ensure_future(self._send_all(send))
        gone = asyncio.ensure_future(wait_for_disconnect(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not sending.done():
                sending.cancel()  # once: what ends a generation may wait for it
                await asyncio.wait((sending,))
        with suppress(asyncio.CancelledError, OSError):  # nobody is there to be told
            sending.result()

    async def _send_all(self, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                async for chunk in self._opened:
                    await _send(send, self._write(chunk))
            except GatewayError as failure:
                await _send(send, self._broken(failure))
            else:
                await _send(send, self._end)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._opened.close()


async def _send(send: Send, body: bytes) -> None:
    if body:
        await send({"type": "http.response.body", "body": body, "more_body": True})
